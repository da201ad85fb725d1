"""Prometheus metrics of the ingest process."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import structlog
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import REGISTRY, Collector

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

log = structlog.get_logger()

_SHORT_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_LONG_BUCKETS_S = (0.1, 1, 5, 15, 60, 300, 900, 3600, 6 * 3600, 86_400)


class ArrayHistogram(Collector):
    """Prometheus histogram that adds an array of observations at once.

    Examples
    --------
    >>> one = ArrayHistogram("example_seconds", "An example", (1.0, 2.0), register=False)
    >>> one.observe_all(np.array([0.5, 1.5, 9.0]))
    >>> [sample.value for sample in next(one.collect()).samples]
    [1.0, 2.0, 3.0, 3.0, 11.0]

    """

    def __init__(self, name: str, help_text: str, bounds: Sequence[float], *, register: bool = True) -> None:
        self._name, self._text, self._bounds = name, help_text, np.array(bounds)
        self._counts = np.zeros(len(bounds) + 1, np.int64)
        self._sum = 0.0
        self._lock = threading.Lock()
        if register:
            REGISTRY.register(self)

    def observe_all(self, values: NDArray[np.float64]) -> None:
        """Add n observations, (n,)."""
        new_counts = np.bincount(np.searchsorted(self._bounds, values), minlength=len(self._counts))
        with self._lock:
            self._counts += new_counts
            self._sum += float(values.sum())

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield the metric family for a Prometheus scrape."""
        with self._lock:
            cumulative, total = np.cumsum(self._counts).tolist(), self._sum
        names = [*(repr(float(bound)) for bound in self._bounds), "+Inf"]
        buckets = list(zip(names, map(float, cumulative), strict=True))
        yield HistogramMetricFamily(self._name, self._text, buckets=buckets, sum_value=total)


MESSAGES = Counter("towntwin_ingest_messages_total", "Messages taken from the broker")
READINGS = Counter("towntwin_ingest_readings_total", "Readings, by what became of them", ["kind"])
DEAD_LETTERS = Counter(
    "towntwin_ingest_dead_letters_total", "Messages that went to the dead letters", ["reason"]
)
DEAD_LETTERS_REPLAYED = Counter(
    "towntwin_ingest_letters_replayed_total", "Dead letters that are stored after all"
)
OTHER_SHARES_MESSAGES = Counter(
    "towntwin_ingest_other_shares_messages_total", "Messages left to the other shares of the same areas"
)
RECEIPTS = Counter("towntwin_ingest_receipts_total", "Receipts sent to devices")
ANOMALIES = Counter("towntwin_ingest_anomalies_total", "Anomalies opened, changed or closed")
COMMIT_RETRIES = Counter(
    "towntwin_ingest_commit_retries_total", "Commits tried again because the store was unavailable"
)
BATCH_SPLITS = Counter(
    "towntwin_ingest_splits_total", "Batches halved because the store refused something in them"
)
JUDGE_FAILURES = Counter(
    "towntwin_ingest_judge_failures_total", "Batches stored unjudged because judging failed"
)
UNEXPECTED_ERRORS = Counter(
    "towntwin_ingest_defects_total", "Unforeseen errors that were isolated, by where they arose", ["where"]
)
CONNECTIONS = Counter("towntwin_ingest_connections_total", "Connections made to the broker")
SESSION_TAKEOVERS = Counter(
    "towntwin_ingest_takeovers_total", "Times that another client took the session over"
)
MESSAGES_DROPPED_FOR_REDELIVERY = Counter(
    "towntwin_ingest_let_go_total", "Messages not held for want of room; the broker sends them again"
)
QOS0_MESSAGES_DROPPED = Counter(
    "towntwin_ingest_dropped_total", "QoS 0 messages dropped for want of room; nobody sends them again"
)
MISCONFIGURED_SERIES = Gauge(
    "towntwin_ingest_series_misconfigured", "Series whose enrolled limits or quantity can't be used"
)
BROKER_CONNECTED = Gauge("towntwin_ingest_broker_connected", "1 while the broker is there")
WRONG_CLOCKS = Gauge("towntwin_ingest_clocks_wrong", "Devices whose clock is off beyond the tolerance")
DATABASE_DISK_FREE = Gauge(
    "towntwin_ingest_database_disk_free_bytes",
    "Free space of the database's fullest disk; NaN where none is visible",
)
DATABASE_DISK_FREE.set(float("nan"))  # 0 would be an alarm
SHARD_OWNER = Gauge(
    "towntwin_ingest_shard_owner", "1 while this process owns its shard, 0 while it stands by"
)
SHARD_EPOCH = Gauge("towntwin_ingest_shard_epoch", "How many owners the shard has had")
INBOX_MESSAGES = Gauge("towntwin_ingest_inbox_messages", "Messages held and not yet in a batch")
INBOX_BYTES = Gauge("towntwin_ingest_inbox_bytes", "Bytes held and not yet in a batch")
IN_FLIGHT_READINGS = Gauge("towntwin_ingest_in_flight_readings", "Readings judged and not yet committed")
BATCH_READINGS = Histogram(
    "towntwin_ingest_batch_readings", "Readings in a batch", buckets=(1, 10, 100, 1000, 10_000, 100_000)
)
JUDGE_SECONDS = Histogram("towntwin_ingest_judge_seconds", "Time to judge a batch", buckets=_SHORT_BUCKETS_S)
COMMIT_SECONDS = Histogram(
    "towntwin_ingest_commit_seconds", "Time from BEGIN to COMMIT", buckets=_SHORT_BUCKETS_S
)
COMMIT_LAG_SECONDS = ArrayHistogram(
    "towntwin_ingest_received_to_committed_seconds",
    "From a message's arrival to its commit",
    _SHORT_BUCKETS_S,
)
MEASURED_LAG_SECONDS = ArrayHistogram(
    "towntwin_ingest_measured_to_received_seconds", "Age of readings at their arrival", _LONG_BUCKETS_S
)


@contextmanager
def log_unexpected_errors(where: str) -> Iterator[None]:
    """Log and count any exception raised in the block, and continue after it."""
    try:
        yield
    except Exception:
        UNEXPECTED_ERRORS.labels(where).inc()
        log.exception("defect", where=where)
