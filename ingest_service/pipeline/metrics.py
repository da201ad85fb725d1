"""What the ingest process counts; names follow Prometheus' conventions."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

MESSAGES = Counter("towntwin_ingest_messages_total", "Messages taken from the broker")
READINGS = Counter("towntwin_ingest_readings_total", "Readings stored, by how they came", ["kind"])
DEAD_LETTERS = Counter(
    "towntwin_ingest_dead_letters_total", "Messages that went to the dead letters", ["reason"]
)
RECEIPTS = Counter("towntwin_ingest_receipts_total", "Receipts sent to devices")
ANOMALIES = Counter("towntwin_ingest_anomalies_total", "Anomalies opened, changed or closed")
RETRIES = Counter(
    "towntwin_ingest_commit_retries_total", "Commits tried again because the store was unavailable"
)
JUDGE_FAILURES = Counter(
    "towntwin_ingest_judge_failures_total", "Batches stored unjudged because judging failed"
)
CONNECTIONS = Counter("towntwin_ingest_connections_total", "Connections made to the broker")
OWNER = Gauge("towntwin_ingest_shard_owner", "1 while this process owns its shard, 0 while it stands by")
INBOX_MESSAGES = Gauge("towntwin_ingest_inbox_messages", "Messages held and not yet acknowledged by a commit")
INBOX_BYTES = Gauge("towntwin_ingest_inbox_bytes", "Payload bytes held")
BATCH_READINGS = Histogram(
    "towntwin_ingest_batch_readings", "Readings in a batch", buckets=(1, 10, 100, 1000, 10_000, 100_000)
)
JUDGE_SECONDS = Histogram("towntwin_ingest_judge_seconds", "Time to judge a batch", buckets=_SECONDS)
COMMIT_SECONDS = Histogram("towntwin_ingest_commit_seconds", "Time from BEGIN to COMMIT", buckets=_SECONDS)
LAG_SECONDS = Histogram(
    "towntwin_ingest_received_to_committed_seconds",
    "From a message's arrival to its commit",
    buckets=_SECONDS,
)
MEASURED_LAG_SECONDS = Gauge(
    "towntwin_ingest_measured_to_received_seconds",
    "Smallest age of a reading at its arrival in the newest batch",
)
