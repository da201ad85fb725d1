"""Solves the systems of implicit transport steps by iteration where that needs few rounds.

A step's matrix is A = D - R with a diagonal D and an R ≥ 0, and loses by columns: what R takes out of a cell
is less than its D by the cell's volume V. With the rate ρ = max (D - V) / D < 1, x ← D⁻¹ (b + R x) (Jacobi)
converges by ρ a round, in the 1-norm of D x for A, and in the maximum norm of x for its transpose (R. S.
Varga, Matrix Iterative Analysis, 1962). V x are masses, and all of A's columns sum to V at least: the masses
are wrong in sum by the sum of the residual's absolute values at most, which is known in each round.

A round takes time in proportion to the cells; elimination on networks with many loops does not. Where a
matrix serves many steps or right-hand sides, its factors pay: they are made after `FACTORISE_AFTER` of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, cast

import numpy as np
from scipy.sparse import csc_array, dia_array
from scipy.sparse.linalg import splu

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    Floats = NDArray[np.float64]

TOLERANCE = 1e-14  # of the sum of the right-hand side's absolute values; for the transpose of the greatest
GREATEST_RATE = 0.6  # 63 rounds
LEAST_CELLS = 1000  # below, elimination is as fast
FACTORISE_AFTER = 16


class LinearSolver(Protocol):
    """What solves a system: the factors of SuperLU, or `DominantSystem`."""

    def solve(self, rhs: Floats, trans: Literal["N", "T"] = "N") -> Floats:
        """Return x of A x = rhs, or of its transpose, (n,) or (n, k)."""


def factorise(matrix: csc_array) -> LinearSolver:
    """Return the factors of a matrix that is diagonally dominant by columns.

    No pivoting is needed, and minimum degree keeps a tree a tree.
    """
    factors = splu(
        matrix,
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True, "Equil": False},
    )
    return cast("LinearSolver", factors)  # the stubs leave out the second argument of `solve`


class DominantSystem:
    """A system D - R that is solved by iteration, and by its factors when it is used often.

    Parameters
    ----------
    diagonal : (n,) D
    taken : (n, n) R, entries may repeat
    rate : ρ, below 1

    """

    def __init__(self, diagonal: Floats, taken: csr_array, rate: float) -> None:
        self._diagonal, self._taken = diagonal, taken
        self._max_rounds = 1 + int(np.ceil(np.log(TOLERANCE) / np.log(max(rate, TOLERANCE))))
        self._n_solved = 0
        self._factors: LinearSolver | None = None

    def solve(self, rhs: Floats, trans: Literal["N", "T"] = "N") -> Floats:
        """Return x of A x = rhs, or of its transpose, (n,) or (n, k)."""
        self._n_solved += rhs.size // len(rhs)
        if self._factors is None and self._n_solved > FACTORISE_AFTER:
            n = len(self._diagonal)
            diagonal = dia_array((self._diagonal, 0), shape=(n, n))
            self._factors = factorise(csc_array(diagonal - self._taken))
        if self._factors is not None:
            return self._factors.solve(rhs, trans)
        return self._iterate(rhs, is_transposed=trans == "T")

    def _iterate(self, rhs: Floats, *, is_transposed: bool) -> Floats:
        taken = self._taken.T if is_transposed else self._taken
        diagonal = self._diagonal if rhs.ndim == 1 else self._diagonal[:, None]
        x: Floats = rhs / diagonal
        scale = np.abs(x).max(axis=0) if is_transposed else np.abs(rhs).sum(axis=0)
        for _ in range(self._max_rounds):
            new: Floats = (rhs + taken @ x) / diagonal
            change = np.abs(new - x)
            x = new
            # D times the change is the residual of the round before, and this one's is smaller by the rate
            error = change.max(axis=0) if is_transposed else (diagonal * change).sum(axis=0)
            if (error <= TOLERANCE * scale).all():
                break
        return x
