"""Tests topics, receipts, status messages and broker addresses of contract version 1."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.wire import broker_address, receipts, status, topics
from edge.wire.errors import PayloadError, TopicError, WireError
from edge.wire.receipts import Receipt, SpoolPosition
from edge.wire.topics import Topic, TopicKind

level = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}", fullmatch=True)


@given(level, level, st.sampled_from(TopicKind))
def test_a_topic_round_trips_through_its_text(area: str, device: str, kind: TopicKind) -> None:
    topic = Topic(area=area, device=device, kind=kind)
    assert topics.parse_topic(str(topic)) == topic


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "towntwin/v1/a/b",
        "towntwin/v2/a/b/data",
        "towntwin/v1/a/b/c/data",
        "towntwin/v1//b/data",
        "towntwin/v1/a/+/data",
        "towntwin/v1/a/b/DATA",
    ],
)
def test_other_topics_are_refused(topic: str) -> None:
    with pytest.raises(TopicError, match="topic"):
        topics.parse_topic(topic)


@given(st.sets(st.builds(SpoolPosition, st.sampled_from(["a", "b"]), st.integers(1, 60))))
def test_receipts_name_just_the_places_that_are_kept(places: set[SpoolPosition]) -> None:
    named = {
        SpoolPosition(receipt.epoch, number)
        for receipt in (
            receipts.decode_receipt(receipts.encode_receipt(one)) for one in receipts.receipts_for(places)
        )
        for first, last in receipt.kept
        for number in range(first, last + 1)
    }
    assert named == places


@pytest.mark.parametrize(
    "properties",
    [
        [],
        [("epoch", "a")],
        [("number", "1")],
        [("epoch", "a"), ("number", "x")],
        [("epoch", ""), ("number", "1")],
        [("epoch", "a"), ("number", "²")],
    ],
)
def test_a_message_without_its_place_has_none(properties: list[tuple[str, str]]) -> None:
    assert receipts.position_of(properties) is None


def test_places_travel_as_user_properties() -> None:
    position = SpoolPosition("a1", 42)
    assert receipts.position_of([("other", "x"), *receipts.properties_of(position)]) == position


@pytest.mark.parametrize("payload", [b"", b"[]", b'{"epoch":1,"kept":[]}', b'{"epoch":"a","kept":[[1]]}'])
def test_bad_receipts_and_statuses_are_payload_errors(payload: bytes) -> None:
    with pytest.raises(PayloadError):
        receipts.decode_receipt(payload)
    with pytest.raises(PayloadError):
        status.decode_status(payload)


def test_status_and_receipt_survive_the_wire() -> None:
    status_sent = status.StatusMessage(online=True, agent="0.1", spool_depth=7)
    assert status.decode_status(status.encode_status(status_sent)) == status_sent
    assert receipts.decode_receipt(b'{"epoch":"a","kept":[[1,2]],"new":1}') == Receipt("a", [(1, 2)])


def test_a_broker_address_hides_its_password() -> None:
    found = broker_address.parse_broker_address("mqtt://wz%2D01:p%40ss@h:1884")
    assert (found.host, found.port, found.user, found.password) == ("h", 1884, "wz-01", "p@ss")
    assert "p@ss" not in repr(found)
    assert broker_address.parse_broker_address("mqtt://h").port == 1883


@pytest.mark.parametrize(
    "address",
    ["h", "http://h", "mqtt://", "mqtt://h:0", "mqtt://h:x", "mqtt://h/path", "mqtt://u:secret@h:99999"],
)
def test_wrong_addresses_are_errors_with_the_right_form(address: str) -> None:
    with pytest.raises(WireError, match="mqtt://user:password@host") as error:
        broker_address.parse_broker_address(address)
    assert "secret" not in str(error.value)
