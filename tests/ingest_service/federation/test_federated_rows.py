"""Tests that a county stores what a town forwards once, as it is there, and nothing of anyone else."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pytest

from edge.wire import federation
from ingest_service.federation.message_storing import MessageStoring
from ingest_service.pipeline.message import Message, from_dead_letter
from ingest_service.storage.contract.federation import ForwarderFencedError, ForwardingRefusedError
from ingest_service.storage.contract.models import AnomalyQuery, DeadLetterQuery
from ingest_service.storage.postgres.federated_rows import FederatedRows
from tests.support.federated_towns import (
    BOX,
    OTHER_BOX,
    OTHER_TOWN,
    TOWN,
    columns,
    definitions,
    forwarded_anomaly,
    header,
    sender,
)
from tests.support.forwarded_items import ITEMS, NOW_US, READINGS, REFUSED, message
from tests.support.store_samples import LATE, assert_same, readings, stored

if TYPE_CHECKING:
    from ingest_service.storage.postgres.store import PostgresStore


def ph_of(county: PostgresStore) -> int:
    return next(
        one.series_id for one in county.directory().series if (one.site_id, one.quantity) == ("s1", "ph")
    )


def test_readings_are_stored_once_with_the_flags_of_the_town(
    county: PostgresStore, timescale_dsn: str
) -> None:
    rows = FederatedRows(county)
    assert rows.store_definitions(sender(), definitions()) == []
    town = readings(1, range(6), rules=LATE, quality=2)
    assert rows.store_readings(sender(2), [columns(town)])[:3] == (6, 0, 0)
    assert rows.store_readings(sender(2), [columns(town)])[:3] == (0, 0, 0), "a repeat"

    series_id = ph_of(county)
    town["series_id"] = series_id
    assert_same(stored(county, series_id), town)
    assert [one.value for one in county.latest([series_id])] == [town["value"][-1]]

    judged = readings(1, range(6), rules=4, quality=3)
    assert rows.store_readings(sender(3), [columns(judged[2:4])])[:3] == (0, 2, 0)
    assert rows.store_readings(sender(2), [columns(town)])[:3] == (0, 0, 0), "older flags stay out"
    assert rows.store_readings(sender(None), [columns(town)])[:3] == (0, 0, 0), "those of a replay too"
    assert stored(county, series_id)["quality"].tolist() == [2, 2, 3, 3, 2, 2]

    other_value = readings(1, range(1), add=1.0)
    assert rows.store_readings(sender(4), [columns(other_value)]).conflicts == 1
    with psycopg.connect(timescale_dsn) as connection:
        assert connection.execute("SELECT count(*) FROM rejudge_due").fetchone() == (0,), "not judged here"
    assert county.directory().judged_here().series == [
        one for one in county.directory().series if one.site_id == "county-site"
    ]


def test_a_reading_that_the_town_judged_after_its_repeat_is_replaced(county: PostgresStore) -> None:
    rows = FederatedRows(county)
    rows.store_definitions(sender(), definitions())
    wrong_clock = readings(1, range(3), rules=512, quality=3)
    rows.store_readings(sender(2), [columns(wrong_clock)])
    judged = readings(1, range(3), rules=4, quality=3)
    judged["received_us"] += 1
    judged["expected"] = 7.5
    rows.store_readings(sender(3), [columns(judged)])
    judged["series_id"] = ph_of(county)
    assert_same(stored(county, ph_of(county)), judged)
    assert county.latest([ph_of(county)])[0].expected == 7.5


def test_a_town_can_neither_write_nor_look_sideways(county: PostgresStore) -> None:
    rows = FederatedRows(county)
    rows.store_definitions(sender(), definitions())
    rows.store_definitions(
        sender(device=OTHER_BOX, area=OTHER_TOWN), definitions(area=OTHER_TOWN, prefix="other-")
    )
    sideways: dict[str, dict[str, Any]] = {
        "site 's1' is outside .* device 'd1' is outside": {"area": OTHER_TOWN},
        "site 'county-site'": {"sites": [_site("county-site")], "series": [], "devices": []},
        "site 'other-s1'": {"sites": [_site("other-s1")], "series": [], "devices": []},
        "device 'sonde'": {
            "devices": [federation.ForwardedDevice(device_id="sonde", area_id=TOWN, kind="agent")]
        },
        "device 'box-1'": {
            "devices": [federation.ForwardedDevice(device_id=BOX, area_id=TOWN, kind="agent")]
        },
        "series other-s1/ph": {
            "series": [federation.ForwardedSeries(site_id="other-s1", quantity="ph", interval_s=60)]
        },
        f"area '{OTHER_TOWN}'": {"areas": [_area(OTHER_TOWN, "330483")]},
        f"area '{TOWN}'": {"areas": [_area(TOWN, TOWN)]},
        "node 'n1'": {"nodes": [_node("n1", OTHER_TOWN)]},
    }
    before = county.directory()
    for sentence, changed in sideways.items():
        with pytest.raises(ForwardingRefusedError, match=sentence):
            rows.store_definitions(sender(2), definitions(block=2, **changed))
    for refused in (sender(2, device="sonde"), sender(2, area=OTHER_TOWN), sender(2, device="nobody")):
        with pytest.raises(ForwardingRefusedError, match="may not forward"):
            rows.store_definitions(refused, definitions())
    assert county.directory() == before
    other = sender(3, device=OTHER_BOX, area=OTHER_TOWN)
    nodes = [_node(one, OTHER_TOWN) for one in ("n1", "n2")]
    rows.store_definitions(other, definitions(area=OTHER_TOWN, prefix="other-", nodes=nodes))
    stolen = [_node("n1", TOWN), _node("n3", TOWN)]
    links = [_link("n1", "n2"), _link("n1", "n3")]
    rows.store_definitions(sender(3), definitions(nodes=stolen, links=links))
    assert [(one.node_id, one.area_id) for one in county.directory().nodes] == [
        ("n1", OTHER_TOWN),
        ("n2", OTHER_TOWN),
        ("n3", TOWN),
    ]
    assert county.directory().links == [], "a link needs two nodes of its own"
    foreign = rows.store_readings(sender(3), [columns(readings(1, range(2)), site_id="other-s1")])
    assert foreign[:3] == (0, 0, 0)
    assert [(one.number, one.reason) for one in foreign.refused] == [(0, "federation")]
    for changed in (
        {"site_id": "other-s1"},
        {"subject": "device/sonde", "quantity": None},
        {"subject": "site/other-s1/several", "quantity": None},
        {"subject": f"area/{OTHER_TOWN}", "quantity": None},
        {"subject": "platform/rollups", "quantity": None},
        {"device_id": "other-d1"},
    ):
        with pytest.raises(ForwardingRefusedError, match="of nothing that 'box-1' has defined"):
            rows.store_anomalies(sender(3), [forwarded_anomaly(**changed)])
    assert county.count_anomalies(AnomalyQuery()) == 0


def _site(site_id: str) -> federation.ForwardedSite:
    return msgspec.structs.replace(definitions().sites[0], site_id=site_id)


def _node(node_id: str, area_id: str) -> federation.ForwardedNode:
    return federation.ForwardedNode(
        node_id=node_id, network="river", area_id=area_id, kind="section", en="N", zh="点", lon=120, lat=30
    )


def _link(tail: str, head: str) -> federation.ForwardedLink:
    return federation.ForwardedLink(
        link_id=f"{tail}-{head}",
        network="river",
        from_node=tail,
        to_node=head,
        en="L",
        zh="段",
        length_m=9.0,
        speed_m_s=0.3,
    )


def _area(area_id: str, parent: str) -> federation.ForwardedArea:
    return federation.ForwardedArea(area_id=area_id, parent=parent, level="town", en="A", zh="区")


def test_changes_of_an_anomaly_are_followed_in_their_order(county: PostgresStore) -> None:
    rows = FederatedRows(county)
    rows.store_definitions(sender(), definitions())
    closed = forwarded_anomaly(revision=72, state="closed", end_us=1_790_000_900_000_000, n_readings=4)
    assert rows.store_anomalies(sender(2), [forwarded_anomaly()]) == 1
    assert rows.store_anomalies(sender(2), [forwarded_anomaly()]) == 0, "a repeat"
    (opened,) = county.anomalies(AnomalyQuery())
    assert (opened.series_id, opened.subject) == (ph_of(county), f"series/{ph_of(county)}")
    assert rows.store_anomalies(sender(3), [closed]) == 1
    assert rows.store_anomalies(sender(3), [forwarded_anomaly(revision=71, severity=3)]) == 0, "older"
    (found,) = county.anomalies(AnomalyQuery())
    assert (found.anomaly_id, found.state, found.n_readings) == (opened.anomaly_id, "closed", 4)
    assert found.revision > opened.revision

    # A town restored from a backup counts its revisions from an earlier one.
    withdrawn = forwarded_anomaly(revision=60, state="withdrawn", evidence={"rejudged": True})
    assert rows.store_anomalies(sender(1, forwarder=2), [withdrawn]) == 1
    with pytest.raises(ForwarderFencedError, match="let one machine forward"):
        rows.store_anomalies(sender(4, forwarder=1), [closed])
    (found,) = county.anomalies(AnomalyQuery())
    assert (found.state, found.evidence) == ("withdrawn", {"rejudged": True})


def test_what_is_not_stored_is_a_dead_letter_with_its_reason(county: PostgresStore) -> None:
    storing = MessageStoring(county)
    topic = f"towntwin/v1/{TOWN}/{BOX}/federation"

    def send(payload: bytes, number: int) -> tuple[list[tuple[int, int]], list[str]]:
        properties = (("epoch", "e"), ("number", str(number)))
        outcome = storing.store(Message(topic, payload, 1e9, properties=properties))
        ((receipt,),) = outcome.receipts.values()
        return receipt.kept, [one.reason for one in receipt.refused]

    rows = federation.encode_message(
        federation.ForwardedReadings(series=[columns(readings(1, range(3)))], **header(2))
    )
    assert send(rows, 1) == ([(1, 1)], ["federation"]), "before its definitions"
    assert send(federation.encode_message(definitions(area=OTHER_TOWN)), 2) == ([(2, 2)], ["federation"])
    assert send(b'{"version":9,"kind":"readings"}', 3) == ([(3, 3)], ["payload"])
    assert send(federation.encode_message(definitions(block=3)), 4) == ([(4, 4)], [])
    found = county.dead_letters(DeadLetterQuery())
    assert ["is not defined here" in one.detail for one in found] == [False, False, True]
    assert "version 9" in found[0].detail

    county.request_replay(DeadLetterQuery(ids=[found[-1].letter_id]))
    assert county.dead_letters_to_replay(["+"], limit=9, limit_bytes=9**9) == [], "ingest leaves it alone"
    for one in county.dead_letters_to_replay(["+"], limit=9, limit_bytes=9**9, forwarded=True):
        assert storing.store(from_dead_letter(one)).receipts == {}
    assert len(stored(county, ph_of(county))) == 3
    assert len(county.dead_letters(DeadLetterQuery())) == 2

    assert send(federation.encode_message(definitions(forwarder=5)), 5) == ([(5, 5)], [])
    assert send(rows, 6) == ([(6, 6)], ["fenced"])
    assert len(county.dead_letters(DeadLetterQuery())) == 2, "the forwarder keeps it"


def test_no_content_of_a_message_ends_the_receiver_or_is_stored_where_the_api_fails(
    county: PostgresStore,
) -> None:
    """A flag of 256 ended the receiver of all towns; the API failed at a stored time of 9e12 s."""
    storing = MessageStoring(county)

    def send(kind: str, content: dict[str, Any], **changed: Any) -> list[str]:
        sent = msgspec.json.encode({**header(), "kind": kind, **content, **changed})
        properties = (("epoch", "e"), ("number", "1"))
        outcome = storing.store(
            Message(f"towntwin/v1/{TOWN}/{BOX}/federation", sent, 1e9, properties=properties)
        )
        ((receipt,),) = outcome.receipts.values()
        return [one.reason for one in receipt.refused]

    series = [
        federation.ForwardedSeries(site_id="s1", quantity="ph", interval_s=300.0),
        federation.ForwardedSeries(site_id="s1", quantity="turbidity", interval_s=300.0, only_rollups=True),
    ]
    FederatedRows(county).store_definitions(sender(), definitions(series=series))
    before = county.directory()
    found = [
        (kind, changed, reason, send(kind, message(kind, ITEMS[kind], **changed)))
        for kind, cases in REFUSED.items()
        for reason, changed in cases
    ]
    assert [one for one in found if one[3] != [one[2]]] == []
    assert send("readings", message("readings", READINGS), release="x" * 1_000_000) == ["payload"]
    assert send("readings", message("readings", READINGS), block=-1) == ["payload"]
    dead_letters = county.dead_letters(DeadLetterQuery(limit=1000))
    assert len(dead_letters) == len(found) + 2
    assert county.directory() == before
    assert [len(stored(county, one.series_id)) for one in before.series] == [0, 0, 0]
    assert county.count_anomalies(AnomalyQuery()) == 0

    kept = {kind: send(kind, message(kind, ITEMS[kind])) for kind in ITEMS}
    assert kept == {kind: [] for kind in ITEMS}, "the same messages without the change"
    failed = message("readings", READINGS, time_us=[NOW_US - 1], value=[1e308], quality=[4], rules=[1])
    assert send("readings", failed) == [], "as ingest keeps it"


def test_a_forwarder_from_the_future_does_not_lock_its_town_out(county: PostgresStore) -> None:
    storing = MessageStoring(county)

    def send(forwarder: int) -> list[str]:
        sent = federation.encode_message(definitions(forwarder=forwarder))
        properties = (("epoch", "e"), ("number", "1"))
        outcome = storing.store(
            Message(f"towntwin/v1/{TOWN}/{BOX}/federation", sent, 1e9, properties=properties)
        )
        ((receipt,),) = outcome.receipts.values()
        return [one.reason for one in receipt.refused]

    now_us = int(time.time() * 1e6)
    assert send(now_us + 3 * 366 * 86_400_000_000) == ["forwarder_clock"]
    assert county.dead_letters(DeadLetterQuery()) == [], "the forwarder keeps it"
    assert send(now_us) == [], "after its clock was set"
