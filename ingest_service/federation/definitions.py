"""Makes the message that defines at the county all that a town's policy lets it have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from edge.wire import federation
from ingest_service.storage.contract.area_tree import areas_below

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest_service.federation.policy import Policy
    from ingest_service.storage.contract.models import Directory


def definitions(directory: Directory, policy: Policy, **header: Any) -> federation.Definitions:
    """Return the definitions of all that a policy lets the county see."""
    areas, forms = areas_below(directory.areas, policy.area), policy.forms(directory)
    sites = {one.site_id for one in policy.sites(directory)}
    nodes = {one.node_id: one for one in directory.nodes if policy.networks and one.area_id in areas}
    return federation.Definitions(
        areas=_converted(
            [one for one in directory.areas if one.area_id in areas - {policy.area}],
            federation.ForwardedArea,
        ),
        sites=_converted(policy.sites(directory), federation.ForwardedSite),
        devices=_converted(
            [one for one in directory.devices if one.area_id in areas], federation.ForwardedDevice
        ),
        series=[
            federation.ForwardedSeries(
                site_id=one.site_id,
                quantity=one.quantity,
                interval_s=one.interval_s,
                only_rollups=forms[one.series_id] == "rollups",
            )
            for one in policy.series(directory)
        ],
        nodes=[
            msgspec.structs.replace(one, site_id=one.site_id if one.site_id in sites else None)
            for one in _converted(list(nodes.values()), federation.ForwardedNode)
        ],
        links=_converted(
            [one for one in directory.links if {one.from_node, one.to_node} <= nodes.keys()],
            federation.ForwardedLink,
        ),
        **header,
    )


def _converted(items: Sequence[msgspec.Struct], kind: type[Any]) -> list[Any]:
    return [kind(**{name: getattr(one, name) for name in kind.__struct_fields__}) for one in items]
