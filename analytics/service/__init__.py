"""The periodic process, and the twin's state for it and for the gateway."""
