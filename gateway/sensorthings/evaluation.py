"""Evaluates $filter and $orderby expressions on entities in Python; reference for the translation to SQL.

Through a to-many link, a filter holds for an entity if it holds for at least one choice of one entity at each
such link; the same choice applies wherever the filter names the link (example of 18-088, 9.3.3.5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.sensorthings import functions, geometry
from gateway.sensorthings.entity_types import EntityType, linked_type
from gateway.sensorthings.expression_tree import (
    ExpressionNode,
    FunctionCall,
    LiteralValue,
    PropertyRef,
    QueryError,
    Scalar,
)
from gateway.sensorthings.functions import ARITHMETIC_OPERATORS
from gateway.sensorthings.name_binding import property_refs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.sensorthings.entity_model import Entity, EntityModel

COMPARISON_OPERATORS = ("eq", "ne", "gt", "ge", "lt", "le")
MAX_PICKS = 100_000
MAX_EVALUATED_NODES = 2_000_000
"""Limit of evaluated nodes of a request; they take about 2 s."""

PickedEntities = dict[tuple[str, ...], "Entity | None"]


class Evaluator:
    """Evaluates expressions on the entities of one request, with limits on picks and evaluated nodes.

    A pick is one linked entity for each to-many link, by the links that lead to it.
    """

    def __init__(self, entity_model: EntityModel) -> None:
        self._entity_model = entity_model
        self._n_picks = 0
        self._n_evaluated = 0

    def value(self, node: ExpressionNode, picks: PickedEntities) -> Scalar:
        """Return the value of a bound expression; ``picks[()]`` is the entity. Raises `QueryError`."""
        self._n_evaluated += 1
        if self._n_evaluated > MAX_EVALUATED_NODES:
            raise QueryError("this takes too many operations: name fewer entities, or compare less", node.at)
        match node:
            case LiteralValue(value):
                return value
            case PropertyRef():
                return self._property_value(node, picks)
            case FunctionCall(name, args):
                return self._call(name, args, picks)
        return None

    def matches(
        self, node: ExpressionNode, entity: Entity, many_links: list[tuple[str, ...]] | None = None
    ) -> bool:
        """Whether a filter holds for an entity; ``many_links`` are its `links_to_many`, if known."""
        many_links = links_to_many(node, entity.kind) if many_links is None else many_links
        return any(self.value(node, picks) is True for picks in self.picks(entity, many_links, node.at))

    def picks(self, entity: Entity, many_links: list[tuple[str, ...]], at: int) -> Iterator[PickedEntities]:
        """Yield each choice of one entity for each to-many link. Raises `QueryError` if they are too many."""
        return self.extend_picks({(): entity}, many_links, at)

    def extend_picks(
        self, start: PickedEntities, many_links: list[tuple[str, ...]], at: int
    ) -> Iterator[PickedEntities]:
        """Yield every choice that extends the picks of ``start``. Raises `QueryError` as `picks`."""

        def pick_rest(position: int, picked: PickedEntities) -> Iterator[PickedEntities]:
            self._n_picks += 1
            if self._n_picks > MAX_PICKS:
                raise QueryError("this reaches through too many entities: ask for less at once", at)
            if position == len(many_links):
                yield picked
                return
            parent = self.follow_links(many_links[position][:-1], picked)
            linked_entities = self._entity_model.follow(parent, many_links[position][-1]) if parent else []
            for one in (*linked_entities, *(() if linked_entities else (None,))):
                yield from pick_rest(position + 1, {**picked, many_links[position]: one})

        yield from pick_rest(0, start)

    def follow_links(self, links: tuple[str, ...], picks: PickedEntities) -> Entity | None:
        """Return the entity at the end of a path of links, starting from the picks; None if there is none."""
        n_resolved = len(links)
        while links[:n_resolved] not in picks:
            n_resolved -= 1
        entity = picks[links[:n_resolved]]
        for link in links[n_resolved:]:
            if entity is None:
                return None
            entity = next(iter(self._entity_model.follow(entity, link)), None)
        return entity

    def _property_value(self, ref: PropertyRef, picks: PickedEntities) -> Scalar:
        entity = self.follow_links(ref.links, picks)
        if entity is None:
            return None
        return nested_value(self._entity_model.values(entity).get(ref.name), ref)

    def _call(self, name: str, args: tuple[ExpressionNode, ...], picks: PickedEntities) -> Scalar:
        if name in {"and", "or"}:
            return self._logic(name, args, picks)
        values = [self.value(one, picks) for one in args]
        return apply_function(name, values)

    def _logic(self, name: str, args: tuple[ExpressionNode, ...], picks: PickedEntities) -> bool | None:
        """Evaluate ``and`` / ``or`` in three-valued logic, as SQL does; None is unknown."""
        deciding_value = name == "or"
        has_unknown = False
        for one in args:
            value = self.value(one, picks)
            if value is deciding_value:
                return deciding_value
            has_unknown = has_unknown or not isinstance(value, bool)
        return None if has_unknown else not deciding_value


def apply_function(name: str, values: list[Any]) -> Scalar:
    """Apply an operator or function to values; not ``and`` and ``or``."""
    if name == "not":
        return None if not isinstance(values[0], bool) else not values[0]
    if name in COMPARISON_OPERATORS:
        return functions.compare_values(name, *values)
    if name in ARITHMETIC_OPERATORS:
        if any(value is None or isinstance(value, bool | str) for value in values):
            return None
        return ARITHMETIC_OPERATORS[name](*values)
    return functions.call_function(name, values)


def nested_value(value: Any, ref: PropertyRef) -> Scalar:
    """Return the part of a JSON value at a path: GeoJSON as geometry, a list as comma-separated text."""
    for part in ref.json_path:
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, dict):
        return geometry.from_geojson(value) if "coordinates" in value else str(sorted(value))
    if isinstance(value, list):
        return ",".join(str(one) for one in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def links_to_many(node: ExpressionNode, kind: EntityType) -> list[tuple[str, ...]]:
    """Return the to-many links of an expression as paths, shorter paths first."""
    collected: set[tuple[str, ...]] = set()
    for ref in property_refs(node):
        current_type = kind
        for position, link in enumerate(ref.links):
            if current_type.to_many(link):
                collected.add(ref.links[: position + 1])
            current_type = linked_type(current_type, link)
    return sorted(collected, key=lambda one: (len(one), one))
