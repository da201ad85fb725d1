"""Downsamples series for plots, and defines the rows of the response."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from edge.wire.quantities import QUANTITIES
from gateway.api.models import row_models
from gateway.formats import arrow_tables
from gateway.formats.downsampling import DownsamplingMethod, downsample
from ingest_service.storage.contract.models import READING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gateway.api.directory_cache import DirectoryIndex
    from gateway.api.time_ranges import TimeRange
    from ingest_service.storage.contract.models import Series
    from ingest_service.storage.postgres.query_api import QueryApi, Snapshot


class PlotJson(msgspec.Struct, frozen=True):
    """A downsampled series; ``readings`` is how many there were before."""

    series_id: int
    site_id: str
    quantity: str
    unit: str
    method: DownsamplingMethod
    readings: int
    points: list[row_models.ReadingJson]


DownsampledSeries = list[tuple["NDArray[np.void]", int]]


def downsample_series(
    query_api: QueryApi,
    series: Sequence[Series],
    time_range: TimeRange,
    snapshot: Snapshot,
    *,
    points: int,
    method: DownsamplingMethod,
) -> DownsampledSeries:
    """Return for each series its downsampled readings, and how many readings there were."""

    def downsample_range(series_id: int, from_us: int, to_us: int) -> tuple[NDArray[np.void], int]:
        blocks = query_api.all_readings([series_id], from_us, to_us, snapshot)
        return downsample(blocks, from_us, to_us, points=points, method=method)

    downsampled = []
    for one in series:
        kept_rows, n_readings = downsample_range(one.series_id, time_range.from_us, time_range.to_us)
        if n_readings > len(
            kept_rows
        ):  # again with a tight time range: in a mostly empty one it loses too many
            first_us, last_us = kept_rows["time_us"][[0, -1]].tolist()
            if 2 * (last_us - first_us) < time_range.to_us - time_range.from_us:
                kept_rows, n_readings = downsample_range(one.series_id, first_us, last_us + 1)
        downsampled.append((kept_rows, n_readings))
    return downsampled


def plot_table(
    series: Sequence[Series], directory_index: DirectoryIndex, method: DownsamplingMethod
) -> arrow_tables.ArrowTable[DownsampledSeries]:
    """Return the table of plots: in JSON one object a series, else the downsampled readings."""
    batch = arrow_tables.readings_table(series, directory_index).batch

    def to_json_rows(downsampled: DownsampledSeries) -> list[PlotJson]:
        return [
            PlotJson(
                one.series_id,
                one.site_id,
                one.quantity,
                QUANTITIES[one.quantity].unit,
                method,
                n_readings,
                row_models.reading_rows(kept_rows),
            )
            for one, (kept_rows, n_readings) in zip(series, downsampled, strict=True)
        ]

    return arrow_tables.ArrowTable(
        "plot",
        arrow_tables.readings_schema,
        lambda downsampled: batch(
            np.concatenate([np.empty(0, READING), *(kept_rows for kept_rows, _ in downsampled)])
        ),
        to_json_rows,
        lambda downsampled: sum(len(kept_rows) for kept_rows, _ in downsampled),
    )
