"""Routes of anomalies and of their traces upstream."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Query, Response
from pydantic import Field

from analytics.service import twin
from gateway import asked, convert, models, moments, near, params, respond, tables
from gateway.context import Context, Here
from gateway.forms import HowWanted, documented
from gateway.known import Known
from gateway.problems import ProblemError, not_found, responses
from ingest_service.storage.answers import Question, Waits
from ingest_service.storage.model import Anomaly

router = APIRouter(prefix="/v1", tags=["anomalies"], route_class=asked.Route)

State = Literal["open", "closed", "withdrawn"]
PAGE = 100
BLOCK_ROWS = 5000
Severity = Annotated[int, Query(ge=1, le=3, description="1 notice, 2 warning, 3 alarm")]


@router.get(
    "/anomalies", response_model=models.Page[models.Anomaly], responses=responses(404, 406) | documented()
)
def anomalies(
    here: Here,
    wanted: HowWanted,
    area: params.Area = None,
    site: params.Site = None,
    near_: Annotated[
        str | None,
        Query(alias="near", description="A site or node, for a distance along the network", max_length=200),
    ] = None,
    within_m: Annotated[
        float | None, Query(gt=0, le=1e7, description="Distance along the network [m]", examples=[5000])
    ] = None,
    within_s: Annotated[
        float | None, Query(gt=0, le=1e8, description="Travel time along the network [s]", examples=[7200])
    ] = None,
    direction: Annotated[near.Direction, Query(description="From there up- or downstream")] = "both",
    series: Annotated[
        list[Annotated[int, Field(ge=1, lt=2**31)]] | None, Query(description="Series, repeatable")
    ] = None,
    quantity: params.Quantity = None,
    detector: Annotated[
        list[str] | None, Query(description="Detectors, repeatable", examples=[["residual"]])
    ] = None,
    state: Annotated[list[State] | None, Query(description="States, repeatable", examples=[["open"]])] = None,
    severity_min: Severity = 1,
    severity_max: Severity = 3,
    text: Annotated[
        str | None,
        Query(description="What the reason says, Chinese or English", min_length=1, max_length=100),
    ] = None,
    from_: params.From = None,
    to: params.To = None,
    limit: params.SomeLimit = None,
    cursor: params.Cursor = None,
    reproduce: moments.Reproduce = None,
) -> Response:
    """Anomalies that were going on within a time, newest start first.

    A page stays where it is while new anomalies come: follow `next` until it is absent. CSV, NDJSON, Arrow
    and Parquet come whole, streamed, where no `limit` is given.
    """
    known, cursors = here.known, here.cursors(wanted.request)
    if near_ is None and (within_m or within_s):
        raise ProblemError(422, "near: say from where, with the id of a site or node", where="near")
    if severity_min > severity_max:
        raise ProblemError(422, "severity_min: must not be above severity_max", where="severity_min")
    if from_ and to and from_ >= to:
        raise ProblemError(422, "from: must be before to", where="from")
    sites = [one.site_id for one in known.sites_of(area=area, site=site)]
    if near_ is not None:
        reached = near.sites(known, near_, within_m=within_m, within_s=within_s, direction=direction)
        sites = [one for one in sites if one in reached]
    question = Question(
        site_ids=None if area is site is near_ is None and known.is_whole else sites,
        series_ids=_series(known, series, quantity),
        detectors=[_without_nul(one) for one in detector] if detector else None,
        states=list(state) if state else None,
        severity_min=severity_min,
        severity_max=severity_max,
        text=None if text is None else _without_nul(text),
        from_s=from_.timestamp() if from_ else None,
        to_s=to.timestamp() if to else None,
        after=_place(cursors.decode(cursor, 2)) if cursor else None,
    )
    again = moments.decode(reproduce).moment if reproduce else None
    table = tables.anomalies(known)
    rows = min(limit or PAGE, here.settings.page_rows)
    then = here.answers.then(again)
    if limit is not None or wanted.form == "json":
        found = then.anomalies(msgspec.structs.replace(question, limit=rows + 1))
        next_ = cursors.encode(*found[rows - 1].place) if len(found) > rows else None
        token = moments.encode(then.moment)
        return respond.page(wanted, table, found[:rows], next_=next_, token=token)
    moment = then.moment
    waits = Waits()
    pages = here.answers.all_anomalies(question, moment, waits, rows=BLOCK_ROWS)
    response = respond.whole(wanted, table, pages, token=moments.encode(moment), known=known)
    waits.limit_s = here.settings.export_wait_s
    return response


@router.get("/anomalies/{anomaly_id}", responses=responses(404))
def anomaly(
    here: Here,
    anomaly_id: Annotated[int, params.Identifier],
) -> models.Anomaly:
    """One anomaly with its evidence."""
    return convert.anomaly(_one(here, anomaly_id), here.known)


@router.get("/anomalies/{anomaly_id}/trace", responses=responses(404), tags=["twin"])
def trace(
    here: Here,
    anomaly_id: Annotated[int, params.Identifier],
    window_hours: Annotated[float | None, Query(gt=0, le=720, description="How far back to look [h]")] = None,
    uncertainty: Annotated[
        float, Query(ge=0, lt=1, description="Share by which velocities may be off")
    ] = 0.3,
) -> models.Trace:
    """Which nodes upstream could have caused an anomaly on the river, and when, by travel time."""
    found = _one(here, anomaly_id)
    window_s = window_hours * 3600 if window_hours else here.settings.trace_window_s
    return convert.trace(twin.trace(here.known.directory, found, window_s=window_s, uncertainty=uncertainty))


def _one(here: Context, anomaly_id: int) -> Anomaly:
    """An anomaly at a site that the caller may know of."""
    found = here.store.anomaly(anomaly_id)
    if found is None or found.site_id not in here.known.sites:
        raise not_found("anomaly", anomaly_id)
    return found


def _series(known: Known, ids: list[int] | None, quantity: str | None) -> list[int] | None:
    for one in ids or ():
        if one not in known.series:
            raise not_found("series", one)
    if quantity is None:
        return ids
    return [
        one.series_id for one in known.series_of(quantity=quantity) if ids is None or one.series_id in ids
    ]


def _place(parts: tuple[int, ...]) -> tuple[int, int]:
    start_us, anomaly_id = parts
    return start_us, anomaly_id


def _without_nul(word: str) -> str:
    """A word as PostgreSQL can hold it; what has a NUL is in no text."""
    if "\0" in word:
        raise ProblemError(422, "text, detector: there must be no NUL in it", where="text")
    return word
