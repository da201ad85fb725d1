"""Builds and parses the MQTT topics of contract version 1: ``towntwin/v1/{area}/{device}/{kind}``."""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec

from edge.wire.errors import TopicError

PREFIX = "towntwin/v1"
LEVEL_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]{0,63}")
"""Ids of areas, devices and channels, which stand in topics or beside them."""
LEVEL_ADVICE = "use letters, digits and _ . : - only, at most 64 of them, a letter or digit first"


class TopicKind(StrEnum):
    """Kind of a topic's messages; the last two are published by the platform, the others by devices."""

    DATA = "data"
    STATUS = "status"
    EVENT = "event"
    FEDERATION = "federation"
    RECEIPT = "receipt"
    COMMAND = "command"


class Topic(msgspec.Struct, frozen=True):
    """A parsed topic.

    >>> str(Topic(area="330483-d1", device="wz-01", kind=TopicKind.DATA))
    'towntwin/v1/330483-d1/wz-01/data'
    """

    area: str
    device: str
    kind: TopicKind

    def __str__(self) -> str:
        return f"{PREFIX}/{self.area}/{self.device}/{self.kind.value}"


def parse_topic(topic: str) -> Topic:
    """Parse a topic. Raises `TopicError` with the expected form.

    >>> parse_topic("towntwin/v1/330483-d1/wz-01/data").device
    'wz-01'
    """
    parts = topic.split("/")
    if len(parts) != 5 or "/".join(parts[:2]) != PREFIX:
        raise TopicError(f"topic {topic!r} is not {PREFIX}/{{area}}/{{device}}/{{kind}}: publish there")
    area, device, kind = parts[2:]
    for what, level in (("area", area), ("device", device)):
        if not LEVEL_PATTERN.fullmatch(level):
            raise TopicError(f"{what} {level!r} can't stand in topic {topic!r}: {LEVEL_ADVICE}")
    if kind not in {k.value for k in TopicKind}:
        raise TopicError(
            f"kind {kind!r} in topic {topic!r} is none of {', '.join(k.value for k in TopicKind)}"
        )
    return Topic(area=area, device=device, kind=TopicKind(kind))


def topic_filter(area: str, kind: TopicKind) -> str:
    """Return the topic filter of one kind for all devices of an area; ``"+"`` means every area."""
    return f"{PREFIX}/{area}/+/{kind.value}"
