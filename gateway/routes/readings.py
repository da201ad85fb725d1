"""Routes of readings: newest values, raw series, buckets, and downsampled plots."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Response
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from gateway import asked, models, moments, params, plots, respond, rows, stretches, tables
from gateway.context import Context, Here
from gateway.cursors import Cursors
from gateway.forms import HowWanted, documented
from gateway.known import Known
from gateway.problems import ProblemError, not_found, responses
from gateway.stretches import Stretch
from gateway.thin import Method
from ingest_service.storage.answers import Then, Waits
from ingest_service.storage.model import READING, Series

router = APIRouter(prefix="/v1", tags=["readings"], route_class=asked.Route)

PAGE = 1000
MOST_BUCKETS = 10_000
MOST_PLOTS = 50
WIDEST_S = 3660 * 86_400


def _of_days(width: object) -> object:
    if isinstance(width, str) and re.search("[YM]", width.upper().partition("T")[0]):
        raise ValueError("months and years are of different lengths: give days, hours, minutes or seconds")
    return width


Width = Annotated[
    timedelta,
    BeforeValidator(_of_days),
    Query(
        description="Width of a bucket (ISO 8601): whole local days, or a part of one; weeks begin on Monday",
        examples=["PT1H"],
    ),
]
SeriesIds = Annotated[
    list[Annotated[int, Field(ge=1, lt=2**31)]] | None,
    Query(description="Series, repeatable", examples=[[12]]),
]


@router.get(
    "/latest", response_model=list[models.Latest], responses=responses(404, 406) | documented(again=False)
)
def latest(
    here: Here,
    wanted: HowWanted,
    area: params.Area = None,
    site: params.Site = None,
    quantity: params.Quantity = None,
) -> Response:
    """The newest reading of each series, with its age, flag and expected band."""
    known = here.known
    series = known.series_of(area=area, site=site, quantity=quantity)
    found = here.store.latest([one.series_id for one in series])
    return respond.listed(wanted, tables.latest(series, known, time.time()), found, token=None)


@router.get(
    "/readings",
    response_model=models.Page[models.SeriesReading],
    responses=responses(404, 406) | documented(),
)
def readings(
    here: Here,
    wanted: HowWanted,
    series: SeriesIds = None,
    area: params.Area = None,
    site: params.Site = None,
    quantity: params.Quantity = None,
    from_: params.From = None,
    to: params.To = None,
    limit: params.SomeLimit = None,
    cursor: params.Cursor = None,
    reproduce: moments.Reproduce = None,
) -> Response:
    """Readings of several series, series by series, oldest first; the last day where no time is given.

    JSON comes in pages. CSV, NDJSON, Arrow and Parquet come whole, streamed, where no `limit` is given.
    """
    known = here.known
    asked = chosen(known, series, area=area, site=site, quantity=quantity)
    over = stretches.of(from_, to, reproduce)
    table, cursors = tables.readings(asked, known), here.cursors(wanted.request)
    then = here.answers.then(over.again)
    if limit is not None or wanted.form == "json":
        page, next_ = _page(then, cursors, asked, over, _most(here, limit), cursor)
        return respond.page(wanted, table, page, next_=next_, token=over.token(then.moment))
    moment = then.moment
    ids = [one.series_id for one in asked]
    waits = Waits()
    blocks = here.answers.all_readings(ids, over.from_us, over.to_us, moment, waits)
    response = respond.whole(wanted, table, blocks, token=over.token(moment), known=known)
    waits.limit_s = here.settings.export_wait_s
    return response


@router.get(
    "/series/{series_id}/readings",
    response_model=models.Page[models.Reading],
    responses=responses(404, 406) | documented(),
)
def readings_of_one(
    here: Here,
    wanted: HowWanted,
    series_id: params.SeriesId,
    from_: params.From = None,
    to: params.To = None,
    limit: params.SomeLimit = None,
    cursor: params.Cursor = None,
    reproduce: moments.Reproduce = None,
) -> Response:
    """Readings of a series by measured time, oldest first; the last day where no time is given.

    Raw value, QARTOD flag, and the rules behind the flag. In other forms than JSON as /v1/readings.
    """
    if wanted.form != "json":
        return readings(here, wanted, [series_id], None, None, None, from_, to, limit, cursor, reproduce)
    known = here.known
    asked, cursors = chosen(known, [series_id]), here.cursors(wanted.request)
    over = stretches.of(from_, to, reproduce)
    then = here.answers.then(over.again)
    page, next_ = _page(then, cursors, asked, over, _most(here, limit), cursor)
    token = over.token(then.moment)
    table = tables.Table("readings", tables.READINGS, tables.readings(asked, known).batch, rows.readings)
    return respond.page(wanted, table, page, next_=next_, token=token)


@router.get("/plot", response_model=list[models.Plot], responses=responses(404, 406) | documented())
def plot(
    here: Here,
    wanted: HowWanted,
    series: Annotated[
        list[Annotated[int, Field(ge=1, lt=2**31)]],
        Query(description="Series, repeatable", examples=[[12]], min_length=1, max_length=MOST_PLOTS),
    ],
    from_: params.From = None,
    to: params.To = None,
    points: Annotated[int, Query(ge=4, le=10_000, description="Readings of each series at most")] = 800,
    method: Annotated[Method, Query(description="lttb: the shape; minmax: every extreme")] = "lttb",
    reproduce: moments.Reproduce = None,
) -> Response:
    """Series thinned for a plot: at most so many readings of each, every one a stored one with its flag."""
    known = here.known
    asked = chosen(known, series)
    over = stretches.of(from_, to, reproduce)
    moment = here.answers.then(over.again).moment
    found = plots.thinned(here.answers, asked, over, moment, points=points, method=method)
    return respond.listed(wanted, plots.table(asked, known, method), found, token=over.token(moment))


@router.get(
    "/series/{series_id}/buckets",
    response_model=list[models.Bucket],
    responses=responses(404, 406) | documented(),
)
def buckets(
    here: Here,
    wanted: HowWanted,
    series_id: params.SeriesId,
    width: Width,
    from_: params.From = None,
    to: params.To = None,
    reproduce: moments.Reproduce = None,
) -> Response:
    """A series in buckets of count, good count, min, max and mean; empty buckets are left out."""
    (of,) = chosen(here.known, [series_id])
    over = stretches.of(from_, to, reproduce)
    width_s = width.total_seconds()
    if width_s < 1 or width_s != int(width_s):
        raise ProblemError(422, "width: give whole seconds, at least PT1S", where="width")
    if width_s > WIDEST_S:
        raise ProblemError(422, f"width: give P{WIDEST_S // 86_400}D at most", where="width")
    if (over.to_us - over.from_us) / 1e6 / width_s > MOST_BUCKETS:
        raise ProblemError(422, f"width: more than {MOST_BUCKETS:,} buckets; make them wider", where="width")
    then = here.answers.then(over.again)
    found = then.buckets(series_id, over.from_us / 1e6, over.to_us / 1e6, int(width_s))
    token = over.token(then.moment)
    return respond.listed(wanted, tables.buckets(of), found, token=token)


def chosen(
    known: Known,
    ids: list[int] | None,
    *,
    area: str | None = None,
    site: str | None = None,
    quantity: str | None = None,
) -> list[Series]:
    """Series by id and filters, by id. Raises `ProblemError` where one is not known."""
    for one in ids or ():
        if one not in known.series:
            raise not_found("series", one)
    if ids is not None and area is site is quantity is None:
        return [known.series[one] for one in sorted(set(ids))]
    found = known.series_of(area=area, site=site, quantity=quantity)
    return sorted(
        (one for one in found if ids is None or one.series_id in ids), key=lambda one: one.series_id
    )


def _most(here: Context, limit: int | None) -> int:
    return min(limit or PAGE, here.settings.page_rows)


def _page(
    then: Then, cursors: Cursors, asked: list[Series], over: Stretch, most: int, cursor: str | None
) -> tuple[NDArray[np.void], str | None]:
    """A page of READING rows, series by series, and the cursor of the next one."""
    after_id, after_us = (0, 0)
    if cursor is not None:
        after_id, after_us = cursors.decode(cursor, 2)
    blocks, missing = list[NDArray[np.void]](), most + 1
    for one in asked:
        if one.series_id < after_id or not missing:
            continue
        from_us = max(over.from_us, after_us + 1) if one.series_id == after_id else over.from_us
        blocks.append(then.readings(one.series_id, from_us, over.to_us, limit=missing))
        missing -= len(blocks[-1])
    found = blocks[0] if len(blocks) == 1 else np.concatenate([np.empty(0, READING), *blocks])
    page = found[:most]
    if len(found) <= most:
        return page, None
    last = page[-1]
    return page, cursors.encode(int(last["series_id"]), int(last["time_us"]))
