"""Stores operators' feedback on anomalies in PostgreSQL, and shifts the score limits of series by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from analytics.core import feedback
from ingest_service.storage.sql import QUERIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from psycopg import Connection

    from ingest_service.storage.model import Series, Verdict

SCORED = ("residual", "shift", "spike", "novelty")
"""Detectors that use the score limits; verdicts on others are stored, and shift nothing."""
REPLACED = "replaced by another verdict"


def give(connection: Connection[Any], anomaly_id: int, verdict: Verdict, who: str, note: str) -> bool:
    """Store a verdict on an anomaly, replacing the previous one; False if there is no such anomaly."""
    if connection.execute(QUERIES["anomaly_exists"], (anomaly_id,)).fetchone() is None:
        return False
    connection.execute(QUERIES["directory_changed"])  # first: its row lock serialises concurrent feedback
    said = {"anomaly_id": anomaly_id, "verdict": verdict, "who": who}
    connection.execute(QUERIES["withdraw_feedback"], said | {"note": REPLACED})
    connection.execute(QUERIES["insert_feedback"], said | {"note": note})
    return True


def withdraw(connection: Connection[Any], anomaly_id: int, who: str, note: str) -> bool:
    """Withdraw the current verdict on an anomaly; False if there is none."""
    said = {"anomaly_id": anomaly_id, "who": who, "note": note}
    if not connection.execute(QUERIES["withdraw_feedback"], said).rowcount:
        return False
    connection.execute(QUERIES["directory_changed"])
    return True


def shifts(connection: Connection[Any]) -> dict[int, float]:
    """Compute the shift of the score limits from the current feedback, by series."""
    counted = connection.execute(QUERIES["verdicts"], (list(SCORED),)).fetchall()
    return {series_id: feedback.shift(false, true) for series_id, false, true in counted}


def applied(series: Iterable[Series], moved: Mapping[int, float]) -> list[Series]:
    """Return the series with their current score shifts."""
    return [msgspec.structs.replace(one, score_shift=moved.get(one.series_id, 0.0)) for one in series]
