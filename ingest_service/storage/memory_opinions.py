"""Stores operators' feedback on anomalies in memory."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from analytics.core import feedback
from ingest_service.storage.model import Feedback
from ingest_service.storage.opinions import REPLACED, SCORED

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest_service.storage.model import Anomaly, Verdict


class MemoryOpinions:
    """All feedback, in the order it was given."""

    def __init__(self) -> None:
        self._said: list[Feedback] = []

    def give(self, anomaly: Anomaly, verdict: Verdict, who: str, note: str) -> None:
        """Store a verdict on an anomaly, replacing the previous one."""
        self.withdraw(anomaly.anomaly_id, who, REPLACED)
        said = Feedback(
            feedback_id=len(self._said) + 1,
            anomaly_id=anomaly.anomaly_id,
            series_id=anomaly.series_id,
            verdict=verdict,
            who=who,
            note=note,
            at_s=time.time(),
        )
        self._said.append(said)

    def withdraw(self, anomaly_id: int, who: str, note: str) -> bool:
        """Withdraw the current verdict on an anomaly; False if there is none."""
        for place, one in enumerate(self._said):
            if one.anomaly_id == anomaly_id and one.withdrawn_s is None:
                taken_back = {"withdrawn_s": time.time(), "withdrawn_by": who, "withdrawn_note": note}
                self._said[place] = msgspec.structs.replace(one, **taken_back)
                return True
        return False

    def find(self, anomaly_id: int | None, series_id: int | None) -> list[Feedback]:
        """Return the feedback on an anomaly, or on the anomalies of a series."""
        return [
            one
            for one in self._said
            if (anomaly_id is None or one.anomaly_id == anomaly_id)
            and (series_id is None or one.series_id == series_id)
        ]

    def shifts(self, anomaly_of: Callable[[int], Anomaly | None]) -> dict[int, float]:
        """Compute the shift of the score limits from the current feedback, by series."""
        counted: Counter[tuple[int, Verdict]] = Counter()
        for one in self._said:
            of = anomaly_of(one.anomaly_id)
            if one.withdrawn_s is None and one.series_id is not None and of and of.detector in SCORED:
                counted[one.series_id, one.verdict] += 1
        return {
            series_id: feedback.shift(counted[series_id, "false-alarm"], counted[series_id, "confirmed"])
            for series_id, _ in counted
        }
