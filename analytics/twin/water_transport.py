r"""Moves and decays a substance in a channel network whose flow may stop and reverse, in one implicit step.

The mass m = V C of each cell follows

    dm_i/dt = - Σ_faces F + inflow_i C_in - outflow_i C_i - k_i V_i C_i + s_i,

with the flux of Scharfetter and Gummel through a face from cell a to cell b (exponential fitting: exact for
steady advection and dispersion between two centres),

    F = Q (C_a + C_b) / 2 + κ (C_a - C_b),   κ = Q/2 coth(Q / 2E),   E = A D / Δx,

which is central differencing where dispersion is resolved (second order in Δx), upwinding where it is not
(first order), and changes direction with the sign of Q. The matrix has positive diagonal, non-positive
off-diagonal and non-negative column sums: an M-matrix at any flow and step.

In time, `StepOperator` takes one or two implicit stages. One is backward Euler: first order, and never
negative. Two are the L-stable SDIRK method with γ = 1 - 1/√2 (R. Alexander, SIAM J. Numer. Anal. 14, 1977):
second order; it may undershoot by a little in steps far beyond the travel time of a cell. Both are stable at
any step, conserve mass to rounding (each flux leaves one cell and enters another), keep a uniform
concentration uniform, and are linear, so that their transpose (`StepOperator.adjoint`) is the exact adjoint.

Sources: S. V. Patankar, Numerical Heat Transfer and Fluid Flow, 1980, section 5.2 (the exponential scheme);
D. L. Scharfetter, H. K. Gummel, IEEE Trans. Electron Devices 16, 1969.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.sparse import csc_array, csr_array

from analytics.errors import TwinModelError
from analytics.twin.dominant_system import GREATEST_RATE, LEAST_CELLS, DominantSystem, factorise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.twin.channel_grid import ChannelGrid
    from analytics.twin.dominant_system import LinearSolver

    Floats = NDArray[np.float64]

GAMMA = 1 - 0.5**0.5
SMALL = 1e-6  # of |Q| / 2E, below which x coth(x) is 1 to double precision


@dataclass(frozen=True, slots=True)
class FlowField:
    """Discharges of one step.

    Attributes
    ----------
    face_m3_s : (n_faces,) through each face, positive from tail to head [m³/s]
    inflow_m3_s, outflow_m3_s : (n_cells,) from and to outside of the network, 0 or above [m³/s]

    """

    face_m3_s: Floats
    inflow_m3_s: Floats
    outflow_m3_s: Floats

    @classmethod
    def steady(cls, grid: ChannelGrid, face_m3_s: Floats) -> FlowField:
        """Return the flow whose imbalance at each cell comes from or leaves to outside: volumes stay."""
        gain = _gain(grid, face_m3_s)
        gain[np.abs(gain) < 1e-12 * np.abs(face_m3_s).max(initial=0.0)] = 0.0
        return cls(face_m3_s, np.maximum(-gain, 0.0), np.maximum(gain, 0.0))


def _gain(grid: ChannelGrid, face_values: Floats) -> Floats:
    """Return what the faces bring to each cell less what they take, (n_cells,)."""
    brought = np.bincount(grid.head, face_values, grid.n_cells).astype(np.float64)
    taken = np.bincount(grid.tail, face_values, grid.n_cells).astype(np.float64)
    gain: Floats = brought - taken
    return gain


class TransportModel:
    """Assembles the steps of a grid; the pattern of its matrix is laid out once.

    Parameters
    ----------
    grid : cells and faces

    """

    def __init__(self, grid: ChannelGrid) -> None:
        self.grid = grid
        n = grid.n_cells
        cells = np.arange(n)
        # What leaves a cell for its neighbour: entries (head, tail) of all faces, then (tail, head); by rows.
        to_cell, from_cell = np.concatenate([grid.head, grid.tail]), np.concatenate([grid.tail, grid.head])
        self._order = np.argsort(to_cell, kind="stable")
        self._column = from_cell[self._order].astype(np.int32)
        self._row_pointer = np.searchsorted(to_cell[self._order], np.arange(n + 1)).astype(np.int32)
        keys, self._slot = np.unique(
            np.concatenate([from_cell, cells]) * n + np.concatenate([to_cell, cells]), return_inverse=True
        )
        self._indices = (keys % n).astype(np.int32)
        self._indptr = np.searchsorted(keys, np.arange(n + 1) * n).astype(np.int32)

    def step(
        self,
        flow: FlowField,
        dt_s: float,
        *,
        dispersion_m2_s: Floats | float,
        decay_per_s: Floats | float = 0.0,
        volume_m3: Floats | None = None,
        stages: Literal[1, 2] = 2,
    ) -> StepOperator:
        """Return one step with its matrices factorised.

        Parameters
        ----------
        flow : discharges during the step
        dt_s : length of the step [s], above 0
        dispersion_m2_s : longitudinal dispersion, one or (n_faces,) [m²/s], 0 or above
        decay_per_s : first-order decay, one or (n_cells,) [1/s], 0 or above
        volume_m3 : (n_cells,) at the beginning [m³]; that of the grid if None
        stages : 1 backward Euler (positive), 2 SDIRK (second order)

        Raises
        ------
        TwinModelError
            If the step or a coefficient is out of range, or a cell falls dry within the step.

        """
        grid = self.grid
        if not (dt_s > 0 and np.isfinite(dt_s)):
            raise TwinModelError(f"dt_s is {dt_s:g}: a step must be longer than 0 s")
        if (np.asarray(dispersion_m2_s) < 0).any() or (np.asarray(decay_per_s) < 0).any():
            raise TwinModelError("dispersion and decay must not be negative")
        before = grid.volume_m3 if volume_m3 is None else volume_m3
        growth = _gain(grid, flow.face_m3_s) + flow.inflow_m3_s - flow.outflow_m3_s
        fractions = (1.0,) if stages == 1 else (GAMMA, 1.0)
        volumes = [before + fraction * dt_s * growth for fraction in fractions]
        for cell in np.flatnonzero(np.minimum.reduce(volumes) <= 0)[:1]:
            raise TwinModelError(
                f"cell {cell} loses {-growth[cell] * dt_s:.3g} m³ of its {before[cell]:.3g} m³ in a step of "
                f"{dt_s:g} s and falls dry: give balanced discharges, or a shorter step"
            )
        weight_s = dt_s if stages == 1 else GAMMA * dt_s
        exchange = grid.area_m2 * dispersion_m2_s / grid.distance_m
        leaving = self._leaving(flow.face_m3_s, exchange)
        # Where no volume changes, the two stages have one matrix.
        distinct = volumes if np.any(growth) else volumes[:1]
        factors = [
            self._solver(weight_s * leaving, volume, weight_s * (volume * decay_per_s + flow.outflow_m3_s))
            for volume in distinct
        ]
        return StepOperator(dt_s, weight_s, volumes, factors * (len(volumes) // len(factors)))

    @staticmethod
    def _leaving(flow_m3_s: Floats, exchange_m3_s: Floats) -> Floats:
        """Return what leaves tails through faces, then heads, per concentration, (2 n_faces,) [m³/s]."""
        half = 0.5 * np.abs(flow_m3_s)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(exchange_m3_s > 0, half / exchange_m3_s, np.inf)
            kappa = np.where(ratio < SMALL, exchange_m3_s, half / np.tanh(ratio))
        kappa = np.where(half > 0, kappa, exchange_m3_s)
        return np.concatenate([kappa + 0.5 * flow_m3_s, kappa - 0.5 * flow_m3_s])

    def _solver(self, leaving: Floats, volume: Floats, loss: Floats) -> LinearSolver:
        """Return what solves the system of a stage; all values are volumes within it [m³]."""
        grid, n_faces = self.grid, len(self.grid.tail)
        n = grid.n_cells
        passed_on = np.bincount(grid.tail, leaving[:n_faces], n) + np.bincount(
            grid.head, leaving[n_faces:], n
        )
        diagonal = volume + loss + passed_on
        rate = float((passed_on / diagonal).max())
        if n >= LEAST_CELLS and rate <= GREATEST_RATE:
            taken = csr_array((leaving[self._order], self._column, self._row_pointer), shape=(n, n))
            return DominantSystem(diagonal, taken, rate)
        data = np.bincount(self._slot, np.concatenate([-leaving, diagonal]), len(self._indices))
        return factorise(csc_array((data, self._indices, self._indptr), shape=(n, n)))


class StepOperator:
    """One implicit step: masses at its beginning and sources within it to masses at its end, and back.

    Attributes
    ----------
    dt_s : length [s]
    volumes_m3 : (n_cells,) for each stage, the last at the end of the step [m³]

    """

    __slots__ = ("_factors", "_weight_s", "dt_s", "volumes_m3")

    def __init__(
        self, dt_s: float, weight_s: float, volumes_m3: list[Floats], factors: list[LinearSolver]
    ) -> None:
        self.dt_s = dt_s
        self.volumes_m3 = volumes_m3
        self._weight_s = weight_s
        self._factors = factors

    @property
    def n_stages(self) -> int:
        """Number of implicit stages."""
        return len(self._factors)

    def stage(
        self, number: int, mass: Floats, earlier: Floats | None, source_per_s: Floats | float
    ) -> Floats:
        """Return the mass of one stage, (n_cells,) or (n_cells, k), like ``mass``.

        Parameters
        ----------
        number : 0, or 1 for the second of two stages
        mass : at the beginning of the step [g]
        earlier : mass of stage 0; None for stage 0
        source_per_s : what enters at this stage [g/s]; water that flows in from outside brings its share here

        """
        known = mass + self._weight_s * np.asarray(source_per_s)
        if earlier is not None:
            known = known + (1 - GAMMA) / GAMMA * (earlier - mass)
        volume = self.volumes_m3[number]
        return _times(volume, self._factors[number].solve(known))

    def forward(self, mass: Floats, source_per_s: Floats | float = 0.0) -> Floats:
        """Return the masses at the end of the step; ``source_per_s`` is constant within it [g/s]."""
        first = self.stage(0, mass, None, source_per_s)
        return first if self.n_stages == 1 else self.stage(1, mass, first, source_per_s)

    def adjoint(self, sensitivity: Floats) -> tuple[Floats, Floats]:
        """Return the derivatives by the mass at the beginning and by the source rate, from those at the end.

        Parameters
        ----------
        sensitivity : (n_cells,) or (n_cells, k) derivative of a quantity by the mass at the end of the step

        """
        last = self._factors[-1].solve(_times(self.volumes_m3[-1], sensitivity), "T")
        if self.n_stages == 1:
            return last, self._weight_s * last
        share = (1 - GAMMA) / GAMMA
        first = self._factors[0].solve(_times(share * self.volumes_m3[0], last), "T")
        return (1 - share) * last + first, self._weight_s * (last + first)


def _times(volume: Floats, values: Floats) -> Floats:
    return (volume if values.ndim == 1 else volume[:, None]) * values
