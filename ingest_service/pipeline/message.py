"""MQTT message held in memory until it is acknowledged, and its conversion from and to a dead letter."""

from __future__ import annotations

import msgspec

from ingest_service.storage.model import DeadLetter

DETAIL_LENGTH = 2000  # limit of a dead letter's detail [characters]
TEXT_LENGTH = 65_535  # limit of a topic or a property, by the MQTT standard [bytes]
OVERHEAD_BYTES = 512  # memory of a message besides its payload and texts (measured: 400 to 500) [bytes]


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
    texts = len(message.topic) + len(message.content_type or "")
    for name, value in message.properties:
        texts += len(name) + len(value) + OVERHEAD_BYTES // 4
    return OVERHEAD_BYTES + len(message.payload) + texts


def letter(message: Message, reason: str, detail: str) -> DeadLetter:
    """Convert a message to a dead letter, with its complete payload; nothing else converts one.

    The detail is truncated, and characters that the database can't store in a text are replaced.
    """
    return DeadLetter(
        letter_id=message.letter_id,
        received_s=message.received_s,
        topic=_storable(message.topic),
        payload=message.payload,
        content_type=None if message.content_type is None else _storable(message.content_type),
        properties={_storable(name): _storable(value) for name, value in message.properties},
        reason=reason,
        detail=bounded(_storable(detail)),
        retained=message.retained,
    )


def bounded(detail: str) -> str:
    """Truncate a text to `DETAIL_LENGTH` characters.

    >>> len(bounded("x" * 100_000))
    2000
    """
    if len(detail) <= DETAIL_LENGTH:
        return detail
    cut = f" … (cut, {len(detail)} characters)"
    return detail[: DETAIL_LENGTH - len(cut)] + cut


def _storable(text: str) -> str:
    """Replace the characters PostgreSQL can't store in a text: NUL and lone surrogates."""
    if text.isprintable():
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def of_letter(dead: DeadLetter) -> Message:
    """Convert a dead letter back to its message; QoS 0, for there is no PUBACK to send."""
    return Message(
        topic=dead.topic,
        payload=dead.payload,
        received_s=dead.received_s,
        content_type=dead.content_type,
        properties=tuple(dead.properties.items()),
        qos=0,
        retained=dead.retained,
        letter_id=dead.letter_id,
    )
