"""One MQTT message as the pipeline holds it, from its arrival to its acknowledgement."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Message:
    """A message and what is needed to acknowledge it.

    Attributes
    ----------
    received_s : when it arrived here, Unix seconds [s]
    connection : the connection it came over; a PUBACK is good on that one only
    """

    topic: str
    payload: bytes
    received_s: float
    content_type: str | None = None
    properties: tuple[tuple[str, str], ...] = field(default=())
    mid: int = 0
    qos: int = 1
    connection: int = 0
