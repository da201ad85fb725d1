"""Events of known cause: at simulated sites, by the plan of faults, and in rivers, by the type of label."""

from __future__ import annotations

from collections import Counter
from itertools import chain, takewhile
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from analytics.core.judge import judge
from analytics.core.state import State
from analytics.quality import default_limits
from analytics.quality.anomaly_records import anomaly_from_event
from benchmarks.detection import rivers
from deploy import demo
from edge.simulator import FaultKind, PlannedFault, Town
from edge.wire.quantities import QUANTITIES, to_canonical
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import READING, Area, Directory, Series, Site
from ingest_service.storage.memory.store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from ingest_service.storage.contract.models import Anomaly

    Floats = NDArray[np.float64]

DAY_S, HOUR_S = 86_400.0, 3_600.0
PRESENT_S, HISTORY_DAYS, SEED, FIRST_FAULT_DAY = 1_767_225_600.0, 14, 20, 6
SITES = tuple(f"330483-d1-{one}" for one in ("r03", "r04", "r05", "p01", "s01", "s02", "s03", "s04", "s05"))
SITES += tuple(f"330402-d1-{one}" for one in ("r01", "r02", "r03", "p01"))
SITES += tuple(f"330421-d1-{one}" for one in ("o01", "r03", "r04", "r05", "p01"))
SPREADS = {"ph": 0.15, "dissolved_oxygen": 0.5, "conductivity": 15.0, "turbidity": 10.0}
SIZES = (6.0, 12.0)  # spreads
MAX_TRAVEL_S = 20 * HOUR_S  # of polluted water, after it was let out
TOLERANCE_S = HOUR_S
RAIN_CAUSE, MIN_RAIN_MM = "rain_turbidity", 1.0
CAUSES = {
    FaultKind.SLUG: {"sewage"},
    FaultKind.DISCHARGE: {"sewage"},
    FaultKind.INCIDENT: {"incident_downstream", "incident_upstream"},
}
CAUSES_OF_LABELS = {
    "drift": {"sensor_fouling"},
    "shift": {"calibration_jump"},
    "constant offset": {"calibration_jump"},
    "low variability": {"sensor_stuck"},
}


class KnownEvent(NamedTuple):
    """An event at some sites, from ``start_s`` to ``end_s`` [s], and the causes that are right for it."""

    kind: str
    sites: frozenset[str]
    start_s: float
    end_s: float
    causes: frozenset[str]

    def overlaps(self, one: Anomaly) -> bool:
        """Return whether a site's anomaly is at one of the sites at the same time."""
        end_s = one.peak_s if one.end_s is None else one.end_s
        begins, ends = self.start_s - TOLERANCE_S, self.end_s + TOLERANCE_S
        return one.site_id in self.sites and one.start_s <= ends and end_s >= begins


class NamedShares(NamedTuple):
    """Events, those found, those whose cause was named rightly by kind, and false causes."""

    events: Counter[str]
    found: Counter[str]
    right: Counter[str]
    false: Counter[str]


def score_causes(events: Sequence[KnownEvent], named: Iterable[tuple[Anomaly, str | None]]) -> NamedShares:
    """Compare the causes named at sites with the known ones.

    A cause is false if no event at its site and time has it; that it rained is right where rain fell.
    """
    pairs = list(named)
    count, found, right = (Counter[str]() for _ in range(3))
    for event in events:
        overlapping = [(one, cause) for one, cause in pairs if event.overlaps(one)]
        count[event.kind] += 1
        found[event.kind] += bool(overlapping)
        right[event.kind] += any(cause in event.causes for _, cause in overlapping)
    false = Counter(
        cause
        for one, cause in pairs
        if cause is not None
        and not any(event.overlaps(one) and cause in event.causes for event in events)
        and not (cause == RAIN_CAUSE and one.evidence.get("rain_mm", 0.0) > MIN_RAIN_MM)
    )
    return NamedShares(count, found, right, false)


