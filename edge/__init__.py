"""Edge software: the MQTT wire contract, the device agent, its drivers, and the town simulator."""
