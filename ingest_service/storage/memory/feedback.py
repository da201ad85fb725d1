"""Stores operators' feedback on anomalies in memory."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from analytics.core import feedback
from analytics.core.events import FAILED_CHECK_SCORE
from ingest_service.storage.contract.models import Feedback
from ingest_service.storage.postgres.feedback import REPLACED_NOTE, SCORED_DETECTORS

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest_service.storage.contract.models import Anomaly, Verdict


class MemoryFeedback:
    """All feedback, in the order it was given."""

    def __init__(self) -> None:
        self._entries: list[Feedback] = []

    def give(self, anomaly: Anomaly, verdict: Verdict, who: str, note: str) -> None:
        """Store a verdict on an anomaly, replacing the previous one."""
        self.withdraw(anomaly.anomaly_id, who, REPLACED_NOTE)
        entry = Feedback(
            feedback_id=len(self._entries) + 1,
            anomaly_id=anomaly.anomaly_id,
            series_id=anomaly.series_id,
            verdict=verdict,
            who=who,
            note=note,
            at_s=time.time(),
        )
        self._entries.append(entry)

    def withdraw(self, anomaly_id: int, who: str, note: str) -> bool:
        """Withdraw the current verdict on an anomaly; False if there is none."""
        for index, one in enumerate(self._entries):
            if one.anomaly_id == anomaly_id and one.withdrawn_s is None:
                withdrawal = {"withdrawn_s": time.time(), "withdrawn_by": who, "withdrawn_note": note}
                self._entries[index] = msgspec.structs.replace(one, **withdrawal)
                return True
        return False

    def find(self, anomaly_id: int | None, series_id: int | None) -> list[Feedback]:
        """Return the feedback on an anomaly, or on the anomalies of a series."""
        return [
            one
            for one in self._entries
            if (anomaly_id is None or one.anomaly_id == anomaly_id)
            and (series_id is None or one.series_id == series_id)
        ]

    def shifts(self, anomaly_of: Callable[[int], Anomaly | None]) -> dict[int, float]:
        """Compute the shift of the score limits from the current feedback, by series."""
        counted: Counter[tuple[int, Verdict]] = Counter()
        for one in self._entries:
            rated_anomaly = anomaly_of(one.anomaly_id)
            if (
                one.withdrawn_s is None
                and one.series_id is not None
                and rated_anomaly
                and rated_anomaly.detector in SCORED_DETECTORS
                and rated_anomaly.score != FAILED_CHECK_SCORE
            ):
                counted[one.series_id, one.verdict] += 1
        return {
            series_id: feedback.shift_of_verdicts(
                counted[series_id, "false-alarm"], counted[series_id, "confirmed"]
            )
            for series_id, _ in counted
        }
