"""One MQTT message as the pipeline holds it, from its arrival to its acknowledgement."""

from __future__ import annotations

import msgspec

from ingest_service.storage.model import DeadLetter


class Message(msgspec.Struct, frozen=True, gc=False):
    """A message and what is needed to acknowledge it.

    Attributes
    ----------
    received_s : when it arrived here, Unix seconds [s]
    connection : the connection it came over; a PUBACK is good on that one only
    retained : whether the broker kept it from an earlier time
    letter_id : the dead letter that is replayed by it, or 0

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


def letter(message: Message, reason: str, detail: str) -> DeadLetter:
    """A message as a dead letter, whole."""
    return DeadLetter(
        letter_id=message.letter_id,
        received_s=message.received_s,
        topic=message.topic,
        payload=message.payload,
        content_type=message.content_type,
        properties=dict(message.properties),
        reason=reason,
        detail=detail,
    )


def of_letter(dead: DeadLetter) -> Message:
    """A dead letter as the message that it was; nobody waits for its acknowledgement."""
    return Message(
        topic=dead.topic,
        payload=dead.payload,
        received_s=dead.received_s,
        content_type=dead.content_type,
        properties=tuple(dead.properties.items()),
        qos=0,
        letter_id=dead.letter_id,
    )