def named_causes(anomalies: Iterable[Anomaly]) -> list[tuple[Anomaly, str | None]]:
    """Return site anomalies with the cause that the product named; None without one."""
    return [
        (one, one.detector.removeprefix("cause/") if one.detector.startswith("cause/") else None)
        for one in anomalies
    ]


def causes_by_largest_score(
    anomalies: Sequence[Anomaly], events: Sequence[KnownEvent]
) -> list[tuple[Anomaly, str | None]]:
    """Return the baseline: the quantity with the largest score names the cause.

    Each quantity stands for the cause that is right most often among these very events, in favour of it.
    """
    votes: dict[str, Counter[str]] = {}
    leads = [
        max(one.evidence["quantities"], key=lambda part: abs(part["score"]))["quantity"] for one in anomalies
    ]
    for one, lead in zip(anomalies, leads, strict=True):
        for event in events:
            if event.overlaps(one):
                votes.setdefault(lead, Counter()).update(sorted(event.causes)[:1])
    cause = {lead: counts.most_common(1)[0][0] for lead, counts in votes.items()}
    return [(one, cause.get(lead)) for one, lead in zip(anomalies, leads, strict=True)]


def simulated() -> tuple[MemoryStore, list[KnownEvent]]:
    """Return a store with two weeks of some demo sites, and the events of a plan of faults and discharges."""
    plan = list(_plan())
    town = Town(demo.spec(), seed=SEED, live_from_s=PRESENT_S, history_s=HISTORY_DAYS * DAY_S, plan=plan)
    store = MemoryStore()
    enrolled = store.enrol(demo.directory())
    series = {(one.site_id, one.quantity): one for one in enrolled.series}
    for site in demo.spec().simulated_sites:
        if site.site_id in SITES:
            ticks = [
                tick for tick in takewhile(lambda one: one[0] < PRESENT_S, town.readings(site)) if tick[1]
            ]
            time_s = np.array([time for time, _ in ticks])
            for column, quantity in enumerate(site.quantities):
                unit = to_canonical(QUANTITIES[quantity], None)
                value = np.array([records[column].value for _, records in ticks], np.float64)
                store_series(store, series[site.site_id, quantity], time_s, unit.scale * value + unit.offset)
    return store, [_known_event(one) for one in plan if one.fault_id.partition(" ")[0] != "warmth"]


def oddwater() -> tuple[MemoryStore, list[KnownEvent]]:
    """Return a store with two tropical rivers, and their events whose type has a cause."""
    recordings = rivers.oddwater()
    store = MemoryStore()
    names = sorted({one.site for one in recordings})
    enrolled = store.enrol(
        Directory(
            areas=[Area(area_id=name, level="town", en=name, zh=name) for name in names],
            sites=[
                Site(site_id=name, area_id=name, kind="river_section", en=name, zh=name, lon=149.0, lat=-21.0)
                for name in names
            ],
            series=[
                Series(site_id=one.site, quantity=one.quantity, interval_s=one.interval_s)
                for one in recordings
            ],
        )
    )
    series = {(one.site_id, one.quantity): one for one in enrolled.series}
    events = []
    for one in recordings:
        store_series(store, series[one.site, one.quantity], one.time_s, one.value)
        events += [
            KnownEvent(
                kind, frozenset({one.site}), start_s, end_s, frozenset(CAUSES_OF_LABELS.get(str(kind), ()))
            )
            for (start_s, end_s), kind in zip(one.events.tolist(), one.kinds.tolist(), strict=True)
            if kind in CAUSES_OF_LABELS
        ]
    return store, events


