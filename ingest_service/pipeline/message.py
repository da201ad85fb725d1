"""One MQTT message as the pipeline holds it, from its arrival to its acknowledgement."""

from __future__ import annotations

import msgspec

from ingest_service.storage.model import DeadLetter

DETAIL_LENGTH = 2000  # characters of a dead letter's detail at most
TEXT_LENGTH = 65_535  # of a topic or a property at most: MQTT's own bound [bytes]
OVERHEAD_BYTES = 512  # of a message in memory without its payload and texts (measured: 400 to 500) [bytes]


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


def size_bytes(message: Message) -> int:
    """What a message takes in memory: payload, topic, properties and a constant [bytes]."""
    texts = len(message.topic) + len(message.content_type or "")
    for name, value in message.properties:
        texts += len(name) + len(value) + OVERHEAD_BYTES // 4
    return OVERHEAD_BYTES + len(message.payload) + texts


def letter(message: Message, reason: str, detail: str) -> DeadLetter:
    """A message as a dead letter, whole: the only place where one is made of a message.

    Its detail is bounded, and its texts are such that the database can keep them, whatever was sent.
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
    """A text of `DETAIL_LENGTH` characters at most.

    >>> len(bounded("x" * 100_000))
    2000
    """
    if len(detail) <= DETAIL_LENGTH:
        return detail
    cut = f" … (cut, {len(detail)} characters)"
    return detail[: DETAIL_LENGTH - len(cut)] + cut


def _storable(text: str) -> str:
    """A text without what PostgreSQL keeps in no text: NUL, and halves of surrogate pairs."""
    if text.isprintable():
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def of_letter(dead: DeadLetter) -> Message:
    """A dead letter as the message that it was; nobody waits for its acknowledgement."""
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
