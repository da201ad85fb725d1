"""Parses resource paths (18-088, clause 9.2): sets, entities, properties, links and references."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.problems import ProblemError
from gateway.sta.kinds import DATASTREAM, KINDS, OBSERVATION, Kind, Type, target
from gateway.sta.tokens import quoted
from gateway.sta.world import Entity

if TYPE_CHECKING:
    from gateway.sta.world import Id, World

ELSEWHERE = {
    "MultiDatastreams": "MultiDatastreams are not served: every series is a Datastream",
    "Tasks": "tasking is not served",
    "Actuators": "tasking is not served",
    "TaskingCapabilities": "tasking is not served",
    "$batch": "batches are not served",
    "CreateObservations": "observations come in over MQTT, not here",
}


@dataclass(frozen=True, slots=True)
class Segment:
    """One part of a path, with the id in its parentheses."""

    name: str
    key: Id | None


@dataclass(frozen=True, slots=True)
class Source:
    """A set of entities: for observations the series that they belong to, for others the entities."""

    kind: Kind
    series_ids: list[int]
    entities: list[Entity]


@dataclass(frozen=True, slots=True)
class Property:
    """A property of an entity, or something inside of it; ``raw`` for $value."""

    name: str
    value: Any
    raw: bool


@dataclass(frozen=True, slots=True)
class Resource:
    """What a path leads to; ``references`` where it ends in $ref."""

    what: Source | Entity | Property
    references: bool = False


def segments(path: str) -> list[Segment]:
    """The parts of a path. Raises `ProblemError` (400) where it can't be read.

    >>> segments("Things('it''s')/Datastreams(1)")
    [Segment(name='Things', key="it's"), Segment(name='Datastreams', key=1)]
    """
    found = []
    at = 0
    while at < len(path):
        end = at
        while end < len(path) and path[end] not in "/(":
            end += 1
        name, key = path[at:end], None
        if path[end : end + 1] == "(":
            key, end = _key(path, end + 1)
        if not name or (end < len(path) and path[end] != "/"):
            raise _unreadable(path, end)
        found.append(Segment(name, key))
        at = end + 1
    return found


def _key(path: str, at: int) -> tuple[Id, int]:
    if path[at : at + 1] == "'":
        try:
            key, end = quoted(path, at)
        except ValueError as error:
            raise ProblemError(400, f"path, column {at + 1}: {error}", where="path") from error
        if path[end : end + 1] != ")":
            raise _unreadable(path, end)
        return key, end + 1
    end = path.find(")", at)
    digits = path[at:end] if end > 0 else ""
    if not digits.removeprefix("-").isdecimal() or not digits.isascii() or len(digits) > 19:
        raise _unreadable(path, at)
    return int(digits), end + 1


def _unreadable(path: str, at: int) -> ProblemError:
    detail = f"path, column {at + 1}: {path[at : at + 20]!r} is not expected here; ids stand as (1) or ('x')"
    return ProblemError(400, detail, where="path")


def resolve(path: str, world: World) -> Resource:
    """What a path leads to. Raises `ProblemError`: 404 where there is nothing, 501 where it is not served."""
    parts = segments(path)
    first = parts[0]
    if first.name in ELSEWHERE:
        raise ProblemError(501, ELSEWHERE[first.name])
    if first.name not in KINDS:
        raise ProblemError(404, f"there is no {first.name}: there are {', '.join(KINDS)}")
    here: Source | Entity = everything(KINDS[first.name], world)
    if first.key is not None:
        here = _one(here, first.key, world)
    for place, part in enumerate(parts[1:], 1):
        rest = parts[place + 1 :]
        if part.name == "$ref" and not rest:
            return Resource(here, references=True)
        if isinstance(here, Source):
            raise ProblemError(
                404, f"{part.name} of which {here.kind.name}? Name one: {here.kind.plural}(id)"
            )
        if part.name not in here.kind.links:
            return Resource(_property(here, part, rest, world))
        here = below(here, part.name, world)
        if part.key is not None:
            here = _one(here, part.key, world)
    return Resource(here)


def everything(kind: Kind, world: World) -> Source:
    """The set of all that the caller may see."""
    if kind is OBSERVATION:
        return Source(kind, sorted(world.known.series), [])
    return Source(kind, [], world.entities(kind))


def below(entity: Entity, link: str, world: World) -> Source | Entity:
    """Where a link leads."""
    kind = target(entity.kind, link)
    if kind is OBSERVATION:
        return Source(kind, world.series_below(entity), [])
    found = world.follow(entity, link)
    return Source(kind, [], found) if entity.kind.many(link) else found[0]


def _one(source: Source | Entity, key: Id, world: World) -> Entity:
    if isinstance(source, Entity):
        raise ProblemError(400, f"this leads to one {source.kind.name}, which needs no id", where="path")
    found = world.find(source.kind, key)
    if found is not None and found.reading is not None:
        inside = found.reading.series_id in source.series_ids
    else:
        inside = found in source.entities
    if found is None or not inside:
        hint = ""
        if isinstance(key, str) and source.kind is DATASTREAM:
            hint = f": ids of {DATASTREAM.plural} are numbers, as in {DATASTREAM.plural}(1)"
        raise ProblemError(404, f"there is no {source.kind.name} {key!r} here{hint}")
    return found


def _property(entity: Entity, part: Segment, rest: list[Segment], world: World) -> Property:
    names = [part.name, *(one.name for one in rest)]
    kind = entity.kind
    raw = names[-1] == "$value"
    if raw:
        names.pop()
    if not names:
        known = ", ".join(kind.properties)
        raise ProblemError(404, f"$value is of a property of a {kind.name}: of {known}")
    first = "id" if names[0] == "@iot.id" else names[0]
    if any(one.key is not None for one in [part, *rest]) or first not in kind.properties:
        known = ", ".join([*kind.properties, *kind.links])
        raise ProblemError(404, f"a {kind.name} has no {names[0]!r}: it has {known}")
    value = world.values(entity)[first]
    for name in names[1:]:
        if kind.properties[first] not in {Type.JSON, Type.SHAPE} or not isinstance(value, dict):
            raise ProblemError(404, f"{names[0]} has nothing inside")
        if name not in value:
            raise ProblemError(404, f"{names[0]} has no {name!r}")
        value = value[name]
    return Property(names[-1] if names[-1] != "id" else "@iot.id", value, raw)
