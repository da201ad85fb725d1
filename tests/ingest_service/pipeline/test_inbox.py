"""Tests that the inbox gives batches in order and blocks the network thread when it is full."""

import threading
from types import SimpleNamespace
from typing import Any

from paho.mqtt.client import MQTTMessage
from structlog.testing import capture_logs

from edge.wire import broker_address
from ingest_service.pipeline import metrics
from ingest_service.pipeline.inbox import Inbox
from ingest_service.pipeline.message import Message
from ingest_service.pipeline.mqtt_session import MqttSession
from ingest_service.pipeline.settings import Settings


def message(number: int, size: int = 10) -> Message:
    return Message(f"t/{number}", b"x" * size, 0.0, mid=number)


def take(inbox: Inbox, *, max_messages: int = 100, max_bytes: int = 1000) -> list[int]:
    batch = inbox.take(max_messages=max_messages, max_bytes=max_bytes, wait_s=0, first_wait_s=0)
    return [one.mid for one in batch]


def test_batches_keep_order_and_limits() -> None:
    inbox = Inbox(10_000)
    for number in range(5):
        inbox.put(message(number), wait_s=0)
    assert take(inbox, max_messages=2) == [0, 1]
    assert take(inbox, max_bytes=25) == [2, 3]
    assert take(inbox) == [4]
    assert take(inbox) == []
    assert inbox.held_bytes == 0


def test_a_message_larger_than_every_limit_still_passes() -> None:
    inbox = Inbox(100)
    inbox.put(message(1, size=10_000), wait_s=0)
    assert take(inbox, max_bytes=1) == [1]


def test_put_waits_for_room_and_goes_on_when_there_is() -> None:
    inbox = Inbox(100)
    inbox.put(message(1, size=90), wait_s=0)
    other = threading.Thread(target=inbox.put, args=(message(2, size=90),), kwargs={"wait_s": 30})
    other.start()
    other.join(0.05)
    assert other.is_alive()
    assert take(inbox) == [1]
    other.join(30)
    assert take(inbox) == [2]


def test_close_lets_a_waiting_put_go() -> None:
    inbox = Inbox(100)
    inbox.put(message(1, size=90), wait_s=0)
    other = threading.Thread(target=inbox.put, args=(message(2, size=90),), kwargs={"wait_s": 30})
    other.start()
    inbox.close()
    other.join(30)
    assert not other.is_alive()
    assert take(inbox) == [1]


def test_a_message_that_finds_no_room_in_time_is_not_held() -> None:
    inbox = Inbox(100)
    assert inbox.put(message(1, size=90), wait_s=0)
    assert not inbox.put(message(2, size=90), wait_s=0.01)
    assert take(inbox) == [1]
    assert inbox.put(message(3, size=90), wait_s=0)


def test_empty_messages_fill_an_inbox_too() -> None:
    inbox = Inbox(1 << 20)
    held = 0
    while inbox.put(Message("t", b"", 0.0), wait_s=0):
        held += 1
    assert 1000 < held < 3000


def test_topics_and_properties_count() -> None:
    inbox = Inbox(100_000)
    inbox.put(Message("t" * 1000, b"", 0.0, "c" * 1000, (("n" * 1000, "v" * 1000),)), wait_s=0)
    assert 4000 < inbox.held_bytes < 6000
    assert take(inbox) == [0]
    assert inbox.held_bytes == 0


def test_qos_0_is_dropped_and_counted_where_there_is_no_room() -> None:
    inbox = Inbox(1000)
    session = MqttSession(
        broker_address.parse_broker_address("mqtt://127.0.0.1"), Settings(), inbox, "ingest"
    )
    before = metrics.QOS0_MESSAGES_DROPPED._value.get()
    for number in range(5):
        arrived = MQTTMessage(mid=number, topic=b"t")
        arrived.payload, arrived.qos = b"x" * 400, 0
        session._on_message(session._client, None, arrived)
    assert len(inbox) == 1
    assert metrics.QOS0_MESSAGES_DROPPED._value.get() - before == 4
    assert not session.dropping, "nobody sends QoS 0 again, so there is nothing to ask for"


def test_a_message_whose_properties_are_none_comes_without_them() -> None:
    inbox = Inbox(10_000)
    session = MqttSession(
        broker_address.parse_broker_address("mqtt://127.0.0.1"), Settings(), inbox, "ingest"
    )
    arrived = MQTTMessage(mid=7, topic=b"\xff\xfe")
    properties: Any = SimpleNamespace(UserProperty=[("a", "b", "c")])
    arrived.payload, arrived.qos, arrived.properties = b"x", 1, properties
    with capture_logs() as logged:
        session._on_message(session._client, None, arrived)
    (one,) = inbox.take(max_messages=9, max_bytes=99, wait_s=0, first_wait_s=0)
    assert (one.mid, one.properties) == (7, ())
    assert [entry["where"] for entry in logged] == ["properties"]
