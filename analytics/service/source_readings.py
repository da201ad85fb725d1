"""Reads what the sensors of a river measured above what was expected, as a trace of a release uses it."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.service import river_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.twin.water_response import FlowHistory

    Floats = NDArray[np.float64]

DETECTION_SPREADS, LEAST_NOISE_SHARE = 3.0, 0.05
LEAST_NOISE = 0.02  # [mg/L]
MAX_SENSORS = 12
LEAST_FLOW_SHARE = 0.01
"""Of the modelled flow of an outfall: without any flow its reading would be free of noise."""


class SensorRows(NamedTuple):
    """Observations: node and step of each, what was read above the expected value, and its noise."""

    node: NDArray[np.intp]
    step: NDArray[np.intp]
    value: Floats
    noise: Floats


def sensor_rows(
    part: river_model.RiverPart,
    sensor_series: dict[str, int],
    read: river_model.ReadSeries,
    begin_s: float,
    n_steps: int,
) -> SensorRows | None:
    """Return the last reading of every step at every sensor, less its expected value; None without one."""
    parts = []
    for number, node in enumerate(part.nodes):
        if node.site_id not in sensor_series:
            continue
        rows = read(sensor_series[node.site_id], begin_s, begin_s + n_steps * river_model.STEP_S)
        rows = rows[np.isfinite(rows["value"]) & np.isfinite(rows["expected"])]
        if not len(rows):
            continue
        step = ((rows["time_us"] / 1e6 - begin_s) // river_model.STEP_S).astype(np.intp)
        last = np.flatnonzero(np.append(np.diff(step) > 0, True))
        excess = (rows["value"] - rows["expected"])[last]
        noise = np.maximum(rows["spread"][last], LEAST_NOISE)
        noise = np.hypot(noise, LEAST_NOISE_SHARE * np.maximum(excess, 0))
        parts.append(SensorRows(np.full(len(last), number), step[last], excess, noise))
    if not parts:
        return None
    return SensorRows(
        np.concatenate([one.node for one in parts]),
        np.concatenate([one.step for one in parts]),
        np.concatenate([one.value for one in parts]),
        np.concatenate([one.noise for one in parts]),
    )


def as_loads(
    rows: SensorRows,
    part: river_model.RiverPart,
    history: FlowHistory,
    *,
    discharge_series: dict[str, int],
    read: river_model.ReadSeries,
    begin_s: float,
) -> SensorRows:
    """Return the rows with what was read at outfalls as it would be with the flow that the model has there.

    An outfall's flow is assumed, and rises with what is let out. The product of concentration and measured
    discharge is the load that reaches the river; divided by the modelled flow, it is the concentration that
    this load has in the model. Outfalls without a measured discharge are left as they are.

    Parameters
    ----------
    rows : of `sensor_rows`
    part, history : the river, and its flow in the model
    discharge_series : id of the discharge's series of each site that measures one
    read : returns the READING rows of a series between two Unix times [s]
    begin_s : beginning of the first step [s]

    """
    factor = np.ones(len(rows.value))
    reach_m3_s = np.zeros(len(part.links))
    reach_m3_s[history.grid.reach] = history.face_m3_s[0]
    for number in np.unique(rows.node).tolist():
        node = part.nodes[number]
        modelled = sum(
            flow
            for link, flow in zip(part.links, reach_m3_s.tolist(), strict=True)
            if link.from_node == node.node_id
        )
        series_id = discharge_series.get(node.site_id or "")
        if node.kind != "outfall" or series_id is None or modelled <= 0:
            continue
        measured = read(series_id, begin_s, begin_s + history.n_steps * river_model.STEP_S)
        measured = measured[np.isfinite(measured["value"])]
        if len(measured):
            own = rows.node == number
            steps = (measured["time_us"] / 1e6 - begin_s) / river_model.STEP_S
            flow_m3_s = np.interp(rows.step[own] + 1.0, steps, np.maximum(measured["value"], 0))
            factor[own] = np.maximum(flow_m3_s / modelled, LEAST_FLOW_SHARE)
    return rows._replace(value=rows.value * factor, noise=rows.noise * factor)


def nearest_sensors(rows: SensorRows, part: river_model.RiverPart, site_id: str) -> SensorRows:
    """Return the rows of `MAX_SENSORS` sensors: those that detected, then the nearest ones."""
    nodes = np.unique(rows.node)
    if len(nodes) <= MAX_SENSORS:
        return rows
    is_detected = rows.value >= DETECTION_SPREADS * rows.noise
    detected = set(rows.node[is_detected].tolist())
    distance_m = _distances_m(part, next(at for at, one in enumerate(part.nodes) if one.site_id == site_id))
    order = sorted(nodes.tolist(), key=lambda one: (one not in detected, distance_m.get(one, np.inf)))
    kept = np.isin(rows.node, order[:MAX_SENSORS])
    return SensorRows(rows.node[kept], rows.step[kept], rows.value[kept], rows.noise[kept])


def _distances_m(part: river_model.RiverPart, begin: int) -> dict[int, float]:
    """Return the distance of each connected node from one, by number, up and down the river [m]."""
    at = {one.node_id: number for number, one in enumerate(part.nodes)}
    reaches: dict[int, list[tuple[int, float]]] = {}
    for link in part.links:
        tail, head = at[link.from_node], at[link.to_node]
        reaches.setdefault(tail, []).append((head, link.length_m))
        reaches.setdefault(head, []).append((tail, link.length_m))
    found: dict[int, float] = {}
    waiting = [(0.0, begin)]
    while waiting:
        far_m, node = heapq.heappop(waiting)
        if node not in found:
            found[node] = far_m
            for other, length_m in reaches.get(node, []):
                heapq.heappush(waiting, (far_m + length_m, other))
    return found


def at_most(rows: SensorRows, n_rows: int) -> SensorRows:
    """Return no more than about ``n_rows`` rows: non-detects of every k-th step alone, then of all steps."""
    detected = rows.value >= DETECTION_SPREADS * rows.noise
    every = -(-int((~detected).sum()) // max(n_rows - int(detected.sum()), n_rows // 2, 1))
    kept = detected | (rows.step % max(every, 1) == 0)
    every = -(-int(kept.sum()) // max(n_rows, 1))
    kept &= rows.step % max(every, 1) == 0
    return SensorRows(*(column[kept] for column in rows)) if kept.any() else rows
