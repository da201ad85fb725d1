"""Compares the bulk reader with paho's own reader on arbitrary packet streams, cut anywhere."""

from __future__ import annotations

import select
import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties, VariableByteIntegers

from ingest_service.pipeline.bulk_mqtt_client import BulkMqttClient

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest_service.pipeline.message import Message

Received = tuple[str, bytes, int, int, bool, str | None, tuple[tuple[str, str], ...]]
SUBACK, PINGRESP = b"\x90\x04\x00\x01\x00\x01", b"\xd0\x00"


def packet(command: int, body: bytes) -> bytes:
    return bytes([command]) + bytes(VariableByteIntegers.encode(len(body))) + body


def publish(
    topic: bytes, payload: bytes, properties: bytes | None, *, qos: int = 1, mid: int = 7, bits: int = 0
) -> bytes:
    """A PUBLISH packet; ``properties`` None is one of MQTT 3.1.1."""
    mid_bytes = struct.pack("!H", mid) if qos else b""
    return packet(
        0x30 | qos << 1 | bits,
        struct.pack("!H", len(topic)) + topic + mid_bytes + (properties or b"") + payload,
    )


def packed(**values: Any) -> bytes:
    """Properties of a PUBLISH as bytes."""
    properties = Properties(PacketTypes.PUBLISH)
    for name, value in values.items():
        setattr(properties, name, value)
    return bytes(properties.pack())


texts = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)
properties_5 = st.one_of(
    st.just(b"\0"),
    st.builds(
        lambda pairs: packed(UserProperty=pairs), st.lists(st.tuples(texts, texts), min_size=1, max_size=9)
    ),
    st.builds(
        lambda content, expiry, pair: packed(
            ContentType=content, MessageExpiryInterval=expiry, UserProperty=pair
        ),
        texts,
        st.integers(0, 2**32 - 1),
        st.tuples(texts, texts),
    ),
    st.builds(lambda content: packed(ContentType=content), texts),
    st.binary(max_size=8),  # mostly malformed
)


@st.composite
def streams(draw: st.DrawFn) -> tuple[MQTTProtocolVersion, bytes, list[int]]:
    """A protocol version, packets, and where their bytes are cut."""
    protocol = draw(st.sampled_from([MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311]))
    is_5 = protocol == MQTTProtocolVersion.MQTTv5
    publishes = st.builds(
        publish,
        st.one_of(texts.map(str.encode), st.just(b"towntwin/v1/t/d/data"), st.binary(max_size=5)),
        st.binary(max_size=300),
        properties_5 if is_5 else st.none(),
        qos=st.integers(0, 2),
        mid=st.integers(1, 65_535),
        bits=st.sampled_from([0, 1, 8, 9]),
    )
    others = st.sampled_from([PINGRESP, *([SUBACK] if is_5 else [])])
    broken = st.builds(packet, st.sampled_from([0x30, 0x32, 0x34, 0x36, 0xF0]), st.binary(max_size=12))
    data = b"".join(draw(st.lists(st.one_of(publishes, publishes, others, broken), max_size=8)))
    return protocol, data, sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))


def received_by(client: Client, data: bytes, cuts: Sequence[int]) -> MQTTErrorCode:
    """Let a client read ``data`` from a socket in pieces; return the code of its last read."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    client._sock = ours
    code = MQTTErrorCode.MQTT_ERR_SUCCESS
    with ours, theirs:
        for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            if code or not client.socket():
                break
            theirs.sendall(data[begin:end])
            while not code and client.socket() and select.select([ours], [], [], 0)[0]:
                code = client.loop_read()
    return code


def fields(message: Message) -> Received:
    return (
        message.topic,
        message.payload,
        message.qos,
        message.mid,
        message.retained,
        message.content_type,
        message.properties,
    )


def paho_fields(message: MQTTMessage) -> Received:
    properties: Any = message.properties
    return (
        message._topic.decode("utf-8", "replace"),
        bytes(message.payload),
        message.qos,
        message.mid,
        bool(message.retain),
        getattr(properties, "ContentType", None),
        tuple(getattr(properties, "UserProperty", ())),
    )


def both(protocol: MQTTProtocolVersion, data: bytes, cuts: Sequence[int]) -> tuple[Any, Any]:
    """What paho's reader and the bulk reader receive of a stream, and the codes of their last reads."""
    expected: list[Received] = []
    paho = Client(CallbackAPIVersion.VERSION2, protocol=protocol, manual_ack=True)
    paho.on_message = lambda _client, _userdata, message: expected.append(paho_fields(message))
    found: list[Received] = []
    bulk = BulkMqttClient(
        lambda messages: found.extend(map(fields, messages)), client_id="", protocol=protocol
    )
    bulk.on_message = lambda _client, _userdata, message: found.append(paho_fields(message))
    return (received_by(paho, data, cuts), expected), (received_by(bulk, data, cuts), found)


@settings(max_examples=150, deadline=None)
@given(streams())
@example((MQTTProtocolVersion.MQTTv5, publish(b"t", b"x", b"\x80\x01" + bytes(128)), []))
@example((MQTTProtocolVersion.MQTTv5, publish(b"t", b"x", b"\xff\xff\xff\xff\x01"), []))
@example((MQTTProtocolVersion.MQTTv5, publish(b"", b"x", b"\0"), []))
def test_the_bulk_reader_receives_what_paho_receives(
    stream: tuple[MQTTProtocolVersion, bytes, list[int]],
) -> None:
    expected, found = both(*stream)
    assert found == expected


@pytest.mark.parametrize("size", [100, 20_000, 3_000_000])
def test_packets_of_any_size_arrive_whole_and_in_order(size: int) -> None:
    data = b"".join(
        publish(b"t", bytes([number]) * size, b"\0", mid=number) + PINGRESP for number in range(1, 5)
    )
    expected, found = both(
        MQTTProtocolVersion.MQTTv5, data, range(0, len(data), max(7, min(size // 3, 60_000)))
    )
    assert found == expected
    assert [one[3] for one in found[1]] == [1, 2, 3, 4]


def test_a_new_connection_does_not_continue_the_packet_of_the_one_before() -> None:
    found: list[Received] = []
    client = BulkMqttClient(
        lambda messages: found.extend(map(fields, messages)),
        client_id="",
        protocol=MQTTProtocolVersion.MQTTv5,
    )
    whole = publish(b"t", b"x" * 50, b"\0")
    received_by(client, whole[:-9], [])
    received_by(client, whole, [])
    assert [one[1] for one in found] == [b"x" * 50]


def test_acknowledgements_leave_in_one_write() -> None:
    client = BulkMqttClient(lambda _messages: None, client_id="", protocol=MQTTProtocolVersion.MQTTv5)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        client._sock = ours
        client.acknowledge([1, 0x1234])
        client.acknowledge([])
        assert theirs.recv(100) == b"\x40\x02\x00\x01\x40\x02\x12\x34"
