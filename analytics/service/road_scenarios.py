"""Answers "what if?" on enrolled roads: a lane or road closed, traffic diverted, a signal retimed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from analytics.errors import TwinModelError
from analytics.service import road_model, road_rain
from analytics.service.road_statements import road_statements
from analytics.service.scenario_statements import reach_names
from analytics.service.water_scenarios import ScenarioAnswer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from analytics.service.road_model import ReadBuckets, RoadPart, RoadRecord
    from analytics.twin.link_transmission import TrafficRun
    from analytics.twin.road_traffic import RoadTraffic
    from analytics.twin.traffic_scenario import Comparison, Diversion, TrafficScenario
    from ingest_service.storage.contract.models import Directory

    Floats = NDArray[np.float64]

STEP_S, REPORT_S = 30.0, 900.0
WARM_UP_HOURS = 1
BAND_SPREADS = 1.28  # standard deviations of the demand: 80 % of days lie between
ALTERED_VEH, ALTERED_SHARE = 0.5, 0.02  # a queue and a share of the capacity: what is less isn't altered
MAX_ROADS = 40  # listed; the most altered ones


class RoadChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a scenario; which of the values count depends on the kind.

    Attributes
    ----------
    kind : lane_closure, road_closure, diversion, signal or road_rain
    link : link that is closed, avoided, at whose end the signal is, or one of those in the rain
    start_s, duration_s : from the beginning of the scenario [s]; a signal is changed for the whole of it
    amount : lanes closed; share of the vehicles diverted; green share; intensity of the rain [mm/h]
    to_link : link taken instead; without it, all others at the node in proportion
    usual_green_share : of the signal without the change

    """

    kind: str
    link: str
    start_s: float = 0.0
    duration_s: float = 0.0
    amount: float = 0.0
    to_link: str | None = None
    usual_green_share: float = 1.0


class RoadResult(NamedTuple):
    """Runs of a scenario without its warm-up, and what they were made of."""

    part: RoadPart
    record: RoadRecord
    traffic: RoadTraffic
    comparison: Comparison
    delay_veh_h: Floats
    delay_band_veh_h: list[float]


def road_scenario(
    directory: Directory,
    read: ReadBuckets,
    changes: Sequence[RoadChange],
    *,
    at_s: float,
    hours: float,
    now_s: float,
) -> ScenarioAnswer:
    """Compute a scenario on the roads with the demand of a time.

    Parameters
    ----------
    directory : the network; places outside of it aren't known
    read : returns the buckets of a series between two Unix times, of a width [s]
    at_s, hours : begin, Unix time [s], and length, of which whole hours are computed [h]
    now_s : Unix time [s]

    Raises
    ------
    TwinModelError
        If a link is no road, or a change can't be made; the message names the link.

    """
    from analytics.twin.road_traffic import TrafficError  # noqa: PLC0415 - scipy, on the first use: 25 MB
    from analytics.twin.traffic_scenario import compare  # noqa: PLC0415

    named = [one.link for one in changes] + [one.to_link for one in changes if one.to_link]
    part = road_model.part_of(directory, named)
    n_hours = int(np.ceil(hours))
    record = road_model.read_record(directory, part, read, at_s=at_s, hours=n_hours, now_s=now_s)
    traffic, spread_per_s = road_model.traffic_of(part, record, warm_up_hours=WARM_UP_HOURS)
    begin_s = WARM_UP_HOURS * road_model.HOUR_S
    duration_s = begin_s + n_hours * road_model.HOUR_S
    try:
        traffic = _with_usual_green(part, traffic, changes)
        scenario = _model_scenario(part, traffic, changes, begin_s)
        factors = [1 + sign * BAND_SPREADS * record.spread_share for sign in (0, -1, 1)]
        demands = [traffic.demand_per_s * max(one, 0.05) for one in factors]
        with ThreadPoolExecutor(len(demands)) as pool:  # compiled steps release the interpreter lock
            comparison, *others = pool.map(
                lambda demand: compare(
                    replace(traffic, demand_per_s=demand),
                    scenario,
                    duration_s,
                    step_s=STEP_S,
                    report_s=REPORT_S,
                ),
                demands,
            )
    except TrafficError as error:
        raise TwinModelError(str(error)) from error
    delay = _delay_veh_h(comparison)
    whole = float(delay.sum())
    delays = [whole, *(float(_delay_veh_h(one).sum()) for one in others)]
    band = [min(delays), max(delays)]
    found = RoadResult(part, record, traffic, comparison, delay, band)
    roads = _roads(found, spread_per_s, named)
    statements = road_statements(found, changes, roads, hours=n_hours)
    areas = {one.node_id: one.area_id for one in part.nodes}
    listed = {one["link_id"] for one in roads}
    ends = [node for one in part.links if one.link_id in listed for node in (one.from_node, one.to_node)]
    result = {
        "statements": [msgspec.to_builtins(one) for one in statements],
        "counted_nodes": len(record.counts.node),
        "recorded_share": record.recorded_share,
        "nodes": len(part.nodes),
        "time_s": (comparison.base.time_s[_kept(comparison.base)] - begin_s).tolist(),
        "delay_veh_h": whole,
        "delay_band_veh_h": band,
        "roads": roads,
    }
    return ScenarioAnswer(result, sorted({areas[node] for node in ends}))


