"""Estimates the departure of every node of a network from its expected value by sensors at some nodes.

Departures are in spreads: zero mean and unit variance where nothing is measured. Along the network they
are correlated as a Gaussian Markov random field (`analytics.twin.correlation_field`) in coordinates that
move with the water: what leaves node i at time t, with clock T_i (travel time to the mouth), is on the
same surface t + T_i as what it becomes downstream. On one surface the correlation is that of the field;
between surfaces it falls off as exp(-difference / correlation time). So a node's estimate is made from
what each sensor upstream measured when the water passed it, and from what each sensor downstream measures
now, aged by the travel time. Nodes are taken by bins of the clock; a road has clock 0 and one bin.

What is of a place alone, and shared with none of its neighbours, has a variance of its own beside that of
the field (`analytics.twin.state_calibration` fits it): a node without a sensor has all of it as uncertainty,
a node with one keeps what its sensor shows of it.

For each bin the posterior precision Q + H' V^-1 H is factorised once (sparse), and its variances are the
exact diagonal of the inverse. Each sensor gives the bin one reading, the nearest to its surface. Exact
for that Gaussian and those readings, except that ageing errors of different sensors count as independent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.errors import AnalyticsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.twin.sparse_inverse import SparsePattern

    Floats = NDArray[np.float64]
    Indices = NDArray[np.intp]

LEAST_CORRELATION = 0.05  # of a reading with what it is used for: older ones add nothing to be measured


class StateEstimationError(AnalyticsError):
    """Sensors or readings do not belong to the network."""


@dataclass(frozen=True, slots=True)
class StateModel:
    """How the departures of one quantity are correlated on one network.

    Attributes
    ----------
    field : along the network, of unit variance
    clock_s : (n,) travel time of the water from each node to its mouth [s]; 0 on roads
    correlation_time_s : in which the correlation between surfaces falls to 1/e [s]
    bin_s : width of the bins of the clock [s]
    own_variance : of what is of each place alone, beside the field's variance of 1 [spreads²]

    """

    field: SparsePattern
    clock_s: Floats
    correlation_time_s: float
    bin_s: float
    own_variance: float = 0.0


class SensorRecord(NamedTuple):
    """Recent departures of m sensors at k times.

    Attributes
    ----------
    node : (m,) of each sensor; a node may have several
    time_s : (k,) ascending [Unix s]
    departure : (k, m) [spreads]; NaN where there is no good reading
    noise : (m,) variance of each sensor's readings, above 0 [spreads²]

    """

    node: Indices
    time_s: Floats
    departure: Floats
    noise: Floats


class FieldEstimate(NamedTuple):
    """Departures of n nodes and m sensors at one time [spreads].

    Attributes
    ----------
    mean, variance : (n,) of each node, given all readings
    others_mean, others_variance : (m,) of each sensor's reading, given all others; NaN without a reading

    """

    mean: Floats
    variance: Floats
    others_mean: Floats
    others_variance: Floats


class AgedReadings(NamedTuple):
    """The reading of each sensor for one surface, as an observation of the departure there.

    Attributes
    ----------
    sensor : (p,) index of the sensors that have one
    departure, noise : (p,) value and variance, both after ageing

    """

    sensor: Indices
    departure: Floats
    noise: Floats


def estimate_state(model: StateModel, record: SensorRecord, at_s: float) -> FieldEstimate:
    """Return the departure of every node at a time, from readings until then.

    Raises
    ------
    StateEstimationError
        If a sensor's node does not exist, its noise is not above 0, or the shapes differ.

    """
    _check(model, record)
    n, m = model.field.n, len(record.node)
    mean, variance = np.zeros(n), np.full(n, 1 + model.own_variance)
    others_mean, others_variance = np.full(m, np.nan), np.full(m, np.nan)
    until = int(np.searchsorted(record.time_s, at_s, side="right"))
    bins = np.round(model.clock_s / model.bin_s).astype(np.int64)
    for number in np.unique(bins):
        readings = aged_readings(model, record, until, at_s + number * model.bin_s)
        if not len(readings.sensor):
            continue
        here = bins == number
        found_mean, found_variance = _condition(model.field, record.node[readings.sensor], readings)
        mean[here], variance[here] = (
            one[here] for one in _with_own(model, record.node, readings, found_mean, found_variance)
        )
        own = here[record.node[readings.sensor]]
        sensor, node = readings.sensor[own], record.node[readings.sensor[own]]
        rest = np.maximum(1 - found_variance[node] / readings.noise[own], 1e-9)  # without its own information
        others_mean[sensor] = readings.departure[own] - (readings.departure[own] - found_mean[node]) / rest
        others_variance[sensor] = readings.noise[own] / rest
    return FieldEstimate(mean, variance, others_mean, others_variance)


def aged_readings(model: StateModel, record: SensorRecord, until: int, surface_s: float) -> AgedReadings:
    """Return each sensor's nearest reading to a surface, among the first ``until`` times.

    A reading y at a difference d from the surface is y = r x + e with r = exp(-d / correlation time) and
    the variance (1 - r²) (1 + own variance) + noise of e, so y / r observes x: the field and its own part.
    """
    if not until:
        return AgedReadings(np.empty(0, np.intp), np.empty(0), np.empty(0))
    wanted_s = surface_s - model.clock_s[record.node]
    difference_s = np.abs(record.time_s[:until, None] - wanted_s)
    difference_s[np.isnan(record.departure[:until])] = np.inf
    nearest = difference_s.argmin(axis=0)
    sensors = np.arange(len(record.node))
    correlation = np.exp(-difference_s[nearest, sensors] / model.correlation_time_s)
    used = np.flatnonzero(correlation >= LEAST_CORRELATION)
    correlation = correlation[used]
    return AgedReadings(
        used,
        record.departure[nearest[used], used] / correlation,
        model.own_variance
        + ((1 - correlation**2) * (1 + model.own_variance) + record.noise[used]) / correlation**2,
    )


def _with_own(
    model: StateModel, node: Indices, readings: AgedReadings, mean: Floats, variance: Floats
) -> tuple[Floats, Floats]:
    """Return mean and variance of the departures, two (n,), from those of the field alone.

    Of a reading's difference from the field the share own variance / (variance of the difference) is the
    place's own. Of several sensors at a node, the one with the greatest share counts.
    """
    share, shown = np.zeros(len(mean)), mean.copy()
    of_sensor = model.own_variance / readings.noise
    order = np.argsort(of_sensor)
    at = node[readings.sensor[order]]
    share[at], shown[at] = of_sensor[order], readings.departure[order]
    return mean + share * (shown - mean), (1 - share) ** 2 * variance + model.own_variance * (1 - share)


def _condition(field: SparsePattern, node: Indices, readings: AgedReadings) -> tuple[Floats, Floats]:
    values = field.values.copy()
    values[field.diagonal] += np.bincount(node, 1 / readings.noise, field.n)
    factor = field.factorise(values)
    right = np.bincount(node, readings.departure / readings.noise, field.n).astype(np.float64)
    return factor.solve(right), factor.inverse_diagonal()


def _check(model: StateModel, record: SensorRecord) -> None:
    n, shape = model.field.n, (len(record.time_s), len(record.node))
    if record.departure.shape != shape or len(record.noise) != shape[1] or len(model.clock_s) != n:
        raise StateEstimationError(
            f"departures have shape {record.departure.shape} for {shape[0]} times and {shape[1]} sensors with"
            f" {len(record.noise)} noises; the clock has {len(model.clock_s)} of {n} nodes: give one of each"
        )
    wrong = (record.node < 0) | (record.node >= n) | ~(record.noise > 0) | ~np.isfinite(record.noise)
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise StateEstimationError(
            f"sensor {at} is at node {record.node[at]} with noise {record.noise[at]:g}: give a node from 0 to"
            f" {n - 1}, and a finite variance above 0"
        )
