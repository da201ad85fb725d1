"""Tests the explanation of an upstream trace: it states which candidates are not distinguished."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from analytics.service import network_state
from ingest_service.storage.contract.models import Anomaly, Area, Directory, Link, Node, Site

#  far ──9 km──▶ near ──1 km──▶ end, at 0.5 m/s: 20,000 s and 2,000 s
NODES = [("far", 120.50, "outfall"), ("near", 120.59, "outfall"), ("end", 120.60, "section")]
PLACE: dict[str, Any] = {"area_id": "t", "lat": 30.6}


def directory(nodes: list[tuple[str, float, str]] = NODES) -> Directory:
    lengths_m = {"far": 9_000.0, "near": 1_000.0, "nearest": 500.0}
    return Directory(
        areas=[Area(area_id="t", level="town", en="Town", zh="镇")],
        sites=[Site(site_id="end", kind="river_section", en="End", zh="末", lon=120.60, **PLACE)],
        nodes=[
            Node(
                node_id=name,
                network="river",
                kind=kind,
                site_id="end" if name == "end" else None,
                en=name.title(),
                zh="点",
                lon=lon,
                **PLACE,
            )
            for name, lon, kind in nodes
        ],
        links=[
            Link(
                link_id=f"{one[0]}:{other[0]}",
                network="river",
                from_node=one[0],
                to_node=other[0],
                en="Canal",
                zh="运河",
                length_m=lengths_m[one[0]],
                speed_m_s=0.5,
                coordinates=[(one[1], 30.6), (other[1], 30.6)],
            )
            for one, other in pairwise(nodes)
        ],
    )


def trace(window_s: float, nodes: list[tuple[str, float, str]] = NODES) -> network_state.UpstreamTrace:
    anomaly = Anomaly(
        subject="site/end",
        site_id="end",
        detector="residual",
        version="1",
        start_s=1e9,
        peak_s=1e9,
        score=9.0,
        severity=2,
        n_readings=3,
        state="open",
        reason_en="up",
        reason_zh="升",
    )
    return network_state.trace_anomaly(directory(nodes), anomaly, window_s=window_s)


def test_equal_likelihoods_are_stated_as_not_distinguished() -> None:
    found = trace(86_400)
    assert [one.likelihood for one in found.candidates] == [0.5, 0.5]
    assert found.equally_likely
    assert found.explanation_en.endswith(
        "; all are equally likely: travel times alone do not distinguish them"
    )
    assert found.explanation_zh.endswith("；各节点可能性相同，仅凭水流时间无法区分")


def test_candidates_of_different_likelihood_are_not_called_equal() -> None:
    found = trace(20_000)
    assert found.candidates[0].likelihood > found.candidates[1].likelihood > 0
    assert not found.equally_likely
    assert "equally" not in found.explanation_en
    assert "相同" not in found.explanation_zh


def test_the_most_likely_of_several_are_counted_where_they_are_not_distinguished() -> None:
    between = ("near", 120.59, "outfall")
    nodes = [NODES[0], between, ("nearest", 120.595, "outfall"), NODES[2]]
    found = trace(20_000, nodes)
    assert not found.equally_likely
    assert "; the 2 most likely are equally likely: " in found.explanation_en
    assert "其中可能性最高的2个节点相同" in found.explanation_zh


def test_one_candidate_alone_is_not_called_equal_to_others() -> None:
    found = trace(3_000)
    assert len(found.candidates) == 1
    assert not found.equally_likely
    assert "equally" not in found.explanation_en
