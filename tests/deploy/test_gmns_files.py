"""Tests the tables of GMNS: what is written is read back, units are converted, errors have lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from deploy.network_files import formats
from deploy.network_files.change_builder import ImportDefaults, build_change
from deploy.site_format import SiteFileError
from ingest_service.storage.contract.models import Directory
from tests.support.equipped_network import equipped_network

if TYPE_CHECKING:
    from pathlib import Path

    from ingest_service.storage.contract.network_changes import NetworkChange

# After the pattern of the specification's examples.
NODES = """node_id,name,x_coord,y_coord,z_coord,node_type
1,Mill Road,120.50,30.70,3.5,
2,,120.51,30.70,,
3,,120.52,30.70,,
4,,120.50,30.71,,
"""
LINKS = """link_id,name,from_node_id,to_node_id,directed,geometry,dir_flag,length,facility_type,capacity,\
free_speed,lanes,allowed_uses
10,Mill Road,1,2,0,,,0.6,arterial,900,25,2,ALL
11,Mill Road,3,2,1,"LINESTRING (120.51 30.70, 120.515 30.7001, 120.52 30.70)",-1,0.6,arterial,,25,,\
"AUTO, BIKE"
12,Path,1,4,0,,,0.7,footway,,3,,WALK
"""
CONFIG = "dataset_name,short_length,long_length,speed,crs\nmill,foot,mile,mph,4326\n"


def tables(folder: Path, nodes: str = NODES, links: str = LINKS, config: str = CONFIG) -> list[Path]:
    for name, text in (("node.csv", nodes), ("link.csv", links), ("config.csv", config)):
        (folder / name).write_text(text, "utf-8")
    return [folder / "node.csv", folder / "link.csv"]


def change_of(paths: list[Path], prefix: str = "m-") -> NetworkChange:
    found = formats.with_prefix(formats.read_files(paths), prefix)
    return build_change(found.records, equipped_network(), ImportDefaults(area_id="330483-d1"))


def test_units_directions_and_what_is_not_for_cars(tmp_path: Path) -> None:
    paths = tables(tmp_path)
    found = change_of(paths)
    assert formats.read_files(paths).notes == [f"{tmp_path}: 1 links are not for cars and left out"]
    assert [(one.node_id, one.kind, one.zh, one.elevation_m) for one in found.nodes] == [
        ("m-1", "end", "Mill Road", 3.5), ("m-2", "junction", "m-2", None), ("m-3", "end", "m-3", None),
    ]  # fmt: skip
    back, there, third = found.links
    assert (there.link_id, back.link_id) == ("m-10", "m-10:back")
    assert (back.from_node, back.to_node) == (there.to_node, there.from_node) == ("m-2", "m-1")
    assert there.length_m == pytest.approx(0.6 * 1609.344)
    assert there.speed_m_s == pytest.approx(25 * 1609.344 / 3600, abs=1e-6)
    assert (there.lanes, there.lane_capacity_veh_h, third.lanes) == (2, 900.0, 1)
    assert third.coordinates == [(120.52, 30.70), (120.515, 30.7001), (120.51, 30.70)]


def test_exported_roads_are_read_back_the_same(tmp_path: Path) -> None:
    network = equipped_network()
    written = formats.write_files(tmp_path / "roads", network, "gmns").paths
    found = change_of(written[:2], prefix="")
    assert found.nodes == [one for one in network.nodes if one.network == "road"]
    assert found.links == [one for one in network.links if one.network == "road"]
    fresh = build_change(
        formats.read_files(written[:2]).records,
        Directory(areas=network.areas),
        ImportDefaults(area_id="330483-d1"),
    )
    assert [(one.length_m, one.speed_m_s) for one in fresh.links] == [
        (one.length_m, one.speed_m_s) for one in found.links
    ]


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "long_length,speed",
            "long,speed",
            "config.csv, line 2: the units of length and speed are not known",
        ),
        ("0.6,arterial,900", "x,arterial,900", "link.csv, line 2, column length: 'x' is no number"),
        ("10,Mill Road,1,2", "10,Mill Road,1,9", "link.csv, line 2: link 'm-10' ends at node 'm-9', which"),
        ("1,Mill Road,120.50", "1,Mill Road,322754", "node.csv, line 2: 322754 30.7 is no longitude and"),
        ("1,Mill Road,120.50", "1,Mill Road,", "node.csv, line 2: has no x_coord and y_coord"),
        ('"LINESTRING (120.51 30.70,', '"LINESTRING (120.51', "link.csv, line 3, column geometry: "),
        (
            "arterial,900,25",
            "arterial,90000,25",
            "link.csv, line 2: link 'm-10:back' has lane_capacity_veh_h",
        ),
    ],
)
def test_an_error_has_its_line(old: str, new: str, sentence: str, tmp_path: Path) -> None:
    texts = [one.replace(old, new) for one in (NODES, LINKS, CONFIG)]
    assert texts != [NODES, LINKS, CONFIG]
    with pytest.raises(SiteFileError) as caught:
        change_of(tables(tmp_path, *texts))
    assert caught.value.problems[0].removeprefix(f"{tmp_path}/").startswith(sentence), caught.value.problems
