"""Topics of contract version 1: ``towntwin/v1/{area}/{device}/{kind}``."""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec

from edge.wire.errors import TopicError

PREFIX = "towntwin/v1"
LEVEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")


class Kind(StrEnum):
    """What a topic carries; the first three go up, the last two go down."""

    DATA = "data"
    STATUS = "status"
    EVENT = "event"
    RECEIPT = "receipt"
    COMMAND = "command"


class Topic(msgspec.Struct, frozen=True):
    """One topic, taken apart.

    >>> str(Topic(area="330483-d1", device="wz-01", kind=Kind.DATA))
    'towntwin/v1/330483-d1/wz-01/data'
    """

    area: str
    device: str
    kind: Kind

    def __str__(self) -> str:
        return f"{PREFIX}/{self.area}/{self.device}/{self.kind.value}"


def parse(topic: str) -> Topic:
    """Take a topic apart. Raises `TopicError` with what a topic must look like.

    >>> parse("towntwin/v1/330483-d1/wz-01/data").device
    'wz-01'
    """
    parts = topic.split("/")
    if len(parts) != 5 or "/".join(parts[:2]) != PREFIX:
        raise TopicError(f"topic {topic!r} is not {PREFIX}/{{area}}/{{device}}/{{kind}}: publish there")
    area, device, kind = parts[2:]
    for what, level in (("area", area), ("device", device)):
        if not LEVEL.fullmatch(level):
            raise TopicError(f"{what} {level!r} in topic {topic!r} may hold letters, digits and _ . : - only")
    if kind not in {k.value for k in Kind}:
        raise TopicError(f"kind {kind!r} in topic {topic!r} is none of {', '.join(k.value for k in Kind)}")
    return Topic(area=area, device=device, kind=Kind(kind))


def subscription(area: str, kind: Kind) -> str:
    """The filter for one kind of topic of all devices of an area; ``"+"`` means every area."""
    return f"{PREFIX}/{area}/+/{kind.value}"
