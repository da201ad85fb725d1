"""Route of the newest values as NGSI-LD entities (Smart Data Models)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from gateway.api import query_params
from gateway.api.problems import problem_responses
from gateway.api.request_context import CurrentContext
from gateway.auth.authorization import READINGS, requires
from gateway.formats import ngsi_ld

router = APIRouter(prefix="/v1/ngsi-ld", tags=["ngsi-ld"])


class JsonLdResponse(JSONResponse):
    """A response of media type ``application/ld+json``."""

    media_type = "application/ld+json"


NgsiFormat = Annotated[
    Literal["normalized", "keyValues"],
    Query(description="normalized, with units and flags; or keyValues, bare", examples=["keyValues"]),
]
EntityTypeParam = Annotated[
    ngsi_ld.EntityType | None,
    Query(alias="type", description="One data model", examples=["WaterQualityObserved"]),
]


@router.get("/entities", responses=problem_responses(404), response_class=JsonLdResponse)
@requires(READINGS)
def entities(
    context: CurrentContext,
    area: query_params.AreaParam = None,
    site: query_params.SiteParam = None,
    type_: EntityTypeParam = None,
    options: NgsiFormat = "normalized",
) -> list[dict[str, Any]]:
    """The newest readings of each site in the shape of the Smart Data Models, each with its @context.

    WaterQualityObserved for water, TrafficFlowObserved for traffic. Readings that failed quality control are
    left out; the normalized form has the QARTOD flag of each value.
    """
    directory_index = context.directory_index
    series = [one.series_id for one in directory_index.series_of(area=area, site=site)]
    latest = context.store.latest(series)
    sites = directory_index.sites_of(area=area, site=site)
    return list(
        ngsi_ld.entities(sites, latest, directory_index, entity_type=type_, simplified=options == "keyValues")
    )
