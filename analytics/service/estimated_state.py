"""Estimates one quantity at every node and link of the networks at a time, with a standard deviation.

Departures from the expected values of the judge are estimated by `analytics.twin.state_estimation`. Where a
node has no sensor, or its newest reading is stale, expected value and spread are interpolated from the other
sensors by the same field. The correlations are the defaults below, not those of the town's own record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec
import numpy as np

from analytics.core.flags import Flag
from analytics.service.network_neighbours import MIN_SPEED_M_S
from analytics.service.network_state import STALE_INTERVALS
from edge.wire.quantities import QUANTITIES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.twin.state_estimation import StateModel
    from ingest_service.storage.contract.models import Directory, Link, Node, Series
    from ingest_service.storage.contract.store import Reader

    Floats = NDArray[np.float64]
    Indices = NDArray[np.intp]

RIVER_DECAY_S = 24 * 3600.0  # of travel, in which the correlation falls to 1/e
RIVER_CORRELATION_TIME_S, ROAD_CORRELATION_TIME_S = 48 * 3600.0, 1800.0
ROAD_DECAY_M = 2000.0
RIVER_WINDOW_S, ROAD_WINDOW_S = 24 * 3600.0, 3600.0
RIVER_TICK_S, ROAD_TICK_S = 900.0, 300.0
RIVER_NOISE, ROAD_NOISE = 0.01, 0.05  # spreads²
MAX_BINS = 48
READINGS_PER_SERIES = 200_000


class NodeEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """A quantity at a node; measured values are of the newest reading in the window.

    ``source`` is measured where that reading is good and fresh, else estimated, and none without any sensor.
    """

    node_id: str
    network: str
    site_id: str | None
    source: Literal["measured", "estimated", "none"]
    measured: float | None = None
    expected: float | None = None
    quality: int | None = None
    age_s: float | None = None
    estimated: float | None = None
    deviation: float | None = None


class LinkEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """A quantity on a link: the mean of its ends; the deviation is an upper bound."""

    link_id: str
    network: str
    estimated: float | None
    deviation: float | None


class EstimatedState(msgspec.Struct, frozen=True, kw_only=True):
    """One quantity on all nodes and links of its network at a time."""

    at_s: float
    quantity: str
    nodes: list[NodeEstimate]
    links: list[LinkEstimate]


class _Sensors(NamedTuple):
    """Good readings of the sensors on a grid, and the newest reading of each, (m,)."""

    node: Indices
    time_s: Floats
    departure: Floats
    newest: list[NDArray[np.void] | None]
    is_fresh: NDArray[np.bool_]


class _Newest(NamedTuple):
    """The newest reading of a node's sensor (1 READING row), and whether it is good and fresh."""

    row: NDArray[np.void]
    is_fresh: bool
    at_s: float


def estimate_quantity(directory: Directory, reader: Reader, quantity: str, at_s: float) -> EstimatedState:
    """Return a quantity at every node and link of the network that it belongs to.

    Parameters
    ----------
    directory : of the areas that may be read
    reader : of the same areas
    quantity : of `QUANTITIES`
    at_s : time of the state; later readings are not used [Unix s]

    """
    network = "road" if QUANTITIES[quantity].domain == "traffic" else "river"
    nodes = [one for one in directory.nodes if one.network == network]
    links = [one for one in directory.links if one.network == network]
    if not nodes:
        return EstimatedState(at_s=at_s, quantity=quantity, nodes=[], links=[])
    at = {node.node_id: number for number, node in enumerate(nodes)}
    node_of_site = {node.site_id: at[node.node_id] for node in nodes if node.site_id}
    series = [one for one in directory.series if one.quantity == quantity and one.site_id in node_of_site]
    sensors = _read_sensors(reader, series, node_of_site, is_road=network == "road", at_s=at_s)
    value, deviation = np.full(len(nodes), np.nan), np.full(len(nodes), np.nan)
    if sensors.is_fresh.any():
        model = _state_model(nodes, links, at, is_road=network == "road")
        value, deviation = _estimates(model, sensors, at_s, ROAD_NOISE if network == "road" else RIVER_NOISE)
        bounds = QUANTITIES[quantity]
        value = np.clip(value, bounds.low, bounds.high)
    newest = {
        int(node): _Newest(row, bool(is_fresh), at_s)
        for node, row, is_fresh in zip(sensors.node, sensors.newest, sensors.is_fresh, strict=True)
        if row is not None
    }
    ends = [(at[link.from_node], at[link.to_node]) for link in links]
    return EstimatedState(
        at_s=at_s,
        quantity=quantity,
        nodes=[
            _node_estimate(node, newest.get(number), value[number], deviation[number])
            for number, node in enumerate(nodes)
        ],
        links=[
            LinkEstimate(
                link_id=link.link_id,
                network=network,
                estimated=_number(value[list(pair)].mean()),
                deviation=_number(deviation[list(pair)].mean()),
            )
            for link, pair in zip(links, ends, strict=True)
        ],
    )


