"""Tests that the page on exchanging networks runs as written, and what a command changes and refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from analytics.service import road_model
from analytics.twin.road_demand import NodeCounts
from deploy import demo
from deploy.__main__ import main
from deploy.demo import field_devices
from ingest_service.storage.postgres.store import PostgresStore
from tests.support import howto_pages

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ingest_service.storage.contract.models import Directory

PAGE = "exchange-networks.md"


def test_the_networks_of_the_demo_are_free_of_findings(
    store: PostgresStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three sensors were off the networks, and a newcomer's check returned 1."""
    assert main(["network", "check"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "72 nodes and 68 links: nothing is found"
    assert main(["network", "check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    at_node = {one.site_id for one in store.directory().nodes}
    assert {one.site_id for one in field_devices.directory().sites} <= at_node


@pytest.fixture
def store(plain_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresStore]:
    """The demo enrolled, a folder with the tables of the page, and the database in the settings."""
    main(["db", "migrate", "--dsn", plain_dsn])
    opened = PostgresStore.open(plain_dsn)
    opened.enrol(demo.directory())
    opened.enrol(field_devices.directory())
    for name, table in zip(("nodes.csv", "links.csv"), howto_pages.code_blocks(PAGE, "text"), strict=True):
        (tmp_path / name).write_text(table, "utf-8")
    monkeypatch.setenv("TOWNTWIN_DSN", plain_dsn)
    monkeypatch.chdir(tmp_path)
    yield opened
    opened.close()


def widths(directory: Directory) -> dict[str, float | None]:
    return {one.link_id: one.width_m for one in directory.links if one.link_id.startswith("hb-")}


def test_the_page_runs_as_written_and_what_was_before_a_change_stays(
    store: PostgresStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = [one.split()[1:] for one in howto_pages.indented_commands(PAGE, "towntwin")]
    export, tables, dry_run, bring, change, check, *exchanged, from_osm = commands
    before = store.directory()
    assert main(export) == main(tables) == main(check) == 0
    assert len(json.loads((tmp_path / "town.geojson").read_text("utf-8"))["features"]) == sum(
        len(one) for one in (before.areas, before.sites, before.nodes, before.links)
    )
    capsys.readouterr()
    assert main(dry_run) == 0
    assert capsys.readouterr().out.endswith("dry run: 4 changes, none made\n")
    assert store.directory() == before
    assert main([*dry_run[:2], "nodes.csv", "--dry-run"]) == 0
    (finding,) = howto_pages.indented_commands(PAGE, "not_connected:")
    assert finding.strip() in capsys.readouterr().err
    assert main(bring) == 0
    assert widths(store.directory()) == {"hb-1:hb-2": 8.0, "hb-2:330483-d1-k01": 8.0}

    links = (tmp_path / "links.csv").read_text("utf-8")
    (tmp_path / "links.csv").write_text(links.replace("0.03,CIM-0452", "3,CIM-0452"), "utf-8")
    assert main(bring) == 2
    (error,) = [one for one in howto_pages.indented_commands(PAGE, "links.csv,") if "manning_n 3" in one]
    assert error.strip() in capsys.readouterr().err

    (tmp_path / "links.csv").write_text(links.replace("rectangular,8", "rectangular,12"), "utf-8")
    assert main(change) == 0
    assert main([*change, "--dry-run"]) == 0
    assert "dry run: 0 changes" in capsys.readouterr().out
    changed = store.directory()
    assert set(widths(changed).values()) == {12.0}
    april_s = next(one.valid_from_s for one in changed.links if one.link_id == "hb-1:hb-2")
    assert april_s == 1_774_972_800.0, "midnight in the towns' time zone"
    assert set(widths(changed.valid_at(april_s - 1)).values()) == {8.0}
    assert main([*export, "--at", "2026-03-31"]) == 0
    assert '"width_m": 8.0' in (tmp_path / "town.geojson").read_text("utf-8")
    assert '"width_m": 12.0' not in (tmp_path / "town.geojson").read_text("utf-8")
    for write, read in zip(exchanged[::2], exchanged[1::2], strict=True):
        assert main(write) == 0
        shown = capsys.readouterr().out
        network = {"river.inp": "river", "roads": "road"}.get(write[2])
        nodes = sum(network in {None, one.network} for one in store.directory().nodes)
        assert shown.splitlines()[-1].startswith(f"{nodes} nodes, "), shown
        assert main(read) == 0
        assert capsys.readouterr().out.endswith("dry run: 0 changes, none made\n"), read
    assert "--dry-run" in from_osm, "its file is not ours"


def test_what_a_replacement_ends_is_found_and_an_earlier_time_refused(
    store: PostgresStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["network", "export", "roads", "--area", "330483-d1", "--network", "road"]) == 0
    table = tmp_path / "roads/links.csv"
    *kept, last = table.read_text("utf-8").splitlines()
    table.write_text("\n".join(kept), "utf-8")
    replace = ["network", "import", "roads/nodes.csv", "roads/links.csv", "--replace", "--valid-from"]
    capsys.readouterr()
    assert main([*replace, "2026-04-01"]) == 0
    shown = capsys.readouterr()
    gone = last.split(",")[0]
    assert f"ends link {gone}" in shown.out
    assert "not_connected: node" in shown.err
    assert main(["network", "check"]) == 1
    assert main(["network", "check", "--at", "2026-03-31", "--json"]) == 0
    assert gone not in {one.link_id for one in store.directory().links}
    assert gone in {one.link_id for one in store.directory().valid_at(1.7e9).links}
    table.write_text("\n".join([*kept[:1], kept[1].replace(",2,", ",3,")]), "utf-8")
    assert main(["network", "import", "roads/links.csv", "--valid-from", "2026-03-01"]) == 0
    table.write_text("\n".join([*kept[:1], kept[1].replace(",2,", ",4,")]), "utf-8")
    assert main(["network", "import", "roads/links.csv", "--valid-from", "2026-02-01", "--dry-run"]) == 2
    assert "has changed at or after that time already" in capsys.readouterr().err
    assert main(["network", "export", "town.shp"]) == 2
    assert "town.shp: is of no known format" in capsys.readouterr().err


def test_a_road_without_a_record_has_the_capacity_that_is_enrolled() -> None:
    directory = demo.directory()
    roads = road_model.part_of(directory, [one.link_id for one in directory.links if one.network == "road"])
    record = road_model.RoadRecord(
        NodeCounts(np.array([0]), np.array([[0.2]]), np.array([0.02])), {}, 1.0, 0.1
    )
    usual = road_model.traffic_of(roads, record)[0].diagram.capacity_per_s
    roads.links[0] = msgspec.structs.replace(roads.links[0], lane_capacity_veh_h=900.0)
    found = road_model.traffic_of(roads, record)[0].diagram.capacity_per_s
    assert found[0] == pytest.approx((roads.links[0].lanes or 1) * 0.25)
    assert found[1:] == pytest.approx(usual[1:])
