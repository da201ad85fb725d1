"""HTTP API (REST, SensorThings, NGSI-LD, live events) and operators' console."""