def _with_usual_green(part: RoadPart, traffic: RoadTraffic, changes: Sequence[RoadChange]) -> RoadTraffic:
    """Return the traffic with the usual green shares of the signals that the scenario changes."""
    usual = {one.link: one.usual_green_share for one in changes if one.kind == "signal"}
    green = np.array([usual.get(one.link_id, 1.0) for one in part.links])
    return replace(traffic, green_share=green)


def _model_scenario(
    part: RoadPart, traffic: RoadTraffic, changes: Sequence[RoadChange], begin_s: float
) -> TrafficScenario:
    """Return the changes by the numbers of links, and by the simulation's time."""
    from analytics.twin.road_traffic import CapacityDrop  # noqa: PLC0415
    from analytics.twin.traffic_scenario import GreenShare, LaneClosure, TrafficScenario  # noqa: PLC0415

    number = {one.link_id: at for at, one in enumerate(part.links)}
    closures, greens, diversions, drops = [], [], [], list[CapacityDrop]()
    for one in changes:
        link = number[one.link]
        from_s = begin_s + one.start_s
        to_s = from_s + one.duration_s
        if one.kind == "signal":
            greens.append(GreenShare(link, one.amount))
        elif one.kind == "lane_closure":
            if one.amount > traffic.lanes[link]:
                raise TwinModelError(
                    f"closure of {one.amount:g} lanes of {one.link!r}: it has {traffic.lanes[link]:g}"
                )
            closures.append(LaneClosure(link, one.amount, from_s, to_s))
        elif one.kind == "road_rain":
            factors = (1 - road_rain.lost_capacity(one.amount), 1 - road_rain.lost_speed(one.amount))
            if factors != (1.0, 1.0):  # on all roads of the part
                drops += [CapacityDrop(at, from_s, to_s, *factors) for at in range(traffic.n_links)]
        elif one.kind == "road_closure":
            closures.append(LaneClosure(link, float(traffic.lanes[link]), from_s, to_s))
            diversions += _diversions(traffic, link, None, 1.0, from_s, to_s)
        else:
            to_link = None if one.to_link is None else number[one.to_link]
            found = _diversions(traffic, link, to_link, one.amount, from_s, to_s)
            if not found:
                raise TwinModelError(
                    f"diversion from {one.link!r}: no link before it leads elsewhere; close a lane instead"
                )
            diversions += found
    return TrafficScenario(tuple(closures), tuple(diversions), tuple(greens), tuple(drops))


