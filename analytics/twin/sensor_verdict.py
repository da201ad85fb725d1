"""Compares two explanations of a sensor that departs: its fault, or an event in the flow.

Both are Gaussian hypotheses about the mean departure of each sensor over a window, on the same surfaces
of water (`analytics.twin.state_estimation`): each sensor downstream is read when what passed the
suspected one arrives. Event: the field has a change of unknown size b at the sensor's node, and what of
it arrives at the others, so the covariance is C + b² g g', with g the share that arrives (1 where it
begins). On a river it may also have begun at another sensor upstream: these origins share half of the
prior. Fault: only the sensor's own readings have an error of that size, C + b² e e'. Readings
that are not yet there are left out. Where no other sensor is near enough, or the water has not arrived at
one, both are equal and the probability is the prior.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.sparse import csc_array
from scipy.sparse.linalg import splu

from analytics.errors import AnalyticsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.twin.sparse_inverse import SparsePattern
    from analytics.twin.state_estimation import SensorRecord, StateModel

    Floats = NDArray[np.float64]
    Indices = NDArray[np.intp]

CHANGE_SPREADS = 6.0  # standard deviation of the change, or the error
PRIOR_EVENT = 0.5
MAX_OTHERS = 20
LEAST_CORRELATION = 0.1  # of another sensor with the suspected one: those below add next to no evidence
BOUND = 7.0  # of the evidence [nats]: the tails of a Gaussian are not to be believed beyond it


class SensorVerdictError(AnalyticsError):
    """The suspected sensor has no reading in the window."""


class SensorVerdict(NamedTuple):
    """What explains the departure of a sensor.

    Attributes
    ----------
    event_probability : that the field changed; the rest is a fault of the sensor
    log_ratio : log-likelihood of the event minus that of the fault, bounded [nats]
    others : indices of the sensors that it is compared with

    """

    event_probability: float
    log_ratio: float
    others: list[int]


def explain_departure(
    model: StateModel,
    record: SensorRecord,
    sensor: int,
    from_s: float,
    to_s: float,
    *,
    downstream_share: csc_array | None = None,
    prior_event: float = PRIOR_EVENT,
) -> SensorVerdict:
    """Return how probable an event is, rather than a fault of the sensor.

    Parameters
    ----------
    sensor : index of the suspected sensor in the record
    from_s, to_s : the window of its departure [Unix s]
    downstream_share : (n, n) share of a departure at the column's node that arrives at the row's next
        node downstream; without it (roads) a change spreads as the field is correlated
    prior_event : probability of an event before the evidence, between 0 and 1

    Raises
    ------
    SensorVerdictError
        If the sensor has no reading in the window.

    """
    node = record.node[sensor]
    covariance = _covariance_with(model.field, node)
    means, noise = _window_means(model, record, sensor, from_s, to_s)
    if not np.isfinite(means[sensor]):
        raise SensorVerdictError(
            f"sensor {sensor} at node {node} has no reading from {from_s:.0f} to {to_s:.0f}: choose another"
        )
    nearness = np.where(np.isfinite(means) & (record.node != node), np.abs(covariance[record.node]), 0.0)
    others = np.argsort(-nearness, kind="stable")[:MAX_OTHERS]
    others = others[nearness[others] >= LEAST_CORRELATION]
    if not len(others):
        return SensorVerdict(prior_event, 0.0, [])
    used = np.concatenate([[sensor], others])
    nodes = record.node[used]
    expected = _covariances(model.field, nodes) + np.diag(noise[used])
    changes = covariance[nodes][:, None] if downstream_share is None else _changes(downstream_share, nodes)
    events = np.array([_log_density(means[used], expected, change) for change in changes.T])
    error = _log_density(means[used], expected, np.eye(len(used))[0])
    log_ratio = float(np.clip(np.logaddexp.reduce(events + _log_priors(len(events))) - error, -BOUND, BOUND))
    odds = np.log(prior_event / (1 - prior_event)) + log_ratio
    return SensorVerdict(float(1 / (1 + np.exp(-odds))), log_ratio, others.tolist())


def nearest_sensors(field: SparsePattern, node: int, of_sensors: Indices) -> Indices:
    """Return the indices of the sensors that may be compared with one at a node, the nearest first.

    Parameters
    ----------
    field : of the network
    node : of the suspected sensor
    of_sensors : (m,) node of each sensor; those at the same node are left out

    """
    nearness = np.where(of_sensors != node, np.abs(_covariance_with(field, node)[of_sensors]), 0.0)
    nearest = np.argsort(-nearness, kind="stable")[:MAX_OTHERS]
    found: Indices = nearest[nearness[nearest] >= LEAST_CORRELATION]
    return found


def _window_means(
    model: StateModel, record: SensorRecord, sensor: int, from_s: float, to_s: float
) -> tuple[Floats, Floats]:
    """Return the mean departure of each sensor on the window's surfaces, and its variance, two (m,)."""
    shift_s = model.clock_s[record.node[sensor]] - model.clock_s[record.node]
    time_s = record.time_s[:, None] - shift_s
    chosen = (time_s >= from_s) & (time_s <= to_s) & np.isfinite(record.departure)
    count = chosen.sum(axis=0)
    total = np.where(chosen, record.departure, 0.0).sum(axis=0)
    means = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    return means, record.noise / np.maximum(count, 1)


def _covariance_with(field: SparsePattern, node: int) -> Floats:
    right = np.zeros(field.n)
    right[node] = 1.0
    return field.factorise(field.values).solve(right)


def _covariances(field: SparsePattern, nodes: Indices) -> Floats:
    right = np.zeros((field.n, len(nodes)))
    right[nodes, np.arange(len(nodes))] = 1.0
    return field.factorise(field.values).solve(right)[nodes]


def _log_priors(n_origins: int) -> Floats:
    """Return the logarithms of the priors of the origins: half for the first, half for the others."""
    if n_origins == 1:
        return np.zeros(1)
    logs: Floats = np.log(np.r_[0.5, np.full(n_origins - 1, 0.5 / (n_origins - 1))])
    return logs


def _changes(downstream_share: csc_array, nodes: Indices) -> Floats:
    """Return the share of a change that arrives at each of m nodes, by where it began, (m, origins).

    Origins are the first node, and those of the others from which a change arrives there.
    """
    n = downstream_share.shape[0]
    right = np.zeros((n, len(nodes)))
    right[nodes, np.arange(len(nodes))] = 1.0
    system = csc_array((np.ones(n), (np.arange(n), np.arange(n))), shape=(n, n)) - downstream_share
    arriving: Floats = splu(system.tocsc()).solve(right)[nodes]
    return arriving[:, arriving[0] >= LEAST_CORRELATION]


def _log_density(values: Floats, covariance: Floats, direction: Floats) -> float:
    total = covariance + CHANGE_SPREADS**2 * np.outer(direction, direction)
    factor = np.linalg.cholesky(total)
    return float(-0.5 * np.sum(np.linalg.solve(factor, values) ** 2) - np.log(np.diag(factor)).sum())
