"""Simulates the demo towns for four weeks with planned sensor faults, as a family."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.detection.labelled import DAY_S, NONE, LabelledSeries, resolution_of
from deploy import demo
from edge.simulator import PlannedFault, Town
from edge.simulator.fault_plan import FaultKind
from edge.wire.quantities import QUANTITIES, to_canonical

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge.simulator import SimulatedSite

PRESENT_S = 1_767_225_600.0  # 2026-01-01
HISTORY_DAYS, SEED, FIRST_FAULT_DAY = 28, 20, 8
WATER_SITES = 8
SPREADS = {
    "water_temperature": 0.5,
    "ph": 0.15,
    "dissolved_oxygen": 0.5,
    "conductivity": 15.0,
    "turbidity": 10.0,
    "ammonia_nitrogen": 0.15,
    "permanganate_index": 0.5,
    "water_level": 0.05,
}
"""Unit of the sizes of faults, canonical unit of each quantity."""
KINDS = ("spike", "drift", "stuck")
SIZES = (3.0, 6.0, 12.0)


def simulated() -> list[LabelledSeries]:
    """Return the water series of some sites of the demo, each with a spike, a drift and a stuck sensor."""
    spec = demo.spec()
    sites = [one for one in spec.simulated_sites if one.kind == "river_section"][:WATER_SITES]
    plan = list(_plan(sites))
    town = Town(spec, seed=SEED, live_from_s=PRESENT_S, history_s=HISTORY_DAYS * DAY_S, plan=plan)
    return [series for site in sites for series in _series(town, site, plan)]


def _plan(sites: list[SimulatedSite]) -> Iterator[PlannedFault]:
    random = np.random.default_rng(SEED)
    turn = 0
    for site in sites:
        for quantity in site.quantities:
            for number, kind in enumerate(KINDS if quantity in SPREADS else ()):
                day = FIRST_FAULT_DAY + 6 * number + random.uniform(0, 2)
                start_s = round((day - HISTORY_DAYS) * DAY_S / 300) * 300.0
                length_s = {"spike": site.interval_s, "drift": 3 * DAY_S, "stuck": DAY_S}[kind]
                turn += 1
                yield PlannedFault(
                    fault_id=f"{kind} {turn}", kind=FaultKind(kind), site_ids=(site.site_id,),
                    quantities=(quantity,),
                    start_s=start_s, end_s=start_s + length_s, size=SIZES[turn % 3] * SPREADS[quantity],
                    find_within_s=length_s, en=kind, zh=kind,
                )  # fmt: skip


def _series(town: Town, site: SimulatedSite, plan: list[PlannedFault]) -> Iterator[LabelledSeries]:
    ticks = list(takewhile(lambda tick: tick[0] < PRESENT_S, town.readings(site)))
    ticks = [tick for tick in ticks if tick[1]]
    time_s = np.array([time for time, _ in ticks])
    for column, quantity in enumerate(site.quantities):
        faults = [one for one in plan if site.site_id in one.site_ids and quantity in one.quantities]
        if faults:
            unit = to_canonical(QUANTITIES[quantity], None)
            value = unit.scale * np.array([records[column].value for _, records in ticks]) + unit.offset
            events = np.array([(PRESENT_S + one.start_s, PRESENT_S + one.end_s) for one in faults])
            yield LabelledSeries(
                f"{site.site_id}/{quantity}", site.site_id, quantity, time_s, value, site.interval_s,
                resolution_of(value), events, np.array([one.kind for one in faults], np.str_), NONE,
            )  # fmt: skip
