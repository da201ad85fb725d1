"""Updates the metrics for a committed batch, and logs its dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import structlog

from ingest_service.pipeline import metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest_service.pipeline.prepared_batch import PreparedBatch
    from ingest_service.storage.contract.batch import Committed
    from ingest_service.storage.contract.models import DeadLetter

log = structlog.get_logger()


def count_batch(prepared: PreparedBatch, committed: Committed, *, now_s: float) -> None:
    """Update the metrics for a batch committed at ``now_s``, Unix seconds [s]."""
    decoded, batch = prepared.decoded, prepared.batch
    received_s = [one.received_s for one in prepared.messages if not one.letter_id]
    metrics.MESSAGES.inc(len(received_s))
    metrics.BATCH_READINGS.observe(len(decoded.value))
    for kind in ("fresh", "late", "repeated"):
        metrics.READINGS.labels(kind).inc(getattr(committed, kind))
    metrics.READINGS.labels("conflict").inc(len(committed.conflicts))
    metrics.READINGS.labels("off_clock").inc(int(decoded.has_wrong_clock.sum()))
    metrics.ANOMALIES.inc(len(batch.anomalies))
    metrics.DEAD_LETTERS_REPLAYED.inc(0 if len(committed.conflicts) else len(batch.replayed))
    metrics.JUDGE_FAILURES.inc(prepared.judged.failed)
    metrics.COMMIT_LAG_SECONDS.observe_all(now_s - np.array(received_s))
    metrics.MEASURED_LAG_SECONDS.observe_all(decoded.received_s - decoded.time_s)
    count_dead_letters(batch.dead_letters)


def count_dead_letters(dead_letters: Sequence[DeadLetter]) -> None:
    """Count and log committed dead letters."""
    for dead_letter in dead_letters:
        metrics.DEAD_LETTERS.labels(dead_letter.reason).inc(not dead_letter.letter_id)
        log.warning(
            "dead_letter", topic=dead_letter.topic, reason=dead_letter.reason, bytes=len(dead_letter.payload)
        )
