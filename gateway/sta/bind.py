"""Resolves the names of a parsed expression, and refuses unknown ones with their column."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from gateway.sta.functions import AMOUNT, ARITHMETIC, FUNCTIONS, begin_of, type_of
from gateway.sta.kinds import Kind, Type, target
from gateway.sta.nodes import Call, Literal, Node, Path, QueryError, Ref, Scalar
from gateway.sta.tokens import time_value

if TYPE_CHECKING:
    from collections.abc import Iterator

LOGIC = ("and", "or", "not")
COMPARISONS = ("eq", "ne", "gt", "ge", "lt", "le")
OPEN = (Type.ANY, Type.NULL, Type.JSON)
TIMES = (Type.MOMENT, Type.SPAN, Type.DAY, Type.CLOCK)
IDS = ("id", "@iot.id")


def condition(node: Node, kind: Kind, option: str = "$filter") -> Node:
    """A filter on entities of a kind, bound. Raises `QueryError`."""
    found = Binder(kind, option).bind(node)
    given = type_of_node(found)
    if given not in {Type.TRUTH, *OPEN}:
        raise QueryError(
            f"this gives a {given.name.lower()}, and a filter has to be true or false", node.at, option=option
        )
    return found


def type_of_node(node: Node) -> Type:
    """What a bound node gives, as far as that is known."""
    match node:
        case Literal(value):
            return type_of(value)
        case Ref():
            return node.type
        case Call(name):
            if name in LOGIC or name in COMPARISONS:
                return Type.TRUTH
            return FUNCTIONS[name].gives if name in FUNCTIONS else Type.ANY
    return Type.ANY


def refs(node: Node) -> Iterator[Ref]:
    """Every property that a bound node names."""
    match node:
        case Ref():
            yield node
        case Call(_, args):
            for one in args:
                yield from refs(one)


class Binder:
    """Binds expressions on one kind of entity."""

    def __init__(self, kind: Kind, option: str = "$filter") -> None:
        self._kind = kind
        self._option = option

    def bind(self, node: Node) -> Node:
        """A node with every path found and every argument checked. Raises `QueryError`."""
        match node:
            case Path():
                return self._path(node)
            case Call():
                return self._call(node)
        return node

    def _path(self, path: Path) -> Ref:
        kind, links = self._kind, []
        for place, part in enumerate(path.parts):
            if self._names_itself(place, path):
                continue
            if part in kind.links:
                links.append(part)
                kind = target(kind, part)
                continue
            name = "id" if part in IDS else part
            if name not in kind.properties:
                self._fail(f"a {kind.name} has no {part!r}: it has {_has(kind)}", path.at)
            return self._inside(
                Ref(tuple(links), name, path.parts[place + 1 :], kind.properties[name], path.at)
            )
        return self._fail(f"{'/'.join(path.parts)} is an entity: name a property of it", path.at)

    def _names_itself(self, place: int, path: Path) -> bool:
        """Whether a path begins with the set that it is of, as some clients write it."""
        kind = self._kind
        return (
            place == 0 < len(path.parts) - 1
            and path.parts[0] == kind.plural
            and path.parts[0] not in kind.links
        )

    def _inside(self, ref: Ref) -> Ref:
        if not ref.inside:
            return ref
        if ref.type not in {Type.JSON, Type.SHAPE, Type.ANY}:
            self._fail(f"{ref.name} has nothing inside", ref.at)
        return replace(ref, type=Type.ANY)

    def _call(self, call: Call) -> Node:
        if call.name == "now" and not call.args:
            return Literal(dt.datetime.now(dt.UTC), call.at)  # one moment for the whole query
        args = tuple(self.bind(one) for one in call.args)
        if call.name in LOGIC:
            for one in args:
                self._check(one, (Type.TRUTH,), call.name)
        elif call.name in COMPARISONS:
            args = self._comparable(call.name, *args)
        elif call.name in ARITHMETIC:
            for one in args:
                self._check(one, AMOUNT, call.name)
        else:
            args = self._timed(call.name, args)
            self._arguments(call, args)
        return Call(call.name, args, call.at, call.deep, call.size)

    def _arguments(self, call: Call, args: tuple[Node, ...]) -> None:
        function = FUNCTIONS.get(call.name)
        if function is None:
            self._fail(f"there is no function {call.name}()", call.at)
        most = len(function.takes)
        if not most - function.optional <= len(args) <= most:
            self._fail(f"{call.name}() takes {most} argument{'' if most == 1 else 's'}", call.at)
        for one, takes in zip(args, function.takes, strict=False):
            self._check(one, takes, f"{call.name}()")

    @staticmethod
    def _timed(name: str, args: tuple[Node, ...]) -> tuple[Node, ...]:
        """The arguments of a function of times, where one may stand in quotes."""
        takes = FUNCTIONS[name].takes if name in FUNCTIONS else ()
        found = list(args)
        for place, (one, kinds) in enumerate(zip(args, takes, strict=False)):
            if isinstance(one, Literal) and isinstance(one.value, str) and {*TIMES} & {*kinds}:
                found[place] = Literal(_time_in(one.value), one.at)
        return tuple(found)

    def _comparable(self, name: str, one: Node, other: Node) -> tuple[Node, ...]:
        one, other = _beside(one, other), _beside(other, one)
        types = {type_of_node(one), type_of_node(other)}
        known = types - set(OPEN) - {Type.KEY}
        if len(known) > 1 and not known <= set(TIMES):
            words = " with ".join(sorted(each.name.lower() for each in known))
            self._fail(f"{name} can't compare a {words}", other.at)
        return one, other

    def _check(self, node: Node, takes: tuple[Type, ...], by: str) -> None:
        given = type_of_node(node)
        if given not in {*OPEN, *takes} and not (given is Type.KEY and Type.NUMBER in takes):
            if isinstance(node, Ref) and node.name == "id" and Type.TEXT in takes:
                self._fail(
                    f"{by} takes a text, and this id is a number: write id eq 1, or id in (1, 2)", node.at
                )
            self._fail(f"{by} does not take a {given.name.lower()}", node.at)

    def _fail(self, detail: str, at: int) -> NoReturn:
        raise QueryError(detail, at, option=self._option)


def _beside(node: Node, other: Node) -> Node:
    """A literal as what it stands beside: an id as number or text, a result as number, a day as its begin."""
    if not isinstance(node, Literal):
        return node
    if isinstance(node.value, str) and type_of_node(other) in TIMES:
        node = Literal(_time_in(node.value), node.at)
    if isinstance(other, Ref) and other.name == "id":
        return Literal(key_of(node.value, numbers=other.type is Type.NUMBER), node.at)
    if isinstance(other, Ref) and other.name == "result":
        return Literal(_number_in(node.value), node.at)
    if type_of(node.value) is Type.DAY and type_of_node(other) in {Type.MOMENT, Type.SPAN}:
        return Literal(begin_of(node.value), node.at)  # type: ignore[arg-type]
    return node


def key_of(value: Scalar, *, numbers: bool) -> Scalar:
    """An id as it is kept."""
    if numbers and isinstance(value, str) and value.isdecimal():
        return float(value)
    if not numbers and isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value


def _number_in(value: Scalar) -> Scalar:
    """A number that stands in quotes, which a result may; anything else as it is."""
    try:
        number = float(value) if isinstance(value, str) else math.nan
    except ValueError:
        return value
    return number if math.isfinite(number) else value


def _time_in(text: str) -> Scalar:
    """A time that stands in quotes, as with other OData services; anything else as it is."""
    try:
        return time_value(text)
    except ValueError:
        return text


def _has(kind: Kind) -> str:
    return ", ".join([*kind.properties, *kind.links])
