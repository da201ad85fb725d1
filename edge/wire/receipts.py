"""Encodes and decodes receipts: the platform's confirmation of the spool positions it has stored.

A data message has its spool position in two MQTT 5 user properties, ``epoch`` and ``number``. After COMMIT
(as readings or as a dead letter) the platform publishes on ``…/receipt`` the closed ranges of stored numbers,
one JSON object per message: ``{"epoch": "a1b2", "kept": [[1, 40]]}``.

Messages that became dead letters are listed with the reason too, so that a mistake is visible at the device:
``{"epoch": "a1b2", "kept": [[1, 40]], "refused": [{"number": 7, "reason": "unit", "detail": "…"}]}``.
For a refused message without a spool position, a receipt with the epoch ``""`` and the number 0 is published,
which a user can subscribe to.

When the platform subscribes over a new session, the broker held none of the earlier messages for it. It then
publishes ``{"epoch": "", "kept": [], "new_session": "9f3c"}`` to each device, which sends its messages
without a receipt again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edge.wire.errors import PayloadError

if TYPE_CHECKING:
    from collections.abc import Iterable

EPOCH_PROPERTY = "epoch"
NUMBER_PROPERTY = "number"
MAX_NUMBER_DIGITS = 18  # fits 64 bits; int() raises another error on more than 4,300 digits
MAX_EPOCH_LENGTH = 128
MAX_REFUSALS = 50  # in one receipt
MAX_DETAIL_CHARACTERS = 300  # characters; the dead letter has the full text
REJECTION_PROPERTY = "rejection"  # user property: why a device's gateway could not read the payload
QUALITY_PROPERTY = "quality"  # user property: QARTOD flag that the device gives all readings of the message
CLOCK_PROPERTY = "clock"  # user property: what became of readings that were taken before the clock was set
CLOCK_RE_DATED = "re-dated"  # their times were shifted when it was
CLOCK_UNSET = "unset"  # they have the times of that clock
RECORDED_PROPERTY = ("recorded", "1")  # user property of data from a recording, whose times may be of any age


class SpoolPosition(msgspec.Struct, frozen=True, order=True):
    """Spool position of a message: epoch of the spool and number of the message in it."""

    epoch: str
    number: int


NO_POSITION = SpoolPosition("", 0)


class RefusedMessage(msgspec.Struct, frozen=True, order=True):
    """A message refused completely or in part; reason and detail are those of the dead letter."""

    number: int
    reason: str
    detail: str


class Receipt(msgspec.Struct, frozen=True, forbid_unknown_fields=False, omit_defaults=True):
    """Closed ranges ``(first, last)`` of spool numbers of one epoch that are stored.

    Attributes
    ----------
    refused : those stored as dead letters, at most `MAX_REFUSALS`
    more : number of further refused messages
    new_session : id of a session of the platform, when it is new; otherwise empty

    """

    epoch: str
    kept: list[tuple[int, int]]
    refused: list[RefusedMessage] = []
    more: int = 0
    new_session: str = ""


def position_of(properties: Iterable[tuple[str, str]]) -> SpoolPosition | None:
    """Return the spool position in a message's user properties; None if it is missing or invalid.

    >>> position_of([("epoch", "a1"), ("number", "7")])
    SpoolPosition(epoch='a1', number=7)
    """
    user_properties = dict(properties)
    epoch, number = user_properties.get(EPOCH_PROPERTY), user_properties.get(NUMBER_PROPERTY)
    if not epoch or len(epoch) > MAX_EPOCH_LENGTH or not epoch.isprintable():
        return None
    if number is None or len(number) > MAX_NUMBER_DIGITS or not number.isascii() or not number.isdigit():
        return None
    return SpoolPosition(epoch=epoch, number=int(number))


def properties_of(position: SpoolPosition) -> list[tuple[str, str]]:
    """Convert a spool position to MQTT 5 user properties."""
    return [(EPOCH_PROPERTY, position.epoch), (NUMBER_PROPERTY, str(position.number))]


def receipts_for(
    positions: Iterable[SpoolPosition], refusals: Iterable[tuple[SpoolPosition, str, str]] = ()
) -> list[Receipt]:
    """Build one receipt per epoch, numbers merged into ranges; refusals are (position, reason, detail).

    >>> receipts_for([SpoolPosition("a", 1), SpoolPosition("a", 2), SpoolPosition("a", 5)])
    [Receipt(epoch='a', kept=[(1, 2), (5, 5)], refused=[], more=0, new_session='')]
    """
    ranges: dict[str, list[tuple[int, int]]] = {}
    for position in sorted(set(positions)):
        kept = ranges.setdefault(position.epoch, [])
        if kept and kept[-1][1] == position.number - 1:
            kept[-1] = (kept[-1][0], position.number)
        else:
            kept.append((position.number, position.number))
    refused: dict[str, list[RefusedMessage]] = {}
    for position, reason, detail in refusals:
        ranges.setdefault(position.epoch, [])
        refused.setdefault(position.epoch, []).append(
            RefusedMessage(position.number, reason, detail[:MAX_DETAIL_CHARACTERS])
        )
    return [
        Receipt(
            epoch=epoch,
            kept=kept,
            refused=sorted(refused.get(epoch, []))[:MAX_REFUSALS],
            more=max(0, len(refused.get(epoch, [])) - MAX_REFUSALS),
        )
        for epoch, kept in ranges.items()
    ]


def encode_receipt(receipt: Receipt) -> bytes:
    """Encode a receipt as JSON."""
    return msgspec.json.encode(receipt)


def decode_receipt(payload: bytes) -> Receipt:
    """Decode a receipt. Raises `PayloadError`."""
    try:
        return msgspec.json.decode(payload, type=Receipt)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise PayloadError(f"receipt is not {{epoch, kept}} as JSON: {error}") from error
