"""Builds anomalies from site scores: finds the events, names their cause, and compiles the evidence.

The cause of an event is evaluated at fixed ages of it ("looks"), so that it does not depend on when the
service runs. The ages end before the range that is judged again does (`MAX_LOOK_TICKS`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from analytics.core import cause_patterns, checks, event_shapes
from analytics.core.events import WARNING_S
from analytics.core.flags import Flag
from analytics.quality import anomaly_text, cause_text
from analytics.service import network_neighbours, site_event_identity
from analytics.service.reading_grid import TICK_S, TICKS_PER_H
from analytics.service.site_event_identity import SiteGaps
from ingest_service.storage.contract.models import Anomaly, AnomalyQuery
from ingest_service.storage.contract.paging import all_anomalies

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from analytics.core.cause_patterns import CausePattern, EventFeatures, NamedCauses
    from analytics.core.score_events import ScoreEvents
    from analytics.service.network_neighbours import NeighbouringSite
    from analytics.service.site_scoring import ScoredSites
    from ingest_service.storage.contract.models import Directory
    from ingest_service.storage.contract.store import Store

DETECTOR = "several"
DETECTOR_OF_CAUSE = {one.name: f"cause/{one.name}" for one in cause_patterns.PATTERNS}
DETECTORS = [DETECTOR, *DETECTOR_OF_CAUSE.values()]
VERSION = "1"
MAX_LOOK_TICKS = 36 * TICKS_PER_H  # age after which an event's cause is no longer evaluated
# Ages of an event [ticks] at which its cause is evaluated: every quarter of the first hour, then every hour.
LOOK_AGES = (2, 5, 8, *range(TICKS_PER_H - 1, MAX_LOOK_TICKS + 1, TICKS_PER_H))
MIN_SCORE_OF_SECOND = 3.0  # score of the second of several quantities that depart together
SENSOR_SEVERITY = 2  # at most: a failing sensor is no alarm
ALARM_SCORE, WARNING_SCORE = 12.0, 7.0


class SiteEvent(NamedTuple):
    """An event, the tick of its largest score, and its looks: rows of `EventFeatures` and `NamedCauses`.

    ``continued`` is the stored anomaly of an event that began before the ticks that are judged.
    """

    at: event_shapes.EventWindow
    peak: int
    is_open: bool
    looks: range
    continued: Anomaly | None


class NeighbourEvidence(NamedTuple):
    """A neighbouring site where a quantity departed in the same way, shifted by the travel time."""

    neighbour_site: NeighbouringSite
    way: str
    lag_s: float
    quantity: str
    score: float

    def as_evidence(self) -> dict[str, Any]:
        """Return the fields as an entry of an anomaly's evidence."""
        return {"site_id": self.neighbour_site.site_id} | {
            name: getattr(self, name) for name in self._fields[1:]
        }


def build_site_anomalies(
    store: Store,
    directory: Directory,
    judged: ScoredSites,
    first: Mapping[str, int],
    continued: Mapping[str, Anomaly],
) -> list[Anomaly]:
    """Return the events in the scores as anomalies to store. Raises `StoreUnavailableError`.

    Parameters
    ----------
    store, directory, judged : of the sites that were judged
    first : first tick that was judged of each site
    continued : by site, the stored event that began before that and goes on

    """
    above = network_neighbours.upstream_sites(directory, set(judged.sites))
    neighbours_by_side = {"upstream": above, "downstream": network_neighbours.downstream_sites(above)}
    gaps = SiteGaps.of(directory)
    found = site_event_identity.find_events(judged, gaps, continued, first)
    events, looks = _find_events(judged, found, neighbours_by_side, continued, first)
    features = event_shapes.event_features(judged.signals, looks)
    named = cause_patterns.name_causes(features, judged.quantities)
    reported = [one for one in events if one.continued or _is_reported(one, features, named)]
    if not reported:
        return []
    query = AnomalyQuery(
        site_ids=sorted({judged.sites[one.at.site] for one in reported}),
        detectors=sorted(anomaly_text.DETECTOR_NAMES.values()),
        from_s=float(
            min(one.at.begin + judged.first - gaps.of_site(judged.sites[one.at.site]) for one in reported)
            * TICK_S
        ),
    )
    stored = all_anomalies(store, query)
    builder = _AnomalyBuilder(directory, judged, neighbours_by_side, features, named, stored, gaps)
    return [builder.anomaly(one) for one in reported]


