"""Factorises sparse positive definite matrices and computes the diagonal of their inverse.

The order of elimination (minimum degree, by SuperLU) and the pattern of the factor are found once for a
pattern; then L D L' is computed column by column in place. The diagonal of the inverse is exact to rounding:
the recursion of Takahashi (Takahashi, Fagan and Chin 1973; Erisman and Tinney 1975) needs only the entries
of the inverse within the pattern of the factor. Without Numba the same loops run uncompiled, and are slow
above some thousand rows.
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

    Floats = NDArray[np.float64]
    Indices = NDArray[np.int64]


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
        options = {"SymmetricMode": True, "Equil": False}
        entries = matrix.tocoo()
        self.row, self.column = entries.row.astype(np.intp), entries.col.astype(np.intp)
        self.values: Floats = entries.data.astype(np.float64)
        on_diagonal = np.flatnonzero(self.row == self.column)
        # Of the same pattern, but with a factor in which no entry cancels out.
        plain = np.full(len(self.row), -1.0)
        plain[on_diagonal] = np.bincount(self.row, minlength=self.n)[self.row[on_diagonal]]
        first = splu(
            csc_array((plain, (self.row, self.column)), shape=matrix.shape),
            "MMD_AT_PLUS_A",
            0.0,
            options=options,
        )
        self._position: Indices = first.perm_c.astype(np.int64)
        self.diagonal = np.empty(self.n, np.intp)
        self.diagonal[self.row[on_diagonal]] = on_diagonal
        lower = first.L
        lower.sort_indices()
        self._pointer, self._index = lower.indptr.astype(np.int64), lower.indices.astype(np.int64)
        of_column = np.repeat(np.arange(self.n), np.diff(self._pointer))
        by_row = np.lexsort((of_column, self._index))
        self._row_slot: Indices = by_row.astype(np.int64)  # slots of the factor row by row, the diagonal last
        row_pointer = np.searchsorted(self._index[by_row], np.arange(self.n + 1))
        self._row_pointer: Indices = row_pointer.astype(np.int64)
        row, column = self._position[self.row], self._position[self.column]
        self._used = np.flatnonzero(row >= column)
        key = of_column * self.n + self._index
        self._slot = np.searchsorted(key, column[self._used] * self.n + row[self._used])

    def factorise(self, values: Floats) -> SparseFactor:
        """Return the factor of the matrix with these entries (n_entries,)."""
        lower = np.zeros(len(self._index))
        lower[self._slot] = values[self._used]
        pivot = _factorise(self._pointer, self._index, self._row_pointer, self._row_slot, lower)
        return SparseFactor(self._pointer, self._index, lower, pivot, self._position)


@dataclass(frozen=True, slots=True)
class SparseFactor:
    """The factor L D L' of a sparse positive definite matrix, rows and columns in the order of elimination.

    Attributes
    ----------
    pointer, index, lower : L by columns; its unit diagonal first in each
    pivot : (n,) the diagonal of D
    position : (n,) of each row in the order of elimination

    """

    pointer: Indices
    index: Indices
    lower: Floats
    pivot: Floats
    position: Indices

    def solve(self, right: Floats) -> Floats:
        """Return the solution of the system with the right-hand sides (n,) or (n, k)."""
        solution = np.empty((len(right), right.size // len(right)))
        solution[self.position] = right.reshape(solution.shape)
        _solve(self.pointer, self.index, self.lower, self.pivot, solution)
        return solution[self.position].reshape(right.shape)

    def inverse_diagonal(self) -> Floats:
        """Return the diagonal of the inverse, (n,), exact to rounding."""
        return _selected_inverse(self.pointer, self.index, self.lower, self.pivot)[self.position]


@compiled
def _factorise(
    pointer: Indices, index: Indices, row_pointer: Indices, row_slot: Indices, lower: Floats
) -> Floats:
    """Replace the lower triangle of a matrix by L, and return the diagonal of D, (n,).

    Column j receives what each earlier column k with an entry L[j, k] contributes to it.
    """
    n = len(pointer) - 1
    pivot, work = np.zeros(n), np.zeros(n)
    column = np.zeros(len(lower), np.int64)
    for j in range(n):
        for at in range(pointer[j], pointer[j + 1]):
            work[index[at]] = lower[at]
            column[at] = j
        for entry in range(row_pointer[j], row_pointer[j + 1] - 1):
            begin = row_slot[entry]
            k = column[begin]
            factor = lower[begin] * pivot[k]
            for at in range(begin, pointer[k + 1]):
                work[index[at]] -= factor * lower[at]
        pivot[j] = work[j]
        for at in range(pointer[j], pointer[j + 1]):
            lower[at] = work[index[at]] / pivot[j]
    return pivot


@compiled
def _solve(pointer: Indices, index: Indices, lower: Floats, pivot: Floats, right: Floats) -> None:
    """Replace right-hand sides (n, k) by the solutions of L D L' x = b."""
    n, columns = right.shape
    for j in range(n):
        for at in range(pointer[j] + 1, pointer[j + 1]):
            for column in range(columns):
                right[index[at], column] -= lower[at] * right[j, column]
    for j in range(n - 1, -1, -1):
        for column in range(columns):
            total = right[j, column] / pivot[j]
            for at in range(pointer[j] + 1, pointer[j + 1]):
                total -= lower[at] * right[index[at], column]
            right[j, column] = total


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


COMPILED = (_factorise, _solve, _selected_inverse)