def _read_sensors(
    reader: Reader, series: list[Series], node_of_site: dict[str | None, int], *, is_road: bool, at_s: float
) -> _Sensors:
    window_s, tick_s = (ROAD_WINDOW_S, ROAD_TICK_S) if is_road else (RIVER_WINDOW_S, RIVER_TICK_S)
    n_ticks = int(window_s / tick_s)
    time_s = at_s - tick_s * np.arange(n_ticks - 1, -1, -1.0)
    departure = np.full((n_ticks, len(series)), np.nan)
    newest: list[NDArray[np.void] | None] = []
    is_fresh = np.zeros(len(series), np.bool_)
    for column, one in enumerate(series):
        rows = reader.readings(one.series_id, at_s - window_s, at_s, limit=READINGS_PER_SERIES)
        newest.append(rows[-1:] if len(rows) else None)
        is_good = (
            (rows["quality"] <= Flag.NOT_EVALUATED) & (rows["spread"] > 0) & np.isfinite(rows["expected"])
        )
        good = rows[is_good]
        tick = ((good["time_us"] / 1e6 - at_s + window_s) / tick_s).astype(np.intp)
        departure[np.clip(tick, 0, n_ticks - 1), column] = (good["value"] - good["expected"]) / good["spread"]
        if len(rows) and is_good[-1]:
            is_fresh[column] = at_s - rows["time_us"][-1] / 1e6 <= STALE_INTERVALS * one.interval_s
    node = np.array([node_of_site[one.site_id] for one in series], np.intp)
    return _Sensors(node, time_s, departure, newest, is_fresh)


def _state_model(nodes: list[Node], links: list[Link], at: dict[str, int], *, is_road: bool) -> StateModel:
    from analytics.twin import correlation_field  # noqa: PLC0415 - scipy, on the first use: 25 MB
    from analytics.twin.state_estimation import StateModel  # noqa: PLC0415

    n = len(nodes)
    tail = np.array([at[link.from_node] for link in links], np.intp)
    head = np.array([at[link.to_node] for link in links], np.intp)
    length_m = np.array([link.length_m for link in links])
    if is_road:
        weight = correlation_field.weight_of_correlation(np.exp(-length_m / ROAD_DECAY_M))
        field = correlation_field.field_of_neighbours(n, tail, head, weight)
        return StateModel(field, np.zeros(n), ROAD_CORRELATION_TIME_S, ROAD_TICK_S)
    travel_s = length_m / np.maximum([link.speed_m_s for link in links], MIN_SPEED_M_S)
    shares = correlation_field.shares_of_inflow(head, np.ones(len(head)))
    field = correlation_field.field_along_flow(n, tail, head, np.exp(-travel_s / RIVER_DECAY_S), shares)
    clock_s = correlation_field.travel_to_mouth(n, tail, head, travel_s)
    return StateModel(field, clock_s, RIVER_CORRELATION_TIME_S, max(RIVER_TICK_S, clock_s.max() / MAX_BINS))


def _estimates(model: StateModel, sensors: _Sensors, at_s: float, noise: float) -> tuple[Floats, Floats]:
    """Return value and standard deviation of each node, two (n,)."""
    from analytics.twin.state_estimation import SensorRecord, estimate_state  # noqa: PLC0415

    fresh = np.flatnonzero(sensors.is_fresh)
    rows = [sensors.newest[one] for one in fresh]
    expected = np.array([float(row["expected"][0]) for row in rows if row is not None])
    spread = np.array([float(row["spread"][0]) for row in rows if row is not None])
    level, width = expected.mean(), max(float(expected.std()), float(spread.mean()))
    record = SensorRecord(sensors.node, sensors.time_s, sensors.departure, np.full(len(sensors.node), noise))
    state = estimate_state(model, record, at_s)
    node, now = sensors.node[fresh], np.array([at_s])
    still = type(model)(model.field, np.zeros_like(model.clock_s), model.correlation_time_s, model.bin_s)
    levels = estimate_state(
        still, SensorRecord(node, now, ((expected - level) / width)[None], np.full(len(node), noise)), at_s
    )
    typical = float(np.log(spread).mean())
    scales = estimate_state(
        still, SensorRecord(node, now, (np.log(spread) - typical)[None], np.full(len(node), noise)), at_s
    )
    node_level, node_spread = level + width * levels.mean, np.exp(typical + scales.mean)
    level_variance = width**2 * levels.variance
    node_level[node], node_spread[node], level_variance[node] = expected, spread, 0.0
    return (
        node_level + node_spread * state.mean,
        np.sqrt(level_variance + node_spread**2 * state.variance),
    )


def _node_estimate(node: Node, newest: _Newest | None, value: float, deviation: float) -> NodeEstimate:
    estimate = NodeEstimate(
        node_id=node.node_id,
        network=node.network,
        site_id=node.site_id,
        source="estimated" if np.isfinite(value) else "none",
        estimated=_number(value),
        deviation=_number(deviation),
    )
    if newest is None:
        return estimate
    row = newest.row
    return msgspec.structs.replace(
        estimate,
        source="measured" if newest.is_fresh else estimate.source,
        measured=_number(row["value"][0]),
        expected=_number(row["expected"][0]),
        quality=int(row["quality"][0]),
        age_s=newest.at_s - int(row["time_us"][0]) / 1e6,
    )


def _number(value: float) -> float | None:
    """Return a number with five digits; None for NaN."""
    return float(f"{value:.5g}") if np.isfinite(value) else None