def store_series(store: MemoryStore, series: Series, time_s: Floats, value: Floats) -> None:
    """Store the readings of a series and its anomalies, judged as if live."""
    results = judge(
        State.empty(1),
        default_limits.judge_parameters([series]),
        np.zeros(len(value), np.intp),
        time_s,
        value,
    )
    rows = np.zeros(len(value), READING)
    rows["series_id"], rows["value"] = series.series_id, value
    rows["time_us"] = rows["received_us"] = np.rint(time_s * 1e6)
    for field in ("expected", "spread", "quality", "rules"):
        rows[field] = getattr(results, field)
    anomalies = [anomaly_from_event(series, results.events, i) for i in range(len(results.events.series))]
    store.commit(Batch(fresh=rows, anomalies=anomalies))


def _plan() -> Iterator[PlannedFault]:
    return chain(_sensor_faults(), _repeated_events())


def _sensor_faults() -> Iterator[PlannedFault]:
    """Yield three faults of each river section, days apart."""
    random = np.random.default_rng(SEED)
    sections = [one for one in SITES if one.partition("-d1-")[2].startswith("r")]
    kinds = ("drift", "jump", "stuck", "air", "drift", "jump")
    for turn, (site, number) in enumerate((site, number) for site in sections for number in range(3)):
        kind = kinds[(turn + number) % len(kinds)]
        start_s = (FIRST_FAULT_DAY + 2.5 * number + random.uniform(0, 1) - HISTORY_DAYS) * DAY_S
        quantity = tuple(SPREADS)[turn % len(SPREADS)]
        size = SIZES[turn % 2] * SPREADS[quantity] * (1 if quantity == "turbidity" or turn % 4 < 2 else -1)
        fault = _sensor_fault(f"{kind} {turn}", site, start_s, random.uniform(8, 16))
        if kind == "air":
            yield fault(quantity="conductivity", size=-5_000.0)
            yield _sensor_fault(f"warmth {turn}", site, start_s, 5.0)(quantity="water_temperature", size=6.0)
        else:
            yield fault(quantity=quantity, size=size)


def _repeated_events() -> Iterator[PlannedFault]:
    """Yield the slugs, discharges and incidents of the demo at these sites, three times each."""
    for planned in demo.plan():
        for number in range(3 if planned.origin is not None and planned.site_ids[0] in SITES else 0):
            day = FIRST_FAULT_DAY + 2.6 * number - HISTORY_DAYS
            start_s = day * DAY_S + planned.start_s % DAY_S
            yield msgspec.structs.replace(
                planned,
                fault_id=f"{planned.kind} {planned.fault_id} {number}",
                start_s=start_s,
                end_s=start_s + planned.end_s - planned.start_s,
            )


def _sensor_fault(name: str, site: str, start_s: float, hours: float) -> Callable[..., PlannedFault]:
    """Return a fault of a sensor, without its quantity and size."""
    start_s = round(start_s / 300) * 300.0
    kind = {"drift": FaultKind.DRIFT, "stuck": FaultKind.STUCK}.get(name.partition(" ")[0], FaultKind.SPIKE)

    def fault(*, quantity: str, size: float) -> PlannedFault:
        return PlannedFault(
            fault_id=name, kind=kind, site_ids=(site,), quantities=(quantity,), start_s=start_s,
            end_s=start_s + round(hours * 12) * 300.0, size=size, find_within_s=DAY_S, en=name, zh="设定",
        )  # fmt: skip

    return fault


def _known_event(fault: PlannedFault) -> KnownEvent:
    kind = fault.fault_id.partition(" ")[0]
    causes = CAUSES.get(fault.kind) or {
        {
            "drift": "sensor_fouling",
            "jump": "calibration_jump",
            "stuck": "sensor_stuck",
            "air": "air_exposure",
        }[kind]
    }
    later_s = MAX_TRAVEL_S if fault.kind in {FaultKind.SLUG, FaultKind.DISCHARGE} else 0.0
    return KnownEvent(
        kind,
        frozenset(fault.site_ids),
        PRESENT_S + fault.start_s,
        PRESENT_S + fault.end_s + later_s,
        frozenset(causes),
    )
