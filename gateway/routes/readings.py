"""Readings: the newest of each series, a series raw, a series in buckets."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query

from gateway import convert, cursors, models, params
from gateway.context import Context, Here
from gateway.problems import ProblemError, not_found, responses

router = APIRouter(prefix="/v1", tags=["readings"])

DAY_S = 86_400.0
MOST_BUCKETS = 10_000
Width = Annotated[
    timedelta, Query(description="Width of a bucket (ISO 8601), aligned to the local day", examples=["PT1H"])
]


@router.get("/latest", responses=responses(404))
def latest(
    here: Here, area: params.Area = None, site: params.Site = None, quantity: params.Quantity = None
) -> list[models.Latest]:
    """The newest reading of each series, with its age, flag and expected band."""
    known = here.known
    wanted = [one.series_id for one in known.series_of(area=area, site=site, quantity=quantity)]
    now_s = time.time()
    return [convert.latest(one, known, now_s) for one in here.store.latest(wanted)]


@router.get("/series/{series_id}/readings", responses=responses(404))
def readings(
    here: Here,
    series_id: params.SeriesId,
    from_: params.From = None,
    to: params.To = None,
    limit: params.Limit = 1000,
    cursor: params.Cursor = None,
) -> models.Page[models.Reading]:
    """Readings of a series by measured time, oldest first; the last day where no time is given.

    Raw value, QARTOD flag, and the rules behind the flag.
    """
    from_s, to_s = _stretch(here, series_id, from_, to)
    if cursor is not None:
        (after_us,) = cursors.decode(cursor, 1)
        from_s = max(from_s, (after_us + 1) / 1e6)
    rows = here.store.readings(series_id, from_s, to_s, limit=min(limit, here.settings.page_rows) + 1)
    page = rows[: min(limit, here.settings.page_rows)]
    more = len(rows) > len(page)
    return models.Page(
        items=convert.readings(page), next=cursors.encode(int(page[-1]["time_us"])) if more else None
    )


@router.get("/series/{series_id}/buckets", responses=responses(404))
def buckets(
    here: Here,
    series_id: params.SeriesId,
    width: Width,
    from_: params.From = None,
    to: params.To = None,
) -> list[models.Bucket]:
    """A series in buckets of count, good count, min, max and mean; empty buckets are left out."""
    from_s, to_s = _stretch(here, series_id, from_, to)
    width_s = width.total_seconds()
    if width_s < 1 or width_s != int(width_s):
        raise ProblemError(422, "width: give whole seconds, at least PT1S", where="width")
    if (to_s - from_s) / width_s > MOST_BUCKETS:
        raise ProblemError(422, f"width: more than {MOST_BUCKETS:,} buckets; make them wider", where="width")
    found = here.store.buckets(series_id, from_s, to_s, int(width_s))
    rows = [msgspec.structs.asdict(one) for one in found]
    return [models.Bucket(begins=models.at(row.pop("time_s")), **row) for row in rows]


def _stretch(
    here: Context, series_id: params.SeriesId, from_: params.Moment | None, to: params.Moment | None
) -> tuple[float, float]:
    """The stretch of time that is asked for; a day up to now where nothing is said [s]."""
    if series_id not in here.known.series:
        raise not_found("series", series_id)
    to_s = to.timestamp() if to else time.time()
    from_s = from_.timestamp() if from_ else to_s - DAY_S
    if from_s >= to_s:
        raise ProblemError(422, "from: must be before to", where="from")
    return from_s, to_s
