"""Parses the MQTT packets of a recorded connection: unacknowledged messages, and subscriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

PUBLISH, PUBACK, SUBSCRIBE = 3, 4, 8


def unacknowledged_ids(record: Iterable[tuple[bool, bytes]]) -> set[int]:
    """Return packet ids of QoS 1 messages that were received and not acknowledged on one connection.

    Fails if an id is acknowledged that was not received since its last acknowledgement.
    """
    held = {True: b"", False: b""}
    unacknowledged: set[int] = set()
    for from_client, data in record:
        packets, held[from_client] = packets_of(held[from_client] + data)
        for kind, qos, body in packets:
            if not from_client and kind == PUBLISH and qos:
                after = 2 + int.from_bytes(body[:2])
                unacknowledged.add(int.from_bytes(body[after : after + 2]))
            elif from_client and kind == PUBACK:
                answered = int.from_bytes(body[:2])
                assert answered in unacknowledged, f"id {answered} was acknowledged and had not come"
                unacknowledged.remove(answered)
    return unacknowledged


def subscribed_qos(record: Iterable[tuple[bool, bytes]]) -> dict[str, int]:
    """Return the QoS of each topic filter that a client of MQTT 5 subscribed to, without properties."""
    held, found = b"", dict[str, int]()
    for from_client, data in record:
        if not from_client:
            continue
        packets, held = packets_of(held + data)
        for body in (body for kind, _, body in packets if kind == SUBSCRIBE):
            at = 3 + body[2]  # after the packet id and the properties, whose length is one byte
            while at < len(body):
                end = at + 2 + int.from_bytes(body[at : at + 2])
                found[body[at + 2 : end].decode()] = body[end] & 3
                at = end + 1
    return found


def packets_of(data: bytes) -> tuple[list[tuple[int, int, bytes]], bytes]:
    """Return the MQTT packets (kind, QoS, body) of a byte stream, and the remaining incomplete packet."""
    found = []
    while len(data) > 1:
        size, at = 0, 1
        while at < len(data):
            size |= (data[at] & 127) << 7 * (at - 1)
            at += 1
            if not data[at - 1] & 128:
                break
        if data[at - 1] & 128 or len(data) < at + size:
            break
        found.append((data[0] >> 4, data[0] >> 1 & 3, data[at : at + size]))
        data = data[at + size :]
    return found, data
