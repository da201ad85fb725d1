"""Response models of monthly assessments of sites, links and towns."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from gateway.api.models.resource_models import ApiModel, UtcTime
from ingest_service.storage.postgres.assessments import AssessmentKind


class AssessmentResponse(ApiModel):
    """Assessment of a site, link or town in a month; the kind determines the meaning of value and class."""

    kind: AssessmentKind = Field(examples=["water_class"])
    subject: str = Field(examples=["site/330483-d1-r04"], description="site/…, link/… or area/…")
    area_id: str = Field(examples=["330483-d1"])
    site_id: str | None
    link_id: str | None
    month: str = Field(examples=["2026-10"], description="By the towns' clocks")
    value: float | None = Field(
        description="CWQI, TLI, travel-time index, share captured, share closed in time, index of 100"
    )
    class_: int | None = Field(
        alias="class",
        description="GB 3838 class (6 is worse than V), status, trophic state or level; of an index its rank",
    )
    target: int | None = Field(description="Class aimed at")
    met: bool | None = Field(description="Whether the target is kept; null where there is none")
    items: int | None = Field(description="Items that were measured", examples=[5])
    items_of: int | None = Field(description="Of so many", examples=[21])
    detail: dict[str, Any]
    data_from: UtcTime
    data_to: UtcTime
    readings: int
    version: str = Field(description="Of the formulas")
    computed: UtcTime
