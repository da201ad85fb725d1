"""MQTT-to-database pipeline: decode, resolve, judge, COPY, COMMIT, then PUBACK and receipts."""
