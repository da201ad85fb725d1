"""Computes how soon incidents were handled: the share of deadlines that were kept, and median times."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ingest_service.storage.postgres.assessments import HandledIncident, IncidentDeadline

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class DeadlineCount:
    """Number of deadlines that were kept or missed, and the share that was kept; None where there is none."""

    judged: int
    in_time: float | None


@dataclass(frozen=True, slots=True)
class IncidentHandling:
    """Number of incidents, their deadlines by phase, and their median times from the opening.

    Attributes
    ----------
    incidents, is_open : number of all, and of those not closed
    deadlines : of all phases together
    by_phase : of each phase that has a deadline
    median_acknowledge_h, median_dispatch_h, median_report_h, median_close_h : medians of the incidents that
        have reached the step [h]

    """

    incidents: int
    is_open: int
    deadlines: DeadlineCount
    by_phase: dict[str, DeadlineCount]
    median_acknowledge_h: float | None
    median_dispatch_h: float | None
    median_report_h: float | None
    median_close_h: float | None


def incident_response(
    incidents: Sequence[HandledIncident], deadlines: Sequence[IncidentDeadline], *, now_s: float
) -> IncidentHandling:
    """Return how soon incidents were handled, as it was known at ``now_s`` [Unix s].

    Steps after ``now_s`` have not been taken yet. A deadline counts once its phase is over or its time is up.
    """
    return IncidentHandling(
        incidents=len(incidents),
        is_open=sum(one.closed_s is None or one.closed_s > now_s for one in incidents),
        deadlines=_count_kept(deadlines, now_s),
        by_phase={
            phase: _count_kept([one for one in deadlines if one.phase == phase], now_s)
            for phase in sorted({one.phase for one in deadlines})
        },
        median_acknowledge_h=_median_h(((one.opened_s, one.acknowledged_s) for one in incidents), now_s),
        median_dispatch_h=_median_h(((one.opened_s, one.dispatched_s) for one in incidents), now_s),
        median_report_h=_median_h(((one.opened_s, one.reported_s) for one in incidents), now_s),
        median_close_h=_median_h(((one.opened_s, one.closed_s) for one in incidents), now_s),
    )


def _count_kept(deadlines: Iterable[IncidentDeadline], now_s: float) -> DeadlineCount:
    kept = [
        one.met_s is not None and one.met_s <= one.due_s
        for one in deadlines
        if one.due_s < now_s or (one.met_s is not None and one.met_s <= now_s)
    ]
    return DeadlineCount(judged=len(kept), in_time=sum(kept) / len(kept) if kept else None)


def _median_h(steps: Iterable[tuple[float, float | None]], now_s: float) -> float | None:
    durations_h = [
        max(0.0, end_s - start_s) / HOUR_S for start_s, end_s in steps if end_s is not None and end_s <= now_s
    ]
    return median(durations_h) if durations_h else None
