"""Runs the adjoint of transport backward through many steps of changing flow, compiled.

Where the flow changes in every step, each step of `analytics.twin.water_transport` factorises its matrix
anew, and most of the time goes into the general factorisation and into solves with many columns. Here the
order of elimination and the pattern of the factors are laid out once for a grid (`EliminationPlan`; they do
not depend on the flow), and the numbers are computed in place: the same scheme (fluxes of Scharfetter and
Gummel, two stages of SDIRK, volumes that stay). The factors are computed in double precision, the solves with
many columns in single precision, which takes half of the time: all their terms are positive. Far from a
sensor the sensitivities would fall below the normal numbers of single precision, which processors compute a
hundred times slower: they begin at `LEAST` everywhere, far below what a sensor reads. Without Numba
(`is_available` is False) callers take the steps of `water_transport`; the results agree to 1e-5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.sparse import csc_array
from scipy.sparse.linalg import splu

from analytics.twin.compilation import compiled
from analytics.twin.water_transport import GAMMA, SMALL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.twin.channel_grid import ChannelGrid

    Floats = NDArray[np.float64]
    Singles = NDArray[np.float32]
    Indices = NDArray[np.int64]

COLUMNS_AT_ONCE = 64  # 1,500 cells of them stay in a second-level cache
LEAST = 1e-20  # sensitivity everywhere at first: without it, values fall below the normal numbers


class EliminationPlan(NamedTuple):
    """Where each number of the matrix and of its factors lies in one array.

    The array holds the diagonal (n_cells), the lower factor by columns and the upper factor by rows, both
    with the pattern ``ptr``, ``row``.

    Attributes
    ----------
    position : (n_cells,) place of a cell in the order of elimination
    ptr, row : pattern below the diagonal, by columns, in the order of elimination
    face_slot : (n_faces, 2) slots of the entries (head, tail) and (tail, head); row first
    pair_ptr, pair_slot : slots that the elimination of each place updates, in the order of pairs of ``row``

    """

    position: Indices
    ptr: Indices
    row: Indices
    face_slot: Indices
    pair_ptr: Indices
    pair_slot: Indices


def plan_elimination(grid: ChannelGrid) -> EliminationPlan:
    """Return the plan of a grid, in an order of minimum degree."""
    n = grid.n_cells
    rows = np.concatenate([grid.tail, grid.head, np.arange(n)])
    columns = np.concatenate([grid.head, grid.tail, np.arange(n)])
    values = np.concatenate([np.full(2 * len(grid.tail), -1.0), np.full(n, 1.0 + len(grid.tail))])
    factor = splu(
        csc_array((values, (rows, columns)), shape=(n, n)),
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True, "Equil": False},
    )
    lower = factor.L.tocoo()
    position = factor.perm_c.astype(np.int64)
    below = lower.row > lower.col
    order = np.lexsort((lower.row[below], lower.col[below]))
    row, column = (part[below][order].astype(np.int64) for part in (lower.row, lower.col))
    ptr = np.searchsorted(column, np.arange(n + 1)).astype(np.int64)
    key, n_below = column * n + row, len(row)

    def slots(at_row: Indices, at_column: Indices) -> Indices:
        is_lower = at_row > at_column
        low, high = np.minimum(at_row, at_column), np.maximum(at_row, at_column)
        found = n + np.searchsorted(key, low * n + high) + np.where(is_lower, 0, n_below)
        return np.where(at_row == at_column, at_row, found)

    size = np.diff(ptr)
    pair_ptr = np.concatenate([[0], np.cumsum(size**2)]).astype(np.int64)
    pairs = [(np.repeat(part, len(part)), np.tile(part, len(part))) for part in np.split(row, ptr[1:-1])]
    pair_slot = slots(*(np.concatenate(side) for side in zip(*pairs, strict=True)))
    tail, head = position[grid.tail], position[grid.head]
    face_slot = np.stack([slots(head, tail), slots(tail, head)], axis=1)
    return EliminationPlan(position, ptr, row, face_slot, pair_ptr, pair_slot)


@compiled
def _assemble(
    values: Floats,
    gain: Floats,
    flow_m3_s: Floats,
    exchange_m3_s: Floats,
    decay_per_s: float,
    weight_s: float,
    tail: Indices,
    head: Indices,
    face_slot: Indices,
    volume_m3: Floats,
) -> None:
    """Write the matrix of one step into ``values``; ``gain`` is zero before and after."""
    values[:] = 0.0
    largest = 0.0
    for face in range(len(tail)):
        flow, exchange = flow_m3_s[face], exchange_m3_s[face]
        half = 0.5 * abs(flow)
        largest = max(largest, abs(flow))
        kappa = max(half, exchange)  # the limits without dispersion, and without flow
        if exchange > 0 and half > SMALL * exchange:
            kappa = half / np.tanh(half / exchange)
        values[tail[face]] += weight_s * (kappa + 0.5 * flow)
        values[head[face]] += weight_s * (kappa - 0.5 * flow)
        values[face_slot[face, 0]] -= weight_s * (kappa + 0.5 * flow)
        values[face_slot[face, 1]] -= weight_s * (kappa - 0.5 * flow)
        gain[tail[face]] -= flow
        gain[head[face]] += flow
    for cell in range(len(volume_m3)):
        outflow = gain[cell] if gain[cell] >= 1e-12 * largest else 0.0
        gain[cell] = 0.0
        values[cell] += volume_m3[cell] + weight_s * (volume_m3[cell] * decay_per_s + outflow)


@compiled
def _eliminate(values: Floats, ptr: Indices, n_below: int, pair_ptr: Indices, pair_slot: Indices) -> None:
    """Factorise the matrix in place: no pivoting, as its columns are diagonally dominant."""
    n = len(ptr) - 1
    for k in range(n):
        inverse = 1 / values[k]
        pair = pair_ptr[k]
        for a in range(n + ptr[k], n + ptr[k + 1]):
            values[a] *= inverse
            for b in range(n + n_below + ptr[k], n + n_below + ptr[k + 1]):
                values[pair_slot[pair]] -= values[a] * values[b]
                pair += 1


@compiled
def _solve_transposed(block: Singles, values: Singles, ptr: Indices, row: Indices) -> None:
    """Replace ``block``, (n_cells, COLUMNS_AT_ONCE), by the solution of the transposed system."""
    n, n_below = len(ptr) - 1, len(row)
    for k in range(n):
        scale, own = np.float32(1) / values[k], block[k]
        for c in range(COLUMNS_AT_ONCE):
            own[c] *= scale
        for a in range(ptr[k], ptr[k + 1]):
            up, other = values[n + n_below + a], block[row[a]]
            for c in range(COLUMNS_AT_ONCE):
                other[c] -= up * own[c]
    for k in range(n - 1, -1, -1):
        own = block[k]
        for a in range(ptr[k], ptr[k + 1]):
            low, other = values[n + a], block[row[a]]
            for c in range(COLUMNS_AT_ONCE):
                own[c] -= low * other[c]


@compiled
def _two_stages(
    last: Singles, first: Singles, values: Singles, ptr: Indices, row: Indices, volume_m3: Singles
) -> None:
    """Replace sensitivities at the end of a step, ``last``, by the solutions of its last and first stage."""
    share = np.float32((1 - GAMMA) / GAMMA)
    for k in range(len(volume_m3)):
        volume = volume_m3[k]
        for c in range(COLUMNS_AT_ONCE):
            first[k, c] = volume * last[k, c]
    _solve_transposed(first, values, ptr, row)
    for k in range(len(volume_m3)):
        volume = share * volume_m3[k]
        for c in range(COLUMNS_AT_ONCE):
            last[k, c] = first[k, c]
            first[k, c] *= volume
    _solve_transposed(first, values, ptr, row)


@compiled
def _combine(last: Singles, first: Singles) -> None:
    """Replace the solution of the last stage by the sensitivities at the beginning of the step."""
    share = np.float32((1 - GAMMA) / GAMMA)
    for k in range(len(last)):
        for c in range(COLUMNS_AT_ONCE):
            last[k, c] = (np.float32(1) - share) * last[k, c] + first[k, c]


@compiled
def _run_backward(
    face_m3_s: Floats,
    exchange_m3_s: Floats,
    decay_per_s: float,
    weight_s: float,
    tail: Indices,
    head: Indices,
    volume_m3: Floats,
    ptr: Indices,
    row: Indices,
    face_slot: Indices,
    pair_ptr: Indices,
    pair_slot: Indices,
    candidate: Indices,
    begun: Indices,
    sensor: Indices,
    block: Singles,
    values: Floats,
    factors: Singles,
    gain: Floats,
    state: Singles,
    response: NDArray[np.float32],
) -> None:
    """Fill ``response``, (n_columns, n_candidates, n_steps); cells are places in the order of elimination."""
    volume_32, weight_32 = volume_m3.astype(np.float32), np.float32(weight_s)
    for at in range(len(face_m3_s) - 1, -1, -1):
        used = begun[at]
        for column in range(begun[at + 1], used):
            cell = sensor[column]
            state[column // COLUMNS_AT_ONCE, cell, column % COLUMNS_AT_ONCE] += 1 / volume_m3[cell]
        if used == 0:
            continue
        _assemble(
            values,
            gain,
            face_m3_s[at],
            exchange_m3_s,
            decay_per_s,
            weight_s,
            tail,
            head,
            face_slot,
            volume_m3,
        )
        _eliminate(values, ptr, len(row), pair_ptr, pair_slot)
        for slot in range(len(values)):
            factors[slot] = values[slot]
        for begin in range(0, used, COLUMNS_AT_ONCE):
            last = state[begin // COLUMNS_AT_ONCE]
            _two_stages(last, block, factors, ptr, row, volume_32)
            for number in range(len(candidate)):
                cell = candidate[number]
                for c in range(min(COLUMNS_AT_ONCE, used - begin)):
                    response[begin + c, number, at] = weight_32 * (last[cell, c] + block[cell, c])
            _combine(last, block)


def run_backward(
    plan: EliminationPlan,
    grid: ChannelGrid,
    face_m3_s: Floats,
    *,
    dt_s: float,
    dispersion_m2_s: Floats | float,
    decay_per_s: float,
    sensor: NDArray[np.intp],
    step: NDArray[np.intp],
    candidates: NDArray[np.intp],
) -> NDArray[np.float32]:
    """Return the response of observations to releases, (n_observations, n_candidates, n_steps) [s/m³].

    Parameters
    ----------
    plan : of the grid, or of one with the same cells and faces
    face_m3_s : (n_steps, n_faces) discharge of each face in each step [m³/s]
    sensor, step : (n_observations,) cell of each observation, step at whose end it was made, not increasing
    candidates : (n_candidates,) cells where a release is possible

    """
    n_steps, n_observations = len(face_m3_s), len(sensor)
    begun = np.searchsorted(-step, -np.arange(n_steps + 1), side="right").astype(np.int64)
    order = np.empty(grid.n_cells, np.intp)
    order[plan.position] = np.arange(grid.n_cells)
    response = np.zeros((n_observations, len(candidates), n_steps), np.float32)
    dispersion = np.broadcast_to(np.asarray(dispersion_m2_s, np.float64), grid.area_m2.shape)
    n_values = grid.n_cells + 2 * len(plan.row)
    n_blocks = -(-n_observations // COLUMNS_AT_ONCE)
    _run_backward(
        np.ascontiguousarray(face_m3_s, np.float64),
        grid.area_m2 * dispersion / grid.distance_m,
        float(decay_per_s),
        GAMMA * dt_s,
        plan.position[grid.tail],
        plan.position[grid.head],
        grid.volume_m3[order],
        plan.ptr,
        plan.row,
        plan.face_slot,
        plan.pair_ptr,
        plan.pair_slot,
        plan.position[candidates],
        begun,
        plan.position[sensor],
        np.zeros((grid.n_cells, COLUMNS_AT_ONCE), np.float32),
        np.zeros(n_values),
        np.zeros(n_values, np.float32),
        np.zeros(grid.n_cells),
        np.full((n_blocks, grid.n_cells, COLUMNS_AT_ONCE), LEAST, np.float32),
        response,
    )
    return response
