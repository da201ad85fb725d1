"""Derives the priority of an incident from a matrix: consequence of the place × time to respond."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from analytics.errors import AnalyticsError

if TYPE_CHECKING:
    from collections.abc import Collection

N_PRIORITIES = 4


class PriorityMatrixError(AnalyticsError):
    """A priority matrix can't be used; the message names the row and the remedy."""


class MatrixRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"is_": "is"}):
    """A rule that gives an incident its row or column; conditions that are None always fit."""

    is_: str
    kinds: frozenset[str] | None = None
    causes: frozenset[str] | None = None
    sites: frozenset[str] | None = None
    site_kinds: frozenset[str] | None = None
    max_target_class: int | None = None
    min_sites: int = 0
    min_severity: int = 1

    def fits(self, place: PlaceOfIncident) -> bool:
        """Whether every condition holds for an incident."""
        return (
            (self.kinds is None or place.kind in self.kinds)
            and (self.causes is None or place.cause in self.causes)
            and (self.sites is None or bool(self.sites.intersection(place.site_ids)))
            and (self.site_kinds is None or bool(self.site_kinds.intersection(place.site_kinds)))
            and (
                self.max_target_class is None
                or (place.target_class is not None and place.target_class <= self.max_target_class)
            )
            and len(place.site_ids) >= self.min_sites
            and place.severity >= self.min_severity
        )


class PlaceOfIncident(NamedTuple):
    """What a priority depends on; ``target_class`` is the best one (GB 3838) of the touched sites."""

    kind: str
    cause: str
    severity: int
    site_ids: Collection[str]
    site_kinds: Collection[str]
    target_class: int | None


class Priority(NamedTuple):
    """Priority, 1 (most urgent) to 4, with the row and column of the matrix that gave it."""

    priority: int
    consequence: str
    urgency: str


class PriorityMatrix(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A matrix with the rules for its rows and columns.

    Raises `PriorityMatrixError` on construction where a name or a number is wrong, or a last rule has
    conditions.
    """

    consequences: list[str]
    urgencies: list[str]
    priorities: dict[str, list[int]]
    consequence: list[MatrixRule]
    urgency: list[MatrixRule]

    def __post_init__(self) -> None:
        if set(self.priorities) != set(self.consequences):
            raise PriorityMatrixError(f"priorities: give one row for each of {', '.join(self.consequences)}")
        for name, row in self.priorities.items():
            if len(row) != len(self.urgencies) or not all(1 <= one <= N_PRIORITIES for one in row):
                raise PriorityMatrixError(
                    f"priorities: {name} needs {len(self.urgencies)} numbers from 1 to {N_PRIORITIES}, "
                    f"one per urgency, and has {row}"
                )
        for title, rules, names in (
            ("consequence", self.consequence, self.consequences),
            ("urgency", self.urgency, self.urgencies),
        ):
            for one in rules:
                if one.is_ not in names:
                    raise PriorityMatrixError(
                        f"{title}: there is no {one.is_!r}; there are {', '.join(names)}"
                    )
            if not rules or rules[-1] != MatrixRule(is_=rules[-1].is_):
                raise PriorityMatrixError(
                    f"{title}: the last rule must have no condition, so that it always fits"
                )

    def priority_of(self, place: PlaceOfIncident) -> Priority:
        """Return the priority of an incident.

        >>> river = PlaceOfIncident("water", "sewage", 3, ["wz-01"], ["river_section"], None)
        >>> default_matrix().priority_of(river)
        Priority(priority=1, consequence='major', urgency='immediate')
        """
        consequence = next(one.is_ for one in self.consequence if one.fits(place))
        urgency = next(one.is_ for one in self.urgency if one.fits(place))
        return Priority(self.priorities[consequence][self.urgencies.index(urgency)], consequence, urgency)


def parse_matrix(text: str) -> PriorityMatrix:
    """Decode a matrix (TOML). Raises `PriorityMatrixError` that states what is wrong."""
    try:
        return msgspec.convert(tomllib.loads(text), PriorityMatrix)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise PriorityMatrixError(f"the priority matrix can't be read: {error}") from error


def read_matrix(path: str | None) -> PriorityMatrix:
    """Read the matrix of a file; without one, that of this version. Raises `PriorityMatrixError`."""
    if not path:
        return default_matrix()
    try:
        return parse_matrix(Path(path).read_text("utf-8"))
    except OSError as error:
        raise PriorityMatrixError(f"the priority matrix {path!r} can't be read: {error}") from error


@cache
def default_matrix() -> PriorityMatrix:
    """Return the matrix of this version."""
    return parse_matrix(files("analytics.incidents").joinpath("priority_matrix.toml").read_text("utf-8"))
