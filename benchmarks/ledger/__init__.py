"""Kill ledger: the whole platform under load and a seeded schedule of faults, and a count of all readings.

Four edge agents with real spools publish numbered readings through a real Mosquitto to two ingest processes
(an owner and its standby) and a real TimescaleDB; service and gateway run beside them. Each fault of the
schedule ends, freezes or separates one part. In the end every number that a spool has taken must be stored
exactly once, with its value, or be in the dead letters, or still be in the spool.
"""

from benchmarks.ledger.command import main

__all__ = ["main"]
