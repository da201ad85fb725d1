"""Publishes many messages at QoS 1: the packets are encoded beforehand, and their PUBACKs are counted.

A sender must need less processor time than the receiver that is measured beside it. paho takes some 0.1 ms a
message, ten times what ingest does, and three times as much where messages wait for its own window: upon each
PUBACK it goes through all that are out.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from ingest_service.pipeline.bulk_mqtt_client import variable_integer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CONNECT = bytes.fromhex("10 0d 0004 4d515454 05 02 0000 00 0000")  # MQTT 5, clean start, no keep-alive
CONNACK, PUBACK, PUBLISH_QOS_1 = 0x20, 0x40, 0x32
FIRST_FAILURE = 0x80  # reason code
PACKET_IDS = 65_535
MAX_UNACKNOWLEDGED = 20_000
PACKETS_PER_WRITE = 500
READ_BYTES = 262_144
TIMEOUT_S = 120.0


class PublisherError(Exception):
    """The broker refuses what the publisher sends, or ends the connection."""


def encode_publish(topic: str, payload: bytes, packet_id: int) -> bytes:
    """Encode a PUBLISH of QoS 1 without properties (MQTT 5 section 3.3)."""
    encoded_topic = topic.encode()
    body = b"".join(
        (
            len(encoded_topic).to_bytes(2, "big"),
            encoded_topic,
            packet_id.to_bytes(2, "big"),
            b"\0",
            payload,
        )
    )
    length, digits = len(body), bytearray()
    while length > 0x7F:
        digits.append(length & 0x7F | 0x80)
        length >>= 7
    digits.append(length)
    return bytes((PUBLISH_QOS_1, *digits)) + body


def publish_all(
    port: int, messages: Sequence[tuple[str, bytes]], on_acknowledged: Callable[[int], None] = lambda _: None
) -> None:
    """Publish all, at most `MAX_UNACKNOWLEDGED` at a time; ``on_acknowledged`` gets the number so far.

    Raises
    ------
    PublisherError
        If the broker refuses a packet or ends the connection.

    """
    packets = [
        encode_publish(topic, payload, number % PACKET_IDS + 1)
        for number, (topic, payload) in enumerate(messages)
    ]
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
        connection.sendall(CONNECT)
        acknowledgements = _Acknowledgements(connection)
        sent = 0
        while acknowledgements.count < len(packets):
            while (
                sent < len(packets)
                and sent - acknowledgements.count <= MAX_UNACKNOWLEDGED - PACKETS_PER_WRITE
            ):
                connection.sendall(b"".join(packets[sent : sent + PACKETS_PER_WRITE]))
                sent = min(len(packets), sent + PACKETS_PER_WRITE)
            acknowledgements.read()
            on_acknowledged(acknowledgements.count)


class _Acknowledgements:
    """Counts the PUBACKs of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._unparsed = b""
        self.count = 0

    def read(self) -> None:
        """Read once, and count. Raises `PublisherError`."""
        received = self._connection.recv(READ_BYTES)
        if not received:
            raise PublisherError(f"the broker ended the connection after {self.count} PUBACKs: see its log")
        data = self._unparsed + received
        position = 0
        while position < len(data):
            body, length = variable_integer(data, position + 1, len(data))
            if body <= 0 or body + length > len(data):
                break
            packet_type = data[position] & 0xF0
            if packet_type == PUBACK:
                reason_at = 2  # after the packet id; left out where it is 0
                self.count += 1
            elif packet_type == CONNACK:
                reason_at = 1  # after the flags
            else:
                raise PublisherError(f"the broker sent a packet of type {packet_type:#x}: see its log")
            if length > reason_at and data[body + reason_at] >= FIRST_FAILURE:
                raise PublisherError(f"the broker refused, with reason code {data[body + reason_at]:#x}")
            position = body + length
        self._unparsed = data[position:]
