"""Tests that of a message with refused items the others are stored once, and the refused ones kept whole."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pytest

from edge.wire import federation
from ingest_service.federation.message_items import MessageItems
from ingest_service.federation.message_storing import MessageStoring
from ingest_service.pipeline.message import Message, from_dead_letter
from ingest_service.storage.contract.models import DeadLetterQuery, Directory, Node
from ingest_service.storage.postgres.federated_rows import FederatedRows
from ingest_service.storage.postgres.federation_feed import FederationFeed
from tests.support.federated_towns import (
    BOX,
    OTHER_TOWN,
    TOWN,
    columns,
    definitions,
    forwarded_anomaly,
    forwarded_incident,
    header,
    sender,
)
from tests.support.federation_rows import rows_of
from tests.support.forwarded_items import (
    ASSESSMENT,
    INCIDENT,
    ITEMS,
    NOW_US,
    READINGS,
    REFUSED,
    SITE,
    message,
)
from tests.support.store_samples import readings, stored

if TYPE_CHECKING:
    from ingest_service.storage.postgres.store import PostgresStore

TOPIC = f"towntwin/v1/{TOWN}/{BOX}/federation"
SERIES = [
    federation.ForwardedSeries(site_id="s1", quantity="ph", interval_s=300.0),
    federation.ForwardedSeries(site_id="s1", quantity="turbidity", interval_s=300.0, only_rollups=True),
]
NODE = federation.ForwardedNode(
    node_id="n1", network="river", area_id=TOWN, kind="section", en="N", zh="点", lon=120.0, lat=30.0
)
OF_THE_WHOLE = ("month", "after", "until")  # of a message beside its items
STORED = {
    "definitions": "SELECT count(*) FROM site WHERE site_id = 's2'",
    "readings": "SELECT count(*) FROM reading",
    "rollups": "SELECT count(*) FROM rollup_15min JOIN series USING (series_id) WHERE only_rollups",
    "devices": "SELECT count(*) FROM device WHERE device_id = 'd1' AND status_received IS NOT NULL",
    "assessments": "SELECT count(*) FROM assessment",
    "estimates": "SELECT count(*) FROM state_estimate",
    "forecasts": "SELECT count(*) FROM series_forecast",
    "anomalies": "SELECT count(*) FROM anomaly",
    "incidents": "SELECT count(*) FROM incident",
    "command_results": "SELECT 1",
}


class ReceivingCounty:
    """A county that receives messages; each has the next number of one spool."""

    def __init__(self, county: PostgresStore) -> None:
        self._county, self._storing, self.number = county, MessageStoring(county), 0

    def send(self, kind: str, content: dict[str, Any], *, repeats: int = 2) -> list[str]:
        """Send a message some times, as after lost receipts; return the reasons in its receipt."""
        self.number += 1
        payload = msgspec.json.encode({**header(), "kind": kind, **content})
        properties = (("epoch", "e"), ("number", str(self.number)))
        for _ in range(repeats):
            outcome = self._storing.store(Message(TOPIC, payload, 1e9, properties=properties))
            ((receipt,),) = outcome.receipts.values()
            assert receipt.kept == [(self.number, self.number)]
        return [one.reason for one in receipt.refused]

    def dead_letters(self) -> list[tuple[str, dict[str, Any]]]:
        """Return reason and content of the dead letters, oldest first."""
        found = self._county.dead_letters(DeadLetterQuery(limit=1000))
        return [(one.reason, json.loads(one.payload)) for one in reversed(found)]

    def replay(self) -> None:
        """Replay all dead letters."""
        self._county.request_replay(DeadLetterQuery())
        for one in self._county.dead_letters_to_replay(["+"], limit=99, limit_bytes=9**9, forwarded=True):
            self._storing.store(from_dead_letter(one))


@pytest.fixture
def receiver(county: PostgresStore) -> ReceivingCounty:
    FederatedRows(county).store_definitions(sender(), definitions(series=SERIES, nodes=[NODE]))
    return ReceivingCounty(county)


def test_the_good_items_of_a_message_are_stored_and_the_others_are_dead_letters_once(
    receiver: ReceivingCounty, timescale_dsn: str
) -> None:
    items = {
        **ITEMS,
        "definitions": {**SITE, "site_id": "s2"},
        "incidents": {**INCIDENT, "incident_id": 4},
    }
    for kind, cases in REFUSED.items():
        good = message(kind, items[kind])
        for reason, changed in cases:
            if changed.keys() & set(OF_THE_WHOLE):
                continue
            bad = message(kind, ITEMS[kind], **changed)
            both = {
                name: [*value, *bad[name]] if isinstance(value, list) else value
                for name, value in good.items()
            }
            before = receiver.dead_letters()
            assert receiver.send(kind, both) == ["partly"], (kind, changed)
            (kept,) = receiver.dead_letters()[len(before) :]
            sent = json.loads(msgspec.json.encode({**header(), "kind": kind, **good, **bad}))
            assert kept == (reason, sent), (kind, changed)
        assert rows_of(timescale_dsn, STORED[kind]) == [(1,)], kind


def test_one_reading_of_two_thousand_is_a_dead_letter_with_the_fields_that_are_not_known_here(
    receiver: ReceivingCounty, county: PostgresStore
) -> None:
    many = range(2000)
    sent = msgspec.to_builtins(columns(readings(1, many)))
    sent["value"][7], sent["quality"][7] = 1e308, 1
    sent["quality"][11] = 300
    sent |= {"later": list(many), "of_the_series": "x"}
    assert receiver.send("readings", {"series": [sent], "later": 1}) == ["partly"]
    series_id = next(
        one.series_id for one in county.directory().series if one.quantity == "ph" and one.site_id == "s1"
    )
    assert len(stored(county, series_id)) == 1998
    found = receiver.dead_letters()
    assert [reason for reason, _ in found] == ["value", "payload"]
    for (_, kept), row in zip(found, (7, 11), strict=True):
        (one,) = kept["series"]
        assert kept["later"] == 1
        assert one == {name: [part[row]] if isinstance(part, list) else part for name, part in sent.items()}
    details = [one.detail for one in county.dead_letters(DeadLetterQuery())]
    assert all("1 of 2000 items of a message" in one and "s1" in one for one in details)


def test_only_the_reading_with_another_value_is_a_conflict(receiver: ReceivingCounty) -> None:
    first = msgspec.to_builtins(columns(readings(1, range(9))))
    second = msgspec.to_builtins(columns(readings(1, range(20))))
    second["value"][4] += 1.0
    twice = {name: [part[3]] if isinstance(part, list) else part for name, part in second.items()}
    twice["value"] = [99.0]
    assert receiver.send("readings", {"series": [first]}) == []
    assert receiver.send("readings", {"series": [second, twice]}) == ["partly"]
    ((reason, kept),) = receiver.dead_letters()
    assert reason == "conflict"
    assert [(one["time_us"], one["value"]) for one in kept["series"]] == [
        ([second["time_us"][4]], [second["value"][4]]),
        (twice["time_us"], [99.0]),
    ]


def test_what_refers_to_a_refused_item_waits_with_it_and_is_stored_by_a_replay(
    receiver: ReceivingCounty, county: PostgresStore, timescale_dsn: str
) -> None:
    foreign = {**SITE, "site_id": "county-site"}
    content = msgspec.to_builtins(
        definitions(
            areas=[
                federation.ForwardedArea(area_id="a2", parent="a1", level="town", en="A", zh="区"),
                federation.ForwardedArea(area_id="a1", parent=TOWN, level="town", en="A", zh="区"),
            ],
            series=[*SERIES, msgspec.structs.replace(SERIES[0], site_id="county-site")],
            nodes=[
                NODE,
                msgspec.structs.replace(NODE, node_id="n2", site_id="county-site"),
                msgspec.structs.replace(NODE, node_id="n3", lon=999.0),
            ],
            links=[
                federation.ForwardedLink(
                    link_id=f"n1-{head}", network="river", from_node="n1", to_node=head, en="L", zh="段",
                    length_m=9.0, speed_m_s=0.3,
                )
                for head in ("n2", "n3", "county-node")
            ],
        )
    )  # fmt: skip
    content["sites"].append(foreign)
    county.enrol(
        Directory(
            nodes=[
                Node(
                    node_id="county-node",
                    network="river",
                    area_id=OTHER_TOWN,
                    kind="section",
                    en="N",
                    zh="点",
                    lon=120,
                    lat=30,
                )
            ]
        )
    )
    assert receiver.send("definitions", content) == ["partly"]
    parents = {one.area_id: one.parent for one in county.directory().areas}
    assert (parents["a1"], parents["a2"]) == (TOWN, "a1")
    found = dict(receiver.dead_letters())
    assert [one["node_id"] for one in found["payload"]["nodes"]] == ["n3"]
    kept = found["federation"]
    assert [one["site_id"] for one in kept["sites"] + kept["series"]] == ["county-site"] * 2
    assert [one["node_id"] for one in kept["nodes"]] == ["n2"]
    assert [one["link_id"] for one in kept["links"]] == ["n1-n2", "n1-n3"], (
        "that to another's node is left out"
    )
    assert (kept["areas"], kept["devices"]) == ([], [])

    with psycopg.connect(timescale_dsn) as connection:  # the operator has given it up for the town's
        connection.execute(
            "UPDATE site SET origin = %s, area_id = %s WHERE site_id = 'county-site'", (BOX, TOWN)
        )
    receiver.replay()
    assert [reason for reason, _ in receiver.dead_letters()] == ["payload", "federation"]
    assert {one.node_id for one in county.directory().nodes} == {"n1", "n2", "county-node"}
    assert [one.link_id for one in county.directory().links] == ["n1-n2"]


def test_an_incident_whose_parent_is_refused_keeps_its_relation(
    receiver: ReceivingCounty, timescale_dsn: str
) -> None:
    parent = msgspec.to_builtins(forwarded_incident(5))
    elsewhere = parent | {"area_id": OTHER_TOWN, "area_ids": [OTHER_TOWN]}
    child = msgspec.to_builtins(forwarded_incident(6, parent_id=5))
    other = msgspec.to_builtins(forwarded_incident(7))
    assert receiver.send("incidents", {"incidents": [elsewhere, child, other]}) == ["partly"]
    out_of_bounds = INCIDENT | {"incident_id": 8, "opened_s": 9e12}
    assert receiver.send(
        "incidents", {"incidents": [out_of_bounds, child | {"incident_id": 9, "merged_into": 8}]}
    ) == ["partly"]
    assert rows_of(timescale_dsn, "SELECT origin_id FROM incident") == [(7,)]
    reasons = [
        (reason, [one["incident_id"] for one in kept["incidents"]])
        for reason, kept in receiver.dead_letters()
    ]
    assert reasons == [("federation", [5, 6]), ("time", [8]), ("federation", [9])]


def test_an_assessment_that_is_refused_deletes_no_other_when_it_is_replayed(
    receiver: ReceivingCounty, timescale_dsn: str
) -> None:
    of_the_town = {**ASSESSMENT, "subject": f"area/{TOWN}", "site_id": None}
    refused = {**ASSESSMENT, "kind": "surface_water", "assessment": {"value": 1e308}}
    good = {"month": "2026-09", "assessments": [ASSESSMENT, of_the_town]}
    count = "SELECT count(*) FROM assessment"
    assert receiver.send("assessments", good | {"assessments": [ASSESSMENT, of_the_town, refused]}) == [
        "partly"
    ]
    receiver.replay()
    assert rows_of(timescale_dsn, count) == [(2,)]
    assert receiver.send("assessments", good | {"assessments": [ASSESSMENT]}) == []
    assert rows_of(timescale_dsn, count) == [(1,)], "the town has it no more"


def test_an_area_that_would_be_above_itself_is_refused_over_several_steps(
    receiver: ReceivingCounty, county: PostgresStore
) -> None:
    def area(area_id: str, parent: str) -> dict[str, Any]:
        return {"area_id": area_id, "parent": parent, "level": "town", "en": "A", "zh": "区"}

    line = [area("a", TOWN), area("b", "a"), area("c", "b")]
    assert receiver.send("definitions", {"areas": line}) == []
    before = county.directory().areas
    site = {**SITE, "site_id": "s2", "area_id": "c"}
    circle = {"areas": [area("a", "c"), area("d", TOWN)], "sites": [site]}
    assert receiver.send("definitions", circle) == ["partly"]
    ((reason, kept),) = receiver.dead_letters()
    assert (reason, kept["areas"], kept["sites"]) == ("federation", [area("a", "c")], [])
    (found,) = county.dead_letters(DeadLetterQuery())
    assert "area 'a' has parents that lead back to it (a > c > b > a)" in found.detail
    after = county.directory().areas
    assert [one for one in after if one.area_id != "d"] == before
    assert "s2" in {one.site_id for one in county.directory().sites}


def test_items_are_taken_apart_and_joined_again_as_they_were_sent() -> None:
    for kind, item in ITEMS.items():
        sent = msgspec.json.encode({**header(), "kind": kind, **message(kind, item), "later": {"a": [1]}})
        found = MessageItems(sent)
        assert json.loads(found.message_of(found.items)) == json.loads(sent), kind
        assert len(found.items) == 1, kind


def test_a_stored_forwarder_of_a_time_to_come_locks_nothing_out(
    receiver: ReceivingCounty, timescale_dsn: str
) -> None:
    """Before `forwarder_clock`, a county stored the number of a forwarder whose clock was years ahead."""
    future = NOW_US + 3 * 366 * 86_400_000_000
    incident = forwarded_incident(5)
    anomaly = forwarded_anomaly()
    with psycopg.connect(timescale_dsn) as connection:
        for kind, content in (("anomalies", [anomaly]), ("incidents", [incident])):
            assert receiver.send(kind, {kind: msgspec.to_builtins(content)}) == []
        connection.execute("UPDATE federation_source SET forwarder = %s", (future,))
        connection.execute("UPDATE federated_anomaly SET forwarder = %s", (future,))
        connection.execute("UPDATE federated_incident SET forwarder = %s", (future,))
        connection.execute(
            "UPDATE device SET status_received = now() + interval '9 years' WHERE device_id = 'd1'"
        )
    later = {"forwarder": NOW_US, "block": 1}
    changed = msgspec.structs.replace(anomaly, severity=3)
    assert receiver.send("anomalies", {"anomalies": [msgspec.to_builtins(changed)], **later}) == []
    changed_incident = msgspec.to_builtins(incident)
    changed_incident["incident"]["priority"] = 1
    assert receiver.send("incidents", {"incidents": [changed_incident], **later}) == []
    assert receiver.send("devices", message("devices", ITEMS["devices"]) | later) == []
    assert rows_of(timescale_dsn, "SELECT severity FROM anomaly") == [(3,)]
    assert rows_of(timescale_dsn, "SELECT priority FROM incident") == [(1,)]
    health = "SELECT status_received < now() + interval '1 hour' FROM device WHERE device_id = 'd1'"
    assert rows_of(timescale_dsn, health) == [(True,)]
    assert receiver.send("readings", message("readings", READINGS) | {"forwarder": 1}) == ["fenced"]


def test_a_dead_letter_of_a_forwarder_of_a_time_to_come_can_be_replayed(
    receiver: ReceivingCounty, timescale_dsn: str
) -> None:
    future = NOW_US + 3 * 366 * 86_400_000_000
    unknown = {"anomalies": [msgspec.to_builtins(forwarded_anomaly(site_id="s2"))]}
    assert receiver.send("anomalies", unknown) == ["federation"]
    with psycopg.connect(timescale_dsn) as connection:  # as a release stored it that had no bound
        connection.execute(
            "UPDATE dead_letter"
            " SET payload = replace(convert_from(payload, 'UTF8'), '\"forwarder\":1,', %s)::bytea",
            (f'"forwarder":{future},',),
        )
    receiver.replay()
    ((reason, _),) = receiver.dead_letters()
    assert reason == "federation", "it is not marked for replay for ever"
    assert receiver.send("definitions", {"sites": [{**SITE, "site_id": "s2"}], "series": [
        msgspec.to_builtins(msgspec.structs.replace(SERIES[0], site_id="s2"))]}) == []  # fmt: skip
    receiver.replay()
    assert receiver.dead_letters() == []
    assert rows_of(timescale_dsn, "SELECT forwarder FROM federated_anomaly") == [(0,)]


def test_platforms_that_forward_in_a_circle_are_refused_at_the_first_definitions(
    receiver: ReceivingCounty, county: PostgresStore, timescale_dsn: str
) -> None:
    """What each got from the other was a dead letter at its origin, message by message, without an end."""
    feed = FederationFeed(county)
    assert receiver.send("definitions", {"sites": [SITE], "platforms": ["town", "below"]}) == []
    feed.start(1)
    (own,) = {*feed.platforms([TOWN])} - {"town", "below"}
    assert feed.platforms([OTHER_TOWN]) == [own], "it forwards nothing of the town"
    before = county.directory()
    returned = {"sites": [SITE, {**SITE, "site_id": "s9"}], "platforms": ["town", own]}
    assert receiver.send("definitions", returned) == ["federation_circle"]
    assert receiver.dead_letters() == [], "the forwarder keeps it"
    assert county.directory() == before
    assert receiver.send("definitions", {"sites": [SITE], "platforms": ["town"]}) == []
    assert county.directory().version > before.version, "it is defined anew further up"
    feed.end()
    assert receiver.send("definitions", returned) == []
    assert rows_of(timescale_dsn, STORED["definitions"].replace("s2", "s9")) == [(1,)]
