"""Chooses nodes for sensors, one after the other, so that most releases are detected and distinguished.

Releases of one amount at every outfall and at several times are carried through the network. A node *detects*
a release if its concentration reaches the limit of detection there. A node *separates* a release from another
outfall if it detects the release, and none of the other outfall's releases looks alike there: the cosine
between the two concentrations over time, shifted so that their peaks coincide (neither time nor amount of a
release is known beforehand), stays below `ALIKE`. With one outfall, what is detected is distinguished.

The value of a set of sensors is the mean, over all releases, of half for detection and half for the share of
other outfalls from which some sensor of the set separates it. Each further sensor adds at most what it would
have added before (the function is submodular), so the greedy choice reaches at least 1 - 1/e of the best
possible value (G. L. Nemhauser, L. A. Wolsey, M. L. Fisher, Math. Program. 14, 1978). What sensors separate
only together, by the time between their peaks, is not counted: the value is a lower bound. Sensors that exist
may count in advance: then the others are chosen for what they add to these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.errors import TwinModelError
from analytics.twin.water_response import ModelVariant, concentrations

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.twin.water_response import FlowHistory

    Floats = NDArray[np.float64]

ALIKE = 0.9
TRACEABLE_SHARE = 0.8
OUTFALLS_AT_ONCE = 32  # carried through the network together: bounds the memory of their concentrations


class SensorCoverage(NamedTuple):
    """What a set of sensors achieves.

    Attributes
    ----------
    value : of the set, 0 … 1
    detected : share of releases that some sensor detects
    separated : mean share of other outfalls from which a release is distinguished
    outfalls_traceable : number of outfalls of whose releases, on average, at least `TRACEABLE_SHARE` of the
        other outfalls are distinguished

    """

    value: float
    detected: float
    separated: float
    outfalls_traceable: int


@dataclass(frozen=True, slots=True)
class SensorPlacement:
    """Chosen nodes in order, and what each adds.

    Attributes
    ----------
    node : (n_sensors,) cell of the node
    gain : (n_sensors,) what it adds to the value
    coverage : of all up to each, those that exist included
    before : of those that exist alone

    """

    node: NDArray[np.intp]
    gain: Floats
    coverage: list[SensorCoverage]
    before: SensorCoverage


def place_sensors(
    history: FlowHistory,
    outfalls: NDArray[np.intp],
    nodes: NDArray[np.intp],
    *,
    n_sensors: int,
    amount_g: float,
    detection_limit: float,
    release_every: int,
    follow_steps: int,
    existing: NDArray[np.intp] | None = None,
) -> SensorPlacement:
    """Return up to ``n_sensors`` nodes, best first; fewer if no further node adds anything.

    Parameters
    ----------
    history : what the water does
    outfalls : (n_outfalls,) cells where something may be released
    nodes : (n_nodes,) cells where a sensor may be placed
    amount_g : of each release [g], during one step
    detection_limit : concentration from which a sensor detects [g/m³]
    release_every, follow_steps : steps between the releases of an outfall; steps that each is followed
    existing : those of ``nodes`` whose sensors count in advance; none by default

    Raises
    ------
    TwinModelError
        If the history is too short to follow a release, or there is no outfall, node or sensor to place.

    """
    if not (len(outfalls) and len(nodes) and n_sensors > 0):
        raise TwinModelError("to place sensors, name outfalls, nodes and a number of sensors above 0")
    if history.n_steps < follow_steps:
        raise TwinModelError(f"{history.n_steps} steps of flow: at least {follow_steps} are followed")
    begins = np.arange(0, history.n_steps - follow_steps + 1, release_every)
    signals = _signals(history, outfalls, nodes, begins, follow_steps)
    signals *= amount_g / history.dt_s
    detects, separates = _coverage(signals, detection_limit)
    is_existing = np.zeros(len(nodes), np.bool_) if existing is None else np.isin(nodes, existing)
    return _greedy(nodes, detects, separates, n_sensors, is_existing)


def _signals(
    history: FlowHistory,
    outfalls: NDArray[np.intp],
    nodes: NDArray[np.intp],
    begins: NDArray[np.intp],
    follow_steps: int,
) -> NDArray[np.float32]:
    """Return concentrations after 1 g/s in one step, (n_nodes, n_outfalls, n_releases, follow_steps)."""
    as_it_is = ModelVariant(np.ones(int(history.grid.reach.max()) + 1), 1.0)
    signals = np.empty((len(nodes), len(outfalls), len(begins), follow_steps), np.float32)
    for first in range(0, len(outfalls), OUTFALLS_AT_ONCE):
        some = outfalls[first : first + OUTFALLS_AT_ONCE]
        release = np.zeros((follow_steps, len(some), len(some)))
        release[0] = np.eye(len(some))
        for number, begin in enumerate(begins.tolist()):
            found = concentrations(history.between(begin, begin + follow_steps), as_it_is, release, some)
            signals[:, first : first + len(some), number] = found[:, nodes].transpose(1, 2, 0)
    return signals


def _coverage(
    signals: NDArray[np.float32], detection_limit: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which node detects which release, and from which other outfall it separates it.

    Returns
    -------
    detects : (n_nodes, n_outfalls, n_releases)
    separates : (n_nodes, n_outfalls, n_releases, n_outfalls)

    """
    n_nodes, n_outfalls, n_releases, n_steps = signals.shape
    detects = signals.max(axis=3) >= detection_limit
    separates = np.zeros((n_nodes, n_outfalls, n_releases, n_outfalls), np.bool_)
    for node, signal in enumerate(signals):
        flat = signal.reshape(-1, n_steps)
        shift = n_steps - flat.argmax(axis=1)
        aligned = np.zeros((len(flat), 2 * n_steps), np.float32)
        columns = np.arange(n_steps) + shift[:, None]
        np.put_along_axis(aligned, columns, flat, axis=1)
        aligned /= np.maximum(np.linalg.norm(aligned, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        aligned[~detects[node].ravel()] = 0  # what is not detected looks like nothing
        cosine = (aligned @ aligned.T).reshape(n_outfalls, n_releases, n_outfalls, n_releases)
        separates[node] = detects[node][:, :, None] & (cosine.max(axis=3) < ALIKE)
    if n_outfalls == 1:  # there is no other that a release could be of
        separates[..., 0] = detects
    return detects, separates


def _greedy(
    nodes: NDArray[np.intp],
    detects: NDArray[np.bool_],
    separates: NDArray[np.bool_],
    n_sensors: int,
    is_existing: NDArray[np.bool_],
) -> SensorPlacement:
    n_nodes, n_outfalls = detects.shape[:2]
    flat_detects, flat_separates = detects.reshape(n_nodes, -1), separates.reshape(n_nodes, -1)
    n_pairs = flat_detects.shape[1] * max(n_outfalls - 1, 1)  # of a release and another outfall
    is_covered: NDArray[np.bool_] = np.logical_or.reduce(flat_detects[is_existing], axis=0)
    apart: NDArray[np.bool_] = np.logical_or.reduce(flat_separates[is_existing], axis=0)
    before = last = _achieved(is_covered, apart, n_outfalls)
    chosen: list[int] = []
    gains: list[float] = []
    coverage: list[SensorCoverage] = []
    while len(chosen) < n_sensors:
        values = 0.5 * (flat_detects | is_covered).mean(axis=1)
        values += 0.5 * (flat_separates | apart).sum(axis=1) / n_pairs
        best = int(values.argmax())
        if values[best] <= last.value + 1e-12:
            break
        is_covered, apart = is_covered | flat_detects[best], apart | flat_separates[best]
        gains.append(float(values[best]) - last.value)
        last = _achieved(is_covered, apart, n_outfalls)
        chosen.append(best)
        coverage.append(last)
    return SensorPlacement(nodes[np.array(chosen, np.intp)], np.array(gains), coverage, before)


def _achieved(is_covered: NDArray[np.bool_], apart: NDArray[np.bool_], n_outfalls: int) -> SensorCoverage:
    """Return what sensors achieve that detect these releases and distinguish these pairs."""
    shares = apart.reshape(n_outfalls, -1, n_outfalls).sum(axis=2).mean(axis=1) / max(n_outfalls - 1, 1)
    detected, separated = float(is_covered.mean()), float(shares.mean())
    return SensorCoverage(
        0.5 * detected + 0.5 * separated, detected, separated, int((shares >= TRACEABLE_SHARE).sum())
    )
