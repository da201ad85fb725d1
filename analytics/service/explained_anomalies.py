"""Explains anomalies by what is known to cover them, so that one cause is one alarm.

- A series' anomaly of a quantity that departed in an event of its site is part of that event.
- An event of a site that a neighbour upstream had before, by the travel time of the water, came from there.
- What rain usually does to a river (`RAIN_DIRECTIONS`) after `USUAL_RAIN_MM` is usual for the place.

An explained anomaly is a notice, except that a part keeps its severity where the event has a lower one, so
that no alarm is lost; an event that came from upstream remains a warning. Each round compares all anomalies
that the judged ticks reach with their explanations, and stores those that changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.core.cause_patterns import MIN_EVIDENCE, PATTERNS
from analytics.core.event_shapes import FASTER_TRAVEL, RAIN_TICKS, SLOWER_TRAVEL
from analytics.quality import anomaly_text, explanation_text
from analytics.service import network_neighbours, site_anomaly_builder
from analytics.service.reading_grid import RAIN, TICK_S
from analytics.service.site_event_identity import SiteGaps
from edge.wire.quantities import QUANTITIES
from ingest_service.storage.contract.explanations import Explanation, as_judged, explained
from ingest_service.storage.contract.models import AnomalyQuery
from ingest_service.storage.contract.paging import all_anomalies

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from ingest_service.storage.contract.models import Anomaly, Directory, Series
    from ingest_service.storage.contract.store import Store

    Floats = NDArray[np.float64]

NOTICE, WARNING, ALARM = 1, 2, 3
RAIN_DETECTOR = "cause/rain_turbidity"
USUAL_RAIN_MM = 5.0  # rain in the hours before, from which on what it usually does is no news
MAX_RAIN_READINGS = 200_000  # of a gauge in a day
RAIN_S = float(RAIN_TICKS * TICK_S)
# Quantities that rain changes, and the sign of the change; 0: either. Ammonia and nutrients are left out on
# purpose: sewers that overflow in rain are to be reported.
RAIN_DIRECTIONS = {
    "turbidity": 1,
    "water_level": 1,
    "discharge": 1,
    "water_velocity": 1,
    "conductivity": -1,
    "transparency": -1,
    "water_temperature": 0,
    "dissolved_oxygen": 0,
    "ph": 0,
}
MIN_SHARE = 0.15  # of an event's score, from which on a quantity departed in it
MIN_COVERED_SHARE = 0.5  # of a series' anomaly, that an event must cover to explain it
TRAVEL_SLACK_S = 3600.0  # by which an event may differ from the travel time of the water
CHANGES = frozenset(
    anomaly_text.DETECTOR_NAMES[rule]
    for rule in anomaly_text.DETECTOR_NAMES
    if rule.name not in {"GROSS_RANGE", "FLAT_LINE", "ATTENUATED", "GAP"}
)
"""Detectors of changes, which water or traffic may cause; the others are faults of a sensor."""
KIND_OF_DETECTOR = {f"cause/{one.name}": one.kind for one in PATTERNS}
WHOLE_SONDE = "cause/air_exposure"


def explain_anomalies(store: Store, directory: Directory, area_ids: Iterable[str], *, since_s: float) -> None:
    """Store the explanations that changed, of anomalies that lasted until ``since_s`` [s] or longer.

    Raises
    ------
    StoreUnavailableError

    """
    areas = set(area_ids)
    sites = {one.site_id for one in directory.sites if one.area_id in areas}
    upstream = network_neighbours.upstream_sites(directory, {one.site_id for one in directory.series})
    above = {near.site_id for site in sites for near in upstream.get(site, [])}
    query = AnomalyQuery(
        site_ids=sorted(sites | above),
        detectors=[*site_anomaly_builder.DETECTORS, *sorted(anomaly_text.DETECTOR_NAMES.values())],
        from_s=since_s,
    )
    stored = [one for one in all_anomalies(store, query) if one.state != "withdrawn"]
    finder = ExplanationFinder(
        directory, upstream, [one for one in stored if one.series_id is None], AreaRain(store, directory)
    )
    changed = {}
    for one in stored:
        if one.site_id in sites:
            explanation = finder.of_event(one) if one.series_id is None else finder.of_series_anomaly(one)
            if explained(one, explanation) != one:
                changed[one.anomaly_id] = explanation
    if changed:
        store.explain_anomalies(changed)


class ExplanationFinder:
    """Finds what explains an anomaly among the events of the sites and the rain.

    Parameters
    ----------
    directory : of all sites
    upstream : neighbours upstream of each site
    events : of the sites and of those upstream of them
    rain : of the areas

    """

    def __init__(
        self,
        directory: Directory,
        upstream: Mapping[str, Sequence[network_neighbours.NeighbouringSite]],
        events: Sequence[Anomaly],
        rain: AreaRain,
    ) -> None:
        self._site_by_id = {one.site_id: one for one in directory.sites}
        self._series_by_id = {one.series_id: one for one in directory.series}
        self._upstream = upstream
        self._rain = rain
        self._gaps = SiteGaps.of(directory)
        self._events: dict[str, list[Anomaly]] = {}
        for one in sorted(events, key=lambda event: event.start_s):
            self._events.setdefault(one.site_id, []).append(one)

    def of_event(self, event: Anomaly) -> Explanation | None:
        """Return the explanation of a site's event: rain, or the event upstream from which it came."""
        if KIND_OF_DETECTOR.get(event.detector) == "sensor":
            return None
        if self._is_usual_rain(event):
            return Explanation(cause="rain", severity=NOTICE, **explanation_text.FOLLOWS_RAIN._asdict())
        origin = self._origin(event, frozenset())
        if origin is event:
            return None
        site = self._site_by_id[origin.site_id]
        is_own_area = site.area_id == self._site_by_id[event.site_id].area_id
        words = explanation_text.arrived_from(*((site.en, site.zh) if is_own_area else (None, None)))
        return Explanation(
            cause=origin.detector,
            anomaly_id=origin.anomaly_id,
            site_id=origin.site_id,
            severity=WARNING,
            **words._asdict(),
        )

    def of_series_anomaly(self, one: Anomaly) -> Explanation | None:
        """Return the explanation of a series' anomaly: its site's event that covers most of it, or rain."""
        covering = [
            (share, event)
            for event in self._events.get(one.site_id, [])
            if (share := self._covered_share(event, one)) >= MIN_COVERED_SHARE and self._departed(event, one)
        ]
        if covering:
            event = max(covering, key=lambda candidate: (candidate[0], -candidate[1].start_s))[1]
            is_carried = (
                KIND_OF_DETECTOR.get(event.detector) == "sensor"
                or self._is_usual_rain(event)
                or as_judged(event).severity >= as_judged(one).severity
            )
            return Explanation(
                cause=event.detector,
                anomaly_id=event.anomaly_id,
                site_id=event.site_id,
                severity=NOTICE if is_carried else ALARM,
                **explanation_text.part_of_event(event.detector)._asdict(),
            )
        if self._follows_rain(one):
            return Explanation(cause="rain", severity=NOTICE, **explanation_text.FOLLOWS_RAIN._asdict())
        return None

    def _covered_share(self, event: Anomaly, one: Anomaly) -> float:
        """Return the share of a series' anomaly that an event covers; 0 if it began outside of it."""
        gap_s = float(self._gaps.of_site(event.site_id) * TICK_S)
        begin_s, end_s = event.start_s - gap_s, _end_s(event) + gap_s
        if not begin_s <= one.start_s <= end_s:
            return 0.0
        until_s = self._reached_s(one)
        length_s = until_s - one.start_s
        if length_s <= 0 or end_s == np.inf:
            return 1.0
        return float((min(end_s, until_s) - one.start_s) / length_s)

    def _reached_s(self, one: Anomaly) -> float:
        """Return the end of a series' anomaly [s]; of an open one a time up to which it lasted at least.

        An open one may be paused for up to a day after the event that it is a part of.
        """
        if one.end_s is not None:
            return one.end_s
        series = self._series_by_id.get(one.series_id or 0)
        interval_s = 0.0 if series is None else series.interval_s
        return max(one.peak_s, one.start_s + (one.n_readings - 1) * interval_s)

    def _departed(self, event: Anomaly, one: Anomaly) -> bool:
        """Return whether a series' quantity departed in an event, in a way that this explains."""
        if event.detector == WHOLE_SONDE:
            return True
        entry = next(
            (part for part in event.evidence.get("quantities", []) if part["series_id"] == one.series_id),
            None,
        )
        if entry is None:
            return False
        is_part = abs(entry["score"]) >= MIN_EVIDENCE or entry["share"] >= MIN_SHARE
        return is_part and (one.detector in CHANGES or KIND_OF_DETECTOR.get(event.detector) == "sensor")

    def _is_usual_rain(self, event: Anomaly) -> bool:
        """Return whether an event is what rain does to a river, after enough of it."""
        if event.evidence.get("rain_mm", 0.0) < USUAL_RAIN_MM:
            return False
        if event.detector == RAIN_DETECTOR:
            return True
        if event.detector != site_anomaly_builder.DETECTOR:
            return False
        departed = [
            part for part in event.evidence.get("quantities", []) if abs(part["score"]) >= MIN_EVIDENCE
        ]
        return bool(departed) and all(_is_moved_by_rain(part["quantity"], part["score"]) for part in departed)

    def _follows_rain(self, one: Anomaly) -> bool:
        series = self._series_by_id.get(one.series_id or 0)
        if series is None or one.detector not in CHANGES or one.observed is None or one.expected is None:
            return False
        if not _is_moved_by_rain(series.quantity, one.observed - one.expected):
            return False
        area_id = self._site_by_id[one.site_id].area_id
        return self._rain.before(area_id, one.peak_s) >= USUAL_RAIN_MM

    def _origin(self, event: Anomaly, visited: frozenset[int]) -> Anomaly:
        """Return the uppermost event from which an event came; the event itself if there is none."""
        for near in self._upstream.get(event.site_id, []):
            for other in self._events.get(near.site_id, []):
                if (
                    other.anomaly_id not in visited
                    and KIND_OF_DETECTOR.get(other.detector) != "sensor"
                    and _arrived(other, event, near)
                ):
                    return self._origin(other, visited | {event.anomaly_id})
        return event


