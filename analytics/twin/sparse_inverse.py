"""Factorises sparse positive definite matrices and computes the diagonal of their inverse.

The diagonal of the inverse is exact to rounding: it is computed from the factor by the recursion of
Takahashi (Takahashi, Fagan and Chin 1973; Erisman and Tinney 1975), which needs only the entries of the
inverse within the pattern of the factor. The order of elimination (minimum degree) is chosen once for a
pattern. Without Numba the recursion is the same, uncompiled and slow above some thousand rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csc_array
from scipy.sparse.linalg import splu

from analytics.twin.compilation import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse.linalg import SuperLU

    Floats = NDArray[np.float64]
    Indices = NDArray[np.int64]

FACTOR_OPTIONS = {"SymmetricMode": True, "Equil": False}


class SparsePattern:
    """The pattern of symmetric matrices with a full diagonal, in an order that keeps their factors sparse.

    Parameters
    ----------
    matrix : (n, n) a positive definite matrix with the pattern

    Attributes
    ----------
    row, column : (n_entries,) of the entries of ``values``, in the given numbering
    values : (n_entries,) the entries of ``matrix``
    diagonal : (n,) index of the diagonal entries

    """

    def __init__(self, matrix: csc_array) -> None:
        self.n = matrix.shape[0]
        first = splu(matrix.tocsc(), "MMD_AT_PLUS_A", 0.0, options=FACTOR_OPTIONS)
        self._place: Indices = first.perm_c.astype(np.int64)
        entries = matrix.tocoo()
        row, column = self._place[entries.row], self._place[entries.col]
        order = np.lexsort((row, column))
        self.row, self.column, self.values = (
            part[order] for part in (entries.row, entries.col, entries.data)
        )
        self._index = row[order].astype(np.int32)
        self._pointer = np.searchsorted(column[order], np.arange(self.n + 1)).astype(np.int32)
        self.diagonal = np.empty(self.n, np.intp)
        on_diagonal = np.flatnonzero(self.row == self.column)
        self.diagonal[self.row[on_diagonal]] = on_diagonal

    def factorise(self, values: Floats) -> SparseFactor:
        """Return the factor of the matrix with these entries (n_entries,)."""
        matrix = csc_array((values, self._index, self._pointer), shape=(self.n, self.n))
        return SparseFactor(splu(matrix, "NATURAL", 0.0, options=FACTOR_OPTIONS), self._place)


@dataclass(frozen=True, slots=True)
class SparseFactor:
    """The factor of a sparse positive definite matrix."""

    factor: SuperLU
    place: Indices

    def solve(self, right: Floats) -> Floats:
        """Return the solution of the system with the right-hand sides (n,) or (n, k)."""
        permuted = np.empty_like(right)
        permuted[self.place] = right
        solution: Floats = self.factor.solve(permuted)[self.place]
        return solution

    def inverse_diagonal(self) -> Floats:
        """Return the diagonal of the inverse, (n,), exact to rounding."""
        lower, upper = self.factor.L, self.factor.U
        lower.sort_indices()
        pivot = upper.diagonal()
        diagonal = _selected_inverse(lower.indptr, lower.indices, lower.data, pivot)
        inverse: Floats = diagonal[self.factor.perm_c][self.place]
        return inverse


@compiled
def _selected_inverse(pointer: Indices, index: Indices, lower: Floats, pivot: Floats) -> Floats:
    """Return the diagonal of the inverse of L D L', (n,).

    L has a unit diagonal, stored first in each column, and ``pivot`` is the diagonal of D. An entry of the
    inverse in column j is minus the sum over k of L[k, j] times the inverse's entry in column k, and all of
    these lie in the pattern of L.
    """
    n = len(pivot)
    inverse = np.zeros(len(lower))
    slot = np.full(n, -1)
    for j in range(n - 1, -1, -1):
        begin, end = pointer[j] + 1, pointer[j + 1]
        for at in range(begin, end):
            slot[index[at]] = at
        for at in range(begin, end):
            k = index[at]
            inverse[at] -= lower[at] * inverse[pointer[k]]
            for other in range(pointer[k] + 1, pointer[k + 1]):
                target = slot[index[other]]
                if target >= 0:
                    inverse[target] -= lower[at] * inverse[other]
                    inverse[at] -= lower[target] * inverse[other]
        total = 1.0 / pivot[j]
        for at in range(begin, end):
            total -= lower[at] * inverse[at]
            slot[index[at]] = -1
        inverse[pointer[j]] = total
    return inverse[pointer[:-1]]
