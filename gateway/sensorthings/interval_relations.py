"""Translates relations of half-open time intervals (before, during, …) to conditions on their ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest_service.storage.contract import filter_terms

if TYPE_CHECKING:
    from ingest_service.storage.contract.filter_terms import FilterTerm


@dataclass(frozen=True, slots=True)
class IntervalTerms:
    """An interval as the terms of its two ends."""

    start: FilterTerm
    end: FilterTerm


def start_term(one: FilterTerm | IntervalTerms) -> FilterTerm:
    """Return the start of an interval; the term of a single time unchanged."""
    return one.start if isinstance(one, IntervalTerms) else one


def end_term(one: FilterTerm | IntervalTerms) -> FilterTerm:
    """Return the end of an interval; the term of a single time unchanged."""
    return one.end if isinstance(one, IntervalTerms) else one


def _operation(name: str, *args: FilterTerm) -> FilterTerm:
    return filter_terms.Operation(name, args)


def equal_intervals(one: FilterTerm | IntervalTerms, other: FilterTerm | IntervalTerms) -> FilterTerm:
    """Return the condition that both ends are equal."""
    return _operation("and", _starts(one, other), _finishes(one, other))


def _starts(one: FilterTerm | IntervalTerms, other: FilterTerm | IntervalTerms) -> FilterTerm:
    return _operation("eq", start_term(one), start_term(other))


def _finishes(one: FilterTerm | IntervalTerms, other: FilterTerm | IntervalTerms) -> FilterTerm:
    return _operation("eq", end_term(one), end_term(other))


def ends_before(one: FilterTerm | IntervalTerms, other: FilterTerm | IntervalTerms) -> FilterTerm:
    """Return the condition that one ends before the other starts."""
    if isinstance(one, IntervalTerms):
        return _operation("le", one.end, start_term(other))
    return _operation("lt", one, start_term(other))


def not_after(one: FilterTerm | IntervalTerms, other: FilterTerm | IntervalTerms) -> FilterTerm:
    """Return the condition that neither end of one is later than that of the other."""
    return _operation(
        "and",
        _operation("le", start_term(one), start_term(other)),
        _operation("le", end_term(one), end_term(other)),
    )


def _meets(one: FilterTerm | IntervalTerms, other: FilterTerm | IntervalTerms) -> FilterTerm:
    if not isinstance(one, IntervalTerms) and not isinstance(other, IntervalTerms):
        return _operation("eq", one, other)
    return _operation(
        "or",
        _operation("eq", end_term(one), start_term(other)),
        _operation("eq", start_term(one), end_term(other)),
    )


def _during(one: FilterTerm | IntervalTerms, other: FilterTerm | IntervalTerms) -> FilterTerm:
    return _operation(
        "and",
        _operation("le", start_term(other), start_term(one)),
        _operation("lt", start_term(one), end_term(other)),
        _operation("le", end_term(one), end_term(other)),
    )


def _overlap(one: FilterTerm | IntervalTerms, other: FilterTerm | IntervalTerms) -> FilterTerm:
    def starts_inside(first: FilterTerm | IntervalTerms, second: FilterTerm | IntervalTerms) -> FilterTerm:
        return _operation(
            "and",
            _operation("lt", start_term(first), start_term(second)),
            _operation("lt", start_term(second), end_term(first)),
        )

    return _operation("or", _starts(one, other), starts_inside(one, other), starts_inside(other, one))


INTERVAL_RELATIONS = {
    "before": ends_before,
    "after": lambda one, other: ends_before(other, one),
    "meets": _meets,
    "during": _during,
    "overlaps": _overlap,
    "starts": _starts,
    "finishes": _finishes,
}
