"""Response models of the estimated state of the networks, and of what can't be right in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
from pydantic import Field

from analytics.service.network_checks import Check
from edge.wire.quantities import QUANTITIES
from gateway.api.models.resource_models import ApiModel, UtcTime, utc_datetime

if TYPE_CHECKING:
    from analytics.service.estimated_state import EstimatedState


class NodeEstimateResponse(ApiModel):
    """A quantity at a node; measured, expected, quality and age are of its newest reading of the last 24 h.

    On roads of the last hour.
    """

    node_id: str
    site_id: str | None
    source: Literal["measured", "estimated", "none"] = Field(
        description="measured: its newest reading is good and fresh; none: too few sensors have a fresh one"
    )
    measured: float | None = Field(examples=[7.9])
    expected: float | None = Field(examples=[7.7])
    quality: int | None = Field(description="QARTOD flag", examples=[1])
    age_s: float | None = Field(
        description="Where a town forwarded the estimate without a reading, that of the estimate",
        examples=[120.0],
    )
    estimated: float | None = Field(
        description="From all sensors of the network that you may read", examples=[7.8]
    )
    deviation: float | None = Field(description="Standard deviation of the estimate", examples=[0.2])


class LinkEstimateResponse(ApiModel):
    """A quantity on a link: the mean of its ends; the deviation is an upper bound."""

    link_id: str
    estimated: float | None
    deviation: float | None


class EstimatedStateResponse(ApiModel):
    """One quantity at every node and link of the network that it belongs to."""

    at: UtcTime
    quantity: str
    unit: str
    network: Literal["river", "road"]
    nodes: list[NodeEstimateResponse]
    links: list[LinkEstimateResponse]


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


def estimated_state_response(one: EstimatedState) -> EstimatedStateResponse:
    """Return the estimates as a model."""
    return EstimatedStateResponse(
        at=utc_datetime(one.at_s),
        quantity=one.quantity,
        unit=QUANTITIES[one.quantity].unit,
        network=one.network,
        nodes=[NodeEstimateResponse(**msgspec.structs.asdict(node)) for node in one.nodes],
        links=[LinkEstimateResponse(**msgspec.structs.asdict(link)) for link in one.links],
    )
