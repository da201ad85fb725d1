"""Evaluates expressions in Python; the reference for their translation to SQL.

Through a link to many, a filter holds for an entity if it holds for one way of picking one entity at each
such link, the same one wherever the filter names it (the example of 18-088, 9.3.3.5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.sta import functions, geometry
from gateway.sta.bind import refs
from gateway.sta.functions import ARITHMETIC
from gateway.sta.kinds import Kind, target
from gateway.sta.nodes import Call, Literal, Node, QueryError, Ref, Scalar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.sta.world import Entity, World

COMPARISONS = ("eq", "ne", "gt", "ge", "lt", "le")
MOST_TRIES = 100_000
MOST_STEPS = 2_000_000
"""Evaluated nodes of a request; about 2 s."""

Picks = dict[tuple[str, ...], "Entity | None"]


class Evaluator:
    """Expressions on entities of one world; bounded in how many picks it tries."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tries = 0
        self._steps = 0

    def value(self, node: Node, picks: Picks) -> Scalar:
        """The value of a bound expression; ``picks[()]`` is the entity. Raises `QueryError`."""
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise QueryError("this takes too many operations: name fewer entities, or compare less", node.at)
        match node:
            case Literal(value):
                return value
            case Ref():
                return self._ref(node, picks)
            case Call(name, args):
                return self._call(name, args, picks)
        return None

    def holds(self, node: Node, entity: Entity, forks: list[tuple[str, ...]] | None = None) -> bool:
        """Whether a filter holds for an entity, for one pick at least; ``forks`` are `forks_of` it."""
        forks = forks_of(node, entity.kind) if forks is None else forks
        return any(self.value(node, picks) is True for picks in self.picks(entity, forks, node.at))

    def picks(self, entity: Entity, forks: list[tuple[str, ...]], at: int) -> Iterator[Picks]:
        """Every way to pick one entity at each link to many. Raises `QueryError` where they are too many."""
        return self.onward({(): entity}, forks, at)

    def onward(self, start: Picks, forks: list[tuple[str, ...]], at: int) -> Iterator[Picks]:
        """Likewise, from what is already picked."""

        def pick(place: int, picked: Picks) -> Iterator[Picks]:
            self._tries += 1
            if self._tries > MOST_TRIES:
                raise QueryError("this reaches through too many entities: ask for less at once", at)
            if place == len(forks):
                yield picked
                return
            parent = self.walk(forks[place][:-1], picked)
            below = self._world.follow(parent, forks[place][-1]) if parent else []
            for one in (*below, *(() if below else (None,))):
                yield from pick(place + 1, {**picked, forks[place]: one})

        yield from pick(0, start)

    def walk(self, links: tuple[str, ...], picks: Picks) -> Entity | None:
        """Where some links lead from what was picked; None where there is nothing."""
        known = len(links)
        while links[:known] not in picks:
            known -= 1
        entity = picks[links[:known]]
        for link in links[known:]:
            if entity is None:
                return None
            entity = next(iter(self._world.follow(entity, link)), None)
        return entity

    def _ref(self, ref: Ref, picks: Picks) -> Scalar:
        entity = self.walk(ref.links, picks)
        if entity is None:
            return None
        return inside(self._world.values(entity).get(ref.name), ref)

    def _call(self, name: str, args: tuple[Node, ...], picks: Picks) -> Scalar:
        if name in {"and", "or"}:
            return self._logic(name, args, picks)
        values = [self.value(one, picks) for one in args]
        return applied(name, values)

    def _logic(self, name: str, args: tuple[Node, ...], picks: Picks) -> bool | None:
        """True, false or unknown, as SQL has it."""
        decides = name == "or"
        unknown = False
        for one in args:
            value = self.value(one, picks)
            if value is decides:
                return decides
            unknown = unknown or not isinstance(value, bool)
        return None if unknown else not decides


def applied(name: str, values: list[Any]) -> Scalar:
    """An operator or function of values, but and / or."""
    if name == "not":
        return None if not isinstance(values[0], bool) else not values[0]
    if name in COMPARISONS:
        return functions.compare(name, *values)
    if name in ARITHMETIC:
        if any(value is None or isinstance(value, bool | str) for value in values):
            return None
        return ARITHMETIC[name](*values)
    return functions.call(name, values)


def inside(value: Any, ref: Ref) -> Scalar:
    """What is inside of a JSON value; geometry of GeoJSON; a list as its items between commas."""
    for part in ref.inside:
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, dict):
        return geometry.from_geojson(value) if "coordinates" in value else str(sorted(value))
    if isinstance(value, list):
        return ",".join(str(one) for one in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def forks_of(node: Node, kind: Kind) -> list[tuple[str, ...]]:
    """The links to many that an expression goes through, shorter ways first."""
    found: set[tuple[str, ...]] = set()
    for ref in refs(node):
        here = kind
        for place, link in enumerate(ref.links):
            if here.many(link):
                found.add(ref.links[: place + 1])
            here = target(here, link)
    return sorted(found, key=lambda one: (len(one), one))