def _find_events(
    judged: ScoredSites,
    found: ScoreEvents,
    neighbours_by_side: dict[str, dict[str, list[NeighbouringSite]]],
    continued: Mapping[str, Anomaly],
    first: Mapping[str, int],
) -> tuple[list[SiteEvent], list[event_shapes.EventWindow]]:
    """Return all events, and for each look the event up to that time."""
    events: list[SiteEvent] = []
    looks: list[event_shapes.EventWindow] = []
    for site, begin, end, peak, is_open in zip(*(column.tolist() for column in found), strict=True):
        site_id = judged.sites[site]
        near = {
            way: _lagged_sites(judged, sites.get(site_id, []), way)
            for way, sites in neighbours_by_side.items()
        }
        event_window = event_shapes.EventWindow(site, begin, end, near["upstream"], near["downstream"])
        known = continued.get(site_id) if begin + judged.first == first[site_id] else None
        ends = [] if known else _look_ticks(begin, end, is_open=bool(is_open))
        events.append(
            SiteEvent(event_window, peak, bool(is_open), range(len(looks), len(looks) + len(ends)), known)
        )
        looks += [event_window._replace(end=one) for one in ends]
    return events, looks


def _look_ticks(begin: int, end: int, *, is_open: bool) -> list[int]:
    """Return the ticks at which the cause of an event is evaluated: at its looks, and where it ended."""
    ticks = [begin + age for age in LOOK_AGES if begin + age <= end]
    if not is_open and end - begin <= MAX_LOOK_TICKS and end not in ticks:
        ticks.append(end)
    return ticks


def _lagged_sites(
    judged: ScoredSites, near: Sequence[NeighbouringSite], way: str
) -> tuple[event_shapes.LaggedSite, ...]:
    sign = 1 if way == "upstream" else -1
    return tuple(
        event_shapes.LaggedSite(judged.sites.index(one.site_id), sign * round(one.lag_s / TICK_S))
        for one in near
    )


def _is_reported(event: SiteEvent, features: EventFeatures, named: NamedCauses) -> bool:
    """Whether a cause was named at some look, or two quantities departed together at one."""
    looks = slice(event.looks.start, event.looks.stop)
    together = (np.abs(features.mean[looks]) >= MIN_SCORE_OF_SECOND).sum(axis=1) > 1
    return bool((named.pattern[looks] >= 0).any() or together.any())


