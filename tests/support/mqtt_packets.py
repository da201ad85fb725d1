"""Parses the MQTT packets of a recorded connection and finds unacknowledged messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

PUBLISH, PUBACK = 3, 4


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
