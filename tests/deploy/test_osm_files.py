"""Tests extracts of OpenStreetMap, as XML and PBF, and maps in other coordinate systems."""

from __future__ import annotations

from typing import TYPE_CHECKING

import osmium
import pytest

from analytics.service.network_checks import check_networks
from deploy.network_files import formats
from deploy.network_files.change_builder import ImportDefaults, build_change
from deploy.site_format import SiteFileError
from ingest_service.storage.contract.models import Directory
from tests.support.equipped_network import equipped_network

if TYPE_CHECKING:
    from pathlib import Path

    from ingest_service.storage.contract.network_changes import NetworkChange

#  1 ── 2 ── 3     Mill Road, both directions, over 2
#       │
#       4 ◀▶ 5, 6  one-way loop at 4; 7 ── 8 a canal; 9 a footpath
POINTS = {1: (0, 0), 2: (10, 0), 3: (20, 0), 4: (10, -10), 5: (15, -15), 6: (5, -15), 7: (0, 20), 8: (20, 20)}
WAYS = """
<way id="100"><nd ref="1"/><nd ref="2"/><nd ref="3"/><tag k="highway" v="secondary"/>
  <tag k="name" v="磨坊路"/><tag k="name:en" v="Mill Road"/>
  <tag k="lanes" v="4"/><tag k="maxspeed" v="54"/></way>
<way id="101"><nd ref="4"/><nd ref="2"/><tag k="highway" v="residential"/><tag k="oneway" v="-1"/></way>
<way id="102"><nd ref="4"/><nd ref="5"/><nd ref="6"/><nd ref="4"/><tag k="highway" v="tertiary"/>
  <tag k="junction" v="roundabout"/></way>
<way id="103"><nd ref="7"/><nd ref="8"/><tag k="waterway" v="canal"/><tag k="name" v="运河"/></way>
<way id="104"><nd ref="1"/><nd ref="4"/><tag k="highway" v="footway"/></way>
<way id="105"><nd ref="3"/><nd ref="99"/><tag k="highway" v="primary"/></way>
"""


def extract(folder: Path) -> Path:
    nodes = "".join(
        f'<node id="{ref}" lon="{120.5 + x / 1000:.4f}" lat="{30.7 + y / 1000:.4f}"/>\n'
        for ref, (x, y) in POINTS.items()
    )
    path = folder / "town.osm"
    path.write_text(f'<osm version="0.6">\n{nodes}{WAYS}</osm>', "utf-8")
    return path


def change_of(path: Path, network: str | None = None, speed_m_s: float | None = 0.3) -> NetworkChange:
    found = formats.with_prefix(formats.read_files([path], None, network), "t-")
    defaults = ImportDefaults(area_id="330483-d1", speed_m_s=speed_m_s)
    return build_change(found.records, Directory(areas=equipped_network().areas), defaults)


def test_roads_and_waterways_are_divided_where_they_join(tmp_path: Path) -> None:
    path = extract(tmp_path)
    found = change_of(path)
    links = {one.link_id.removeprefix("t-"): one for one in found.links}
    assert links.keys() == {
        "w100-0", "w100-0:back", "w100-1", "w100-1:back", "w101-0", "w102-0", "w102-1", "vw103-0",
    }  # fmt: skip
    first, single, canal = links["w100-0"], links["w101-0"], links["vw103-0"]
    assert (first.from_node, first.to_node, first.lanes, first.en, first.zh) == (
        "t-n1", "t-n2", 2, "Mill Road", "磨坊路",
    )  # fmt: skip
    assert first.speed_m_s == pytest.approx(15.0)
    assert first.external_id == "osm:way/100"
    assert (single.from_node, single.to_node) == ("t-n2", "t-n4"), "against the way's own direction"
    assert single.speed_m_s == pytest.approx(30 / 3.6)
    assert [(links[one].from_node, links[one].to_node) for one in ("w102-0", "w102-1")] == [
        ("t-n4", "t-n6"), ("t-n6", "t-n4"),
    ]  # fmt: skip
    assert (canal.network, canal.speed_m_s, canal.length_m) == ("river", 0.3, 1912.0)
    assert {one.node_id: one.kind for one in found.nodes} == {
        "t-n1": "end", "t-n2": "junction", "t-n3": "end", "t-n4": "junction", "t-n6": "junction",
        "t-vn7": "source", "t-vn8": "mouth",
    }  # fmt: skip
    assert check_networks(formats.preview(Directory(), found)) == []


def test_a_compressed_extract_is_read_the_same_and_one_network_alone(tmp_path: Path) -> None:
    path = extract(tmp_path)
    with osmium.SimpleWriter(str(tmp_path / "town.osm.pbf")) as writer:
        for one in osmium.FileProcessor(str(path)):
            writer.add(one)
    assert change_of(tmp_path / "town.osm.pbf") == change_of(path)
    assert {one.network for one in change_of(path, "road", None).links} == {"road"}


def test_what_is_no_extract_is_refused(tmp_path: Path) -> None:
    path = extract(tmp_path)
    with pytest.raises(SiteFileError, match=r"town.osm, way 103: link 't-vw103-0' has no speed_m_s"):
        change_of(path, speed_m_s=None)
    path.write_text("<gpx/>", "utf-8")
    with pytest.raises(SiteFileError, match=r"town.osm: is no extract of OpenStreetMap"):
        change_of(path)
    path.write_text('<osm version="0.6"/>', "utf-8")
    with pytest.raises(SiteFileError, match=r"town.osm: has no roads for cars and no waterways"):
        change_of(path)


def test_a_map_in_another_coordinate_system_is_converted(tmp_path: Path) -> None:
    network = equipped_network()
    path = tmp_path / "river.inp"
    formats.write_files(path, network, None, "EPSG:4549")
    with pytest.raises(SiteFileError, match=r"--crs EPSG:4549"):
        formats.read_files([path])
    found = build_change(formats.read_files([path], "EPSG:4549").records, network, ImportDefaults())
    rivers = {one.node_id: one for one in network.nodes if one.network == "river"}
    assert [(one.lon, one.lat) for one in found.nodes] == [
        pytest.approx((rivers[one.node_id].lon, rivers[one.node_id].lat), abs=1e-8) for one in found.nodes
    ]
    with pytest.raises(SiteFileError, match=r"--crs EPSG:0: is not known"):
        formats.read_files([path], "EPSG:0")
