"""Authentication, authorisation, limits and audit of requests."""
