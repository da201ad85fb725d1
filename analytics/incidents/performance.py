"""Computes the alarm performance of operators as EEMUA 191 and ANSI/ISA-18.2-2016 measure it.

All figures are counted from the history of the alarms: an annunciation is a transition to *unacknowledged*.
Targets are those of the two standards for one operator; they are for comparison and bound nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ingest_service.storage.contract.incidents import Incident, IncidentHistory

DAY_S: Final = 86_400.0
PERIOD_S: Final = 600.0
FLOOD_BEGINS_ABOVE: Final = 10  # annunciations in 10 min and operator
FLOOD_ENDS_BELOW: Final = 5
CHATTER_TRANSITIONS: Final = 3  # of one alarm
CHATTER_WINDOW_S: Final = 60.0
STALE_S: Final = 24 * 3600.0
TOP: Final = 10


class Flood(msgspec.Struct, frozen=True):
    """A flood: it starts in the first period above 10 annunciations, and ends before one below 5."""

    from_s: float
    to_s: float
    annunciations: int
    peak: int  # in 10 min


class Contributor(msgspec.Struct, frozen=True):
    """One of the alarms that sounded most often; ``share`` is of all annunciations."""

    site_id: str
    cause: str
    annunciations: int
    share: float


class DayLoad(msgspec.Struct, frozen=True):
    """Annunciations of a day, per operator; the day starts at ``from_s``."""

    from_s: float
    annunciations: int
    per_operator: float
    peak_10min: float


class AlarmPerformance(msgspec.Struct, frozen=True, kw_only=True):
    """Alarm performance in ``[from_s, to_s)`` of ``operators`` on duty; times [s], None: none yet.

    Attributes
    ----------
    per_operator_day, per_operator_hour : annunciations per operator, mean
    peak_10min : most annunciations of an operator in any period of 10 min
    periods_above_10 : share of the periods of 10 min with more than 10 annunciations per operator
    flood_share : share of the time in floods
    chattering : alarms that sounded three times or more within a minute
    stale : alarms that stood for more than 24 h without an acknowledgement
    standing : alarms active for more than 24 h at the end
    priorities : share of the annunciations by priority
    acknowledge_s, close_s : median and 95th percentile of the time to acknowledge and to close

    """

    from_s: float
    to_s: float
    operators: int
    annunciations: int
    incidents: int
    per_operator_day: float
    per_operator_hour: float
    peak_10min: float
    periods_above_10: float
    flood_share: float
    floods: list[Flood]
    chattering: int
    stale: int
    standing: int
    top_share: float
    top: list[Contributor]
    priorities: dict[str, float]
    acknowledge_s: tuple[float | None, float | None]
    close_s: tuple[float | None, float | None]
    days: list[DayLoad]


def alarm_performance(
    incidents: Sequence[Incident],
    history: Sequence[IncidentHistory],
    *,
    from_s: float,
    to_s: float,
    operators: int = 1,
) -> AlarmPerformance:
    """Compute the alarm performance of a time range.

    Parameters
    ----------
    incidents : those that the history refers to, and those that were active in the range
    history : transitions in the range, oldest first
    operators : people on duty, among whom the annunciations are shared evenly

    Raises
    ------
    ValueError
        If the range is empty, or there is no operator.

    """
    if not (to_s > from_s and operators >= 1):
        raise ValueError(f"from_s {from_s:g} must be before to_s {to_s:g}, operators {operators} at least 1")
    by_id = {one.incident_id: one for one in incidents}
    sounded = [one for one in history if is_annunciation(one) and one.incident_id in by_id]
    times_s = np.sort(np.array([one.at_s for one in sounded], np.float64))
    counts = period_counts(times_s, from_s, to_s)
    floods = find_floods(counts / operators, counts, from_s)
    days = (to_s - from_s) / DAY_S
    top = _top_contributors(sounded, by_id)
    return AlarmPerformance(
        from_s=from_s,
        to_s=to_s,
        operators=operators,
        annunciations=len(sounded),
        incidents=sum(from_s <= one.opened_s < to_s for one in incidents),
        per_operator_day=len(sounded) / operators / days,
        per_operator_hour=len(sounded) / operators / days / 24,
        peak_10min=sliding_peak(times_s) / operators,
        periods_above_10=float(np.mean(counts / operators > FLOOD_BEGINS_ABOVE)),
        flood_share=sum(one.to_s - one.from_s for one in floods) / (to_s - from_s),
        floods=floods,
        chattering=_count_chattering(sounded),
        stale=sum(_is_stale(one, to_s) for one in incidents),
        standing=sum(one.active and not one.is_over and to_s - one.started_s > STALE_S for one in incidents),
        top_share=sum(one.share for one in top),
        top=top,
        priorities=_priority_shares(sounded, by_id),
        acknowledge_s=_median_and_p95(
            [one.acknowledged_s - one.opened_s for one in incidents if one.acknowledged_s is not None]
        ),
        close_s=_median_and_p95(
            [one.closed_s - one.opened_s for one in incidents if one.closed_s is not None]
        ),
        days=_days(times_s, from_s, to_s, operators),
    )


def is_annunciation(entry: IncidentHistory) -> bool:
    """Whether a history entry is the sounding of an alarm: a transition to unacknowledged."""
    return entry.machine == "alarm" and entry.to_state == "unacknowledged"


def period_counts(times_s: NDArray[np.float64], from_s: float, to_s: float) -> NDArray[np.int64]:
    """Return the number of times in each period of 10 min from ``from_s`` on, (n_periods,)."""
    n = max(1, int(np.ceil((to_s - from_s) / PERIOD_S)))
    inside = times_s[(times_s >= from_s) & (times_s < to_s)]
    at = ((inside - from_s) // PERIOD_S).astype(np.int64)
    return np.bincount(at, minlength=n).astype(np.int64)


def sliding_peak(times_s: NDArray[np.float64]) -> int:
    """Return the most times within any 10 min, wherever they begin; ``times_s`` is sorted.

    >>> sliding_peak(np.array([0.0, 500.0, 599.0, 700.0, 5000.0]))
    3
    """
    if len(times_s) == 0:
        return 0
    ends = np.searchsorted(times_s, times_s + PERIOD_S, side="left")
    return int((ends - np.arange(len(times_s))).max())


def find_floods(per_operator: NDArray[np.float64], counts: NDArray[np.int64], from_s: float) -> list[Flood]:
    """Return the floods: from the first period above 10 until the first one below 5.

    >>> counts = np.array([3, 12, 7, 5, 4, 11])
    >>> [(one.from_s, one.to_s, one.annunciations) for one in find_floods(counts * 1.0, counts, 0.0)]
    [(600.0, 2400.0, 24), (3000.0, 3600.0, 11)]
    """
    floods, start = [], None
    for k, load in enumerate([*per_operator.tolist(), 0.0]):
        if start is None and load > FLOOD_BEGINS_ABOVE:
            start = k
        elif start is not None and load < FLOOD_ENDS_BELOW:
            part = counts[start:k]
            floods.append(
                Flood(from_s + start * PERIOD_S, from_s + k * PERIOD_S, int(part.sum()), int(part.max()))
            )
            start = None
    return floods


def _count_chattering(sounded: Sequence[IncidentHistory]) -> int:
    by_incident: dict[int, list[float]] = {}
    for one in sounded:
        by_incident.setdefault(one.incident_id, []).append(one.at_s)
    steps = CHATTER_TRANSITIONS - 1
    return sum(
        any(b - a <= CHATTER_WINDOW_S for a, b in zip(times, times[steps:], strict=False))
        for times in map(sorted, by_incident.values())
    )


def _is_stale(one: Incident, to_s: float) -> bool:
    end_s = one.acknowledged_s if one.acknowledged_s is not None else one.closed_s
    waited_s = (to_s if end_s is None else end_s) - one.opened_s
    return one.annunciations > 0 and waited_s > STALE_S


def _top_contributors(sounded: Sequence[IncidentHistory], by_id: dict[int, Incident]) -> list[Contributor]:
    counts: dict[tuple[str, str], int] = {}
    for one in sounded:
        incident = by_id[one.incident_id]
        key = (incident.main_site_id, incident.cause)
        counts[key] = counts.get(key, 0) + 1
    ranked = sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:TOP]
    return [Contributor(site, cause, n, n / len(sounded)) for (site, cause), n in ranked]


def _priority_shares(sounded: Sequence[IncidentHistory], by_id: dict[int, Incident]) -> dict[str, float]:
    priorities = np.array([by_id[one.incident_id].priority for one in sounded], np.int64)
    return {str(p): float(np.mean(priorities == p)) if len(priorities) else 0.0 for p in range(1, 5)}


def _median_and_p95(durations_s: list[float]) -> tuple[float | None, float | None]:
    if not durations_s:
        return None, None
    median, p95 = np.percentile(np.array(durations_s), [50, 95])
    return float(median), float(p95)


def _days(times_s: NDArray[np.float64], from_s: float, to_s: float, operators: int) -> list[DayLoad]:
    days = []
    for k in range(int(np.ceil((to_s - from_s) / DAY_S))):
        begin_s = from_s + k * DAY_S
        part = times_s[(times_s >= begin_s) & (times_s < begin_s + DAY_S)]
        days.append(DayLoad(begin_s, len(part), len(part) / operators, sliding_peak(part) / operators))
    return days
