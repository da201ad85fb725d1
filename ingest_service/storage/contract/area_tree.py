"""Walks the tree of areas, up and down; a circle of parents ends every walk and is refused at entry.

A circle may be stored by a release that did not refuse it: enrol one of its areas with the right parent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest_service.storage.contract.errors import StoreRefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ingest_service.storage.contract.models import Area


def parents_of(areas: Sequence[Area]) -> dict[str, str | None]:
    """Return the parent of each area by id."""
    return {one.area_id: one.parent for one in areas}


def areas_below(areas: Sequence[Area], *area_ids: str) -> set[str]:
    """Return the ids of some areas and of all below them."""
    found = set(area_ids)
    while added := {one.area_id for one in areas if one.parent in found} - found:
        found |= added
    return found


def areas_above(parents: Mapping[str, str | None], area_id: str) -> list[str]:
    """Return an area and those above it, lowest first, each once.

    >>> areas_above({"city": None, "county": "city", "town": "county"}, "town")
    ['town', 'county', 'city']
    >>> areas_above({"a": "b", "b": "c", "c": "a"}, "a")
    ['a', 'b', 'c']
    """
    line = dict.fromkeys([area_id])
    while (parent := parents.get(next(reversed(line)))) is not None and parent not in line:
        line[parent] = None
    return list(line)


def circle_of(parents: Mapping[str, str | None], area_id: str) -> list[str]:
    """Return the circle of parents that an area is in or below, from its first area on; without one, nothing.

    >>> circle_of({"a": "b", "b": "c", "c": "b"}, "a")
    ['b', 'c']
    >>> circle_of({"a": "b", "b": None}, "a")
    []
    """
    line = areas_above(parents, area_id)
    end = parents.get(line[-1])
    return [] if end is None or end not in line else line[line.index(end) :]


def circle_problem(parents: Mapping[str, str | None], area_id: str) -> str:
    """Return a sentence on the circle of parents that an area is in; an empty text if it is in none.

    >>> circle_problem({"a": "b", "b": "a"}, "a")
    'has parents that lead back to it (a > b > a): correct one of them'
    >>> circle_problem({"a": "b", "b": None}, "a")
    ''
    """
    circle = circle_of(parents, area_id)
    if area_id not in circle:
        return ""
    return f"has parents that lead back to it ({' > '.join([*circle, circle[0]])}): correct one of them"


def refuse_circles(areas: Sequence[Area], written: Sequence[Area]) -> None:
    """Raise `StoreRefusedError` if areas that were written are in circles of parents among all ``areas``."""
    parents = parents_of(areas)
    problems = {one.area_id: circle_problem(parents, one.area_id) for one in written}
    sentences = [f"area {area_id!r} {problem}" for area_id, problem in problems.items() if problem]
    if sentences:
        raise StoreRefusedError("; ".join(sentences))
