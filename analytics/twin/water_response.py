"""Computes how concentrations at sensors respond to releases at candidate nodes, by the adjoint of transport.

Transport is linear in what is released, so every observation is a weighted sum of all release rates,

    C(sensor, step) = background + Σ_node Σ_step G[observation, node, step] · rate(node, step),

and one run of the transposed steps backward in time from an observation gives its whole row of G, for all
nodes and times at once (A. Y. Cheng, W. Jia, Adv. Water Resour. 33, 2010: as many solutions as observations).
All observations are run together as columns of one matrix.

What is uncertain of the model (velocities, dispersion) is a set of `ModelVariant`; the first is the model as
it is, the others are drawn around it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from analytics.errors import TwinModelError
from analytics.twin import compilation, compiled_adjoint
from analytics.twin.water_transport import FlowField, TransportModel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from analytics.twin.channel_grid import ChannelGrid
    from analytics.twin.compiled_adjoint import EliminationPlan
    from analytics.twin.water_transport import StepOperator

    Floats = NDArray[np.float64]

VELOCITY_SPREAD, REACH_SPREAD, DISPERSION_SPREAD = 0.2, 0.1, 0.5


@dataclass(frozen=True, slots=True)
class FlowHistory:
    """What the water did over equal steps.

    Attributes
    ----------
    grid : cells and faces
    dt_s : length of a step [s]
    face_m3_s : (n_steps, n_faces) discharge of each face in each step [m³/s]
    dispersion_m2_s : longitudinal dispersion, one or (n_faces,) [m²/s]
    decay_per_s : first-order decay of the substance [1/s]

    """

    grid: ChannelGrid
    dt_s: float
    face_m3_s: Floats
    dispersion_m2_s: Floats | float
    decay_per_s: float = 0.0

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return len(self.face_m3_s)

    @property
    def is_steady(self) -> bool:
        """Whether all steps have the same discharges."""
        return bool((self.face_m3_s == self.face_m3_s[:1]).all())

    def between(self, begin: int, end: int) -> FlowHistory:
        """Return the steps from ``begin`` up to, without, ``end``."""
        return FlowHistory(
            self.grid, self.dt_s, self.face_m3_s[begin:end], self.dispersion_m2_s, self.decay_per_s
        )

    def steps(self, variant: ModelVariant, *, backward: bool = False) -> Iterator[StepOperator]:
        """Yield the steps of a variant in order of time, or against it; equal flows share one operator."""
        grid = self.grid.scaled(variant.velocity_factor)
        model = TransportModel(grid)
        operator: StepOperator | None = None
        last: Floats | None = None
        for face_m3_s in self.face_m3_s[::-1] if backward else self.face_m3_s:
            if operator is None or last is None or not np.array_equal(last, face_m3_s):
                operator = model.step(
                    FlowField.steady(grid, face_m3_s),
                    self.dt_s,
                    dispersion_m2_s=self.dispersion_m2_s * variant.dispersion_factor,
                    decay_per_s=self.decay_per_s,
                    stages=2,
                )
            last = face_m3_s
            yield operator


@dataclass(frozen=True, slots=True)
class ModelVariant:
    """One possibility of what is uncertain: factors of velocities, (n_reaches,), and of dispersion."""

    velocity_factor: Floats
    dispersion_factor: float


def draw_variants(
    n_variants: int,
    n_reaches: int,
    rng: np.random.Generator,
    *,
    velocity_spread: float = VELOCITY_SPREAD,
    reach_spread: float = REACH_SPREAD,
    dispersion_spread: float = DISPERSION_SPREAD,
) -> list[ModelVariant]:
    """Return the model as it is and n_variants - 1 others, log-normal and stratified around it.

    Parameters
    ----------
    n_variants : 1 or more
    velocity_spread : standard deviation of the logarithm of a factor that all reaches share
    reach_spread : the same of a factor of each reach
    dispersion_spread : the same of the factor of dispersion

    """
    others = n_variants - 1
    levels = ndtri((np.arange(others) + 0.5) / max(others, 1))
    shared = np.exp(velocity_spread * levels)
    dispersion = np.exp(dispersion_spread * rng.permutation(levels))
    own = np.exp(reach_spread * rng.standard_normal((others, n_reaches)))
    drawn = [
        ModelVariant(velocity * factors, float(factor))
        for velocity, factors, factor in zip(shared, own, dispersion, strict=True)
    ]
    return [ModelVariant(np.ones(n_reaches), 1.0), *drawn]


def response_matrix(
    history: FlowHistory,
    variant: ModelVariant,
    *,
    sensor: NDArray[np.intp],
    step: NDArray[np.intp],
    candidates: NDArray[np.intp],
    plan: EliminationPlan | None = None,
) -> NDArray[np.float32]:
    """Return the response of observations to releases, (n_observations, n_candidates, n_steps) [s/m³].

    Parameters
    ----------
    sensor, step : (n_observations,) cell of each observation, step at whose end it was made
    candidates : (n_candidates,) cells where a release is possible
    plan : of the grid, for flow that changes: then the steps are compiled (`compiled_adjoint`)

    Raises
    ------
    TwinModelError
        If an observation is outside of the steps of the history.

    """
    for outside in np.flatnonzero((step < 0) | (step >= history.n_steps))[:1]:
        raise TwinModelError(
            f"observation {outside} is of step {step[outside]}: there are 0 to {history.n_steps - 1}"
        )
    if history.is_steady:
        return _steady_response(history, variant, sensor, step, candidates)
    order = np.argsort(-step, kind="stable")  # latest first: columns in use are always the first ones
    if plan is not None:
        compiled = compiled_adjoint.run_backward(
            plan,
            history.grid.scaled(variant.velocity_factor),
            history.face_m3_s,
            dt_s=history.dt_s,
            dispersion_m2_s=history.dispersion_m2_s * variant.dispersion_factor,
            decay_per_s=history.decay_per_s,
            sensor=sensor[order],
            step=step[order],
            candidates=candidates,
        )
        return compiled[np.argsort(order)]
    begun = np.searchsorted(-step[order], -np.arange(history.n_steps), side="right")
    sensitivity = np.zeros((history.grid.n_cells, len(order)), order="F")
    response = np.zeros((len(order), len(candidates), history.n_steps), np.float32)
    used = 0
    for at, operator in zip(
        range(history.n_steps - 1, -1, -1), history.steps(variant, backward=True), strict=True
    ):
        new = np.arange(used, begun[at])
        cells = sensor[order[new]]
        sensitivity[cells, new] += 1 / operator.volumes_m3[-1][cells]
        used = int(begun[at])
        if used:
            sensitivity[:, :used], by_source = operator.adjoint(sensitivity[:, :used])
            response[order[:used], :, at] = by_source[candidates].T
    return response


def _steady_response(
    history: FlowHistory,
    variant: ModelVariant,
    sensor: NDArray[np.intp],
    step: NDArray[np.intp],
    candidates: NDArray[np.intp],
) -> NDArray[np.float32]:
    """Return the response in steady flow: one run per sensor, as it depends on the lag alone."""
    sensors, column = np.unique(sensor, return_inverse=True)
    sensitivity = np.zeros((history.grid.n_cells, len(sensors)), order="F")
    by_lag = np.zeros((len(sensors), len(candidates), history.n_steps + 1), np.float32)  # the last stays 0
    for lag, operator in enumerate(history.steps(variant, backward=True)):
        if not lag:
            sensitivity[sensors, np.arange(len(sensors))] = 1 / operator.volumes_m3[-1][sensors]
        sensitivity, by_source = operator.adjoint(sensitivity)
        by_lag[:, :, lag] = by_source[candidates].T
    lags = step[:, None] - np.arange(history.n_steps)
    lags[lags < 0] = history.n_steps
    response: NDArray[np.float32] = by_lag[column[:, None], :, lags].transpose(0, 2, 1)
    return response


def response_ensemble(
    history: FlowHistory,
    variants: Sequence[ModelVariant],
    *,
    sensor: NDArray[np.intp],
    step: NDArray[np.intp],
    candidates: NDArray[np.intp],
) -> NDArray[np.float32]:
    """Return `response_matrix` of each variant, (n_variants, n_observations, n_candidates, n_steps)."""
    is_compiled = compilation.is_available() and not history.is_steady
    plan = compiled_adjoint.plan_elimination(history.grid) if is_compiled else None
    return np.stack(
        [
            response_matrix(history, one, sensor=sensor, step=step, candidates=candidates, plan=plan)
            for one in variants
        ]
    )


def concentrations(
    history: FlowHistory, variant: ModelVariant, release_g_s: Floats, cells: NDArray[np.intp]
) -> Floats:
    """Return what releases give at all cells, (n_steps, n_cells, k) [g/m³].

    Parameters
    ----------
    release_g_s : (n_steps, n_candidates, k) rate of k cases at each candidate in each step [g/s]
    cells : (n_candidates,) cell of each candidate

    """
    n_cells, n_cases = history.grid.n_cells, release_g_s.shape[2]
    mass = np.zeros((n_cells, n_cases), order="F")
    found = np.empty((history.n_steps, n_cells, n_cases))
    source = np.zeros((n_cells, n_cases), order="F")
    for at, operator in enumerate(history.steps(variant)):
        source[cells] = release_g_s[at]
        mass = operator.forward(mass, source)
        found[at] = mass / operator.volumes_m3[-1][:, None]
    return found
