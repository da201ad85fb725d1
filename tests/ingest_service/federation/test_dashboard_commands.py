"""Tests that a county's dashboard is put into the town's Grafana once, or refused with the reason."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from deploy.commands.federate import dashboard_putter
from edge.wire.federation_commands import encode_command
from ingest_service.federation.command_applying import CommandApplying
from ingest_service.federation.policy import Policy
from ingest_service.storage.contract.federation_commands import IssuedCommand, wire_command
from ingest_service.storage.contract.models import Area, Device, Directory
from ingest_service.storage.postgres.federated_rows import FederatedRows
from ingest_service.storage.postgres.federation_commands import FederationCommands
from tests.ingest_service.federation.test_commands import audit_of
from tests.ingest_service.storage.test_database_roles import working_as
from tests.support.fake_grafana import TOKEN, FakeGrafana, serve_fake_grafana
from tests.support.federated_towns import BOX, COUNTY, COUNTY_DIRECTORY, TOWN, sender
from tests.support.federation_rows import opened
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge.wire import federation

BOARD = {"uid": "county-rivers", "title": "Rivers", "panels": []}
POLICY = Policy(area=TOWN, device=BOX, commands=["dashboards"])


@pytest.fixture
def grafana(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGrafana]:
    with serve_fake_grafana() as found:
        monkeypatch.setenv("TOWNTWIN_GRAFANA_URL", found.url)
        monkeypatch.setenv("TOWNTWIN_GRAFANA_TOKEN", TOKEN)
        yield found


def issued(dsn: str, dashboard: dict[str, Any], area: str = TOWN) -> bytes:
    """Issue a command at the county, and return it as it is sent."""
    content = {"area_id": area, "dashboard": dashboard}
    with opened(dsn) as store:
        command = IssuedCommand(area_id=TOWN, device_id=BOX, kind="dashboards", content=content, who="Li")
        return encode_command(wire_command(FederationCommands(store).issue(command)))


def results_of(dsn: str) -> list[federation.CommandResult]:
    with opened(dsn) as store:
        return FederationCommands(store).results(20)


def test_a_dashboard_of_the_county_is_in_the_towns_grafana_with_an_audit_on_both_sides(
    grafana: FakeGrafana, timescale_dsn: str, timescale_server: Any
) -> None:
    county, putter = timescale_dsn, dashboard_putter(Namespace())
    with opened(county) as store:
        store.enrol(COUNTY_DIRECTORY)
    with fresh_database(timescale_server) as town:
        with opened(town) as store:
            store.enrol(Directory(areas=COUNTY_DIRECTORY.areas))
        with working_as("ingest", town) as store:
            applying = CommandApplying(store, POLICY, put_dashboard=putter)
            first, second = issued(county, BOARD), issued(county, BOARD | {"title": "Rivers 2"})
            for payload in (first, first, second, second, first):
                applying.apply(payload)
            assert grafana.boards["county-rivers"]["dashboard"]["title"] == "Rivers 2"
            assert len(grafana.versions["county-rivers"]) == 2, "a repeat writes nothing"
            assert grafana.boards["county-rivers"]["meta"]["folderUid"] == "towntwin"

            grafana.save_as_person("county-rivers", title="Ling's")
            applying.apply(issued(county, BOARD | {"title": "Rivers 3"}))
            applying.apply(issued(county, BOARD | {"uid": "towntwin-road-en"}))
            applying.apply(issued(county, BOARD, COUNTY))
            CommandApplying(store, POLICY).apply(issued(county, BOARD))
            without = msgspec.structs.replace(POLICY, commands=["limits"])
            CommandApplying(store, without, put_dashboard=putter).apply(issued(county, BOARD))
        results = results_of(town)
        assert [one.state for one in results] == ["applied"] * 2 + ["refused"] * 5
        reasons = [
            "ling saved version 3",
            "every platform generates",
            "is none that this platform",
            "TOWNTWIN_GRAFANA_TOKEN",
            "permits no command 'dashboards'",
        ]
        for result, reason in zip(results[2:], reasons, strict=True):
            assert reason in result.detail
        above = audit_of(town)[:3]
        assert [row[-1] for row in above] == [200, 200, 409]
        assert above[0][:5] == ("above: Li", [TOWN], "federation dashboards", "county-rivers", "above")
    with opened(county) as store:
        FederationCommands(store).store_results(FederatedRows(store), sender(), results)
        assert FederationCommands(store).to_send(9) == []
    assert [row[-1] for row in audit_of(county)] == [200] * 2 + [409] * 5
    assert audit_of(county)[0][:5] == (
        f"device:{BOX}",
        [TOWN],
        "federation dashboards",
        "county-rivers",
        "below",
    )


def test_a_command_waits_at_the_county_while_grafana_does_not_answer(
    timescale_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOWNTWIN_GRAFANA_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("TOWNTWIN_GRAFANA_TOKEN", TOKEN)
    with opened(timescale_dsn) as store:
        store.enrol(COUNTY_DIRECTORY)
        applying = CommandApplying(store, POLICY, put_dashboard=dashboard_putter(Namespace()))
        content = {"area_id": TOWN, "dashboard": BOARD}
        command = IssuedCommand(
            command_id="00000000-0000-4000-8000-000000000001",
            area_id=TOWN,
            kind="dashboards",
            content=content,
            who="Li",
        )
        for _ in range(2):
            applying.apply(encode_command(wire_command(command)))
        assert FederationCommands(store).found() == []


def test_a_county_passes_a_dashboard_of_the_city_on_to_its_town(timescale_dsn: str) -> None:
    with opened(timescale_dsn) as store:
        store.enrol(COUNTY_DIRECTORY)
        store.enrol(Directory(devices=[Device(device_id="elsewhere", area_id=COUNTY)]))
        commands = FederationCommands(store)
        policy = Policy(area=COUNTY, device="county-box", commands=["dashboards"])
        command = IssuedCommand(
            command_id="00000000-0000-4000-8000-000000000001",
            area_id=TOWN,
            kind="dashboards",
            content={"area_id": TOWN, "dashboard": BOARD},
            who="Li",
        )
        CommandApplying(store, policy).apply(encode_command(wire_command(command)))
        (waiting,) = commands.to_send(9)
        assert (waiting.command.device_id, waiting.command.content["dashboard"]) == (BOX, BOARD)
        assert sorted(commands.forwarders(COUNTY)) == [("box-1", TOWN), ("box-2", "330483-d2")]
        village = Area(area_id="330483-d1-01", parent=TOWN, level="town", en="Village", zh="村")
        store.enrol(Directory(areas=[village]))
        assert commands.forwarders("330483-d1-01") == [(BOX, TOWN)]
