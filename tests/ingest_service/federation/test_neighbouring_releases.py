"""Tests that a county stores what a town of the release before or after its own forwards."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edge.wire import federation
from edge.wire.federation_commands import LimitsCommand, decode_command, decode_content
from ingest_service.federation.message_storing import MessageStoring
from ingest_service.pipeline.message import Message
from ingest_service.storage.contract.incidents import IncidentQuery
from ingest_service.storage.contract.models import AnomalyQuery, DeadLetterQuery
from ingest_service.storage.postgres.incidents import Incidents
from tests.support.federated_towns import BOX, COUNTY_DIRECTORY, TOWN
from tests.support.federation_rows import opened, rows_of

TIME_US = 1_790_000_000_000_000
# As version 1 was sent, before series had `only_rollups`.
VERSION_1: dict[str, dict[str, Any]] = {
    "definitions": {
        "areas": [],
        "sites": [
            {
                "site_id": "s1",
                "area_id": TOWN,
                "kind": "river_section",
                "en": "S",
                "zh": "断面",
                "lon": 120.5,
                "lat": 30.7,
            }
        ],
        "devices": [{"device_id": "d1", "area_id": TOWN, "kind": "agent"}],
        "series": [{"site_id": "s1", "quantity": "ph", "interval_s": 300.0}],
    },
    "readings": {
        "series": [
            {
                "site_id": "s1",
                "quantity": "ph",
                "time_us": [TIME_US],
                "received_us": [TIME_US],
                "value": [7.5],
                "expected": [None],
                "spread": [None],
                "quality": [1],
                "rules": [0],
            }
        ]
    },
    "anomalies": {
        "anomalies": [
            {
                "anomaly_id": 7,
                "revision": 70,
                "subject": "series",
                "site_id": "s1",
                "quantity": "ph",
                "detector": "residual",
                "version": "1",
                "state": "open",
                "severity": 2,
                "start_us": TIME_US,
                "peak_us": TIME_US,
                "score": 20.0,
                "n_readings": 1,
                "reason_en": "high",
                "reason_zh": "偏高",
            }
        ]
    },
    "incidents": {
        "incidents": [
            {
                "incident_id": 3,
                "revision": 71,
                "opened_s": 1.79e9,
                "area_id": TOWN,
                "area_ids": [TOWN],
                "main_site_id": "s1",
                "incident": {
                    "kind": "water",
                    "cause": "sewage",
                    "priority": 2,
                    "started_s": 1.79e9,
                    "last_s": 1.79e9,
                },
                "members": [
                    {
                        "anomaly_id": 7,
                        "role": "opened",
                        "reason": "first",
                        "reason_en": "first",
                        "reason_zh": "首个",
                        "by": "service",
                    }
                ],
                "entries": [{"machine": "record", "event": "open", "who": "service", "at_s": 1.79e9}],
            }
        ]
    },
}


def extended(value: Any) -> Any:
    """Return a message as a later release may send it: with a further field in every object."""
    if isinstance(value, list):
        return [extended(one) for one in value]
    if isinstance(value, dict):
        return {name: extended(one) for name, one in value.items()} | {"added_later": {"a": [1]}}
    return value


@pytest.mark.parametrize("difference", [-1, 1])
def test_messages_of_the_release_before_and_after_are_stored(timescale_dsn: str, difference: int) -> None:
    version = federation.FORMAT_VERSION + difference
    with opened(timescale_dsn) as county:
        county.enrol(COUNTY_DIRECTORY)
        storing = MessageStoring(county)
        for number, (kind, content) in enumerate(VERSION_1.items(), 1):
            header = {"kind": kind, "version": version, "forwarder": 1, "block": number, "release": "0"}
            sent = header | (content if difference < 0 else extended(content))
            topic = f"towntwin/v1/{TOWN}/{BOX}/federation"
            storing.store(Message(topic, json.dumps(sent).encode(), 1e9))
        assert county.dead_letters(DeadLetterQuery()) == []
        assert rows_of(timescale_dsn, "SELECT value, quality FROM reading") == [(7.5, 1)]
        assert rows_of(timescale_dsn, "SELECT only_rollups FROM series WHERE site_id = 's1'") == [(False,)]
        assert [one.state for one in county.anomalies(AnomalyQuery())] == ["open"]
        (incident,) = Incidents(county).found(IncidentQuery())
        assert (incident.cause, incident.anomalies, incident.origin) == ("sewage", 1, BOX)


@pytest.mark.parametrize("difference", [-1, 1])
def test_commands_of_the_release_before_and_after_are_understood(difference: int) -> None:
    content: dict[str, Any] = {"site_id": "s1", "quantity": "ph", "limits": {"fail_high": 9.5}}
    command: dict[str, Any] = {"command_id": "0", "issued_s": 1.79e9, "who": "Li"}
    if difference > 0:
        content, command = content | {"added_later": 1}, command | {"added_later": 1}
    command |= {"content": content | {"kind": "limits"}, "version": federation.FORMAT_VERSION + difference}
    found = decode_command(json.dumps(command).encode())
    assert found.note == ""
    assert decode_content(found) == LimitsCommand(site_id="s1", quantity="ph", limits={"fail_high": 9.5})
