"""Builds road traffic from an enrolled road network and what its detectors recorded.

A detector counts what enters its node, all directions together. Hours that are recorded count as they were;
for others the mean of the same hour of the `DAYS` days before is taken. A detector between two links
calibrates their diagrams: the free speed from its record, capacity and wave speed only where that has enough
congestion (`fundamental_diagram.calibrate`), since the flows of an uncongested road don't show its capacity.
Otherwise free speed and capacity of a lane are the enrolled ones; a lane without one has `LANE_PER_S`.
Demand and turn shares: `analytics.twin.road_demand`. Signals aren't enrolled: a scenario that changes one
brings its usual green.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.errors import TwinModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from analytics.twin.fundamental_diagram import FundamentalDiagram
    from analytics.twin.road_demand import NodeCounts, RoadLayout
    from analytics.twin.road_traffic import RoadTraffic
    from ingest_service.storage.contract.models import Bucket, Directory, Link, Node

    Floats = NDArray[np.float64]
    Indices = NDArray[np.intp]
    ReadBuckets = Callable[[int, float, float, int], list[Bucket]]

DAYS, DAY_S, HOUR_S, QUARTER_S = 7, 86_400.0, 3600.0, 900
LANE_PER_S = 0.5  # 1,800 vehicles/h: the usual saturation flow of a lane
MIN_RECORD = 96  # quarters of an hour with flow and speed, a day, that calibrate a free speed
ASSUMED_SPREAD = 0.3  # of the demand, from day to day, where it isn't recorded
MAX_LINKS = 2500


class RoadPart(NamedTuple):
    """Nodes and links of a connected part of the road network."""

    nodes: list[Node]
    links: list[Link]


class RoadRecord(NamedTuple):
    """What the detectors of a part recorded.

    Attributes
    ----------
    counts : in each hour of the scenario
    diagrams : of the links that a detector calibrates: free speed, capacity of a lane, wave speed
    recorded_share : of the hours and detectors, those that were recorded at the scenario's own time
    spread_share : standard deviation of the counts of the same hour, from day to day, as a share

    """

    counts: NodeCounts
    diagrams: dict[int, tuple[float, float | None, float | None]]
    recorded_share: float
    spread_share: float


def part_of(directory: Directory, link_ids: Iterable[str]) -> RoadPart:
    """Return the connected parts of the road network of links. Raises `TwinModelError` for others."""
    roads = {one.link_id: one for one in directory.links if one.network == "road"}
    neighbours: dict[str, list[str]] = {}
    for one in roads.values():
        neighbours.setdefault(one.from_node, []).append(one.to_node)
        neighbours.setdefault(one.to_node, []).append(one.from_node)
    waiting, reached = [], set[str]()
    for link_id in link_ids:
        if link_id not in roads:
            raise TwinModelError(f"{link_id!r}: no such road link; see GET /v1/twin/network")
        waiting.append(roads[link_id].from_node)
    while waiting:
        one_id = waiting.pop()
        if one_id not in reached:
            reached.add(one_id)
            waiting += neighbours[one_id]
    links = [one for one in roads.values() if one.from_node in reached]
    if len(links) > MAX_LINKS:
        raise TwinModelError(f"the roads have {len(links):,} links there: {MAX_LINKS:,} at most are computed")
    return RoadPart([one for one in directory.nodes if one.node_id in reached], links)


def read_record(
    directory: Directory, part: RoadPart, read: ReadBuckets, *, at_s: float, hours: int, now_s: float
) -> RoadRecord:
    """Return the counts for each hour of a scenario, and the diagrams that the detectors calibrate.

    Parameters
    ----------
    read : returns the buckets of a series between two Unix times, of a width [s]
    at_s, hours : begin of the scenario, Unix time [s], and its length [h]
    now_s : Unix time [s]; what is later isn't recorded

    """
    from analytics.twin.road_demand import NodeCounts  # noqa: PLC0415 - scipy, on the first use: 25 MB

    series = {(one.site_id, one.quantity): one.series_id for one in directory.series}
    node: list[int] = []
    flows: list[Floats] = []
    spreads: list[float] = []
    diagrams: dict[int, tuple[float, float | None, float | None]] = {}
    recorded = 0
    until_s = min(at_s + hours * HOUR_S, now_s)
    for number, one in enumerate(part.nodes):
        flow_id = series.get((one.site_id or "", "traffic_flow"))
        if flow_id is None:
            continue
        flow = _quarters(read(flow_id, at_s - DAYS * DAY_S, until_s, QUARTER_S))
        found = _hourly(flow, at_s, hours)
        if found is None:
            continue
        node.append(number)
        flows.append(found[0] / HOUR_S)
        spreads.append(found[1] / HOUR_S)
        recorded += found[2]
        speed_id = series.get((one.site_id or "", "traffic_speed"))
        if speed_id is not None:
            speed = _quarters(read(speed_id, at_s - DAYS * DAY_S, min(at_s, now_s), QUARTER_S))
            diagrams |= _calibrated(part, number, flow, speed)
    flow_per_s = np.array(flows).reshape(len(node), hours).T
    spread_per_s = np.array(spreads)
    total = float(flow_per_s.mean(axis=0).sum()) if node else 0.0
    return RoadRecord(
        NodeCounts(np.array(node, np.intp), flow_per_s, spread_per_s),
        diagrams,
        recorded / (len(node) * hours) if node else 0.0,
        min(float(spread_per_s.sum()) / total, 0.7) if total > 0 else ASSUMED_SPREAD,
    )


def traffic_of(part: RoadPart, record: RoadRecord, *, warm_up_hours: int = 1) -> tuple[RoadTraffic, Floats]:
    """Return the traffic of a part by the quarter of an hour, and the spread of each link's flow, (n_links,).

    The first hour is put ahead as often as given: there the empty network fills. The flows are those of
    `analytics.twin.road_demand`, their spread is in vehicles/s.
    """
    from analytics.twin.road_demand import link_flows, turn_shares  # noqa: PLC0415 - see above
    from analytics.twin.road_traffic import RoadTraffic  # noqa: PLC0415

    layout, diagram = _layout(part, record)
    flows = link_flows(layout, record.counts)
    turns = turn_shares(layout, flows.flow_per_s)
    hour = np.repeat(np.r_[[0] * warm_up_hours, np.arange(len(flows.flow_per_s))], 4)
    traffic = RoadTraffic(
        tail=layout.tail,
        head=layout.head,
        length_m=np.array([one.length_m for one in part.links]),
        lanes=np.array([float(one.lanes or 1) for one in part.links]),
        diagram=diagram,
        from_link=turns.from_link,
        to_link=turns.to_link,
        shares=turns.shares[hour],
        demand_per_s=turns.demand_per_s[hour],
        period_s=float(QUARTER_S),
        green_share=np.ones(len(part.links)),
    )
    return traffic, flows.spread_per_s


def _layout(part: RoadPart, record: RoadRecord) -> tuple[RoadLayout, FundamentalDiagram]:
    from analytics.twin.fundamental_diagram import WAVE_SPEED_M_S, FundamentalDiagram  # noqa: PLC0415
    from analytics.twin.road_demand import RoadLayout  # noqa: PLC0415 - see above

    at = {one.node_id: number for number, one in enumerate(part.nodes)}
    free, capacity, wave = list[float](), list[float](), list[float]()
    for number, link in enumerate(part.links):
        found = record.diagrams.get(number, (link.speed_m_s, None, None))
        free.append(found[0])
        enrolled = LANE_PER_S if link.lane_capacity_veh_h is None else link.lane_capacity_veh_h / HOUR_S
        capacity.append((link.lanes or 1) * (found[1] or enrolled))
        wave.append(found[2] or WAVE_SPEED_M_S)
    diagram = FundamentalDiagram.of_capacity(np.array(free), np.array(capacity), np.array(wave))
    tail = np.array([at[one.from_node] for one in part.links], np.intp)
    head = np.array([at[one.to_node] for one in part.links], np.intp)
    return RoadLayout(len(part.nodes), tail, head, diagram.capacity_per_s), diagram


def _quarters(buckets: Iterable[Bucket]) -> dict[int, float]:
    """Return means by the number of the quarter of an hour since 1970, where it has good readings."""
    return {round(one.time_s / QUARTER_S): one.mean for one in buckets if one.good and one.mean is not None}


def _hourly(flow: dict[int, float], at_s: float, hours: int) -> tuple[Floats, float, int] | None:
    """Return counts of each hour, their spread from day to day, and how many were recorded; None without any.

    Flows are those of the series [vehicles/h].
    """
    sums: dict[int, list[float]] = {}
    for quarter, value in flow.items():
        sums.setdefault(quarter // 4, []).append(value)
    mean = {hour: sum(values) / len(values) for hour, values in sums.items()}
    if not mean:
        return None
    count, spreads, recorded = np.full(hours, np.nan), list[float](), 0
    first = int((at_s + HOUR_S / 2) // HOUR_S)
    for k in range(hours):
        past = [mean[hour] for day in range(1, DAYS + 4) if (hour := first + k - 24 * day) in mean]
        if first + k in mean:
            count[k] = mean[first + k]
            recorded += 1
        elif past:
            count[k] = sum(past) / len(past)
        if len(past) > 1:
            spreads.append(float(np.std(past, ddof=1)))
    typical = float(np.mean(list(mean.values())))
    spread = float(np.mean(spreads)) if spreads else ASSUMED_SPREAD * typical
    return np.where(np.isfinite(count), count, typical), spread, recorded


def _calibrated(
    part: RoadPart, node: int, flow: dict[int, float], speed: dict[int, float]
) -> dict[int, tuple[float, float | None, float | None]]:
    """Return the diagrams of the links at a detector between two links; none of too short a record."""
    from analytics.twin.fundamental_diagram import (  # noqa: PLC0415 - see above
        CONGESTED,
        MIN_CONGESTED,
        calibrate,
    )

    node_id = part.nodes[node].node_id
    into = [number for number, one in enumerate(part.links) if one.to_node == node_id]
    out_of = [number for number, one in enumerate(part.links) if one.from_node == node_id]
    both = sorted(flow.keys() & speed.keys())
    if len(into) > 1 or len(out_of) > 1 or len(both) < MIN_RECORD:
        return {}
    flow_per_s = np.array([[flow[one] / HOUR_S] for one in both])
    speed_m_s = np.array([[speed[one] / 3.6] for one in both])
    if not (speed_m_s > 0).any():
        return {}
    diagram = calibrate(flow_per_s, speed_m_s)
    free, capacity = float(diagram.free_speed_m_s[0]), float(diagram.capacity_per_s[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        is_congested = flow_per_s / speed_m_s > CONGESTED * capacity / free
    found: dict[int, tuple[float, float | None, float | None]] = {}
    for number in (*into, *out_of):
        lane = capacity / (part.links[number].lanes or 1)
        # an incident's congestion is no sign of the capacity of the whole road
        is_capacity = int(is_congested.sum()) >= MIN_CONGESTED and lane > LANE_PER_S / 2
        found[number] = (free, lane, float(diagram.wave_speed_m_s[0])) if is_capacity else (free, None, None)
    return found
