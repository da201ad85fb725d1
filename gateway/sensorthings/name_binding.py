"""Resolves the names of a parsed expression to properties, and checks the types of its arguments."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from gateway.sensorthings.entity_types import EntityType, ValueType, linked_type
from gateway.sensorthings.expression_tokens import parse_time_value
from gateway.sensorthings.expression_tree import (
    ExpressionNode,
    FunctionCall,
    LiteralValue,
    NamePath,
    PropertyRef,
    QueryError,
    Scalar,
)
from gateway.sensorthings.functions import (
    ARITHMETIC_ARGS,
    ARITHMETIC_OPERATORS,
    QUERY_FUNCTIONS,
    start_of_day,
    value_type,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

LOGICAL_OPERATORS = ("and", "or", "not")
COMPARISON_OPERATORS = ("eq", "ne", "gt", "ge", "lt", "le")
UNKNOWN_TYPES = (ValueType.ANY, ValueType.NULL, ValueType.JSON)
TIME_TYPES = (ValueType.DATETIME, ValueType.INTERVAL, ValueType.DATE, ValueType.TIME_OF_DAY)
ID_NAMES = ("id", "@iot.id")


def bind_filter(node: ExpressionNode, kind: EntityType, option: str = "$filter") -> ExpressionNode:
    """Return a filter on entities of a type with its names resolved. Raises `QueryError`."""
    bound = NameBinder(kind, option).bind(node)
    result_type = node_type(bound)
    if result_type not in {ValueType.BOOLEAN, *UNKNOWN_TYPES}:
        raise QueryError(
            f"this gives a {result_type.name.lower()}, and a filter has to be true or false",
            node.at,
            option=option,
        )
    return bound


def node_type(node: ExpressionNode) -> ValueType:
    """Return the type of a bound node, as far as it is known."""
    match node:
        case LiteralValue(value):
            return value_type(value)
        case PropertyRef():
            return node.type
        case FunctionCall(name):
            if name in LOGICAL_OPERATORS or name in COMPARISON_OPERATORS:
                return ValueType.BOOLEAN
            return QUERY_FUNCTIONS[name].returned_type if name in QUERY_FUNCTIONS else ValueType.ANY
    return ValueType.ANY


def property_refs(node: ExpressionNode) -> Iterator[PropertyRef]:
    """Yield every property reference of a bound node."""
    match node:
        case PropertyRef():
            yield node
        case FunctionCall(_, args):
            for one in args:
                yield from property_refs(one)


class NameBinder:
    """Resolves names and checks types of expressions on one entity type."""

    def __init__(self, kind: EntityType, option: str = "$filter") -> None:
        self._kind = kind
        self._option = option

    def bind(self, node: ExpressionNode) -> ExpressionNode:
        """Return a node with every path resolved and every argument checked. Raises `QueryError`."""
        match node:
            case NamePath():
                return self._bind_path(node)
            case FunctionCall():
                return self._bind_call(node)
        return node

    def _bind_path(self, path: NamePath) -> PropertyRef:
        kind, links = self._kind, []
        for position, part in enumerate(path.parts):
            if self._starts_with_own_set(position, path):
                continue
            if part in kind.links:
                links.append(part)
                kind = linked_type(kind, part)
                continue
            name = "id" if part in ID_NAMES else part
            if name not in kind.properties:
                self._fail(f"{kind.with_article} has no {part!r}: it has {_member_names(kind)}", path.at)
            return self._check_json_path(
                PropertyRef(tuple(links), name, path.parts[position + 1 :], kind.properties[name], path.at)
            )
        return self._fail(f"{'/'.join(path.parts)} is an entity: name a property of it", path.at)

    def _starts_with_own_set(self, position: int, path: NamePath) -> bool:
        """Whether a path begins with the name of its own entity set, as some clients write it."""
        kind = self._kind
        return (
            position == 0 < len(path.parts) - 1
            and path.parts[0] == kind.plural
            and path.parts[0] not in kind.links
        )

    def _check_json_path(self, ref: PropertyRef) -> PropertyRef:
        if not ref.json_path:
            return ref
        if ref.type not in {ValueType.JSON, ValueType.GEOMETRY, ValueType.ANY}:
            self._fail(f"{ref.name} has nothing inside", ref.at)
        return replace(ref, type=ValueType.ANY)

    def _bind_call(self, call: FunctionCall) -> ExpressionNode:
        if call.name == "now" and not call.args:
            return LiteralValue(dt.datetime.now(dt.UTC), call.at)  # the same time for the whole query
        args = tuple(self.bind(one) for one in call.args)
        if call.name in LOGICAL_OPERATORS:
            for one in args:
                self._check_type(one, (ValueType.BOOLEAN,), call.name)
        elif call.name in COMPARISON_OPERATORS:
            args = self._check_comparable(call.name, *args)
        elif call.name in ARITHMETIC_OPERATORS:
            for one in args:
                self._check_type(one, ARITHMETIC_ARGS, call.name)
        else:
            args = self._parse_time_arguments(call.name, args)
            self._check_arguments(call, args)
        return FunctionCall(call.name, args, call.at, call.subtree_depth, call.size)

    def _check_arguments(self, call: FunctionCall, args: tuple[ExpressionNode, ...]) -> None:
        function = QUERY_FUNCTIONS.get(call.name)
        if function is None:
            self._fail(f"there is no function {call.name}()", call.at)
        max_args = len(function.arg_types)
        if not max_args - function.optional <= len(args) <= max_args:
            self._fail(f"{call.name}() takes {max_args} argument{'' if max_args == 1 else 's'}", call.at)
        for one, arg_types in zip(args, function.arg_types, strict=False):
            self._check_type(one, arg_types, f"{call.name}()")

    @staticmethod
    def _parse_time_arguments(name: str, args: tuple[ExpressionNode, ...]) -> tuple[ExpressionNode, ...]:
        """Return the arguments of a function with quoted times parsed."""
        arg_types = QUERY_FUNCTIONS[name].arg_types if name in QUERY_FUNCTIONS else ()
        bound = list(args)
        for position, (one, kinds) in enumerate(zip(args, arg_types, strict=False)):
            if isinstance(one, LiteralValue) and isinstance(one.value, str) and {*TIME_TYPES} & {*kinds}:
                bound[position] = LiteralValue(_parse_quoted_time(one.value), one.at)
        return tuple(bound)

    def _check_comparable(
        self, name: str, one: ExpressionNode, other: ExpressionNode
    ) -> tuple[ExpressionNode, ...]:
        one, other = _coerce_to_operand(one, other), _coerce_to_operand(other, one)
        types = {node_type(one), node_type(other)}
        known_types = types - set(UNKNOWN_TYPES) - {ValueType.ID}
        if len(known_types) > 1 and not known_types <= set(TIME_TYPES):
            type_names = " with ".join(sorted(each.name.lower() for each in known_types))
            self._fail(f"{name} can't compare a {type_names}", other.at)
        return one, other

    def _check_type(self, node: ExpressionNode, arg_types: tuple[ValueType, ...], context_name: str) -> None:
        result_type = node_type(node)
        if result_type not in {*UNKNOWN_TYPES, *arg_types} and not (
            result_type is ValueType.ID and ValueType.NUMBER in arg_types
        ):
            if isinstance(node, PropertyRef) and node.name == "id" and ValueType.TEXT in arg_types:
                self._fail(
                    f"{context_name} takes a text, and this id is a number: write id eq 1, or id in (1, 2)",
                    node.at,
                )
            self._fail(f"{context_name} does not take a {result_type.name.lower()}", node.at)

    def _fail(self, detail: str, at: int) -> NoReturn:
        raise QueryError(detail, at, option=self._option)


def _coerce_to_operand(node: ExpressionNode, other: ExpressionNode) -> ExpressionNode:
    """Convert a literal to the type of the other operand: id, number, time, or a date to its start."""
    if not isinstance(node, LiteralValue):
        return node
    if isinstance(node.value, str) and node_type(other) in TIME_TYPES:
        node = LiteralValue(_parse_quoted_time(node.value), node.at)
    if isinstance(other, PropertyRef) and other.name == "id":
        return LiteralValue(coerce_id(node.value, as_number=other.type is ValueType.NUMBER), node.at)
    if isinstance(other, PropertyRef) and other.name == "result":
        return LiteralValue(_parse_quoted_number(node.value), node.at)
    if value_type(node.value) is ValueType.DATE and node_type(other) in {
        ValueType.DATETIME,
        ValueType.INTERVAL,
    }:
        return LiteralValue(start_of_day(node.value), node.at)  # type: ignore[arg-type]
    return node


def coerce_id(value: Scalar, *, as_number: bool) -> Scalar:
    """Convert an id to the type that the entity type's ids have."""
    if as_number and isinstance(value, str) and value.isdecimal():
        return float(value)
    if not as_number and isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value


def _parse_quoted_number(value: Scalar) -> Scalar:
    """Return a quoted number as a number, as results may be quoted; any other value unchanged."""
    try:
        number = float(value) if isinstance(value, str) else math.nan
    except ValueError:
        return value
    return number if math.isfinite(number) else value


def _parse_quoted_time(text: str) -> Scalar:
    """Return a quoted time as a time, as in other OData services; any other text unchanged."""
    try:
        return parse_time_value(text)
    except ValueError:
        return text


def _member_names(kind: EntityType) -> str:
    return ", ".join([*kind.properties, *kind.links])
