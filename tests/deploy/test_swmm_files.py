"""Tests input files of SWMM: what is written is read back, and errors have their lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from deploy.network_files import formats
from deploy.network_files.change_builder import ImportDefaults, build_change
from deploy.site_format import SiteFileError
from ingest_service.storage.contract.models import Directory
from tests.support.equipped_network import equipped_network

if TYPE_CHECKING:
    from pathlib import Path

    from ingest_service.storage.contract.network_changes import NetworkChange

RIVER = [one for one in equipped_network().links if one.network == "river"]
# After the pattern of EPA's examples: US units, a pump, a dummy section, and what is not imported.
EXAMPLE = """[TITLE]
A sewer
[OPTIONS]
FLOW_UNITS           CFS
[RAINGAGES]
;;Name  Format
G1      INTENSITY 1:00 1.0 TIMESERIES TS1
[JUNCTIONS]
;;Name  Elevation  MaxDepth
J1      10.0       6        ; the upper end
J2      9.0        6
[OUTFALLS]
O1      8.0        FREE
[STORAGE]
S1      8.5   10  0  TABULAR  SC
[CONDUITS]
C1      J1  J2  400  0.01  0  0  0  0
C2      J2  S1  400  0.01  0  0  0  0
[PUMPS]
P1      S1  O1  *  ON
[XSECTIONS]
C1      CIRCULAR     3.0  0  0  0  1
C2      TRAPEZOIDAL  5.0  10  2  3  1
[COORDINATES]
J1      120.500  30.700
J2      120.501  30.7005
S1      120.502  30.700
O1      120.503  30.700
[VERTICES]
C1      120.5005 30.7002
"""


def change_of(path: Path, enrolled: Directory | None = None) -> NetworkChange:
    defaults = ImportDefaults(area_id="330483-d1", speed_m_s=0.3)
    return build_change(formats.read_files([path]).records, enrolled or equipped_network(), defaults)


def problems(path: Path, text: str) -> list[str]:
    path.write_text(text, "utf-8")
    with pytest.raises(SiteFileError) as caught:
        change_of(path)
    return [one.removeprefix(f"{path.parent}/") for one in caught.value.problems]


def test_an_example_is_read_in_metres_and_what_is_left_out_is_named(tmp_path: Path) -> None:
    path = tmp_path / "sewer.inp"
    path.write_text(EXAMPLE, "utf-8")
    found = change_of(path)
    assert formats.read_files([path]).notes == [f"{path}: not imported: [RAINGAGES]"]
    assert [(one.node_id, one.kind) for one in found.nodes] == [
        ("J1", "source"), ("J2", "confluence"), ("O1", "mouth"), ("S1", "lake"),
    ]  # fmt: skip
    assert [one.elevation_m for one in found.nodes] == [feet * 0.3048 for feet in (10.0, 9.0, 8.0, 8.5)]
    first, second, pump = found.links
    assert (first.section_shape, first.width_m, first.depth_m) == ("circular", 3 * 0.3048, 3 * 0.3048)
    assert (first.length_m, first.manning_n) == (400 * 0.3048, 0.01)
    assert first.coordinates == [(120.5, 30.7), (120.5005, 30.7002), (120.501, 30.7005)]
    assert (second.width_m, second.depth_m, second.side_slope) == (10 * 0.3048, 5 * 0.3048, 2.5)
    assert (pump.structure, pump.section_shape, pump.length_m) == ("pump", None, 96.0)


def test_an_exported_river_is_read_back_the_same(tmp_path: Path) -> None:
    network = equipped_network()
    written = formats.write_files(tmp_path / "river.inp", network)
    assert written.notes == ["1 nodes and reaches have values that were assumed: see [TAGS]"]
    found = change_of(tmp_path / "river.inp")
    rivers = {one.node_id: one for one in network.nodes if one.network == "river"}
    assert {one.node_id: one for one in found.nodes} == rivers
    assert {one.link_id: one for one in found.links} == {one.link_id: one for one in RIVER}


def test_values_that_were_assumed_are_not_read_back(tmp_path: Path) -> None:
    network = equipped_network()
    fields = ("section_shape", "width_m", "depth_m", "side_slope", "manning_n")
    network.links = [
        msgspec.structs.replace(one, **dict.fromkeys(fields), structure=None) for one in network.links
    ]
    network.nodes = [msgspec.structs.replace(one, elevation_m=None) for one in network.nodes]
    formats.write_files(tmp_path / "river.inp", network)
    empty = Directory(areas=network.areas)
    found = change_of(tmp_path / "river.inp", empty)
    assert {getattr(one, field) for one in found.links for field in fields} == {None}
    assert {one.elevation_m for one in found.nodes} == {None}
    assert len(found.links) == len(RIVER)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("FLOW_UNITS           CFS", "FLOW_UNITS CF", "sewer.inp, line 4: FLOW_UNITS CF is not known"),
        ("400  0.01  0  0  0  0\nC2", "400  x  0  0  0  0\nC2", "sewer.inp, line 17: 'x' is no number"),
        ("J1      10.0 ", "J1      1o.0 ", "sewer.inp, line 10: '1o.0' is no number"),
        ("O1      120.503  30.700\n", "", "sewer.inp, line 13: node 'O1' has no position: add it to"),
        ("J1      120.500", "J1  512340.5", "sewer.inp, line 25: 512340.5 30.7 is no longitude and latitude"),
        ("C1      J1  J2  400", "C1      J1  J9  400", "sewer.inp, line 17: link 'C1' ends at node 'J9'"),
        ("C1      CIRCULAR     3.0", "C1      CIRCULAR     0", "sewer.inp, line 22: link 'C1' has width_m 0"),
        (
            "C1      CIRCULAR     3.0  0  0  0  1",
            "C1      CIRCULAR",
            "sewer.inp, line 22: a line of [XSECTIONS]",
        ),
        (
            "C1      J1  J2  400  0.01  0  0  0  0",
            "C1      J1  J2",
            "sewer.inp, line 17: a line of [CONDUITS]",
        ),
    ],
)
def test_an_error_has_its_line(old: str, new: str, sentence: str, tmp_path: Path) -> None:
    assert old in EXAMPLE
    found = problems(tmp_path / "sewer.inp", EXAMPLE.replace(old, new))
    assert len({one.partition(": ")[0] for one in found}) == 1, "one wrong line is named, and no consequence"
    assert found[0].startswith(sentence), found


def test_an_id_that_the_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    network = equipped_network()
    network.nodes[0] = msgspec.structs.replace(network.nodes[0], node_id="north gate", network="river")
    with pytest.raises(SiteFileError, match="id 'north gate' has spaces"):
        formats.write_files(tmp_path / "river.inp", network)
