"""Finds events in the scores of sites, names their cause, and writes their evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from analytics.core import causes, checks, shapes
from analytics.core.events import SEVERE_SCORE, WARNING_S, WARNING_SCORE
from analytics.core.flags import Flag
from analytics.core.parameters import DEFAULTS
from analytics.core.spans import spans
from analytics.service import cause_words, neighbours
from analytics.service.grid import TICK_S, TICKS_PER_H
from ingest_service.pipeline import reasons
from ingest_service.storage.model import Anomaly, AnomalyQuery

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analytics.core.causes import Named, Pattern, Seen
    from analytics.service.neighbours import Next
    from analytics.service.sites import Judged
    from ingest_service.storage.model import Directory
    from ingest_service.storage.store import Store

DETECTOR = "several"
CAUSES = {one.name: f"cause/{one.name}" for one in causes.PATTERNS}
DETECTORS = [DETECTOR, *CAUSES.values()]
VERSION = "1"
MANY = 10_000
GAP = TICKS_PER_H
LOOKS = TICKS_PER_H  # ticks between two looks at an event's cause
TOGETHER = 3.0  # score of the second of several quantities that depart together
OF_MARGIN_S = 3600.0  # an anomaly of a series that ended so much earlier is of the same event
SENSOR_SEVERITY = 2  # a sensor that fails is no alarm
LIMITS = {name: DEFAULTS[f"score_{name}"] for name in ("weak", "strong", "close")}


class Event(NamedTuple):
    """An event, its largest score, and the looks that were taken at it: places in `Seen` and `Named`."""

    at: shapes.Event
    peak: int
    is_open: bool
    looks: range


class Near(NamedTuple):
    """A neighbour of an event, and what of it has passed there."""

    next: Next
    way: str
    lag_s: float
    quantity: str
    score: float

    def told(self) -> dict[str, Any]:
        """As evidence."""
        return {"site_id": self.next.site_id} | {name: getattr(self, name) for name in self._fields[1:]}


def anomalies(store: Store, directory: Directory, judged: Judged) -> list[Anomaly]:
    """The events of a stretch as they are stored. Raises `StoreUnavailable`."""
    above = neighbours.upstream(directory, set(judged.sites))
    around = {"upstream": above, "downstream": neighbours.downstream(above)}
    events, looks = _events(judged, around)
    seen = shapes.seen(judged.stretch, looks)
    named = causes.name(seen, judged.quantities)
    told = [one for one in events if _is_told(one, seen, named)]
    if not told:
        return []
    query = AnomalyQuery(
        site_ids=sorted({judged.sites[one.at.site] for one in told}),
        detectors=sorted(reasons.DETECTORS.values()),
        from_s=min(one.at.begin + judged.first for one in told) * TICK_S - OF_MARGIN_S,
        limit=MANY,
    )
    teller = _Teller(directory, judged, around, seen, named, store.anomalies(query))
    return [teller.anomaly(one) for one in told]


def _events(
    judged: Judged, around: dict[str, dict[str, list[Next]]]
) -> tuple[list[Event], list[shapes.Event]]:
    """All events, and each of them as it was at each look."""
    events: list[Event] = []
    looks: list[shapes.Event] = []
    columns = zip(*(column.tolist() for column in spans(judged.score, gap=GAP, **LIMITS)), strict=True)
    for site, begin, end, peak, is_open in columns:
        near = {way: _lagged(judged, sites.get(judged.sites[site], []), way) for way, sites in around.items()}
        whole = shapes.Event(site, begin, end, near["upstream"], near["downstream"])
        ends = [*range(begin + LOOKS - 1, end, LOOKS), end]
        events.append(Event(whole, peak, is_open, range(len(looks), len(looks) + len(ends))))
        looks += [whole._replace(end=one) for one in ends]
    return events, looks


def _lagged(judged: Judged, near: Sequence[Next], way: str) -> tuple[shapes.Neighbour, ...]:
    sign = 1 if way == "upstream" else -1
    return tuple(
        shapes.Neighbour(judged.sites.index(one.site_id), sign * round(one.lag_s / TICK_S)) for one in near
    )


def _is_told(event: Event, seen: Seen, named: Named) -> bool:
    """Whether a cause was named at some look, or two quantities departed together."""
    looks = slice(event.looks.start, event.looks.stop)
    together = (np.abs(seen.mean[looks]) >= TOGETHER).sum(axis=1) > 1
    return bool((named.pattern[looks] >= 0).any() or together.any())


class _Teller(NamedTuple):
    """All that an anomaly is told from."""

    directory: Directory
    judged: Judged
    around: dict[str, dict[str, list[Next]]]
    seen: Seen
    named: Named
    parts: list[Anomaly]

    def anomaly(self, event: Event) -> Anomaly:
        """An event as it is stored; its cause is the last one that fitted."""
        at, site_id = event.at, self.judged.sites[event.at.site]
        begin_s, end_s, peak_s = (self._time_s(tick) for tick in (at.begin, at.end, event.peak))
        look = max((one for one in event.looks if self.named.pattern[one] >= 0), default=event.looks[-1])
        pattern = causes.PATTERNS[self.named.pattern[look]] if self.named.pattern[look] >= 0 else None
        departed = self._departed(look)
        near = self._near(event, departed)
        english, chinese = cause_words.sentences(
            pattern.name if pattern else None,
            departed,
            self._passed(site_id, near),
            alone=self._is_alone(event, near),
        )
        score = float(self.judged.score[event.peak, at.site])
        evidence = {
            "cause": self._cause(look, pattern),
            "of": self._of(site_id, begin_s, end_s),
            "quantities": self._quantities(event, look),
            "neighbours": [one.told() for one in near],
            "qartod_neighbour": self._neighbour_flag(event, departed[0].quantity),
            "rain_mm": round(float(self.seen.rain_mm[look]), 2),
            "window": {"from_s": begin_s, "until_s": end_s},
            "parameters": LIMITS,
        }
        return Anomaly(
            subject=f"site/{site_id}/several",
            site_id=site_id,
            detector=CAUSES[pattern.name] if pattern else DETECTOR,
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

    def _time_s(self, tick: int) -> float:
        return float((tick + self.judged.first) * TICK_S)

    def _departed(self, look: int) -> list[cause_words.Departed]:
        """Quantities that depart, most first; at least one."""
        mean, alone = self.seen.mean[look], int(self.named.quantity[look])
        order = [alone] if alone >= 0 else np.argsort(-np.abs(mean), kind="stable").tolist()
        chosen = [at for at in order if abs(mean[at]) >= causes.LEAST] or order[:1]
        return [cause_words.Departed(self.judged.quantities[at], float(mean[at])) for at in chosen]

    def _near(self, event: Event, departed: Sequence[cause_words.Departed]) -> list[Near]:
        """Neighbours where the same quantity went the same way when the water was there, upstream first."""
        site_id = self.judged.sites[event.at.site]
        found = []
        for way, lagged in (("upstream", event.at.above), ("downstream", event.at.below)):
            for one, there in zip(self.around[way].get(site_id, []), lagged, strict=True):
                mean = shapes.passed(self.judged.stretch.signed, event.at, there)
                for what in departed:
                    score = float(mean[self.judged.quantities.index(what.quantity)])
                    if score * np.sign(what.score) >= causes.LEAST:
                        lag_s = float(there.lag * TICK_S)
                        found.append(Near(one, way, lag_s, what.quantity, round(score, 2)))
                        break
        return found

    def _passed(self, site_id: str, near: Sequence[Near]) -> list[cause_words.Passed]:
        """Neighbours as a reason names them: those of the site's own area by name."""
        site_of = {site.site_id: site for site in self.directory.sites}
        sites = [site_of[one.next.site_id] for one in near]
        area_id = site_of[site_id].area_id
        shown = [
            one
            if one.area_id == area_id
            else msgspec.structs.replace(one, en=cause_words.ELSEWHERE_EN, zh=cause_words.ELSEWHERE_ZH)
            for one in sites
        ]
        return [cause_words.Passed(site, one.lag_s) for site, one in zip(shown, near, strict=True)]

    def _is_alone(self, event: Event, near: Sequence[Near]) -> bool:
        return bool(event.at.above or event.at.below) and not near

    def _cause(self, look: int, pattern: Pattern | None) -> dict[str, Any] | None:
        if pattern is None:
            return None
        strength = round(float(self.named.strength[look]), 2)
        return {"name": pattern.name, "kind": pattern.kind, "strength": strength}

    def _quantities(self, event: Event, look: int) -> list[dict[str, Any]]:
        """Share, signed score, values at the peak and begin of each quantity, by share."""
        judged, at = self.judged, event.at
        observed, expected = (
            part[event.peak, at.site] for part in (judged.stretch.value, judged.stretch.expected)
        )
        shares = judged.shares[at.begin : at.end + 1, at.site].mean(axis=0)
        since = shapes.since(judged.stretch.signed, at, causes.LEAST)
        site_id = judged.sites[at.site]
        series_id = {one.quantity: one.series_id for one in self.directory.series if one.site_id == site_id}
        return [
            {
                "quantity": judged.quantities[column],
                "series_id": series_id[judged.quantities[column]],
                "share": round(float(shares[column]), 3),
                "score": round(float(self.seen.mean[look, column]), 2),
                "observed": _or_none(float(observed[column])),
                "expected": _or_none(float(expected[column])),
                "since_s": None if since[column] < 0 else self._time_s(int(since[column])),
            }
            for column in np.argsort(-shares, kind="stable").tolist()
            if judged.quantities[column] in series_id and shares[column] > 0
        ]

    def _neighbour_flag(self, event: Event, quantity: str) -> int:
        """The worst flag of the neighbour check (QARTOD test 12) of a quantity's scores in an event."""
        column = self.judged.quantities.index(quantity)
        signed, at = self.judged.stretch.signed[:, :, column], event.at
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
            suspect=LIMITS["weak"],
            fail=LIMITS["strong"],
            least_n=1,
        )
        return int(flags[at.begin : at.end + 1].max())  # scores are never missing

    def _of(self, site_id: str, begin_s: float, end_s: float) -> list[int]:
        """Anomalies of the site's series in the same time."""
        return sorted(
            one.anomaly_id
            for one in self.parts
            if one.site_id == site_id
            and one.state != "withdrawn"
            and one.start_s <= end_s + TICK_S
            and (one.end_s is None or one.end_s >= begin_s - OF_MARGIN_S)
        )


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _severity(score: float, duration_s: float, pattern: Pattern | None) -> int:
    severity = 3 if score >= SEVERE_SCORE else 2 if score >= WARNING_SCORE or duration_s >= WARNING_S else 1
    return min(severity, SENSOR_SEVERITY) if pattern is not None and pattern.kind == "sensor" else severity
