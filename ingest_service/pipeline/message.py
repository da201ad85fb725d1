"""MQTT message held in memory until it is acknowledged, and its conversion from and to a dead letter."""

from __future__ import annotations

import msgspec

from ingest_service.storage.contract.models import DeadLetter

MAX_DETAIL_CHARACTERS = 2000  # limit of a dead letter's detail [characters]
MAX_TEXT_BYTES = 65_535  # limit of a topic or a property, by the MQTT standard [bytes]
MESSAGE_OVERHEAD_BYTES = 512
"""Memory of a message besides its payload and texts (measured: 400 to 500) [bytes]."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """A message with the packet id and connection needed to acknowledge it.

    Attributes
    ----------
    received_s : arrival time, Unix seconds [s]
    connection : number of the connection it arrived on; a PUBACK is valid on that one only
    retained : whether the broker sent it as a retained message
    letter_id : id of the dead letter that this message replays, or 0

    """

    topic: str
    payload: bytes
    received_s: float
    content_type: str | None = None
    properties: tuple[tuple[str, str], ...] = ()
    mid: int = 0
    qos: int = 1
    connection: int = 0
    retained: bool = False
    letter_id: int = 0


def size_bytes(message: Message) -> int:
    """Estimate the memory of a message: payload, topic, properties and a constant [bytes]."""
    text_bytes = len(message.topic) + len(message.content_type or "")
    for name, value in message.properties:
        text_bytes += len(name) + len(value) + MESSAGE_OVERHEAD_BYTES // 4
    return MESSAGE_OVERHEAD_BYTES + len(message.payload) + text_bytes


def to_dead_letter(message: Message, reason: str, detail: str) -> DeadLetter:
    """Convert a message to a dead letter, with its complete payload; nothing else converts one.

    The detail is truncated, and characters that the database can't store in a text are replaced.
    """
    return DeadLetter(
        letter_id=message.letter_id,
        received_s=message.received_s,
        topic=storable_text(message.topic),
        payload=message.payload,
        content_type=None if message.content_type is None else storable_text(message.content_type),
        properties={storable_text(name): storable_text(value) for name, value in message.properties},
        reason=reason,
        detail=truncated(storable_text(detail)),
        retained=message.retained,
    )


def truncated(detail: str) -> str:
    """Truncate a text to `MAX_DETAIL_CHARACTERS` characters.

    >>> len(truncated("x" * 100_000))
    2000
    """
    if len(detail) <= MAX_DETAIL_CHARACTERS:
        return detail
    truncation_note = f" … (cut, {len(detail)} characters)"
    return detail[: MAX_DETAIL_CHARACTERS - len(truncation_note)] + truncation_note


def storable_text(text: str) -> str:
    """Replace the characters PostgreSQL can't store in a text: NUL and lone surrogates."""
    if text.isprintable():
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def from_dead_letter(dead_letter: DeadLetter) -> Message:
    """Convert a dead letter back to its message; QoS 0, for there is no PUBACK to send."""
    return Message(
        topic=dead_letter.topic,
        payload=dead_letter.payload,
        received_s=dead_letter.received_s,
        content_type=dead_letter.content_type,
        properties=tuple(dead_letter.properties.items()),
        qos=0,
        retained=dead_letter.retained,
        letter_id=dead_letter.letter_id,
    )
