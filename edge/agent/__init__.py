"""The agent of a device: driver, durable spool, publisher."""
