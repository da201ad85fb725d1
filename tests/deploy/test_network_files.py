"""Tests files of networks: what is written is read back the same, and errors have their lines."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.network_files import formats
from deploy.network_files.change_builder import ImportDefaults, build_change
from deploy.site_format import SiteFileError
from ingest_service.storage.contract.models import Directory
from tests.support.equipped_network import equipped_network

if TYPE_CHECKING:
    from pathlib import Path

    from ingest_service.storage.contract.network_changes import NetworkChange

NETWORK = equipped_network()
TOWN, OTHER_TOWN = "330483-d1", "330402-d1"
NODES = """node_id,network,area_id,kind,zh,lon,lat
a,river,330483-d1,source,甲,120.50,30.70
b,river,330483-d1,mouth,乙,120.51,30.70
"""
LINKS = """link_id,from_node,to_node,zh,speed_m_s,manning_n
ab,a,b,河,0.3,0.03
"""


def change_of(*paths: Path, enrolled: Directory | None = None, **options: Any) -> NetworkChange:
    defaults = ImportDefaults(**{name: options.pop(name) for name in ("area_id", "network", "speed_m_s")
                                 if name in options})  # fmt: skip
    return build_change(formats.read_files(paths).records, enrolled or Directory(), defaults, **options)


def problems(folder: Path, *paths: Path, **options: Any) -> list[str]:
    with pytest.raises(SiteFileError) as caught:
        change_of(*paths, **options)
    return [one.removeprefix(f"{folder}/") for one in caught.value.problems]


def csv_files(folder: Path, nodes: str = NODES, links: str = LINKS) -> tuple[Path, Path]:
    for name, text in (("nodes.csv", nodes), ("links.csv", links)):
        (folder / name).write_text(text, "utf-8")
    return folder / "nodes.csv", folder / "links.csv"


@pytest.mark.parametrize("name", ["town.geojson", "tables", "town.gpkg"])
def test_an_exported_network_is_read_back_the_same(name: str, tmp_path: Path) -> None:
    written = formats.write_files(tmp_path / name, NETWORK)
    found = change_of(*written.paths)
    assert (found.areas, found.sites) == (NETWORK.areas, NETWORK.sites)
    assert found.nodes == NETWORK.nodes
    assert found.links == NETWORK.links
    again = change_of(*written.paths, enrolled=NETWORK, replaces=True)
    assert (again.nodes, again.links) == (NETWORK.nodes, NETWORK.links)
    assert (again.ended_nodes, again.ended_links) == ([], [])


def test_a_table_of_few_columns_keeps_the_others_and_an_empty_cell_empties(tmp_path: Path) -> None:
    link = next(one for one in NETWORK.links if one.section_shape == "trapezoidal")
    (tmp_path / "links.csv").write_text(f"link_id,width_m,manning_n\n{link.link_id},40,\n", "utf-8")
    found = change_of(tmp_path / "links.csv", enrolled=NETWORK)
    assert found.links == [msgspec.structs.replace(link, width_m=40.0, manning_n=None)]


def test_a_new_course_has_a_new_length_and_a_road_in_both_directions_is_two_links(tmp_path: Path) -> None:
    road = next(one for one in NETWORK.links if one.network == "road")
    (lon, lat), end = road.coordinates[0], road.coordinates[-1]
    course = f'"LINESTRING ({lon} {lat}, {lon} {lat + 0.005}, {end[0]} {end[1]})"'
    text = f"link_id,coordinates,direction\n{road.link_id},{course},both\n"
    (tmp_path / "links.csv").write_text(text, "utf-8")
    back, there = change_of(tmp_path / "links.csv", enrolled=NETWORK).links
    assert there.length_m == back.length_m > road.length_m + 500
    assert (back.link_id, back.from_node, back.to_node) == (
        f"{road.link_id}:back", road.to_node, road.from_node,
    )  # fmt: skip
    assert back.coordinates == there.coordinates[::-1]


def test_what_is_not_in_the_files_ends_in_their_areas_alone(tmp_path: Path) -> None:
    part = formats.part_of(NETWORK, {TOWN}, "road")
    gone = part.links[-1]
    kept = msgspec.structs.replace(part, links=part.links[:-1])
    written = formats.write_files(tmp_path / "roads.geojson", kept)
    found = change_of(*written.paths, enrolled=NETWORK, replaces=True)
    assert (found.ended_links, found.ended_nodes) == ([gone.link_id], [])
    without = msgspec.structs.replace(
        kept, nodes=[one for one in part.nodes if one.node_id != gone.from_node],
        links=[one for one in kept.links if gone.from_node not in {one.from_node, one.to_node}],
    )  # fmt: skip
    written = formats.write_files(tmp_path / "roads.geojson", without)
    found = change_of(*written.paths, enrolled=NETWORK, replaces=True)
    assert found.ended_nodes == [gone.from_node]
    assert gone.link_id in found.ended_links


def test_new_features_take_what_the_command_gives(tmp_path: Path) -> None:
    nodes = NODES.replace(",network,area_id", "").replace(",river,330483-d1", "")
    links = LINKS.replace(",speed_m_s", "").replace(",0.3", "")
    found = change_of(
        *csv_files(tmp_path, nodes, links), enrolled=NETWORK, area_id=TOWN, network="river", speed_m_s=0.4
    )
    assert [(one.area_id, one.network, one.en) for one in found.nodes] == [
        (TOWN, "river", "甲"), (TOWN, "river", "乙"),
    ]  # fmt: skip
    assert [(one.link_id, one.speed_m_s, one.length_m) for one in found.links] == [("ab", 0.4, 956.0)]


@pytest.mark.parametrize(
    ("nodes", "links", "sentence"),
    [
        (NODES.replace("30.70\nb", "30,70\nb"), LINKS, "nodes.csv, line 2: has 8 cells, and the header 7"),
        (NODES.replace("120.51", "x"), LINKS, "nodes.csv, line 3, column lon: lon is 'x': give a number"),
        (NODES.replace("120.51", "220.51"), LINKS, "nodes.csv, line 3: node 'b' lies at lon 220.51"),
        (NODES.replace("120.51", "nan"), LINKS, "nodes.csv, line 3: node 'b' lies at lon nan"),
        (NODES.replace("120.51", "-inf"), LINKS, "links.csv, line 2: link 'ab' lies at lon -inf"),
        (
            NODES.replace("b,river", "b" * 201 + ",river"),
            "link_id\n",
            "nodes.csv, line 3, column node_id: node",
        ),
        (
            NODES.replace("mouth", "mouht"),
            LINKS,
            "nodes.csv, line 3, column kind: node 'b' has kind 'mouht', which",
        ),
        (NODES.replace("330483-d1,source", "x,source"), LINKS, "nodes.csv, line 2: node 'a' names area 'x'"),
        (
            NODES.replace("network,", "netwrok,"),
            LINKS,
            "nodes.csv, line 1: column 'netwrok' is not known (did",
        ),
        (NODES.replace("b,river", "a,river"), LINKS, "nodes.csv, line 3: node 'a' is already in"),
        (
            NODES.replace("120.51", "120.50"),
            LINKS,
            "links.csv, line 2: link 'ab' has length_m 0: give a length",
        ),
        (NODES, LINKS.replace("a,b", "a,c"), "links.csv, line 2: link 'ab' ends at node 'c', which is not"),
        (
            NODES,
            LINKS.replace("0.03", "3"),
            "links.csv, line 2, column manning_n: link 'ab' has manning_n 3: it lies between",
        ),
        (
            NODES,
            LINKS.replace("0.3,", "nan,"),
            "links.csv, line 2, column speed_m_s: link 'ab' has speed_m_s nan",
        ),
        (
            NODES,
            LINKS.replace("0.3,", ","),
            "links.csv, line 2: link 'ab' has no speed_m_s: give it or --speed",
        ),
        (NODES, LINKS.replace("link_id", "id"), "links.csv, line 1: has no column node_id, link_id"),
        (NODES, LINKS + "x,a,b,河,0.3,0.03,\n", "links.csv, line 3: has 7 cells"),
        (
            NODES,
            LINKS.replace("manning_n", "coordinates").replace("0.03", "POINT (1 2)"),
            "links.csv, line 2, column coordinates: 'POINT (1 2)' is no LINESTRING",
        ),
        (
            NODES,
            LINKS.replace("manning_n", "coordinates").replace(
                "0.03", '"LINESTRING (nan 30.70, 120.51 30.70)"'
            ),
            "links.csv, line 2: link 'ab' lies at lon nan",
        ),
    ],
)
def test_an_error_has_the_line_of_the_table(nodes: str, links: str, sentence: str, tmp_path: Path) -> None:
    found = problems(tmp_path, *csv_files(tmp_path, nodes, links), enrolled=NETWORK)
    assert [one for one in found if one.startswith(sentence)], found


@pytest.mark.parametrize("name", ["a/b", "a?", "#a", "50%", "a b", "-a", "..", "a&b", "a+b", "a\u200bb"])
def test_an_id_that_addresses_can_not_hold_is_refused_with_its_line(name: str, tmp_path: Path) -> None:
    """It was imported, and no address of the API led to it."""
    nodes, links = NODES.replace("\na,", f"\n{name},"), LINKS.replace("a,b", f"{name},b")
    node = geojson(tmp_path, NODE | {"properties": NODE["properties"] | {"node_id": name}})
    for files, where in ((csv_files(tmp_path, nodes, links), "nodes.csv, line 2"), ((node,), "town.geojson")):
        (found,) = problems(tmp_path, *files, enrolled=NETWORK)
        assert found.startswith(where)
        assert f" node {name!r} has node_id {name!r}, which addresses and file names can't hold: use" in found
    tables = csv_files(tmp_path, NODES, LINKS.replace("ab,", f"{name},"))
    (found,) = problems(tmp_path, *tables, enrolled=NETWORK)
    assert found.startswith(f"links.csv, line 2, column link_id: link {name!r} has link_id {name!r}, which")
    with pytest.raises(SiteFileError, match="which addresses and file names can't hold"):
        build_change(
            formats.with_prefix(formats.read_files(tables[:1]), name).records, NETWORK, ImportDefaults()
        )
    site = "site_id,area_id,kind,en,zh,lon,lat\n" + f"{name},{TOWN},river_section,x,某,120.5,30.7\n"
    (tmp_path / "sites.csv").write_text(site, "utf-8")
    (found,) = problems(tmp_path, tmp_path / "sites.csv", enrolled=NETWORK)
    assert found.startswith(f"sites.csv, line 2, column site_id: site {name!r} has site_id {name!r}, which")


def test_an_id_that_is_enrolled_already_stays(tmp_path: Path) -> None:
    """What an earlier version enrolled is imported again as before, whatever its id."""
    old = msgspec.structs.replace(NETWORK.nodes[0], node_id="north gate/1")
    enrolled = Directory(areas=NETWORK.areas, sites=NETWORK.sites, nodes=[old])
    written = formats.write_files(tmp_path / "town.geojson", enrolled)
    assert change_of(*written.paths, enrolled=enrolled).nodes == [old]


def test_letters_of_any_script_are_an_id(tmp_path: Path) -> None:
    nodes, links = NODES.replace("\na,", "\n东栅-1,"), LINKS.replace("a,b", "东栅-1,b")
    found = change_of(*csv_files(tmp_path, nodes, links), enrolled=NETWORK)
    assert [one.node_id for one in found.nodes] == ["东栅-1", "b"]


NODE: dict[str, Any] = {
    "type": "Feature",
    "geometry": {"type": "Point", "coordinates": [120.5, 30.7, 9.0]},
    "properties": {"node_id": "a", "network": "river", "area_id": TOWN, "kind": "source", "zh": "甲"},
}


def geojson(folder: Path, *features: Any, before: str = "") -> Path:
    """Write features, the first begins in line 4, with one property a line from line 9 on."""
    path = folder / "town.geojson"
    texts = [json.dumps(one, indent=2) for one in features]
    path.write_text(
        f'{{"type": "FeatureCollection",{before}\n"features":\n[\n' + ",\n".join(texts) + "]}", "utf-8"
    )
    return path


def test_a_point_is_a_node_and_its_third_coordinate_no_elevation(tmp_path: Path) -> None:
    (found,) = change_of(geojson(tmp_path, NODE), enrolled=NETWORK).nodes
    assert (found.node_id, found.lon, found.lat, found.elevation_m) == ("a", 120.5, 30.7, None)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (
            {"properties": NODE["properties"] | {"elevation_m": "low"}},
            "line 20: elevation_m is 'low': give a number",
        ),
        (
            {"properties": NODE["properties"] | {"elevaton_m": 3}},
            "line 20: property 'elevaton_m' is not known (did",
        ),
        ({"properties": {"feature": "node"}}, "line 4: has no node_id: give each node one of its own"),
        ({"geometry": {"type": "Polygon", "coordinates": []}}, "line 4: is a Polygon, and no node (Point)"),
        (
            {"geometry": {"type": "Point", "coordinates": [30.7, 120.5]}},
            "line 4: node 'a' lies at lon 30.7, lat",
        ),
        ({"type": "Point"}, "line 4: is no Feature"),
        (
            {"properties": NODE["properties"] | {"kind": "end"}},
            "line 18: node 'a' has kind 'end', which is not",
        ),
        ({"properties": NODE["properties"] | {"zh": "\ud800"}}, "line 19: zh holds half of a character"),
    ],
)
def test_an_error_has_the_line_of_the_feature(changed: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    found = problems(tmp_path, geojson(tmp_path, NODE | changed), enrolled=NETWORK)
    assert found[0].startswith(f"town.geojson, {sentence}"), found


def test_a_file_that_is_no_feature_collection_is_refused_with_its_line(tmp_path: Path) -> None:
    path = geojson(tmp_path, NODE)
    path.write_text(path.read_text("utf-8").replace('"zh"', "zh"), "utf-8")
    assert problems(tmp_path, path)[0].startswith("town.geojson, line 19: is no JSON")
    path.write_text("[1, 2]", "utf-8")
    assert problems(tmp_path, path) == ["town.geojson, line 1: is no JSON: '{' is missing"]
    path.write_text('{"type": "Feature"}', "utf-8")
    assert "has no features" in problems(tmp_path, path)[0]
    crs = '"crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::4549"}},'
    assert "convert it to longitude" in problems(tmp_path, geojson(tmp_path, NODE, before=crs))[0]


def changed_geopackage(folder: Path, *statements: str) -> Path:
    """Write the network as a GeoPackage, and change it by SQL."""
    path = folder / "town.gpkg"
    formats.write_files(path, NETWORK)
    with closing(sqlite3.connect(path)) as database, database:
        for one in statements:
            database.execute(one)
    return path


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        (
            "UPDATE link SET geom = (SELECT geom FROM node) WHERE fid = 3",
            "table link, row 3: its geometry is a Po",
        ),
        (
            "UPDATE node SET geom = x'00' WHERE fid = 2",
            "table node, row 2: its geometry is not that of a GeoPa",
        ),
        (
            "UPDATE link SET manning_n = 'smooth' WHERE fid = 5",
            "table link, row 5: manning_n is 'smooth': give a",
        ),
        ("UPDATE link SET manning_n = 5.0 WHERE fid = 5", "table link, row 5: link "),
        (
            "ALTER TABLE link RENAME COLUMN manning_n TO maning_n",
            "table link: column 'maning_n' is not known (did",
        ),
        (
            "UPDATE gpkg_spatial_ref_sys SET organization_coordsys_id = 4549 WHERE srs_id = 4326",
            "table site: has the coordinate system 4549: convert it",
        ),
    ],
)
def test_an_error_has_the_row_of_the_geopackage(statement: str, sentence: str, tmp_path: Path) -> None:
    found = problems(tmp_path, changed_geopackage(tmp_path, statement), enrolled=NETWORK)
    assert found[0].startswith(f"town.gpkg, {sentence}"), found


def test_a_file_that_is_no_geopackage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "town.gpkg"
    path.write_text("no database, but longer than the sixteen bytes of its first line", "utf-8")
    assert problems(tmp_path, path) == ["town.gpkg: is no GeoPackage: file is not a database"]
    assert problems(tmp_path, tmp_path / "other.gpkg")[0].startswith("other.gpkg: can't be read")


@given(
    st.text(max_size=300),
    st.sampled_from([
        ("any.geojson", '{"type": "FeatureCollection", "features": ['),
        ("any.csv", "node_id,kind,lon\n"),
        ("any.csv", "link_id,from_node_id,to_node_id\n"),
        ("any.inp", "[CONDUITS]\n"),
        ("any.inp", "[JUNCTIONS]\na 1\n[COORDINATES]\na 120 30\n[XSECTIONS]\n"),
    ]),
)  # fmt: skip
def test_any_text_is_a_change_or_problems(
    tmp_path_factory: pytest.TempPathFactory, text: str, begin: tuple[str, str]
) -> None:
    path = tmp_path_factory.getbasetemp() / begin[0]
    path.write_text(begin[1] + text, "utf-8", "surrogatepass")
    with suppress(SiteFileError):
        change_of(path, enrolled=Directory(areas=NETWORK.areas), area_id=TOWN, network="river", speed_m_s=0.3)
    path.write_text("[" * 100_000, "utf-8")
    with pytest.raises(SiteFileError):
        change_of(path)
