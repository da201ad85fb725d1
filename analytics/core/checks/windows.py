"""Computes range and standard deviation over many windows of arbitrary begin and end at once.

Blocks of 1, 2, 4, … elements are merged from their halves, and each window is composed of blocks by the
binary digits of its length. So n windows cost n log n whatever their length, nothing is subtracted from
running sums (a value of 1e300 affects no window that does not contain it), and memory stays at a few arrays
of n.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    WindowParts = tuple[Floats, ...]
    Positions = NDArray[np.intp]


def window_deviations(x: Floats, begin: Positions, end: Positions) -> Floats:
    """Return population standard deviations of windows, (k,); see `fold_windows`.

    Source: Chan, Golub and LeVeque (1979).
    """
    with np.errstate(over="ignore", invalid="ignore"):
        n, _, squares = fold_windows(
            (np.ones_like(x), x, np.zeros_like(x)), _merge_deviations, (0.0, 0.0, 0.0), begin, end
        )
        return np.sqrt(squares / np.maximum(n, 1.0))


def window_ranges(x: Floats, begin: Positions, end: Positions) -> Floats:
    """Return the ranges (largest less smallest value) of windows, (k,); see `fold_windows`."""
    low, high = fold_windows((x, x), _merge_ranges, (np.inf, -np.inf), begin, end)
    with np.errstate(over="ignore", invalid="ignore"):
        return high - low


def fold_windows(
    parts: WindowParts,
    merge: Callable[[WindowParts, WindowParts], WindowParts],
    neutral: tuple[float, ...],
    begin: Positions,
    end: Positions,
) -> WindowParts:
    """Merge the elements of each window, from the left.

    Parameters
    ----------
    parts : (n,) each: the components of the elements
    merge : associative merge of two neighbours, elementwise
    neutral : components of the neutral element of the merge
    begin, end : (k,) windows ``begin ≤ i < end``; those that end before they begin are empty

    Returns
    -------
    (k,) each: the components of the merged windows

    """
    length, position = np.maximum(end - begin, 0), begin.copy()
    merged = tuple(np.full(len(begin), one) for one in neutral)
    width = 1
    while width <= length.max(initial=0):
        if width > 1:
            parts = merge(
                tuple(part[: -width // 2] for part in parts), tuple(part[width // 2 :] for part in parts)
            )
        has_block = np.flatnonzero(length & width)
        joined = merge(
            tuple(part[has_block] for part in merged), tuple(part[position[has_block]] for part in parts)
        )
        for part, new in zip(merged, joined, strict=True):
            part[has_block] = new
        position[has_block] += width
        width *= 2
    return merged


def _merge_ranges(one: WindowParts, other: WindowParts) -> WindowParts:
    return np.minimum(one[0], other[0]), np.maximum(one[1], other[1])


def _merge_deviations(one: WindowParts, other: WindowParts) -> WindowParts:
    """Merge counts, means and sums of squared distances from the means."""
    n = one[0] + other[0]
    both = (one[0] > 0) & (other[0] > 0)
    mean_difference = np.where(both, other[1] - one[1], 0.0)
    share = other[0] / np.maximum(n, 1.0)
    mean = np.where(one[0] > 0, one[1] + mean_difference * share, other[1])
    return n, mean, one[2] + other[2] + mean_difference * mean_difference * (one[0] * share)