def _diversions(  # noqa: PLR0917 - one diversion
    traffic: RoadTraffic, link: int, to_link: int | None, share: float, from_s: float, to_s: float
) -> list[Diversion]:
    """Return what takes a share of a link's traffic to others at its beginning, in proportion."""
    from analytics.twin.traffic_scenario import Diversion  # noqa: PLC0415

    mean = traffic.shares.mean(axis=0)
    found = list[Diversion]()
    for before in traffic.from_link[traffic.to_link == link]:
        others = np.flatnonzero((traffic.from_link == before) & (traffic.to_link != link))
        if to_link is not None:
            others = others[traffic.to_link[others] == to_link]
        if not len(others):
            continue
        weight = mean[others] if mean[others].sum() > 0 else np.ones(len(others))
        left = 1.0
        for at, part in zip(others, share * weight / weight.sum(), strict=True):
            if part > 0:
                taken = min(float(part) / left, 1.0)
                found.append(Diversion(int(before), link, int(traffic.to_link[at]), taken, from_s, to_s))
                left = max(left - float(part), 1e-12)
    return found


def _kept(run: TrafficRun) -> slice:
    """Return the intervals after the warm-up, by their ends."""
    return slice(1 + int(WARM_UP_HOURS * road_model.HOUR_S / REPORT_S), len(run.time_s))


def _delay_veh_h(comparison: Comparison) -> Floats:
    """Return the time on and before each link with the scenario beyond that without, (n_links,) [vehicle h].

    In sum it is the delay of all vehicles, longer ways included.
    """
    kept = _kept(comparison.base)
    base, changed = (one.vehicles + one.waiting for one in (comparison.base, comparison.changed))
    more = changed[kept] - base[kept]
    delay: Floats = more.sum(axis=0) * REPORT_S / road_model.HOUR_S
    return delay


def _roads(found: RoadResult, spread_per_s: Floats, named: Sequence[str]) -> list[dict[str, Any]]:
    """Return the links that a scenario alters, the most delayed ones first, with speed, flow and queue."""
    from analytics.twin.fundamental_diagram import congestion_level  # noqa: PLC0415

    base, changed = found.comparison.base, found.comparison.changed
    ends = _kept(base)
    between = slice(ends.start - 1, None)
    values = {}
    for prefix, run in (("base_", base), ("", changed)):
        values[f"{prefix}flow_veh_h"] = 3600 * run.flow_per_s[between]
        values[f"{prefix}speed_km_h"] = 3.6 * run.speed_m_s[between]
        values[f"{prefix}queue_veh"] = run.queue[ends]
    least = {prefix: values[f"{prefix}speed_km_h"].min(axis=0) for prefix in ("base_", "")}
    level = {prefix: congestion_level(one, 3.6 * base.free_speed_m_s) for prefix, one in least.items()}
    altered_flow = np.abs(values["flow_veh_h"] - values["base_flow_veh_h"]).max(axis=0)
    altered_queue = np.abs(values["queue_veh"] - values["base_queue_veh"]).max(axis=0)
    is_altered = altered_queue >= ALTERED_VEH
    is_altered |= altered_flow >= ALTERED_SHARE * 3600 * found.traffic.diagram.capacity_per_s
    is_altered |= np.array([one.link_id in named for one in found.part.links])
    order = np.lexsort((-altered_flow, -np.abs(found.delay_veh_h)))
    positions = {one.node_id: [one.lon, one.lat] for one in found.part.nodes}
    roads = list[dict[str, Any]]()
    for at in order[is_altered[order]][:MAX_ROADS].tolist():
        link = found.part.links[at]
        en, zh = reach_names(found.part, at)
        roads.append(
            {
                "link_id": link.link_id,
                "en": en,
                "zh": zh,
                "coordinates": [list(one) for one in link.coordinates]
                or [positions[link.from_node], positions[link.to_node]],
                "lanes": float(found.traffic.lanes[at]),
                "capacity_veh_h": 3600 * float(found.traffic.diagram.capacity_per_s[at]),
                "flow_spread_veh_h": 3600 * float(spread_per_s[at]),
                "delay_veh_h": float(found.delay_veh_h[at]),
                "base_level": int(level["base_"][at]),
                "level": int(level[""][at]),
                **{name: np.round(one[:, at], 1).tolist() for name, one in values.items()},
            }
        )
    return roads
