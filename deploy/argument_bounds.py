"""Types of command-line arguments with the bounds that the API has for the same values."""

from __future__ import annotations

from argparse import ArgumentTypeError
from typing import TYPE_CHECKING

from ingest_service.storage.contract import bounds

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_ID = 2**63 - 1  # bigint


def bounded_number(low: float, high: float) -> Callable[[str], float]:
    """Return the type of a number from ``low`` to ``high``.

    >>> bounded_number(1, 60)("2.5")
    2.5
    >>> bounded_number(1, 60)("nan")
    Traceback (most recent call last):
    argparse.ArgumentTypeError: 'nan' is no number from 1 to 60
    """

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise ArgumentTypeError(f"{text!r} is no number from {low:,.10g} to {high:,.10g}")
        return value

    return number


def bounded_integer(low: int, high: int) -> Callable[[str], int]:
    """Return the type of a whole number from ``low`` to ``high``.

    >>> bounded_integer(1, 60)("61")
    Traceback (most recent call last):
    argparse.ArgumentTypeError: '61' is no whole number from 1 to 60
    """

    def integer(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise ArgumentTypeError(f"{text!r} is no whole number from {low:,} to {high:,}")
        return value

    return integer


def bounded_text(longest: int, *, shortest: int = 0) -> Callable[[str], str]:
    """Return the type of a text of so many characters.

    >>> bounded_text(3)("four")
    Traceback (most recent call last):
    argparse.ArgumentTypeError: it has 4 characters: give 0 to 3
    """

    def characters(text: str) -> str:
        if not shortest <= len(text) <= longest:
            raise ArgumentTypeError(f"it has {len(text)} characters: give {shortest} to {longest:,}")
        return text

    return characters


note = bounded_text(bounds.MAX_NOTE_CHARS)
name = bounded_text(bounds.MAX_NAME_CHARS, shortest=1)
identifier = bounded_integer(1, MAX_ID)
