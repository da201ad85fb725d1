"""Anomalies: what is or was wrong, where, since when, and where it may have come from."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from analytics.service import twin
from gateway import convert, cursors, models, params
from gateway.context import Here
from gateway.problems import not_found, responses
from ingest_service.storage.model import AnomalyQuery

router = APIRouter(prefix="/v1", tags=["anomalies"])

State = Literal["open", "closed", "withdrawn"]


@router.get("/anomalies", responses=responses(404))
def anomalies(
    here: Here,
    area: params.Area = None,
    site: params.Site = None,
    series: Annotated[
        list[Annotated[int, Field(ge=1, lt=2**31)]] | None, Query(description="Series, repeatable")
    ] = None,
    quantity: params.Quantity = None,
    detector: Annotated[
        list[str] | None, Query(description="Detectors, repeatable", examples=[["residual"]])
    ] = None,
    state: Annotated[list[State] | None, Query(description="States, repeatable", examples=[["open"]])] = None,
    severity_min: Annotated[int, Query(ge=1, le=3, description="1 notice, 2 warning, 3 alarm")] = 1,
    from_: params.From = None,
    to: params.To = None,
    limit: params.Limit = 100,
    cursor: params.Cursor = None,
) -> models.Page[models.Anomaly]:
    """Anomalies that were going on within a time, newest start first.

    A page stays where it is while new anomalies come: follow `next` until it is absent.
    """
    known = here.known
    wanted = series
    if quantity is not None:
        of_quantity = [one.series_id for one in known.series_of(area=area, site=site, quantity=quantity)]
        wanted = [one for one in of_quantity if series is None or one in series]
    after = cursors.decode(cursor, 2) if cursor else None
    rows = min(limit, here.settings.page_rows)
    found = here.store.anomalies(
        AnomalyQuery(
            site_ids=None
            if area is site is None
            else [one.site_id for one in known.sites_of(area=area, site=site)],
            series_ids=wanted,
            detectors=detector,
            states=list(state) if state else None,
            severity_min=severity_min,
            from_s=from_.timestamp() if from_ else None,
            to_s=to.timestamp() if to else None,
            after=(after[0], int(after[1])) if after else None,
            limit=rows + 1,
        )
    )
    page = found[:rows]
    more = len(found) > rows
    return models.Page(
        items=[convert.anomaly(one, known) for one in page],
        next=cursors.encode(page[-1].start_s, page[-1].anomaly_id) if more else None,
    )


@router.get("/anomalies/{anomaly_id}", responses=responses(404))
def anomaly(here: Here, anomaly_id: Annotated[int, params.Identifier]) -> models.Anomaly:
    """One anomaly with its evidence."""
    found = here.store.anomaly(anomaly_id)
    if found is None:
        raise not_found("anomaly", anomaly_id)
    return convert.anomaly(found, here.known)


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
    found = here.store.anomaly(anomaly_id)
    if found is None:
        raise not_found("anomaly", anomaly_id)
    window_s = window_hours * 3600 if window_hours else here.settings.trace_window_s
    return convert.trace(twin.trace(here.known.directory, found, window_s=window_s, uncertainty=uncertainty))
