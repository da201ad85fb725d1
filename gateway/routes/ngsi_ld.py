"""The newest values as NGSI-LD entities."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from gateway import ngsi_ld, params
from gateway.context import Here
from gateway.problems import responses

router = APIRouter(prefix="/v1/ngsi-ld", tags=["ngsi-ld"])


class LinkedData(JSONResponse):
    """JSON-LD."""

    media_type = "application/ld+json"


Form = Annotated[
    Literal["normalized", "keyValues"],
    Query(description="normalized, with units and flags; or keyValues, bare", examples=["keyValues"]),
]
Type = Annotated[
    ngsi_ld.EntityType | None,
    Query(alias="type", description="One data model", examples=["WaterQualityObserved"]),
]


@router.get("/entities", responses=responses(404), response_class=LinkedData)
def entities(
    here: Here,
    area: params.Area = None,
    site: params.Site = None,
    type_: Type = None,
    options: Form = "normalized",
) -> list[dict[str, Any]]:
    """The newest readings of each site in the shape of the Smart Data Models, each with its @context.

    WaterQualityObserved for water, TrafficFlowObserved for traffic. Readings that failed quality control are
    left out; in the normalized form the QARTOD flag stands beside each value.
    """
    known = here.known
    series = [one.series_id for one in known.series_of(area=area, site=site)]
    latest = here.store.latest(series)
    sites = known.sites_of(area=area, site=site)
    return list(ngsi_ld.entities(sites, latest, known, wanted=type_, simplified=options == "keyValues"))