def _arrived(above: Anomaly, below: Anomaly, near: network_neighbours.NeighbouringSite) -> bool:
    """Return whether an event may be one upstream that arrived, by the travel time and by what departed."""
    earliest_s = above.start_s + FASTER_TRAVEL * near.lag_s - TRAVEL_SLACK_S
    latest_s = _end_s(above) + SLOWER_TRAVEL * near.lag_s + TRAVEL_SLACK_S
    if not earliest_s <= below.start_s <= latest_s:
        return False
    if near.network == "road":
        return (above.detector, below.detector) == ("cause/incident_downstream", "cause/incident_upstream")
    shared = [
        one
        for one in below.evidence.get("neighbours", [])
        if one.get("site_id") == near.site_id and one.get("way") == "upstream"
    ]
    return bool(shared)


def _is_moved_by_rain(quantity: str, change: float) -> bool:
    direction = RAIN_DIRECTIONS.get(quantity)
    return direction is not None and (direction == 0 or change * direction > 0)


def _end_s(one: Anomaly) -> float:
    return np.inf if one.end_s is None else one.end_s


class RainOfArea(NamedTuple):
    """Rain of the gauges of one area: times of the readings [s], and the sum of rain up to each [mm]."""

    time_s: list[Floats]
    sum_mm: list[Floats]

    def between(self, from_s: float, to_s: float) -> float:
        """Return the rain in a time range: that of the gauge with the most [mm]."""
        return max(
            (
                float(np.diff(np.interp([from_s, to_s], time_s, sum_mm))[0])
                for time_s, sum_mm in zip(self.time_s, self.sum_mm, strict=True)
                if len(time_s)
            ),
            default=0.0,
        )


