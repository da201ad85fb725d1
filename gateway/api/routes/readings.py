"""Routes of readings: newest values, raw readings, time buckets, and downsampled plots."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Response
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from gateway.api import fast_route, query_params, snapshots, time_ranges
from gateway.api.directory_cache import DirectoryIndex
from gateway.api.models import resource_models, row_models
from gateway.api.pagination import CursorSigner
from gateway.api.problems import ProblemError, not_found, problem_responses
from gateway.api.request_context import CurrentContext, RequestContext
from gateway.api.time_ranges import TimeRange
from gateway.auth.authorization import READINGS, VIEWER, RequiredRight, requires
from gateway.formats import arrow_tables, plots, streaming_response
from gateway.formats.downsampling import DownsamplingMethod
from gateway.formats.negotiation import RequestedFormat, format_responses
from ingest_service.storage.contract.models import READING, Series
from ingest_service.storage.postgres.query_api import PageRetry, SnapshotReader

router = APIRouter(prefix="/v1", tags=["readings"], route_class=fast_route.FastRoute)

DEFAULT_PAGE_ROWS = 1000
MAX_BUCKETS_PER_RESPONSE = 10_000
MAX_PLOTTED_SERIES = 50
MAX_BUCKET_WIDTH_S = 3660 * 86_400


def _reject_calendar_units(width: object) -> object:
    if isinstance(width, str) and re.search("[YM]", width.upper().partition("T")[0]):
        raise ValueError("months and years are of different lengths: give days, hours, minutes or seconds")
    return width


BucketWidthParam = Annotated[
    timedelta,
    BeforeValidator(_reject_calendar_units),
    Query(
        description="Width of a bucket (ISO 8601): whole local days, or a part of one; weeks begin on Monday",
        examples=["PT1H"],
    ),
]
SeriesIdsParam = Annotated[
    list[Annotated[int, Field(ge=1, lt=2**31)]] | None,
    Query(description="Series, repeatable", examples=[[12]]),
]


@router.get(
    "/latest",
    response_model=list[resource_models.LatestResponse],
    responses=problem_responses(404, 406) | format_responses(has_snapshot_token=False),
)
@requires(READINGS)
def latest(
    context: CurrentContext,
    response_format: RequestedFormat,
    area: query_params.AreaParam = None,
    site: query_params.SiteParam = None,
    quantity: query_params.QuantityParam = None,
) -> Response:
    """The newest reading of each series, with its age, flag and expected band."""
    directory_index = context.directory_index
    series = directory_index.series_of(area=area, site=site, quantity=quantity)
    results = context.store.latest([one.series_id for one in series])
    return streaming_response.list_response(
        response_format, arrow_tables.latest_table(series, directory_index, time.time()), results, token=None
    )


@router.get(
    "/readings",
    response_model=resource_models.PageResponse[resource_models.SeriesReadingResponse],
    responses=problem_responses(404, 406) | format_responses(),
)
@requires(READINGS)
def readings(
    context: CurrentContext,
    response_format: RequestedFormat,
    series: SeriesIdsParam = None,
    area: query_params.AreaParam = None,
    site: query_params.SiteParam = None,
    quantity: query_params.QuantityParam = None,
    from_: query_params.FromParam = None,
    to: query_params.ToParam = None,
    limit: query_params.OptionalLimitParam = None,
    cursor: query_params.CursorParam = None,
    reproduce: snapshots.ReproduceParam = None,
) -> Response:
    """Readings of several series, series by series, oldest first; the last day where no time is given.

    JSON is paged. CSV, NDJSON, Arrow and Parquet are streamed as a whole where no `limit` is given.
    """
    directory_index = context.directory_index
    selected_series = select_series(directory_index, series, area=area, site=site, quantity=quantity)
    time_range = time_ranges.resolve_time_range(from_, to, reproduce)
    table, cursor_signer = (
        arrow_tables.readings_table(selected_series, directory_index),
        context.cursor_signer(response_format.request),
    )
    history = context.history_api()
    reader_at = history.reader_at(time_range.as_of)
    if limit is not None or response_format.format_name == "json":
        page, next_cursor = _readings_page(
            reader_at, cursor_signer, selected_series, time_range, _page_limit(context, limit), cursor
        )
        return streaming_response.page_response(
            response_format, table, page, next_cursor=next_cursor, token=time_range.token(reader_at.snapshot)
        )
    snapshot = reader_at.snapshot
    ids = [one.series_id for one in selected_series]
    page_retry = PageRetry()
    blocks = history.all_readings(ids, time_range.from_us, time_range.to_us, snapshot, page_retry)
    response = streaming_response.streamed_response(
        response_format, table, blocks, token=time_range.token(snapshot), directory_index=directory_index
    )
    page_retry.limit_s = context.settings.export_wait_s
    return response


@router.get(
    "/series/{series_id}/readings",
    response_model=resource_models.PageResponse[resource_models.ReadingResponse],
    responses=problem_responses(404, 406) | format_responses(),
)
@requires(READINGS)
def readings_of_one(
    context: CurrentContext,
    response_format: RequestedFormat,
    series_id: query_params.SeriesIdParam,
    from_: query_params.FromParam = None,
    to: query_params.ToParam = None,
    limit: query_params.OptionalLimitParam = None,
    cursor: query_params.CursorParam = None,
    reproduce: snapshots.ReproduceParam = None,
) -> Response:
    """Readings of a series by measured time, oldest first; the last day where no time is given.

    Raw value, QARTOD flag, and the rules behind the flag. In other formats than JSON as /v1/readings.
    """
    if response_format.format_name != "json":
        return readings(
            context, response_format, [series_id], None, None, None, from_, to, limit, cursor, reproduce
        )
    directory_index = context.directory_index
    selected_series, cursor_signer = (
        select_series(directory_index, [series_id]),
        context.cursor_signer(response_format.request),
    )
    time_range = time_ranges.resolve_time_range(from_, to, reproduce)
    reader_at = context.history_api().reader_at(time_range.as_of)
    page, next_cursor = _readings_page(
        reader_at, cursor_signer, selected_series, time_range, _page_limit(context, limit), cursor
    )
    token = time_range.token(reader_at.snapshot)
    table = arrow_tables.ArrowTable(
        "readings",
        arrow_tables.readings_schema,
        arrow_tables.readings_table(selected_series, directory_index).batch,
        row_models.reading_rows,
    )
    return streaming_response.page_response(
        response_format, table, page, next_cursor=next_cursor, token=token
    )


@router.get(
    "/plot",
    response_model=list[resource_models.PlotResponse],
    responses=problem_responses(404, 406) | format_responses(),
)
@requires(RequiredRight(VIEWER, "readings", heavy=True))
def plot(
    context: CurrentContext,
    response_format: RequestedFormat,
    series: Annotated[
        list[Annotated[int, Field(ge=1, lt=2**31)]],
        Query(description="Series, repeatable", examples=[[12]], min_length=1, max_length=MAX_PLOTTED_SERIES),
    ],
    from_: query_params.FromParam = None,
    to: query_params.ToParam = None,
    points: Annotated[int, Query(ge=4, le=10_000, description="Readings of each series at most")] = 800,
    method: Annotated[
        DownsamplingMethod, Query(description="lttb: the shape; minmax: every extreme")
    ] = "lttb",
    reproduce: snapshots.ReproduceParam = None,
) -> Response:
    """Series thinned for a plot: at most so many readings of each, every one a stored one with its flag."""
    directory_index = context.directory_index
    selected_series = select_series(directory_index, series)
    time_range = time_ranges.resolve_time_range(from_, to, reproduce)
    history = context.history_api()
    snapshot = history.reader_at(time_range.as_of).snapshot
    results = plots.downsample_series(
        history, selected_series, time_range, snapshot, points=points, method=method
    )
    return streaming_response.list_response(
        response_format,
        plots.plot_table(selected_series, directory_index, method),
        results,
        token=time_range.token(snapshot),
    )


@router.get(
    "/series/{series_id}/buckets",
    response_model=list[resource_models.BucketResponse],
    responses=problem_responses(404, 406) | format_responses(),
)
@requires(READINGS)
def buckets(
    context: CurrentContext,
    response_format: RequestedFormat,
    series_id: query_params.SeriesIdParam,
    width: BucketWidthParam,
    from_: query_params.FromParam = None,
    to: query_params.ToParam = None,
    reproduce: snapshots.ReproduceParam = None,
) -> Response:
    """A series in buckets of count, good count, min, max and mean; empty buckets are left out."""
    (bucketed_series,) = select_series(context.directory_index, [series_id])
    time_range = time_ranges.resolve_time_range(from_, to, reproduce)
    width_s = width.total_seconds()
    if width_s < 1 or width_s != int(width_s):
        raise ProblemError(422, "width: give whole seconds, at least PT1S", where="width")
    if width_s > MAX_BUCKET_WIDTH_S:
        raise ProblemError(422, f"width: give P{MAX_BUCKET_WIDTH_S // 86_400}D at most", where="width")
    if (time_range.to_us - time_range.from_us) / 1e6 / width_s > MAX_BUCKETS_PER_RESPONSE:
        raise ProblemError(
            422, f"width: more than {MAX_BUCKETS_PER_RESPONSE:,} buckets; make them wider", where="width"
        )
    reader_at = context.query_api.reader_at(time_range.as_of)
    results = reader_at.buckets(series_id, time_range.from_us / 1e6, time_range.to_us / 1e6, int(width_s))
    token = time_range.token(reader_at.snapshot)
    return streaming_response.list_response(
        response_format, arrow_tables.buckets_table(bucketed_series), results, token=token
    )


def select_series(
    directory_index: DirectoryIndex,
    ids: list[int] | None,
    *,
    area: str | None = None,
    site: str | None = None,
    quantity: str | None = None,
) -> list[Series]:
    """Return series by ids and filters, sorted by id. Raises `ProblemError` where one is unknown."""
    for one in ids or ():
        if one not in directory_index.series:
            raise not_found("series", one)
    if ids is not None and area is site is quantity is None:
        return [directory_index.series[one] for one in sorted(set(ids))]
    results = directory_index.series_of(area=area, site=site, quantity=quantity)
    return sorted(
        (one for one in results if ids is None or one.series_id in ids), key=lambda one: one.series_id
    )


def _page_limit(context: RequestContext, limit: int | None) -> int:
    return min(limit or DEFAULT_PAGE_ROWS, context.settings.page_rows)


def _readings_page(
    reader_at: SnapshotReader,
    cursor_signer: CursorSigner,
    selected_series: list[Series],
    time_range: TimeRange,
    max_rows: int,
    cursor: str | None,
) -> tuple[NDArray[np.void], str | None]:
    """Return a page of READING rows, series by series, and the cursor of the next page."""
    after_id, after_us = (0, 0)
    if cursor is not None:
        after_id, after_us = cursor_signer.decode(cursor, 2)
    blocks, rows_left = list[NDArray[np.void]](), max_rows + 1
    for one in selected_series:
        if one.series_id < after_id or not rows_left:
            continue
        from_us = max(time_range.from_us, after_us + 1) if one.series_id == after_id else time_range.from_us
        blocks.append(reader_at.readings(one.series_id, from_us, time_range.to_us, limit=rows_left))
        rows_left -= len(blocks[-1])
    results = blocks[0] if len(blocks) == 1 else np.concatenate([np.empty(0, READING), *blocks])
    page = results[:max_rows]
    if len(results) <= max_rows:
        return page, None
    last = page[-1]
    return page, cursor_signer.encode(int(last["series_id"]), int(last["time_us"]))
