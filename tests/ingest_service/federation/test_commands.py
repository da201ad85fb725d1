"""Tests that a command has its effect once at the town, with an audit entry on both sides, or is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from analytics.incidents import manual_incident
from analytics.incidents.priority_matrix import read_matrix
from edge.wire import federation
from edge.wire.federation_commands import FederationCommand, encode_command
from ingest_service.federation.command_applying import CommandApplying
from ingest_service.federation.policy import Policy
from ingest_service.storage.contract.federation import ForwarderFencedError
from ingest_service.storage.contract.federation_commands import IssuedCommand
from ingest_service.storage.contract.incidents import IncidentQuery
from ingest_service.storage.postgres.api_keys import ApiKeyStore, AuditQuery
from ingest_service.storage.postgres.federated_incidents import FederatedIncidents
from ingest_service.storage.postgres.federated_rows import FederatedRows
from ingest_service.storage.postgres.federation_commands import FederationCommands
from ingest_service.storage.postgres.incidents import Incidents
from ingest_service.storage.postgres.limit_changes import LimitChangeLog
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.ingest_service.storage.test_database_roles import working_as
from tests.support.federated_towns import (
    BOX,
    COUNTY_DIRECTORY,
    OTHER_BOX,
    OTHER_TOWN,
    TOWN,
    definitions,
    forwarded_incident,
    sender,
)
from tests.support.federation_rows import opened
from tests.support.store_samples import DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Iterator

IDS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(20)]
POLICY = Policy(area=TOWN, device=BOX, commands=["limits", "incident"], leave_out_quantities=["turbidity"])
LIMITS = {"site_id": "s1", "quantity": "ph", "limits": {"fail_high": 9.5}}
INCIDENT = {
    "site_id": "s1",
    "incident": {
        "kind": "water",
        "cause": "sewage",
        "priority": 2,
        "severity": 2,
        "started_s": 1.79e9,
        "last_s": 1.79e9,
        "opened_s": 1.79e9,
        "area_id": OTHER_TOWN,
        "summary": "foam at the bridge",
        "added_later": 1,
    },
    "entries": [{"machine": "record", "event": "open", "who": "Li", "why": "foam", "at_s": 1.79e9}],
}


def command(number: int, kind: str, content: dict[str, Any], version: int = 1) -> bytes:
    raw = msgspec.Raw(msgspec.json.encode({"kind": kind, **content}))
    return encode_command(
        FederationCommand(
            version=version, command_id=IDS[number], issued_s=1.79e9, who="Li (k1)", note="foam", content=raw
        )
    )


@pytest.fixture
def town(timescale_dsn: str) -> Iterator[PostgresStore]:
    """Provide the town as its forwarder works: with the rights of ingest's role alone."""
    migrate(timescale_dsn)
    owner = PostgresStore.open(timescale_dsn)
    owner.enrol(DIRECTORY)
    owner.close()
    with working_as("ingest", timescale_dsn) as store:
        yield store


def audit_of(dsn: str) -> list[tuple[Any, ...]]:
    with opened(dsn) as store:
        entries = ApiKeyStore(store).audit(AuditQuery())
    return [
        (one.who, one.areas, one.action, one.target, one.address, one.status) for one in reversed(entries)
    ]


def test_a_command_has_its_effect_once_however_often_it_comes(
    town: PostgresStore, timescale_dsn: str
) -> None:
    applying, commands = CommandApplying(town, POLICY), FederationCommands(town)
    for _ in range(3):
        applying.apply(command(0, "limits", LIMITS))
        applying.apply(command(1, "incident", INCIDENT))
    assert {one.command_id: one.state for one in commands.results(9)} == dict.fromkeys(IDS[:2], "applied")
    who = "above: Li (k1)"
    with opened(timescale_dsn) as owner:
        assert [(one.limits, one.who) for one in LimitChangeLog(owner).of(1)] == [({"fail_high": 9.5}, who)]
        (incident,) = Incidents(owner).found(IncidentQuery())
        assert (incident.area_id, incident.priority, incident.opened_by) == (TOWN, 2, who)
        assert [one.who for one in Incidents(owner).history(incident.incident_id)] == [who]
    assert commands.results(9)[1].incident_id == incident.incident_id
    assert audit_of(timescale_dsn) == [
        (who, [TOWN], "federation limits", "s1", "above", 200),
        (who, [TOWN], "federation incident", "s1", "above", 200),
    ]


