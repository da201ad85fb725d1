"""Receipts: which spool numbers of a device are kept by the platform.

A data message names its place in the device's spool in two MQTT 5 user properties, ``epoch`` and
``number``. After COMMIT (or a dead letter) the platform answers on ``…/receipt`` with the closed
ranges of numbers that it keeps, one JSON object a message: ``{"epoch": "a1b2", "kept": [[1, 40]]}``.

What became a dead letter is named once more, with the reason, so that a mistake shows at the device:
``{"epoch": "a1b2", "kept": [[1, 40]], "refused": [{"number": 7, "reason": "unit", "detail": "…"}]}``.
A message without a place is answered likewise, with the epoch ``""`` and the number 0, for a person who
subscribes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edge.wire.errors import PayloadError

if TYPE_CHECKING:
    from collections.abc import Iterable

EPOCH = "epoch"
NUMBER = "number"
NUMBER_DIGITS = 18  # fits 64 bits; int() refuses more than 4,300 digits with an error of its own
EPOCH_LENGTH = 128
REFUSALS = 50  # in one receipt
DETAIL_LENGTH = 300  # characters; the dead letter has all of them
RECORDED = ("recorded", "1")  # user property of data that a recording gives: their times are no clock's


class Place(msgspec.Struct, frozen=True, order=True):
    """Where a message stands in its device's spool."""

    epoch: str
    number: int


NO_PLACE = Place("", 0)


class Refusal(msgspec.Struct, frozen=True, order=True):
    """Why a message, or a part of it, could not be taken: reason and detail are the dead letter's."""

    number: int
    reason: str
    detail: str


class Receipt(msgspec.Struct, frozen=True, forbid_unknown_fields=False, omit_defaults=True):
    """Closed ranges ``(first, last)`` of spool numbers of one epoch that are kept.

    Attributes
    ----------
    refused : those that are dead letters, `REFUSALS` of them at most
    more : how many were refused beyond those

    """

    epoch: str
    kept: list[tuple[int, int]]
    refused: list[Refusal] = []
    more: int = 0


def place_of(properties: Iterable[tuple[str, str]]) -> Place | None:
    """The place that a message's user properties name, or None where they name none.

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
    """The MQTT 5 user properties that carry a place."""
    return [(EPOCH, place.epoch), (NUMBER, str(place.number))]


def of_places(places: Iterable[Place], refusals: Iterable[tuple[Place, str, str]] = ()) -> list[Receipt]:
    """One receipt an epoch, numbers joined into ranges; refusals are (place, reason, detail).

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
    """A receipt as it goes over the wire."""
    return msgspec.json.encode(receipt)


def decode(payload: bytes) -> Receipt:
    """Read a receipt. Raises `PayloadError`."""
    try:
        return msgspec.json.decode(payload, type=Receipt)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise PayloadError(f"receipt is not {{epoch, kept}} as JSON: {error}") from error
