"""Tests the checks of networks: what can't be right is found with its place, in the demo nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from analytics.service.network_checks import check_networks
from deploy import demo
from ingest_service.storage.contract.models import Directory, Link, Node, Series, Site

TOWN = "330483-d1"


def node(node_id: str, lon: float, **fields: Any) -> Node:
    given: dict[str, Any] = {"network": "river", "area_id": TOWN, "kind": "section", "lat": 30.7} | fields
    return Node(node_id=node_id, lon=lon, en=f"Node {node_id}", zh=f"点{node_id}", **given)


def link(from_node: str, to_node: str, **fields: Any) -> Link:
    given: dict[str, Any] = {"network": "river", "length_m": 960.0, "speed_m_s": 0.3} | fields
    name = f"{from_node}:{to_node}"
    return Link(link_id=name, from_node=from_node, to_node=to_node, en="Reach", zh="河段", **given)


SITE = Site(site_id="s", area_id=TOWN, kind="river_section", en="S", zh="断面", lon=120.51, lat=30.7)
SOUND = Directory(
    sites=[SITE],
    series=[Series(site_id="s", quantity="ph")],
    nodes=[node("a", 120.50), node("b", 120.51, site_id="s"), node("c", 120.52)],
    links=[link("a", "b"), link("b", "c")],
)


def with_nodes(**changed: dict[str, Any]) -> Directory:
    nodes = [msgspec.structs.replace(one, **changed.get(one.node_id, {})) for one in SOUND.nodes]
    return msgspec.structs.replace(SOUND, nodes=nodes)


def with_first_link(**changed: Any) -> Directory:
    first, second = SOUND.links
    return msgspec.structs.replace(SOUND, links=[msgspec.structs.replace(first, **changed), second])


def test_the_demo_and_a_sound_network_have_nothing_to_find() -> None:
    assert check_networks(demo.directory()) == []
    assert check_networks(SOUND) == []


@pytest.mark.parametrize(
    ("directory", "check", "subject", "explanation"),
    [
        (
            msgspec.structs.replace(SOUND, links=SOUND.links[:1]),
            "not_connected", "c", "the river node c of 330483-d1 has no link to its largest part, of 2 nodes",
        ),
        (with_first_link(length_m=0.2), "zero_length", "a:b", "is 0.2 m"),
        (with_first_link(coordinates=[(120.5, 30.7), (120.5, 30.7)]), "zero_length", "a:b", "course 0 m"),
        (with_first_link(length_m=700.0), "impossible_length", "a:b", "the 956 m between its ends"),
        (
            with_first_link(length_m=2000.0, coordinates=[(120.5, 30.7), (120.51, 30.7)]),
            "impossible_length", "a:b", "is 2000 m long, and its course 956 m",
        ),
        (
            with_nodes(a={"elevation_m": 120.0}, b={"elevation_m": 2.0}),
            "impossible_slope", "a:b", "has a slope of 12% (120.00 → 2.00 m, 960 m)",
        ),
        (
            with_nodes(a={"elevation_m": 1.0}, b={"elevation_m": 2.0}),
            "impossible_slope", "a:b", "rises 1.00 m along its flow",
        ),
        (
            with_nodes(b={"site_id": None}),
            "sensor_off_network", "s", "at no node of the river network; the nearest, b, is 0 m away",
        ),
        (with_nodes(b={"lat": 30.704}), "sensor_off_network", "s", "is 445 m away from its node b"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_found_with_its_place(
    directory: Directory, check: str, subject: str, explanation: str
) -> None:
    (found,) = check_networks(directory)
    assert (found.check, found.feature_id) == (check, subject)
    assert explanation in found.explanation_en
    assert (found.zh != "", 120.4 < found.lon < 120.6, found.lat > 30.6) == (True, True, True)
    assert "节点" in found.explanation_zh or "米" in found.explanation_zh


def test_a_pump_may_lift_and_towns_may_be_apart() -> None:
    lifting = with_nodes(a={"elevation_m": 1.0}, b={"elevation_m": 4.0})
    lifting.links[0] = msgspec.structs.replace(lifting.links[0], structure="pump")
    assert check_networks(lifting) == []
    other = [node("x", 121.0, area_id="330402-d1"), node("y", 121.01, area_id="330402-d1")]
    apart = msgspec.structs.replace(SOUND, nodes=[*SOUND.nodes, *other], links=[*SOUND.links, link("x", "y")])
    assert check_networks(apart) == []
