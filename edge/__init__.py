"""What runs on the device: the wire contract, the agent, its drivers, and the simulated town."""