class _AnomalyBuilder(NamedTuple):
    """Builds the anomaly of an event from scores, features, causes and neighbours."""

    directory: Directory
    judged: ScoredSites
    neighbours_by_side: dict[str, dict[str, list[NeighbouringSite]]]
    features: EventFeatures
    named: NamedCauses
    series_anomalies: list[Anomaly]
    gaps: SiteGaps

    def anomaly(self, event: SiteEvent) -> Anomaly:
        """Return an event as an anomaly; its cause is the last one that matched."""
        if event.continued is not None:
            return self._continuation(event, event.continued)
        at, site_id = event.at, self.judged.sites[event.at.site]
        begin_s, end_s, peak_s = (self._time_s(tick) for tick in (at.begin, at.end, event.peak))
        look = max((one for one in event.looks if self.named.pattern[one] >= 0), default=event.looks[-1])
        pattern = cause_patterns.PATTERNS[self.named.pattern[look]] if self.named.pattern[look] >= 0 else None
        departed = self._departed_quantities(look)
        near = self._affected_neighbours(event, departed)
        english, chinese = cause_text.cause_sentences(
            pattern.name if pattern else None,
            departed,
            self._named_neighbours(site_id, near),
            alone=self._is_alone(event, near),
        )
        score = float(self.judged.score[event.peak, at.site])
        evidence = {
            "cause": self._cause(look, pattern),
            "of": self._linked_anomalies(site_id, begin_s, end_s),
            "quantities": self._quantities(event, look),
            "neighbours": [one.as_evidence() for one in near],
            "qartod_neighbour": self._neighbour_flag(event, departed[0].quantity),
            # The most in 12 h at any look: a look long after the rain has the end of it only.
            "rain_mm": round(float(self.features.rain_mm[event.looks.start : look + 1].max()), 2),
            "window": {"from_s": begin_s, "until_s": end_s},
            "parameters": site_event_identity.SCORE_LIMITS,
        }
        return Anomaly(
            subject=f"site/{site_id}/several",
            site_id=site_id,
            detector=DETECTOR_OF_CAUSE[pattern.name] if pattern else DETECTOR,
            version=VERSION,
            start_s=begin_s,
            end_s=None if event.is_open else end_s,
            peak_s=peak_s,
            score=score,
            severity=_severity(score, end_s - begin_s, pattern),
            n_readings=at.end + 1 - at.begin,
            state="open" if event.is_open else "closed",
            reason_en=english,
            reason_zh=chinese,
            evidence=evidence,
        )

    def _continuation(self, event: SiteEvent, stored: Anomaly) -> Anomaly:
        """Return a stored event with its new end, and its new peak if that is larger."""
        at, end_s, score = (
            event.at,
            self._time_s(event.at.end),
            float(self.judged.score[event.peak, event.at.site]),
        )
        peak_s, score = max(
            (stored.peak_s, stored.score), (self._time_s(event.peak), score), key=lambda one: one[1]
        )
        kind = {DETECTOR_OF_CAUSE[one.name]: one for one in cause_patterns.PATTERNS}.get(stored.detector)
        window = {"from_s": stored.start_s, "until_s": end_s}
        of = self._linked_anomalies(self.judged.sites[at.site], stored.start_s, end_s)
        return msgspec.structs.replace(
            stored,
            end_s=None if event.is_open else end_s,
            state="open" if event.is_open else "closed",
            peak_s=peak_s,
            score=score,
            severity=max(stored.severity, _severity(score, end_s - stored.start_s, kind)),
            n_readings=round((end_s - stored.start_s) / TICK_S) + 1,
            evidence=stored.evidence
            | {"of": sorted({*stored.evidence.get("of", []), *of}), "window": window},
        )

    def _time_s(self, tick: int) -> float:
        return float((tick + self.judged.first) * TICK_S)

    def _departed_quantities(self, look: int) -> list[cause_text.DepartedQuantity]:
        """Return the quantities that depart, largest first; at least one."""
        mean, alone = self.features.mean[look], int(self.named.quantity[look])
        order = [alone] if alone >= 0 else np.argsort(-np.abs(mean), kind="stable").tolist()
        chosen = [at for at in order if abs(mean[at]) >= cause_patterns.MIN_EVIDENCE] or order[:1]
        return [cause_text.DepartedQuantity(self.judged.quantities[at], float(mean[at])) for at in chosen]

    def _affected_neighbours(
        self, event: SiteEvent, departed: Sequence[cause_text.DepartedQuantity]
    ) -> list[NeighbourEvidence]:
        """Return neighbours where a quantity departed alike, by travel time of the water; upstream first."""
        site_id = self.judged.sites[event.at.site]
        found = []
        for way, lagged in (("upstream", event.at.above), ("downstream", event.at.below)):
            for one, lagged_site in zip(self.neighbours_by_side[way].get(site_id, []), lagged, strict=True):
                mean = event_shapes.neighbour_score(self.judged.signals.signed, event.at, lagged_site)
                for what in departed:
                    score = float(mean[self.judged.quantities.index(what.quantity)])
                    if score * np.sign(what.score) >= cause_patterns.MIN_EVIDENCE:
                        lag_s = float(lagged_site.lag * TICK_S)
                        found.append(NeighbourEvidence(one, way, lag_s, what.quantity, round(score, 2)))
                        break
        return found

    def _named_neighbours(
        self, site_id: str, near: Sequence[NeighbourEvidence]
    ) -> list[cause_text.PassedSite]:
        """Return the neighbours as named in the reason; those of other areas are not named.

        A reader of the anomaly may have no access to other areas.
        """
        site_of = {site.site_id: site for site in self.directory.sites}
        sites = [site_of[one.neighbour_site.site_id] for one in near]
        area_id = site_of[site_id].area_id
        shown = [
            one
            if one.area_id == area_id
            else msgspec.structs.replace(one, en=cause_text.OTHER_AREA_EN, zh=cause_text.OTHER_AREA_ZH)
            for one in sites
        ]
        return [cause_text.PassedSite(site, one.lag_s) for site, one in zip(shown, near, strict=True)]

    def _is_alone(self, event: SiteEvent, near: Sequence[NeighbourEvidence]) -> bool:
        return bool(event.at.above or event.at.below) and not near

    def _cause(self, look: int, pattern: CausePattern | None) -> dict[str, Any] | None:
        if pattern is None:
            return None
        strength = round(float(self.named.strength[look]), 2)
        return {"name": pattern.name, "kind": pattern.kind, "strength": strength}

    def _quantities(self, event: SiteEvent, look: int) -> list[dict[str, Any]]:
        """Return share, signed score, values at the peak and start of each quantity, largest share first."""
        judged, at = self.judged, event.at
        observed, expected = (
            part[event.peak, at.site] for part in (judged.signals.value, judged.signals.expected)
        )
        shares = judged.shares[at.begin : at.end + 1, at.site].mean(axis=0)
        since = event_shapes.departure_start(judged.signals.signed, at, cause_patterns.MIN_EVIDENCE)
        site_id = judged.sites[at.site]
        series_id = {one.quantity: one.series_id for one in self.directory.series if one.site_id == site_id}
        return [
            {
                "quantity": judged.quantities[column],
                "series_id": series_id[judged.quantities[column]],
                "share": round(float(shares[column]), 3),
                "score": round(float(self.features.mean[look, column]), 2),
                "observed": _finite_or_none(float(observed[column])),
                "expected": _finite_or_none(float(expected[column])),
                "since_s": None if since[column] < 0 else self._time_s(int(since[column])),
            }
            for column in np.argsort(-shares, kind="stable").tolist()
            if judged.quantities[column] in series_id and shares[column] > 0
        ]

    def _neighbour_flag(self, event: SiteEvent, quantity: str) -> int:
        """Return the worst flag of the neighbour check (QARTOD test 12) on a quantity's scores."""
        column = self.judged.quantities.index(quantity)
        signed, at = self.judged.signals.signed[:, :, column], event.at
        near = [*at.above, *at.below]
        if not near:
            return int(Flag.NOT_EVALUATED)
        time_s = np.arange(len(signed), dtype=np.float64) * TICK_S
        flags = checks.neighbour(
            signed[:, at.site],
            time_s,
            signed[:, [one.site for one in near]].T,
            lag_s=[one.lag * float(TICK_S) for one in near],
            max_age_s=float(TICK_S),
            suspect=site_event_identity.SCORE_LIMITS["weak"],
            fail=site_event_identity.SCORE_LIMITS["strong"],
            least_n=1,
        )
        return int(flags[at.begin : at.end + 1].max())  # scores are never missing

    def _linked_anomalies(self, site_id: str, begin_s: float, end_s: float) -> list[int]:
        """Return the ids of anomalies of the site's series at the same time, or an event's gap before."""
        margin_s = float(self.gaps.of_site(site_id) * TICK_S)
        return sorted(
            one.anomaly_id
            for one in self.series_anomalies
            if one.site_id == site_id
            and one.state != "withdrawn"
            and one.start_s <= end_s + TICK_S
            and (one.end_s is None or one.end_s >= begin_s - margin_s)
        )


def _finite_or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _severity(score: float, duration_s: float, pattern: CausePattern | None) -> int:
    severity = 3 if score >= ALARM_SCORE else 2 if score >= WARNING_SCORE or duration_s >= WARNING_S else 1
    return min(severity, SENSOR_SEVERITY) if pattern is not None and pattern.kind == "sensor" else severity