class AreaRain:
    """Reads the rain of areas, a day at a time, as it is needed."""

    def __init__(self, store: Store, directory: Directory) -> None:
        self._store = store
        area = {one.site_id: one.area_id for one in directory.sites}
        self._gauges: dict[str, list[Series]] = {}
        for one in directory.series:
            if one.quantity == RAIN:
                self._gauges.setdefault(area[one.site_id], []).append(one)
        self._known: dict[tuple[str, int], RainOfArea] = {}

    def before(self, area_id: str, time_s: float) -> float:
        """Return the rain that fell at an area's gauges in the `RAIN_S` before a time [mm]."""
        key = (area_id, int(time_s // RAIN_S))
        if key not in self._known:
            self._known[key] = self._load(area_id, (key[1] - 1) * RAIN_S, (key[1] + 1) * RAIN_S)
        return self._known[key].between(time_s - RAIN_S, time_s)

    def _load(self, area_id: str, from_s: float, to_s: float) -> RainOfArea:
        times, sums = [], []
        for one in self._gauges.get(area_id, []):
            rows = self._store.readings(one.series_id, from_s, to_s, limit=MAX_RAIN_READINGS)
            rate = np.nan_to_num(np.clip(rows["value"], 0.0, QUANTITIES[RAIN].high))
            times.append(rows["time_us"] / 1e6)
            sums.append(np.cumsum(rate * one.interval_s / 3600.0))
        return RainOfArea(times, sums)
