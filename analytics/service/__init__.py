"""The periodic process, and what it and the gateway know of the twin."""
