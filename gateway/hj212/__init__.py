"""Server for HJ 212 stations: frames of the 2005, 2017 and 2025 editions over TCP, converted to SenML."""
