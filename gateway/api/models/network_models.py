"""Response models of imports of networks, and of what can't be right in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
from pydantic import Field

from gateway.api.models.resource_models import ApiModel
from gateway.api.models.state_models import NetworkFindingResponse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from analytics.service.network_checks import NetworkFinding


class FeatureChangeResponse(ApiModel):
    """A feature that an import adds, changes or ends."""

    action: Literal["adds", "changes", "ends"]
    feature: Literal["area", "site", "node", "link"]
    feature_id: str
    fields: dict[str, tuple[str, str]] = Field(
        description="Old and new value of each changed field", examples=[{"width_m": ["8.0", "10.0"]}]
    )


class NetworkImportResponse(ApiModel):
    """What an import changed, or would change."""

    dry_run: bool = Field(description="Nothing was changed")
    changes: list[FeatureChangeResponse]
    findings: list[NetworkFindingResponse] = Field(
        description="What the import makes wrong in the networks, each with its place"
    )
    notes: list[str] = Field(description="What was left out or assumed")


def finding_responses(findings: Iterable[NetworkFinding]) -> list[NetworkFindingResponse]:
    """Return findings as models."""
    return [NetworkFindingResponse(**msgspec.structs.asdict(one)) for one in findings]
