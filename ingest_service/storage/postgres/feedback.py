"""Stores operators' feedback on anomalies in PostgreSQL, and shifts the score limits of series by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from analytics.core import feedback
from analytics.core.events import FAILED_CHECK_SCORE
from ingest_service.storage.postgres.named_queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from psycopg import Connection

    from ingest_service.storage.contract.models import Series, Verdict

SCORED_DETECTORS = (
    "residual",
    "shift",
    "spike",
    "noise",
    "rate_of_change",
    "flat_line",
    "attenuated_signal",
    "gap",
    "novelty",
)
"""Detectors that use the score limits; verdicts on others, and on checks that failed, shift nothing."""
REPLACED_NOTE = "replaced by another verdict"


def give_feedback(
    connection: Connection[Any], anomaly_id: int, verdict: Verdict, who: str, note: str
) -> bool:
    """Store a verdict on an anomaly, replacing the previous one; False if there is no such anomaly."""
    if connection.execute(QUERIES["anomaly_exists"], (anomaly_id,)).fetchone() is None:
        return False
    connection.execute(QUERIES["directory_changed"])  # first: its row lock serialises concurrent feedback
    feedback_row = {"anomaly_id": anomaly_id, "verdict": verdict, "who": who}
    connection.execute(QUERIES["withdraw_feedback"], feedback_row | {"note": REPLACED_NOTE})
    connection.execute(QUERIES["insert_feedback"], feedback_row | {"note": note})
    return True


def withdraw_feedback(connection: Connection[Any], anomaly_id: int, who: str, note: str) -> bool:
    """Withdraw the current verdict on an anomaly; False if there is none."""
    feedback_row = {"anomaly_id": anomaly_id, "who": who, "note": note}
    if not connection.execute(QUERIES["withdraw_feedback"], feedback_row).rowcount:
        return False
    connection.execute(QUERIES["directory_changed"])
    return True


def score_shifts(connection: Connection[Any]) -> dict[int, float]:
    """Compute the shift of the score limits from the current feedback, by series."""
    verdict_counts = connection.execute(
        QUERIES["verdicts"], (list(SCORED_DETECTORS), FAILED_CHECK_SCORE)
    ).fetchall()
    return {series_id: feedback.shift_of_verdicts(false, true) for series_id, false, true in verdict_counts}


def with_score_shifts(series: Iterable[Series], shift_by_series: Mapping[int, float]) -> list[Series]:
    """Return the series with their current score shifts."""
    return [
        msgspec.structs.replace(one, score_shift=shift_by_series.get(one.series_id, 0.0)) for one in series
    ]
