"""Table of the anomalies in incidents, in which the incident of another anomaly is found."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from analytics.incidents.anomaly_classes import RAIN_QUANTITIES, AnomalyFamily

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.incidents.anomaly_classes import AnomalyClass
    from analytics.incidents.grouping_rules import GroupingRules
    from analytics.incidents.site_relations import SiteRelations

MEMBER_ROW: Final = np.dtype(
    [
        ("anomaly_id", "<i8"),
        ("incident", "<i8"),  # key of the incident; 0 is none
        ("site", "<i4"),
        ("area", "<i4"),
        ("subject", "<i8"),  # of a series, device or site: equal for anomalies of the same one
        ("alarm", "<i8"),  # of a subject and a detector: what chatters if it starts often
        ("start_s", "<f8"),
        ("end_s", "<f8"),  # inf while it is open
        ("family", "u1"),
        ("precedence", "u1"),
        ("named", "?"),
        ("cause", "<i4"),
        ("quantities", "<i8"),
        ("severity", "u1"),
        ("suppressed", "?"),
        ("chatters", "?"),  # of a chattering series, which says nothing of its surroundings
        ("withdrawn", "?"),
        ("scope", "<i8"),  # quantities of the named causes of its incident
    ]
)
"""One anomaly of the table."""


SAME_SERIES_RANK: Final = -0.4  # with a misfit below 1: after an outage that explains it, before the rest


class Match(NamedTuple):
    """The incident that an anomaly belongs to, and why; ``misfit`` is smaller for a better one."""

    incident: int
    reason: str
    member: int  # row of the anomaly by which it was found
    misfit: float


class MemberTable:
    """Anomalies of all incidents that may still be joined; grows by doubling."""

    def __init__(self) -> None:
        self._rows = np.zeros(256, MEMBER_ROW)
        self._n = 0
        self.row_of: dict[int, int] = {}
        """Row by anomaly id."""
        self._rows_of_incident: dict[int, list[int]] = {}
        self._newest_of_subject: dict[int, int] = {}
        self._starts_of_alarm: dict[int, list[float]] = {}

    def __len__(self) -> int:
        return self._n

    @property
    def rows(self) -> NDArray[np.void]:
        """The rows in use, a view ``(n,)`` of dtype `MEMBER_ROW`."""
        return self._rows[: self._n]

    def put(self, values: tuple[object, ...]) -> int:
        """Insert or replace the row of an anomaly, by its id; return its number."""
        anomaly_id = int(values[0])  # type: ignore[call-overload]
        row = self.row_of.get(anomaly_id)
        row_is_new = row is None
        if row is None:
            if self._n == len(self._rows):
                self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
            row = self.row_of[anomaly_id] = self._n
            self._n += 1
        else:
            self._forget_start(row)
            if self._rows[row]["incident"] != values[1]:
                self._rows_of_incident[int(self._rows[row]["incident"])].remove(row)
                row_is_new = True
        self._rows[row] = values
        if row_is_new:
            self._rows_of_incident.setdefault(int(self._rows[row]["incident"]), []).append(row)
        subject, start_s = int(self._rows[row]["subject"]), float(self._rows[row]["start_s"])
        bisect.insort(self._starts_of_alarm.setdefault(int(self._rows[row]["alarm"]), []), start_s)
        newest = self._newest_of_subject.get(subject, row)
        # What an outage explains says nothing of later anomalies of the series; what chatters is found again.
        is_anchor = not self._rows[row]["suppressed"] or self._rows[row]["chatters"]
        if (self._rows[row]["incident"] != 0 and is_anchor) and (
            self._rows[newest]["incident"] == 0 or start_s >= self._rows[newest]["start_s"]
        ):
            self._newest_of_subject[subject] = row
        return row

    def newest_of_subject(self, subject: int) -> int | None:
        """Return the row of the newest anomaly of a subject that is in an incident; None if there is none."""
        row = self._newest_of_subject.get(subject)
        if row is None or self._rows[row]["withdrawn"] or self._rows[row]["subject"] != subject:
            return None  # an event at a site that got a named cause since is another subject
        return row

    def starts_near(self, alarm: int, start_s: float, within_s: float) -> int:
        """Count the anomalies of a subject and detector that start near ``start_s`` [s], itself included."""
        starts_s = self._starts_of_alarm.get(alarm, [])
        return bisect.bisect_right(starts_s, start_s + within_s) - bisect.bisect_left(
            starts_s, start_s - within_s
        )

    def mark_chattering(self, subject: int, incident: int) -> None:
        """Mark the anomalies of a subject in an incident as of a chattering series."""
        rows = self.of_incident(incident)
        self._rows["chatters"][rows[self._rows["subject"][rows] == subject]] = True

    def _forget_start(self, row: int) -> None:
        starts_s = self._starts_of_alarm[int(self._rows[row]["alarm"])]
        starts_s.pop(bisect.bisect_left(starts_s, float(self._rows[row]["start_s"])))

    def of_incident(self, key: int) -> NDArray[np.intp]:
        """Return the row numbers of an incident, oldest insertion first."""
        return np.array(self._rows_of_incident.get(key, ()), np.intp)


def best_match(
    table: MemberTable,
    candidate: NDArray[np.void],
    found: AnomalyClass,
    relations: SiteRelations,
    rules: GroupingRules,
    *,
    now_s: float,
    same_series_only: bool = False,
) -> Match | None:
    """Return the incident that an anomaly fits best; None if it fits none.

    Parameters
    ----------
    table : anomalies of the incidents
    candidate : the anomaly, one row of `MEMBER_ROW`
    found : its class
    now_s : Unix seconds [s]; until when an open anomaly has lasted
    same_series_only : whether the series chatters, so that it says nothing of its surroundings

    Notes
    -----
    An anomaly of the same series (device, site) that lasts or ended lately wins. Else each relation (same
    site, along the river, along the road, silent together, explained by an outage, rain) has a misfit from
    0 to 1 in time and a rank; the lowest sum of both wins.

    """
    start_s, site = float(candidate["start_s"]), int(candidate["site"])
    same: Match | None = None
    newest = table.newest_of_subject(int(candidate["subject"]))
    if newest is not None:
        row = table.rows[newest]
        until_s = min(float(row["end_s"]), max(now_s, start_s))
        misfit = max(float(row["start_s"]) - start_s, start_s - until_s, 0.0) / rules.rejoin_s
        if misfit <= 1.0:
            same = Match(int(row["incident"]), "same_series", newest, SAME_SERIES_RANK + misfit)
    if same_series_only:
        return same
    rows = table.rows
    rows = rows[(rows["incident"] != 0) & ~rows["withdrawn"] & ~rows["chatters"] & ~rows["suppressed"]]
    if len(rows) == 0:
        return same
    gap_s = _time_outside(start_s, rows["start_s"], np.minimum(rows["end_s"], max(now_s, start_s)))
    late_s = start_s - rows["start_s"]
    may_mix = ~(rows["named"] & found.named) | (rows["cause"] == candidate["cause"])
    overlap = (rows["quantities"] & int(candidate["quantities"])) != 0
    same_site = rows["site"] == site
    # Different quantities of a site belong together if they depart together, unless a cause tells which
    # ones do.
    in_scope = (rows["scope"] & int(candidate["quantities"])) != 0
    may_share = in_scope & (overlap | (np.abs(late_s) <= rules.same_sensor_s))
    is_sensor = (rows["family"] == AnomalyFamily.SENSOR) | (found.family == AnomalyFamily.SENSOR)
    spreads = _spreading(rows, found, may_mix=may_mix, overlap=overlap)
    silent = rows["family"] == AnomalyFamily.SILENCE

    travel_misfit = _travel_misfit(rows, start_s, site, relations, rules, now_s=now_s)
    hops = relations.hops[rows["site"], site]
    same_kind_of_silence = silent & (found.family == AnomalyFamily.SILENCE)
    near = relations.distance_m[rows["site"], site] <= rules.storm_m
    is_rain = (rows["family"] == AnomalyFamily.RAIN) & (
        (found.family == AnomalyFamily.RAIN)
        | (
            not found.named
            and bool(found.quantities & RAIN_QUANTITIES)
            and found.family == AnomalyFamily.WATER
        )
    )
    site_limit_s = np.where(is_sensor, rules.same_sensor_s, rules.same_site_s)
    conditions = (
        (
            "same_outage",
            0.0,
            (rows["family"] == AnomalyFamily.OUTAGE)
            & (found.family in {AnomalyFamily.OUTAGE, AnomalyFamily.SILENCE}),
            gap_s / rules.after_outage_s,
        ),
        (
            "explained_by_outage",
            -1.0 if found.family == AnomalyFamily.SENSOR else 3.5,
            silent
            & same_site
            & (
                found.family
                not in {
                    AnomalyFamily.SILENCE,
                    AnomalyFamily.DEAD_LETTERS,
                    AnomalyFamily.OUTAGE,
                    AnomalyFamily.PLATFORM,
                }
            ),
            gap_s / rules.after_outage_s,
        ),
        (
            "same_site",
            1.0,
            same_site
            & may_mix
            & ~silent
            & may_share
            & (found.family not in {AnomalyFamily.SILENCE, AnomalyFamily.DEAD_LETTERS}),
            np.where(
                ~is_sensor & (gap_s == 0.0) & overlap,
                np.minimum(np.abs(late_s) / rules.keep_s, 1.0),
                np.abs(late_s) / site_limit_s,
            ),
        ),
        (
            "silent_together",
            1.0,
            same_kind_of_silence & (rows["area"] == candidate["area"]),
            np.abs(late_s) / rules.silence_s,
        ),
        ("along_river", 2.0, spreads & ~same_site, travel_misfit),
        (
            "along_road",
            2.0,
            (rows["family"] == AnomalyFamily.TRAFFIC)
            & (found.family == AnomalyFamily.TRAFFIC)
            & ~same_site
            & (hops <= rules.road_hops),
            np.maximum(np.abs(late_s) * (gap_s > 0), gap_s) / rules.road_s,
        ),
        (
            "same_storm",
            2.0,
            is_rain & near,
            np.minimum(np.abs(late_s), gap_s + rules.storm_s / 2) / rules.storm_s,
        ),
    )
    return _lowest(rows, table, conditions, same)


def _spreading(
    rows: NDArray[np.void], found: AnomalyClass, *, may_mix: NDArray[np.bool_], overlap: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Whether both may be of the same water: in the same quantities, of no other named cause."""
    if found.family != AnomalyFamily.WATER:
        return np.zeros(len(rows), np.bool_)
    same: NDArray[np.bool_] = (rows["family"] == AnomalyFamily.WATER) & may_mix & overlap
    return same


