"""Plans a change of the networks by valid time: what becomes past, what is valid from then on, what ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from ingest_service.storage.contract.errors import StoreRefusedError
from ingest_service.storage.contract.models import Area, Link, Node, PastLink, PastNode, Site

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ingest_service.storage.contract.models import Directory

F = TypeVar("F", Node, Link)


class NetworkChangeError(StoreRefusedError):
    """A change of the networks that contradicts what is enrolled, or its own time."""


class NetworkChange(msgspec.Struct, frozen=True, kw_only=True):
    """New, changed and ended nodes and links.

    Attributes
    ----------
    areas, sites : to insert or update; they have no versions
    nodes, links : as they are from `valid_from_s` on
    ended_nodes, ended_links : ids of those that are no more
    valid_from_s : time of the change [Unix s]; None corrects what was enrolled, and keeps no past version

    """

    areas: list[Area] = []
    sites: list[Site] = []
    nodes: list[Node] = []
    links: list[Link] = []
    ended_nodes: list[str] = []
    ended_links: list[str] = []
    valid_from_s: float | None = None


class PlannedChange(NamedTuple):
    """A change that can be applied: only nodes and links that differ from what is enrolled."""

    nodes: list[Node]
    links: list[Link]
    ended_nodes: list[str]
    ended_links: list[str]
    past_nodes: list[PastNode]
    past_links: list[PastLink]

    @property
    def is_empty(self) -> bool:
        """Whether nothing would change."""
        return not any(self)


def plan_change(enrolled: Directory, change: NetworkChange, now_s: float) -> PlannedChange:
    """Compare a change with what is enrolled.

    Parameters
    ----------
    enrolled : directory of the store
    change : what is to be changed
    now_s : Unix time [s]

    Raises
    ------
    NetworkChangeError
        If the change is in the future, or not after the last change of a node or link that it changes; if an
        ended id is not enrolled; or if a link would have an end that is not enrolled.

    """
    since_s = change.valid_from_s
    if since_s is not None and since_s > now_s:
        raise NetworkChangeError(
            "the network's change is in the future: enrol it from that time on, or give an earlier time"
        )
    nodes = {one.node_id: one for one in enrolled.nodes}
    links = {one.link_id: one for one in enrolled.links}
    new_nodes = _changed([(nodes.get(one.node_id), one) for one in change.nodes], since_s)
    new_links = _changed([(links.get(one.link_id), one) for one in change.links], since_s)
    gone_nodes = _enrolled_only("node", change.ended_nodes, nodes.keys())
    gone_links = _enrolled_only("link", change.ended_links, links.keys())
    _check_ends(
        nodes,
        links,
        new_nodes=new_nodes,
        new_links=new_links,
        gone_nodes=gone_nodes,
        gone_links=gone_links,
    )
    if since_s is None:
        return PlannedChange(new_nodes, new_links, gone_nodes, gone_links, [], [])
    ended_s = {past.node.node_id: past.valid_to_s for past in enrolled.past_nodes}
    old_nodes = _old_versions(
        "node", [*(one.node_id for one in new_nodes), *gone_nodes], since_s, nodes, ended_s
    )
    ended_s = {past.link.link_id: past.valid_to_s for past in enrolled.past_links}
    old_links = _old_versions(
        "link", [*(one.link_id for one in new_links), *gone_links], since_s, links, ended_s
    )
    return PlannedChange(
        new_nodes,
        new_links,
        gone_nodes,
        gone_links,
        [PastNode(node=one, valid_to_s=since_s) for one in old_nodes],
        [PastLink(link=one, valid_to_s=since_s) for one in old_links],
    )


def _old_versions(
    kind: str, names: Sequence[str], since_s: float, enrolled: Mapping[str, F], ended_s: Mapping[str, float]
) -> list[F]:
    """Return the versions that become past. Raises `NetworkChangeError` unless each began before that."""
    old_versions = []
    for name in names:
        old = enrolled.get(name)
        began_s = ended_s.get(name) if old is None or old.valid_from_s is None else old.valid_from_s
        if began_s is not None and (began_s > since_s or (began_s == since_s and old is not None)):
            raise NetworkChangeError(
                f"{kind} {name!r} has changed at or after that time already: give a later time, or none to"
                " correct its current version"
            )
        if old is not None:
            old_versions.append(msgspec.structs.replace(old, valid_from_s=began_s))
    return old_versions


def _changed(pairs: Iterable[tuple[F | None, F]], since_s: float | None) -> list[F]:
    """Return the new versions that differ from the old ones, with the time since when they are valid."""
    changed = []
    for old, new in pairs:
        kept = None if old is None else old.valid_from_s
        if old is None or msgspec.structs.replace(new, valid_from_s=kept) != old:
            changed.append(msgspec.structs.replace(new, valid_from_s=kept if since_s is None else since_s))
    return changed


def _enrolled_only(kind: str, names: Sequence[str], enrolled: Iterable[str]) -> list[str]:
    unknown = sorted(set(names) - set(enrolled))
    if unknown:
        raise NetworkChangeError(f"{kind} {unknown[0]!r} ends, but is not enrolled: leave it out")
    return sorted(set(names))


def _check_ends(
    nodes: dict[str, Node],
    links: dict[str, Link],
    *,
    new_nodes: Sequence[Node],
    new_links: Sequence[Link],
    gone_nodes: Sequence[str],
    gone_links: Sequence[str],
) -> None:
    """Raise `NetworkChangeError` if a link that stays would have an end that doesn't."""
    ended = set(gone_links)
    left = (nodes.keys() | {one.node_id for one in new_nodes}) - set(gone_nodes)
    changed = {one.link_id: one for one in new_links}
    for link in (links | changed).values():
        for node_id in (link.from_node, link.to_node):
            if link.link_id not in ended and node_id not in left:
                raise NetworkChangeError(
                    f"link {link.link_id!r} would end at node {node_id!r}, which is no more: end that link,"
                    " too, or keep the node"
                )
