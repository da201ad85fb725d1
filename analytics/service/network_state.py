"""Computes the current state of the networks' nodes and links, and traces an anomaly's sources upstream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from analytics.core.flags import Rule
from analytics.twin import upstream_trace
from analytics.twin.network import FlowNetwork
from edge.wire.quantities import QUANTITIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest_service.storage.contract.models import Anomaly, Directory, Link, NewestReading, Node

Status = Literal["ok", "suspect", "anomaly", "silent", "warming", "unknown"]
STALE_INTERVALS = 5.0
SUSPECT = 3
SAME_LIKELIHOOD = 0.005  # relative difference below which two likelihoods are shown as equal


class MeasuredQuantity(msgspec.Struct, frozen=True, kw_only=True):
    """The newest reading of a series with its expected value, in the canonical unit."""

    series_id: int
    quantity: str
    unit: str
    value: float
    expected: float | None
    spread: float | None
    quality: int
    rules: int
    time_s: float
    age_s: float


class NodeState(msgspec.Struct, frozen=True, kw_only=True):
    """The current state of a node."""

    node_id: str
    network: str
    site_id: str | None
    status: Status
    open_anomalies: list[int]
    measured: list[MeasuredQuantity]


class LinkState(msgspec.Struct, frozen=True, kw_only=True):
    """The current state of a link, from the sites at its ends.

    ``congestion`` is speed divided by free-flow speed, for roads only.
    """

    link_id: str
    network: str
    status: Status
    open_anomalies: list[int]
    travel_s: float
    congestion: float | None


class TwinState(msgspec.Struct, frozen=True, kw_only=True):
    """The current state of every node and link."""

    now_s: float
    nodes: list[NodeState]
    links: list[LinkState]


class SourceCandidate(msgspec.Struct, frozen=True, kw_only=True):
    """An upstream node that may be the source; the water left it from ``left_from_s`` to ``left_to_s``."""

    node_id: str
    site_id: str | None
    kind: str
    en: str
    zh: str
    distance_m: float
    travel_s: float
    left_from_s: float
    left_to_s: float
    likelihood: float
    links: list[str]


class UpstreamTrace(msgspec.Struct, frozen=True, kw_only=True):
    """The possible sources of an anomaly, outfalls first; empty if its site is on no river.

    ``equally_likely`` is whether there are several candidates and all have the same likelihood, so that the
    trace excludes the nodes that are not listed, and does not distinguish those that are.
    """

    anomaly_id: int
    node_id: str | None
    seen_s: float
    candidates: list[SourceCandidate]
    equally_likely: bool
    explanation_en: str
    explanation_zh: str


def network_state(
    directory: Directory, latest: Sequence[NewestReading], open_anomalies: Sequence[Anomaly], *, now_s: float
) -> TwinState:
    """Return the newest readings, the status and the open anomalies of every node and link.

    Parameters
    ----------
    latest : the newest reading of each series
    open_anomalies : anomalies that are open
    now_s : Unix seconds [s]

    """
    measured = _measured_by_site(directory, latest, now_s)
    interval_s = {one.series_id: one.interval_s for one in directory.series}
    open_by_site: dict[str, list[Anomaly]] = {}
    for anomaly in open_anomalies:
        open_by_site.setdefault(anomaly.site_id, []).append(anomaly)

    def node_state(node: Node) -> NodeState:
        measured_here = measured.get(node.site_id or "", [])
        anomalies = open_by_site.get(node.site_id or "", [])
        return NodeState(
            node_id=node.node_id,
            network=node.network,
            site_id=node.site_id,
            status=_status(measured_here, anomalies, interval_s),
            open_anomalies=[one.anomaly_id for one in anomalies],
            measured=measured_here,
        )

    nodes = {node.node_id: node_state(node) for node in directory.nodes}
    links = [_link_state(link, nodes[link.from_node], nodes[link.to_node]) for link in directory.links]
    return TwinState(now_s=now_s, nodes=list(nodes.values()), links=links)


def trace_anomaly(
    directory: Directory, anomaly: Anomaly, *, window_s: float = 86_400.0, uncertainty: float = 0.3
) -> UpstreamTrace:
    """Return the upstream nodes that could be the source of an anomaly, and when, by travel time."""
    rivers = [node for node in directory.nodes if node.network == "river"]
    links = [link for link in directory.links if link.network == "river"]
    node_index = next((at for at, node in enumerate(rivers) if node.site_id == anomaly.site_id), None)
    found = []
    if node_index is not None:
        candidates = upstream_trace.trace_upstream(
            _flow_network(rivers, links), node_index, window_s=window_s, uncertainty=uncertainty
        )
        found = _candidates(candidates, rivers, links, anomaly.start_s)
    outfalls = [one for one in found if one.kind == "outfall"]
    found.sort(key=lambda one: (one.kind != "outfall", -one.likelihood, one.travel_s))
    first = outfalls[0] if outfalls else None
    n_alike = _count_most_likely(found)
    alike_en, alike_zh = _explain_alike(n_alike, len(found))
    return UpstreamTrace(
        anomaly_id=anomaly.anomaly_id,
        node_id=None if node_index is None else rivers[node_index].node_id,
        seen_s=anomaly.start_s,
        candidates=found,
        equally_likely=1 < n_alike == len(found),
        explanation_en=_explain_en(node_index, found, first) + alike_en,
        explanation_zh=_explain_zh(node_index, found, first) + alike_zh,
    )


def _measured_by_site(
    directory: Directory, latest: Sequence[NewestReading], now_s: float
) -> dict[str, list[MeasuredQuantity]]:
    series = {one.series_id: one for one in directory.series}
    found: dict[str, list[MeasuredQuantity]] = {}
    for one in latest:
        enrolled_series = series.get(one.series_id)
        if enrolled_series is None or enrolled_series.quantity not in QUANTITIES:
            continue  # enrolled since the directory was read, or by another version
        found.setdefault(enrolled_series.site_id, []).append(
            MeasuredQuantity(
                series_id=one.series_id,
                quantity=enrolled_series.quantity,
                unit=QUANTITIES[enrolled_series.quantity].unit,
                value=one.value,
                expected=one.expected,
                spread=one.spread,
                quality=one.quality,
                rules=one.rules,
                time_s=one.time_s,
                age_s=now_s - one.time_s,
            )
        )
    return found


def _status(
    measured: list[MeasuredQuantity], anomalies: list[Anomaly], interval_s: dict[int, float]
) -> Status:
    if any(one.detector != "silence" for one in anomalies):
        return "anomaly"
    if anomalies or (
        measured and all(one.age_s > STALE_INTERVALS * interval_s[one.series_id] for one in measured)
    ):
        return "silent"
    if not measured:
        return "unknown"
    if any(one.quality >= SUSPECT for one in measured):
        return "suspect"
    return "warming" if all(_is_warming(one) for one in measured) else "ok"


def _is_warming(one: MeasuredQuantity) -> bool:
    """Whether the series is too new for an expected value, so that "ok" would be only a guess."""
    return bool(one.rules & Rule.WARM_UP)


def _link_state(link: Link, tail: NodeState, head: NodeState) -> LinkState:
    order: tuple[Status, ...] = ("anomaly", "suspect", "silent", "ok", "warming", "unknown")
    speeds = [
        one.value / 3.6 for node in (tail, head) for one in node.measured if one.quantity == "traffic_speed"
    ]
    speed_m_s = sum(speeds) / len(speeds) if speeds and link.network == "road" else None
    return LinkState(
        link_id=link.link_id,
        network=link.network,
        status=min((tail.status, head.status), key=order.index),
        open_anomalies=sorted({*tail.open_anomalies, *head.open_anomalies}),
        travel_s=link.length_m / max(speed_m_s or link.speed_m_s, 0.1),
        congestion=None if speed_m_s is None else speed_m_s / link.speed_m_s,
    )


def _flow_network(nodes: Sequence[Node], links: Sequence[Link]) -> FlowNetwork:
    at = {node.node_id: number for number, node in enumerate(nodes)}
    return FlowNetwork(
        len(nodes),
        np.array([at[link.from_node] for link in links], np.intp),
        np.array([at[link.to_node] for link in links], np.intp),
        np.array([link.length_m for link in links]),
        np.array([link.speed_m_s for link in links]),
    )


def _candidates(
    found: upstream_trace.UpstreamCandidates, nodes: Sequence[Node], links: Sequence[Link], seen_s: float
) -> list[SourceCandidate]:
    at = {node.node_id: number for number, node in enumerate(nodes)}
    links_to_site: dict[int, list[str]] = {}
    candidates = []
    for i, number in enumerate(found.node.tolist()):
        link = links[int(found.next_link[i])]
        links_to_site[number] = [link.link_id, *links_to_site.get(at[link.to_node], [])]
        node = nodes[number]
        candidates.append(
            SourceCandidate(
                node_id=node.node_id,
                site_id=node.site_id,
                kind=node.kind,
                en=node.en,
                zh=node.zh,
                distance_m=float(found.distance_m[i]),
                travel_s=float(found.travel_s[i]),
                left_from_s=seen_s - float(found.longest_s[i]),
                left_to_s=seen_s - float(found.shortest_s[i]),
                likelihood=float(found.likelihood[i]),
                links=links_to_site[number],
            )
        )
    return candidates


def _count_most_likely(found: Sequence[SourceCandidate]) -> int:
    """Return how many candidates have the highest likelihood."""
    most = max((one.likelihood for one in found), default=0.0)
    return sum(one.likelihood >= most * (1 - SAME_LIKELIHOOD) for one in found)


def _explain_alike(n_alike: int, n: int) -> tuple[str, str]:
    """Return the end of an explanation, English and Chinese: what the travel times do not distinguish."""
    if n_alike < 2:
        return "", ""
    if n_alike == n:
        return (
            "; all are equally likely: travel times alone do not distinguish them",
            "；各节点可能性相同，仅凭水流时间无法区分",
        )
    return (
        f"; the {n_alike} most likely are equally likely: travel times alone do not distinguish them",
        f"；其中可能性最高的{n_alike}个节点相同，仅凭水流时间无法区分",
    )


def _explain_en(node_index: int | None, found: list[SourceCandidate], first: SourceCandidate | None) -> str:
    if node_index is None:
        return "the site is on no river of the network, so nothing can be traced upstream"
    counted = "1 node lies" if len(found) == 1 else f"{len(found)} nodes lie"
    if first is None:
        return f"{counted} upstream within the window, no outfall among them"
    nearest = f"the nearest outfall, {first.en}, is {first.travel_s / 3600:.1f} h away"
    return f"{counted} upstream within the window; {nearest}"


def _explain_zh(node_index: int | None, found: list[SourceCandidate], first: SourceCandidate | None) -> str:
    if node_index is None:
        return "该站点不在河网上，无法向上游溯源"
    if first is None:
        return f"时间窗内上游有{len(found)}个节点，其中没有排放口"
    return (
        f"时间窗内上游有{len(found)}个节点；最近的排放口为{first.zh}，水流约需{first.travel_s / 3600:.1f}小时"
    )