def _travel_misfit(
    rows: NDArray[np.void],
    start_s: float,
    site: int,
    relations: SiteRelations,
    rules: GroupingRules,
    *,
    now_s: float,
) -> NDArray[np.float64]:
    """Return the misfit of a start to the travel time from or to each anomaly; above 1 is impossible."""
    u, slack_s = rules.travel_uncertainty, rules.travel_slack_s
    ends_s = np.minimum(rows["end_s"], max(now_s, start_s))
    result = np.full(len(rows), np.inf)
    for travel_s, lag_s, extra_s in (
        (relations.travel_s[rows["site"], site], start_s - rows["start_s"], ends_s - rows["start_s"]),
        (relations.travel_s[site, rows["site"]], rows["start_s"] - start_s, np.zeros(len(rows))),
    ):
        known = np.isfinite(travel_s)
        usual_s = np.where(known, travel_s, 0.0)
        early_s = usual_s - lag_s
        before = early_s / (usual_s - usual_s / (1 + u) + slack_s)
        after = -early_s / (usual_s / (1 - u) - usual_s + slack_s + extra_s)
        result = np.minimum(result, np.where(known, np.maximum(before, after), np.inf))
    return result


def _lowest(
    rows: NDArray[np.void],
    table: MemberTable,
    conditions: tuple[tuple[str, float, NDArray[np.bool_], NDArray[np.float64]], ...],
    best: Match | None,
) -> Match | None:
    for reason, rank, holds, misfit in conditions:
        total = np.where(holds & (misfit <= 1.0), misfit + rank, np.inf)
        # Ties go to the newest anomaly, so that the order in which they were read does not matter.
        at = int(np.lexsort((-rows["anomaly_id"], -rows["start_s"], total))[0])
        if np.isfinite(total[at]) and (best is None or total[at] < best.misfit):
            row = rows[at]
            best = Match(int(row["incident"]), reason, table.row_of[int(row["anomaly_id"])], float(total[at]))
    return best


def _time_outside(
    time_s: float, start_s: NDArray[np.float64], end_s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how far a time lies outside of each range [s]; 0 inside.

    >>> _time_outside(5.0, np.array([0.0, 7.0]), np.array([4.0, 9.0])).tolist()
    [1.0, 2.0]
    """
    outside: NDArray[np.float64] = np.maximum(np.maximum(start_s - time_s, time_s - end_s), 0.0)
    return outside
