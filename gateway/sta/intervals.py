"""Translates relations of half-open intervals to conditions on their ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest_service.storage import terms

if TYPE_CHECKING:
    from ingest_service.storage.terms import Term


@dataclass(frozen=True, slots=True)
class Ends:
    """An interval that is known beforehand, by its two ends."""

    start: Term
    end: Term


def start(one: Term | Ends) -> Term:
    """Where a time begins."""
    return one.start if isinstance(one, Ends) else one


def end(one: Term | Ends) -> Term:
    """Where a time ends; a moment ends where it begins."""
    return one.end if isinstance(one, Ends) else one


def _both(name: str, *args: Term) -> Term:
    return terms.Call(name, args)


def equal(one: Term | Ends, other: Term | Ends) -> Term:
    """Both ends are the same."""
    return _both("and", _starts(one, other), _finishes(one, other))


def _starts(one: Term | Ends, other: Term | Ends) -> Term:
    return _both("eq", start(one), start(other))


def _finishes(one: Term | Ends, other: Term | Ends) -> Term:
    return _both("eq", end(one), end(other))


def before(one: Term | Ends, other: Term | Ends) -> Term:
    """One ends before the other begins."""
    if isinstance(one, Ends):
        return _both("le", one.end, start(other))
    return _both("lt", one, start(other))


def not_after(one: Term | Ends, other: Term | Ends) -> Term:
    """Neither end of one is later than that of the other."""
    return _both("and", _both("le", start(one), start(other)), _both("le", end(one), end(other)))


def _meets(one: Term | Ends, other: Term | Ends) -> Term:
    if not isinstance(one, Ends) and not isinstance(other, Ends):
        return _both("eq", one, other)
    return _both("or", _both("eq", end(one), start(other)), _both("eq", start(one), end(other)))


def _during(one: Term | Ends, other: Term | Ends) -> Term:
    return _both(
        "and",
        _both("le", start(other), start(one)),
        _both("lt", start(one), end(other)),
        _both("le", end(one), end(other)),
    )


def _overlap(one: Term | Ends, other: Term | Ends) -> Term:
    def inside(first: Term | Ends, second: Term | Ends) -> Term:
        return _both("and", _both("lt", start(first), start(second)), _both("lt", start(second), end(first)))

    return _both("or", _starts(one, other), inside(one, other), inside(other, one))


INTERVALS = {
    "before": before,
    "after": lambda one, other: before(other, one),
    "meets": _meets,
    "during": _during,
    "overlaps": _overlap,
    "starts": _starts,
    "finishes": _finishes,
}
