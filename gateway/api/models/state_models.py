"""Response models of the twin: estimated state, what can't be right in the networks, places for sensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
from pydantic import Field

from analytics.service.network_checks import Check
from edge.wire.quantities import QUANTITIES
from gateway.api.models.resource_models import (
    ApiModel,
    MissingResultResponse,
    UtcTime,
    missing_response,
    utc_datetime,
)

if TYPE_CHECKING:
    from analytics.service.estimated_state import EstimatedState
    from analytics.service.placement_report import PlacementCoverage, PlacementReport


class NodeEstimateResponse(ApiModel):
    """A quantity at a node; measured, expected, quality and age are of its newest reading of the last 24 h.

    On roads of the last hour. They are null without such a reading, or without a sensor of the quantity.
    """

    node_id: str
    site_id: str | None
    source: Literal["measured", "estimated", "none"] = Field(
        description="measured: its newest reading is good and fresh; none: `estimates_missing` has the reason"
    )
    measured: float | None = Field(examples=[7.9])
    expected: float | None = Field(description="Null while the judge warms up, too", examples=[7.7])
    quality: int | None = Field(description="QARTOD flag", examples=[1])
    age_s: float | None = Field(
        description="Where a town forwarded the estimate without a reading, that of the estimate",
        examples=[120.0],
    )
    estimated: float | None = Field(
        description="From all sensors of the network that you may read; null where `estimates_missing` has "
        "the reason",
        examples=[7.8],
    )
    deviation: float | None = Field(
        description="Standard deviation of the estimate; null without one", examples=[0.2]
    )


class LinkEstimateResponse(ApiModel):
    """A quantity on a link: the mean of its ends; the deviation is an upper bound."""

    link_id: str
    estimated: float | None = Field(description="Null where an end has no estimate")
    deviation: float | None = Field(description="Null without an estimate")


class EstimatedStateResponse(ApiModel):
    """One quantity at every node and link of the network that it belongs to."""

    at: UtcTime
    quantity: str
    unit: str
    network: Literal["river", "road"]
    nodes: list[NodeEstimateResponse]
    links: list[LinkEstimateResponse]
    estimates_missing: MissingResultResponse | None = Field(
        description="Why nodes without a sensor, or all, have no estimate; null where each has one"
    )


class NetworkFindingResponse(ApiModel):
    """Something that can't be right in a network, and where."""

    check: Check
    network: str
    feature: Literal["node", "link", "site"]
    feature_id: str
    en: str
    zh: str
    lon: float
    lat: float
    explanation_en: str
    explanation_zh: str


class PlacementCoverageResponse(ApiModel):
    """What a set of sensors achieves, for a release at each of the outfalls."""

    value: float = Field(description="Mean of the two shares that follow", examples=[0.62])
    detected: float = Field(description="Share of the releases that some sensor detects", examples=[0.71])
    separated: float = Field(
        description="Mean share of other outfalls from which a release is distinguished", examples=[0.53]
    )
    outfalls_traceable: int = Field(
        description="Outfalls that are distinguished from four fifths of the others", examples=[9]
    )


class PlacedSensorResponse(PlacementCoverageResponse):
    """A place in the list: what it adds, and what all sensors up to it achieve."""

    rank: int = Field(examples=[1])
    node_id: str = Field(examples=["330483-d1-r04"])
    area_id: str
    en: str
    zh: str
    has_site: bool
    gain: float = Field(description="What it adds to the value", examples=[0.31])


class PlacementResponse(ApiModel):
    """Places for water-quality sensors, each chosen for what it adds to those before it."""

    n_outfalls: int
    amount_kg: float
    limit_mg_l: float
    is_discharge_measured: bool = Field(description="Else the flow is the usual one")
    n_existing: int = Field(description="Sensors that count in advance")
    before: PlacementCoverageResponse = Field(description="What these achieve alone")
    worthwhile: int = Field(
        description="How many to take: up to the last that adds 0.02, or makes another outfall traceable",
        examples=[3],
    )
    items: list[PlacedSensorResponse] = Field(
        description="Empty where no further place distinguishes an outfall; where nothing can be computed, "
        "the request is refused with the reason"
    )


def placement_response(one: PlacementReport) -> PlacementResponse:
    """Return the placement as a model; shares have four digits."""
    return PlacementResponse(
        n_outfalls=one.n_outfalls,
        amount_kg=one.amount_kg,
        limit_mg_l=one.limit_mg_l,
        is_discharge_measured=one.is_discharge_measured,
        n_existing=one.n_existing,
        before=PlacementCoverageResponse(**_rounded(one.before)),
        worthwhile=one.worthwhile,
        items=[PlacedSensorResponse(**_rounded(row)) for row in one.rows],
    )


def _rounded(one: PlacementCoverage) -> dict[str, Any]:
    return {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in msgspec.structs.asdict(one).items()
    }


def estimated_state_response(one: EstimatedState) -> EstimatedStateResponse:
    """Return the estimates as a model."""
    return EstimatedStateResponse(
        at=utc_datetime(one.at_s),
        quantity=one.quantity,
        unit=QUANTITIES[one.quantity].unit,
        network=one.network,
        nodes=[NodeEstimateResponse(**msgspec.structs.asdict(node)) for node in one.nodes],
        links=[LinkEstimateResponse(**msgspec.structs.asdict(link)) for link in one.links],
        estimates_missing=missing_response(one.missing),
    )
