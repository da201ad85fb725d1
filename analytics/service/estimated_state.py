"""Estimates one quantity at every node and link of its network at a time, with a standard deviation.

Departures from the expected values of the judge are estimated by `analytics.twin.state_estimation`, with the
correlations of `analytics.service.state_inputs`, fitted to the sensors by `analytics.twin.state_calibration`.
Where a node has no expected value of its own, that and the spread are interpolated by the same field, and the
variance of the interpolation is added.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from analytics.errors import TwinModelError
from analytics.service import missing_results
from analytics.service.missing_results import MissingResult  # noqa: TC001 - msgspec resolves the annotation
from analytics.service.state_inputs import DEFAULTS, read_sensors, state_model
from edge.wire.quantities import QUANTITIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from analytics.service.state_inputs import NetworkDefaults, NodeSensors
    from analytics.twin.state_estimation import StateModel
    from ingest_service.storage.contract.models import Directory, Link, Node
    from ingest_service.storage.contract.state_estimates import ForwardedEstimate
    from ingest_service.storage.contract.store import Reader

    Floats = NDArray[np.float64]
    Indices = NDArray[np.intp]

MAX_NODES, MAX_SENSORS = 50_000, 2000
SMALL, MAX_FITTED_TIMES = 2000, 4  # nodes, up to which the model is fitted to so many times of the window
MIN_SENSORS = 3  # with an expected value: how much it differs between sites is unknown from fewer
NETWORK_OF_DOMAIN: dict[str, Literal["river", "road"]] = {"water": "river", "traffic": "road"}


class NodeEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """A quantity at a node; measured, expected, quality and age are of its newest reading in the window.

    ``source`` is measured where that reading is good and fresh, else estimated, or none without an estimate.
    """

    node_id: str
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
    estimated: float | None
    deviation: float | None


class EstimatedState(msgspec.Struct, frozen=True, kw_only=True):
    """One quantity on all nodes and links of its network; ``missing`` is why some have no estimate."""

    at_s: float
    quantity: str
    network: Literal["river", "road"]
    nodes: list[NodeEstimate]
    links: list[LinkEstimate]
    missing: MissingResult | None = None


def estimate_quantity(directory: Directory, reader: Reader, quantity: str, at_s: float) -> EstimatedState:
    """Return a quantity at every node and link of the network that it belongs to.

    Parameters
    ----------
    directory : of the areas that may be read
    reader : of the same areas
    quantity : of `QUANTITIES`
    at_s : time of the state; later readings are not used [Unix s]

    Raises
    ------
    TwinModelError
        If the quantity is of no network, or there are too many nodes or sensors.

    """
    network = _network_of(quantity)
    nodes = [one for one in directory.nodes if one.network == network]
    links = [one for one in directory.links if one.network == network]
    at = {node.node_id: number for number, node in enumerate(nodes)}
    node_of_site = {node.site_id: at[node.node_id] for node in nodes if node.site_id}
    series = [one for one in directory.series if one.quantity == quantity and one.site_id in node_of_site]
    if len(nodes) > MAX_NODES or len(series) > MAX_SENSORS:
        raise TwinModelError(
            f"the {network} network has {len(nodes)} nodes and {len(series)} sensors of {quantity}, of which"
            f" {MAX_NODES} and {MAX_SENSORS} at most can be estimated at once: use a key of fewer areas"
        )
    sensors = read_sensors(reader, series, node_of_site, DEFAULTS[network], at_s)
    value, deviation = np.full(len(nodes), np.nan), np.full(len(nodes), np.nan)
    is_expected = np.isfinite(sensors.expected) | np.isfinite(sensors.earlier)
    if is_expected.any():
        model = state_model(len(nodes), links, at, network)
        kinds = [one.kind for one in nodes]
        value, deviation = _estimates(model, sensors, kinds, at_s, DEFAULTS[network])
        value = np.clip(value, QUANTITIES[quantity].low, QUANTITIES[quantity].high)
    estimates = [_node_estimate(*one) for one in zip(nodes, value, deviation, strict=True)]
    _add_newest(estimates, sensors, at_s)
    return EstimatedState(
        at_s=at_s,
        quantity=quantity,
        network=network,
        nodes=estimates,
        links=[_link_estimate(one, at, value, deviation) for one in links],
        missing=_missing(estimates, len(series), int(is_expected.sum())),
    )


def _missing(estimates: Sequence[NodeEstimate], n_sensors: int, n_expected: int) -> MissingResult | None:
    """Return why nodes have no estimate; None where each has one."""
    if not estimates:
        return missing_results.NO_NETWORK
    if all(one.estimated is not None for one in estimates):
        return None
    if not n_sensors:
        return missing_results.NO_SENSORS
    return (
        missing_results.too_few_sensors(n_expected, MIN_SENSORS)
        if n_expected
        else missing_results.NO_EXPECTED
    )


def with_forwarded(
    state: EstimatedState, links: Sequence[Link], forwarded: Sequence[ForwardedEstimate]
) -> EstimatedState:
    """Return a state of now with what towns estimated, in place of this platform's estimates at their nodes.

    Towns forward estimates of quantities of which this platform lacks readings (docs/federation.md).

    Parameters
    ----------
    links : with those of the network

    """
    if not forwarded:
        return state
    by_node = {one.node_id: one for one in forwarded}
    nodes = [_of_town(one, by_node.get(one.node_id), state.at_s) for one in state.nodes]
    at = {one.node_id: number for number, one in enumerate(nodes)}
    value, deviation = (
        np.array([np.nan if getattr(one, name) is None else getattr(one, name) for one in nodes], float)
        for name in ("estimated", "deviation")
    )
    of_network = [one for one in links if one.network == state.network]
    return msgspec.structs.replace(
        state,
        nodes=nodes,
        links=[_link_estimate(one, at, value, deviation) for one in of_network],
        missing=state.missing if any(one.estimated is None for one in nodes) else None,
    )


def _of_town(own: NodeEstimate, found: ForwardedEstimate | None, at_s: float) -> NodeEstimate:
    """Return the estimate of a node; without a reading, its age is that of the estimate."""
    if found is None:
        return own
    known_s = found.at_s if found.measured_s is None else found.measured_s
    return NodeEstimate(
        node_id=own.node_id,
        site_id=own.site_id,
        source=found.source,
        measured=found.measured,
        expected=found.expected,
        quality=found.quality,
        age_s=round(max(0.0, at_s - known_s), 3),
        estimated=found.estimated,
        deviation=found.deviation,
    )


def _network_of(quantity: str) -> Literal["river", "road"]:
    network = NETWORK_OF_DOMAIN.get(QUANTITIES[quantity].domain)
    if network is None:
        of_networks = ", ".join(name for name, one in QUANTITIES.items() if one.domain in NETWORK_OF_DOMAIN)
        raise TwinModelError(f"{quantity} is measured on no network: give one of {of_networks}")
    return network


def _estimates(
    model: StateModel, sensors: NodeSensors, kind: Sequence[str], at_s: float, defaults: NetworkDefaults
) -> tuple[Floats, Floats]:
    """Return value and standard deviation of each node, two (n,); NaN where there is no estimate.

    The deviation is that of a reading there, and where a good one was just measured, of the state.
    """
    from analytics.twin.state_calibration import fit_to_sensors  # noqa: PLC0415 - scipy: 25 MB
    from analytics.twin.state_estimation import SensorRecord, estimate_state  # noqa: PLC0415 - likewise

    level, level_variance, spread = _levels(model, sensors, kind, at_s, defaults.noise)
    record = SensorRecord(
        sensors.node, sensors.time_s, sensors.departure, np.full(len(sensors.node), defaults.noise)
    )
    n_times = MAX_FITTED_TIMES if model.field.n <= SMALL else 1
    step_s = defaults.window_s / MAX_FITTED_TIMES
    fitted = fit_to_sensors(model, record, (at_s - step_s * np.arange(n_times)).tolist(), step_s)
    state = estimate_state(fitted.model, fitted.record, at_s)
    scale, noise = (
        np.full(len(level), fitted.scale),
        np.full(len(level), fitted.record.noise.max(initial=0.0)),
    )
    scale[sensors.node], noise[sensors.node[sensors.is_measured]] = fitted.scale_at_sensors, 0.0
    deviation = np.sqrt(level_variance + (spread * scale) ** 2 * (state.variance + noise))
    return level + spread * state.mean, np.where(np.isnan(level), np.nan, deviation)


def _levels(
    model: StateModel, sensors: NodeSensors, kind: Sequence[str], at_s: float, noise: float
) -> tuple[Floats, Floats, Floats]:
    """Return expected value, its variance and the spread of each node, three (n,); NaN from too few sensors.

    They are those of a node's sensor, or interpolated: around the mean of its kind, as what an outfall reads
    differs from a river in general.
    """
    from analytics.twin.state_calibration import fit_to_sensors  # noqa: PLC0415 - scipy: 25 MB
    from analytics.twin.state_estimation import SensorRecord, estimate_state  # noqa: PLC0415 - likewise

    now_expected, now_spread, own_variance = _expected_of_sensors(sensors)
    columns = np.flatnonzero(np.isfinite(now_expected))
    node, expected, spread = sensors.node[columns], now_expected[columns], now_spread[columns]
    usual = _usual_levels(kind, node, expected)
    difference = expected - usual[node]
    width, typical = max(float(difference.std()), float(spread.mean())), float(np.log(spread).mean())
    still = dataclasses.replace(model, clock_s=np.zeros_like(model.clock_s))
    now, noises = np.array([at_s]), np.full(len(node), noise)
    record = SensorRecord(node, now, (difference / width)[None], noises)
    fitted = fit_to_sensors(still, record, [at_s])
    levels = estimate_state(fitted.model, record, at_s)
    scales = estimate_state(still, SensorRecord(node, now, (np.log(spread) - typical)[None], noises), at_s)
    level, variance = usual + width * levels.mean, (width * fitted.scale) ** 2 * levels.variance
    if len(node) < MIN_SENSORS:
        level[:] = np.nan
    node_spread = np.exp(typical + scales.mean)
    level[node], variance[node], node_spread[node] = expected, own_variance[columns], spread
    return level, variance, node_spread


def _expected_of_sensors(sensors: NodeSensors) -> tuple[Floats, Floats, Floats]:
    """Return expected value, spread and variance of the first at each sensor, three (m,); NaN without any.

    A silent sensor has its earlier ones, changed as those of the others have changed since in the mean.
    """
    is_fresh = np.isfinite(sensors.expected)
    change = (sensors.expected - sensors.earlier)[is_fresh & np.isfinite(sensors.earlier)]
    mean, variance = (change.mean(), change.var()) if len(change) >= MIN_SENSORS else (0.0, 0.0)
    return (
        np.where(is_fresh, sensors.expected, sensors.earlier + mean),
        np.where(is_fresh, sensors.spread, sensors.earlier_spread),
        np.where(is_fresh, 0.0, variance),
    )


def _usual_levels(kind: Sequence[str], node: Indices, expected: Floats) -> Floats:
    """Return the mean expected value of the sensors at nodes of each node's kind, or of all if few, (n,)."""
    is_outfall = np.array([one == "outfall" for one in kind])
    usual = np.full(len(kind), expected.mean())
    for group in (is_outfall, ~is_outfall):
        found = expected[group[node]]
        if len(found) >= MIN_SENSORS:
            usual[group] = found.mean()
    return usual