def test_what_a_town_does_not_permit_is_refused_with_the_reason(
    town: PostgresStore, timescale_dsn: str
) -> None:
    cases: list[tuple[dict[str, Any], bytes, str]] = [
        ({"commands": []}, command(0, "limits", LIMITS), "permits no command 'limits'"),
        ({"leave_out_sites": ["s1"]}, command(1, "incident", INCIDENT), "site 's1' is none"),
        ({}, command(2, "limits", LIMITS | {"site_id": "other"}), "site 'other' is none"),
        ({"area": OTHER_TOWN}, command(3, "limits", LIMITS), f"from area {OTHER_TOWN!r}"),
        ({}, command(4, "limits", LIMITS | {"quantity": "turbidity"}), "is no series"),
        ({}, command(5, "limits", LIMITS | {"limits": {"nothing": 1.0}}), "limits: "),
        ({}, command(6, "dashboards", {}), "update this platform"),
        ({}, command(7, "limits", LIMITS, version=9), "update this platform"),
        ({}, command(8, "incident", {"site_id": "s1", "incident": {"kind": "moon"}}), "can't be read"),
    ]
    for changed, payload, _ in cases:
        CommandApplying(town, msgspec.structs.replace(POLICY, **changed)).apply(payload)
    CommandApplying(town, POLICY).apply(b"[]")
    results = FederationCommands(town).results(20)
    assert [one.command_id for one in results] == IDS[: len(cases)]
    for result, (_, _, reason) in zip(results, cases, strict=True):
        assert (result.state, reason in result.detail) == ("refused", True), (reason, result.detail)
    assert [row[-1] for row in audit_of(timescale_dsn)] == [409] * len(cases)
    with opened(timescale_dsn) as owner:
        assert LimitChangeLog(owner).of(1) == []
        assert Incidents(owner).found(IncidentQuery()) == []


def test_a_county_has_the_result_of_the_town_alone_that_it_commanded(timescale_dsn: str) -> None:
    migrate(timescale_dsn)
    county = PostgresStore.open(timescale_dsn)
    county.enrol(COUNTY_DIRECTORY)
    with working_as("ingest", timescale_dsn) as receiver:
        _check_results(county, receiver, timescale_dsn)
    county.close()


def _check_results(county: PostgresStore, receiver: PostgresStore, dsn: str) -> None:
    rows, commands = FederatedRows(receiver), FederationCommands(receiver)
    rows.store_definitions(sender(), definitions())
    issued = FederationCommands(county).issue(
        IssuedCommand(area_id=TOWN, device_id=BOX, kind="limits", content=LIMITS, who="Li (k1)", note="foam")
    )
    assert [(one.command.command_id, one.device_area) for one in commands.to_send(9)] == [
        (issued.command_id, TOWN)
    ]
    result = federation.CommandResult(command_id=issued.command_id, state="applied", at_s=1.79e9)
    commands.store_results(rows, sender(device=OTHER_BOX, area=OTHER_TOWN), [result])
    assert len(commands.to_send(9)) == 1, "the result of another town"
    commands.store_results(rows, sender(5), [result])
    commands.store_results(rows, sender(5), [result])
    with pytest.raises(ForwarderFencedError):
        commands.store_results(rows, sender(6, forwarder=0), [result])
    assert commands.to_send(9) == []
    (stored,) = commands.found()
    assert (stored.state, stored.finished_s) == ("applied", 1.79e9)
    (series_id,) = [one.series_id for one in county.directory().series if one.site_id == "s1"][:1]
    assert [one.limits for one in LimitChangeLog(county).of(series_id)] == [{"fail_high": 9.5}]
    assert audit_of(dsn) == [(f"device:{BOX}", [TOWN], "federation limits", "s1", "below", 200)]

    own = manual_incident.report(
        COUNTY_DIRECTORY.sites[0],
        kind="water",
        cause="sewage",
        summary="foam",
        severity=2,
        who="Li",
        at_s=1.79e9,
        matrix=read_matrix(None),
    )
    parent = Incidents(county).apply([own])[0].incident_id
    dispatched = IssuedCommand(
        area_id=TOWN, device_id=BOX, kind="incident", content=INCIDENT, who="Li", own_incident=parent
    )
    incidents = FederatedIncidents(rows)
    for number, order in enumerate(("result first", "incident first")):
        command_id = FederationCommands(county).issue(dispatched).command_id
        result = federation.CommandResult(
            command_id=command_id, state="applied", incident_id=70 + number, at_s=1.79e9
        )
        steps = [
            lambda result=result: commands.store_results(rows, sender(7), [result]),
            lambda number=number: FederatedIncidents(rows).store(
                sender(7), [forwarded_incident(70 + number)]
            ),
        ]
        for step in steps if order == "result first" else reversed(steps):
            step()
        incidents.store(sender(8), [forwarded_incident(70 + number, revision=2)])
    below = Incidents(county).found(IncidentQuery(parent_id=parent))
    assert {one.origin for one in below} == {BOX}
    assert len(below) == 2
