"""The published wire contract, version 1: topics, payloads, receipts, status, quantities and units."""
