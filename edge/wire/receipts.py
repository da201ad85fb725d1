"""Encodes and decodes receipts: the platform's confirmation of the spool positions it has stored.

A data message has its spool position in two MQTT 5 user properties, ``epoch`` and ``number``. After COMMIT
(as readings or as a dead letter) the platform publishes on ``…/receipt`` the closed ranges of stored numbers,
one JSON object per message: ``{"epoch": "a1b2", "kept": [[1, 40]]}``.

Messages that became dead letters are listed with the reason too, so that a mistake is visible at the device:
``{"epoch": "a1b2", "kept": [[1, 40]], "refused": [{"number": 7, "reason": "unit", "detail": "…"}]}``.
For a refused message without a spool position, a receipt with the epoch ``""`` and the number 0 is published,
which a user can subscribe to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edge.wire.errors import PayloadError

if TYPE_CHECKING:
    from collections.abc import Iterable

EPOCH = "epoch"
NUMBER = "number"
NUMBER_DIGITS = 18  # fits 64 bits; int() raises another error on more than 4,300 digits
EPOCH_LENGTH = 128
REFUSALS = 50  # in one receipt
DETAIL_LENGTH = 300  # characters; the dead letter has the full text
RECORDED = ("recorded", "1")  # user property of data from a recording, whose times may be of any age


class Place(msgspec.Struct, frozen=True, order=True):
    """Spool position of a message: epoch of the spool and number of the message in it."""

    epoch: str
    number: int


NO_PLACE = Place("", 0)


class Refusal(msgspec.Struct, frozen=True, order=True):
    """A message refused completely or in part; reason and detail are those of the dead letter."""

    number: int
    reason: str
    detail: str


class Receipt(msgspec.Struct, frozen=True, forbid_unknown_fields=False, omit_defaults=True):
    """Closed ranges ``(first, last)`` of spool numbers of one epoch that are stored.

    Attributes
    ----------
    refused : those stored as dead letters, at most `REFUSALS`
    more : number of further refused messages

    """

    epoch: str
    kept: list[tuple[int, int]]
    refused: list[Refusal] = []
    more: int = 0


def place_of(properties: Iterable[tuple[str, str]]) -> Place | None:
    """Return the spool position in a message's user properties; None if it is missing or invalid.

    >>> place_of([("epoch", "a1"), ("number", "7")])
    Place(epoch='a1', number=7)
    """
    found = dict(properties)
    epoch, number = found.get(EPOCH), found.get(NUMBER)
    if not epoch or len(epoch) > EPOCH_LENGTH or not epoch.isprintable():
        return None
    if number is None or len(number) > NUMBER_DIGITS or not number.isascii() or not number.isdigit():
        return None
    return Place(epoch=epoch, number=int(number))


def properties_of(place: Place) -> list[tuple[str, str]]:
    """Convert a spool position to MQTT 5 user properties."""
    return [(EPOCH, place.epoch), (NUMBER, str(place.number))]


def of_places(places: Iterable[Place], refusals: Iterable[tuple[Place, str, str]] = ()) -> list[Receipt]:
    """Build one receipt per epoch, numbers merged into ranges; refusals are (position, reason, detail).

    >>> of_places([Place("a", 1), Place("a", 2), Place("a", 5)])
    [Receipt(epoch='a', kept=[(1, 2), (5, 5)], refused=[], more=0)]
    """
    ranges: dict[str, list[tuple[int, int]]] = {}
    for place in sorted(set(places)):
        kept = ranges.setdefault(place.epoch, [])
        if kept and kept[-1][1] == place.number - 1:
            kept[-1] = (kept[-1][0], place.number)
        else:
            kept.append((place.number, place.number))
    refused: dict[str, list[Refusal]] = {}
    for place, reason, detail in refusals:
        ranges.setdefault(place.epoch, [])
        refused.setdefault(place.epoch, []).append(Refusal(place.number, reason, detail[:DETAIL_LENGTH]))
    return [
        Receipt(
            epoch=epoch,
            kept=kept,
            refused=sorted(refused.get(epoch, []))[:REFUSALS],
            more=max(0, len(refused.get(epoch, [])) - REFUSALS),
        )
        for epoch, kept in ranges.items()
    ]


def encode(receipt: Receipt) -> bytes:
    """Encode a receipt as JSON."""
    return msgspec.json.encode(receipt)


def decode(payload: bytes) -> Receipt:
    """Decode a receipt. Raises `PayloadError`."""
    try:
        return msgspec.json.decode(payload, type=Receipt)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise PayloadError(f"receipt is not {{epoch, kept}} as JSON: {error}") from error
