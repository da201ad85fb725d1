"""Parses resource paths and resolves them to sets, entities, properties or references (18-088, 9.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.api.problems import ProblemError
from gateway.sensorthings.entity_model import Entity
from gateway.sensorthings.entity_types import (
    DATASTREAM,
    ENTITY_TYPES,
    OBSERVATION,
    EntityType,
    ValueType,
    linked_type,
)
from gateway.sensorthings.expression_tokens import read_quoted

if TYPE_CHECKING:
    from gateway.sensorthings.entity_model import EntityId, EntityModel

UNSUPPORTED_DETAILS = {
    "MultiDatastreams": "MultiDatastreams are not served: every series is a Datastream",
    "Tasks": "tasking is not served",
    "Actuators": "tasking is not served",
    "TaskingCapabilities": "tasking is not served",
    "$batch": "batches are not served",
    "CreateObservations": "observations come in over MQTT, not here",
}


@dataclass(frozen=True, slots=True)
class PathSegment:
    """One segment of a path, with the id in its parentheses, if any."""

    name: str
    key: EntityId | None


@dataclass(frozen=True, slots=True)
class EntitySet:
    """An entity set: Observations by the ids of their series, other types as a list of entities."""

    kind: EntityType
    series_ids: list[int]
    entities: list[Entity]


@dataclass(frozen=True, slots=True)
class PropertyValue:
    """A property of an entity, or a member of its JSON value; ``is_raw`` for $value."""

    name: str
    value: Any
    is_raw: bool


@dataclass(frozen=True, slots=True)
class ResolvedResource:
    """The resource of a path; ``references`` if the path ends in $ref."""

    target_resource: EntitySet | Entity | PropertyValue
    references: bool = False


def parse_segments(path: str) -> list[PathSegment]:
    """Return the segments of a path. Raises `ProblemError` (400) if it can't be parsed.

    >>> parse_segments("Things('it''s')/Datastreams(1)")
    [PathSegment(name='Things', key="it's"), PathSegment(name='Datastreams', key=1)]
    """
    result = []
    at = 0
    while at < len(path):
        end = at
        while end < len(path) and path[end] not in "/(":
            end += 1
        name, key = path[at:end], None
        if path[end : end + 1] == "(":
            key, end = _parse_key(path, end + 1)
        if not name or (end < len(path) and path[end] != "/"):
            raise _invalid_path_error(path, end)
        result.append(PathSegment(name, key))
        at = end + 1
    return result


def _parse_key(path: str, at: int) -> tuple[EntityId, int]:
    if path[at : at + 1] == "'":
        try:
            key, end = read_quoted(path, at)
        except ValueError as error:
            raise ProblemError(400, f"path, column {at + 1}: {error}", where="path") from error
        if path[end : end + 1] != ")":
            raise _invalid_path_error(path, end)
        return key, end + 1
    end = path.find(")", at)
    digits = path[at:end] if end > 0 else ""
    if not digits.removeprefix("-").isdecimal() or not digits.isascii() or len(digits) > 19:
        raise _invalid_path_error(path, at)
    return int(digits), end + 1


def _invalid_path_error(path: str, at: int) -> ProblemError:
    detail = f"path, column {at + 1}: {path[at : at + 20]!r} is not expected here; ids stand as (1) or ('x')"
    return ProblemError(400, detail, where="path")


def resolve_path(path: str, entity_model: EntityModel) -> ResolvedResource:
    """Return the resource of a path. Raises `ProblemError`: 404 if there is none, 501 if not supported."""
    parts = parse_segments(path)
    first = parts[0]
    if first.name in UNSUPPORTED_DETAILS:
        raise ProblemError(501, UNSUPPORTED_DETAILS[first.name])
    if first.name not in ENTITY_TYPES:
        raise ProblemError(404, f"there is no {first.name}: there are {', '.join(ENTITY_TYPES)}")
    current: EntitySet | Entity = all_entities(ENTITY_TYPES[first.name], entity_model)
    if first.key is not None:
        current = _entity_of_set(current, first.key, entity_model)
    for position, part in enumerate(parts[1:], 1):
        rest = parts[position + 1 :]
        if part.name == "$ref" and not rest:
            return ResolvedResource(current, references=True)
        if isinstance(current, EntitySet):
            raise ProblemError(
                404, f"{part.name} of which {current.kind.name}? Name one: {current.kind.plural}(id)"
            )
        if part.name not in current.kind.links:
            return ResolvedResource(_property_value(current, part, rest, entity_model))
        current = follow_link(current, part.name, entity_model)
        if part.key is not None:
            current = _entity_of_set(current, part.key, entity_model)
    return ResolvedResource(current)


def all_entities(kind: EntityType, entity_model: EntityModel) -> EntitySet:
    """Return the set of all entities of a type within the area scope."""
    if kind is OBSERVATION:
        return EntitySet(kind, sorted(entity_model.directory_index.series), [])
    return EntitySet(kind, [], entity_model.entities(kind))


def follow_link(entity: Entity, link: str, entity_model: EntityModel) -> EntitySet | Entity:
    """Return the linked entity or entity set."""
    kind = linked_type(entity.kind, link)
    if kind is OBSERVATION:
        return EntitySet(kind, entity_model.series_ids_of(entity), [])
    result = entity_model.follow(entity, link)
    return EntitySet(kind, [], result) if entity.kind.to_many(link) else result[0]


def _entity_of_set(entity_set: EntitySet | Entity, key: EntityId, entity_model: EntityModel) -> Entity:
    if isinstance(entity_set, Entity):
        raise ProblemError(400, f"this leads to one {entity_set.kind.name}, which needs no id", where="path")
    result = entity_model.find_entity(entity_set.kind, key)
    if result is not None and result.reading is not None:
        is_in_set = result.reading.series_id in entity_set.series_ids
    else:
        is_in_set = result in entity_set.entities
    if result is None or not is_in_set:
        hint = ""
        if isinstance(key, str) and entity_set.kind is DATASTREAM:
            hint = f": ids of {DATASTREAM.plural} are numbers, as in {DATASTREAM.plural}(1)"
        raise ProblemError(404, f"there is no {entity_set.kind.name} {key!r} here{hint}")
    return result


def _property_value(
    entity: Entity, part: PathSegment, rest: list[PathSegment], entity_model: EntityModel
) -> PropertyValue:
    names = [part.name, *(one.name for one in rest)]
    kind = entity.kind
    is_raw = names[-1] == "$value"
    if is_raw:
        names.pop()
    if not names:
        member_names = ", ".join(kind.properties)
        raise ProblemError(404, f"$value is of a property of a {kind.name}: of {member_names}")
    first = "id" if names[0] == "@iot.id" else names[0]
    if any(one.key is not None for one in [part, *rest]) or first not in kind.properties:
        member_names = ", ".join([*kind.properties, *kind.links])
        raise ProblemError(404, f"{kind.with_article} has no {names[0]!r}: it has {member_names}")
    value = entity_model.values(entity)[first]
    for name in names[1:]:
        if kind.properties[first] not in {ValueType.JSON, ValueType.GEOMETRY} or not isinstance(value, dict):
            raise ProblemError(404, f"{names[0]} has nothing inside")
        if name not in value:
            raise ProblemError(404, f"{names[0]} has no {name!r}")
        value = value[name]
    return PropertyValue(names[-1] if names[-1] != "id" else "@iot.id", value, is_raw)
