"""Downsamples a series to at most N points (LTTB or min-max) in constant memory.

The time range is cut into equal slices, and the lowest and the highest reading of each are kept; every kept
reading is a stored one, with its own flag. LTTB (S. Steinarsson, "Downsampling Time Series for Visual
Representation", University of Iceland, 2013) then chooses among four times as many as requested, which looks
the same as choosing among all (J. Van Der Donckt et al., "MinMaxLTTB", IEEE VIS 2023).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from tsdownsample import LTTBDownsampler

from ingest_service.storage.contract.models import READING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

DownsamplingMethod = Literal["lttb", "minmax"]
MINMAX_RATIO = 4


class MinMaxReducer:
    """Keeps the lowest and highest reading of each time slice of READING blocks, and counts the readings."""

    def __init__(self, from_us: int, to_us: int, n_slices: int) -> None:
        self._from_us = from_us
        self._width_us = max(1, -(-(to_us - from_us) // n_slices))
        self._kept_blocks: list[NDArray[np.void]] = []
        self._last_slice_rows = np.empty(
            0, READING
        )  # kept rows of the last slice, which the next block may continue
        self._first_row: NDArray[np.void] | None = None
        self.readings = 0

    def add(self, block: NDArray[np.void]) -> None:
        """Add the next block, in order of time."""
        if not len(block):
            return
        self.readings += len(block)
        if self._first_row is None:
            self._first_row = block[:1].copy()
        rows = np.concatenate([self._last_slice_rows, block])
        at = (rows["time_us"] - self._from_us) // self._width_us
        slice_starts = np.flatnonzero(np.append(True, at[1:] != at[:-1]))
        by_value = np.lexsort((rows["value"], at))
        slice_ends = np.append(slice_starts[1:], len(rows)) - 1
        kept_rows = np.unique(np.concatenate([by_value[slice_starts], by_value[slice_ends]]))
        self._kept_blocks.append(rows[kept_rows[kept_rows < slice_starts[-1]]])
        # the newest row is kept as well: it may be the last of all
        self._last_slice_rows = rows[
            np.unique(np.append(kept_rows[kept_rows >= slice_starts[-1]], len(rows) - 1))
        ]

    def rows(self) -> NDArray[np.void]:
        """Return (n,) READING: the first, the last, and two of each slice."""
        first = [] if self._first_row is None else [self._first_row]
        rows = np.concatenate([*first, *self._kept_blocks, self._last_slice_rows])
        return rows[np.unique(rows["time_us"], return_index=True)[1]]


def downsample(
    blocks: Iterable[NDArray[np.void]], from_us: int, to_us: int, *, points: int, method: DownsamplingMethod
) -> tuple[NDArray[np.void], int]:
    """Return at most ``points`` readings of a time range, and how many there were.

    Parameters
    ----------
    blocks : READING of one series, in order of time
    from_us, to_us : time range [Unix µs]
    points : at least 4

    """
    n_slices = points // 2 - 1 if method == "minmax" else MINMAX_RATIO // 2 * points
    reducer = MinMaxReducer(from_us, to_us, n_slices)
    for block in blocks:
        reducer.add(block)
    rows = reducer.rows()
    if method == "lttb" and len(rows) > points:
        times, values = rows["time_us"].copy(), rows["value"].copy()
        rows = rows[LTTBDownsampler().downsample(times, values, n_out=points)]
    return rows, reducer.readings