def _node_estimate(node: Node, value: float, deviation: float) -> NodeEstimate:
    return NodeEstimate(
        node_id=node.node_id,
        site_id=node.site_id,
        source="estimated" if np.isfinite(value) else "none",
        estimated=_number(value),
        deviation=_number(deviation),
    )


def _add_newest(estimates: list[NodeEstimate], sensors: NodeSensors, at_s: float) -> None:
    """Add the newest reading of each sensor to the estimate of its node."""
    for node, newest, is_measured in zip(sensors.node, sensors.newest, sensors.is_measured, strict=True):
        for row in newest:  # one or none
            estimates[node] = msgspec.structs.replace(
                estimates[node],
                source="measured" if is_measured else estimates[node].source,
                measured=_number(row["value"]),
                expected=_number(row["expected"]),
                quality=int(row["quality"]),
                age_s=round(at_s - int(row["time_us"]) / 1e6, 3),
            )


def _link_estimate(link: Link, at: dict[str, int], value: Floats, deviation: Floats) -> LinkEstimate:
    ends = [at[link.from_node], at[link.to_node]]
    return LinkEstimate(
        link_id=link.link_id,
        estimated=_number(value[ends].mean()),
        deviation=_number(deviation[ends].mean()),
    )


def _number(value: float) -> float | None:
    """Return a number with five digits; None for NaN."""
    return float(f"{value:.5g}") if np.isfinite(value) else None
