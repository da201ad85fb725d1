"""Request and response models of the HTTP API, and their Arrow schemas."""
