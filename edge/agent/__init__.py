"""Device agent: reads a driver, stores messages in a durable spool, and publishes them by MQTT."""
