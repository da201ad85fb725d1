"""Parses the query options $filter, $orderby, $top, $skip, $count, $select and $expand."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from gateway.api.problems import ProblemError
from gateway.sensorthings import name_binding
from gateway.sensorthings.entity_types import OBSERVATION, EntityType, linked_type
from gateway.sensorthings.expression_parser import ExpressionParser, NodeBudget
from gateway.sensorthings.expression_tokens import read_quoted
from gateway.sensorthings.expression_tree import QueryError
from gateway.sensorthings.name_binding import NameBinder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.sensorthings.expression_tree import ExpressionNode

SET_OPTIONS = ("$filter", "$orderby", "$top", "$skip", "$count")
ENTITY_OPTIONS = ("$select", "$expand")
ROOT_OPTIONS = ("$resultFormat", "$skiptoken")
MAX_EXPAND_DEPTH = 8
MAX_NUMBER = 2**31 - 1
_NON_LETTERS = re.compile(r"[^A-Za-z]")
CONTROL_INFORMATION = ("@iot.id", "@iot.selfLink", "selfLink")


@dataclass(slots=True)
class QueryOptions:
    """Query options of a set or an entity; ``texts`` are the options that a nextLink repeats unchanged."""

    filter: ExpressionNode | None = None
    orderby: list[tuple[ExpressionNode, bool]] = field(default_factory=list)
    top: int | None = None
    skip: int = 0
    count: bool = False
    select: frozenset[str] | None = None
    expand: dict[str, QueryOptions] = field(default_factory=dict)
    data_array: bool = False
    token: str | None = None
    texts: dict[str, str] = field(default_factory=dict)

    def is_selected(self, name: str) -> bool:
        """Whether a property or link is selected."""
        return self.select is None or name in self.select

    def option_texts(self) -> Iterator[tuple[str, str]]:
        """Yield the options as texts, without $top, $skip and $skiptoken."""
        yield from self.texts.items()
        if self.expand:
            yield "$expand", ",".join(_expand_text(link, query) for link, query in self.expand.items())


def _expand_text(link: str, query: QueryOptions) -> str:
    options = [*query.option_texts()]
    options += [("$top", str(query.top))] if query.top is not None else []
    options += [("$skip", str(query.skip))] if query.skip else []
    option_list = ";".join(f"{name}={text}" for name, text in options)
    return f"{link}({option_list})" if option_list else link


def parse_query_options(text: str, kind: EntityType, *, to_many: bool) -> QueryOptions:
    """Parse the options of a request from its raw query string. Raises `ProblemError`."""
    pairs = []
    for name, value in split_query_string(text):
        if name.startswith("$"):
            pairs.append((name, value, 0))
        elif (
            intended_option := f"${_NON_LETTERS.sub('', name)}"
        ) in SET_OPTIONS + ENTITY_OPTIONS + ROOT_OPTIONS:
            raise ProblemError(
                400, f"query: {name!r} is no option: write {intended_option}", where=intended_option
            )
    allowed = ENTITY_OPTIONS + ROOT_OPTIONS + (SET_OPTIONS if to_many else ())
    return _parse_options(pairs, kind, to_many=to_many, allowed=allowed, depth=0, node_budget=NodeBudget())


def split_query_string(text: str) -> Iterator[tuple[str, str]]:
    """Yield names, without blanks around them, and values; a percent-encoded ``=`` also separates them.

    >>> list(split_query_string("%20$top=1&%24filter%3Dname+eq+'a%3Db'"))
    [('$top', '1'), ('$filter', "name eq 'a=b'")]
    """
    for part in filter(None, text.split("&")):
        name, equals, value = part.partition("=")
        name, _, rest = unquote_plus(name).partition("=")
        yield name.strip(), rest + (equals if rest else "") + unquote_plus(value)


def _parse_options(
    pairs: list[tuple[str, str, int]],
    kind: EntityType,
    *,
    to_many: bool,
    allowed: tuple[str, ...],
    depth: int,
    node_budget: NodeBudget,
) -> QueryOptions:
    query = QueryOptions()
    seen_options: set[str] = set()
    for name, value, offset in pairs:
        if name not in SET_OPTIONS + ENTITY_OPTIONS + ROOT_OPTIONS:
            raise ProblemError(501, f"{name} is not supported", where=name)
        if name not in allowed:
            scope_text = "sets, and this is one entity" if name in SET_OPTIONS else "the whole answer"
            raise ProblemError(400, f"{name} is for {scope_text}", where=name)
        if name in seen_options:
            raise ProblemError(400, f"{name} stands twice", where=name)
        seen_options.add(name)
        _parse_option(query, name, value, offset, kind, depth, node_budget)
    if query.data_array and (kind is not OBSERVATION or not to_many):
        raise ProblemError(400, "$resultFormat: dataArray is for Observations", where="$resultFormat")
    if query.data_array and query.expand:
        raise ProblemError(501, "$expand: a dataArray holds no entities, only properties", where="$expand")
    return query


def _parse_option(
    query: QueryOptions,
    name: str,
    value: str,
    offset: int,
    kind: EntityType,
    depth: int,
    node_budget: NodeBudget,
) -> None:
    match name:
        case "$filter":
            parsed = ExpressionParser(value, offset, name, node_budget).parse_expression()
            query.filter = name_binding.bind_filter(parsed, kind, name)
        case "$orderby":
            binder = NameBinder(kind, name)
            sort_keys = ExpressionParser(value, offset, name, node_budget).parse_orderby()
            query.orderby = [(binder.bind(node), descending) for node, descending in sort_keys]
        case "$select":
            query.select = frozenset(_parse_select(value, offset, kind))
        case "$expand":
            _parse_expand(query, value, offset, kind, depth, node_budget)
        case _:
            _parse_simple_option(query, name, value)
    if name in {"$filter", "$orderby", "$count", "$select", "$resultFormat"}:
        query.texts[name] = value


def _parse_simple_option(query: QueryOptions, name: str, value: str) -> None:
    match name:
        case "$top":
            query.top = _parse_whole_number(name, value)
        case "$skip":
            query.skip = _parse_whole_number(name, value)
        case "$count":
            if value not in {"true", "false"}:
                raise ProblemError(400, "$count: say true or false", where=name)
            query.count = value == "true"
        case "$skiptoken":
            query.token = value
        case "$resultFormat":
            if value.lower() != "dataarray":
                raise ProblemError(501, f"$resultFormat: {value} is not supported", where=name)
            query.data_array = True


def _parse_whole_number(name: str, value: str) -> int:
    if not (value.isascii() and value.isdecimal()) or len(value) > 18:
        raise ProblemError(400, f"{name}: give a whole number from 0 on", where=name)
    return min(int(value), MAX_NUMBER)


def _parse_select(value: str, offset: int, kind: EntityType) -> Iterator[str]:
    for part, at in split_outside_quotes(value, ",", offset, "$select"):
        name = part.strip()
        if name == "*":
            yield from [*kind.properties, *kind.links, *CONTROL_INFORMATION]
        elif name in {"id", "@iot.id"}:
            yield from ("id", "@iot.id")
        elif name in kind.properties or name in kind.links or name in CONTROL_INFORMATION:
            yield {"selfLink": "@iot.selfLink"}.get(name, name)
        else:
            known_names = ", ".join([*kind.properties, *kind.links])
            raise QueryError(
                f"{kind.with_article} has no {name!r}: it has {known_names}", at, option="$select"
            )


def _parse_expand(
    query: QueryOptions, value: str, offset: int, kind: EntityType, depth: int, node_budget: NodeBudget
) -> None:
    for part, at in split_outside_quotes(value, ",", offset, "$expand"):
        path, options, start_column = part, "", at
        paren_index = part.find("(")
        if paren_index >= 0:
            path, rest = part[:paren_index], part[paren_index + 1 :].rstrip()
            if not rest.endswith(")"):
                raise QueryError("here ) should stand", at + len(part), option="$expand")
            options, start_column = rest[:-1], at + paren_index + 1
        linked_kind, expansion, level = kind, query, depth
        for link in path.strip().split("/"):
            level += 1
            if link not in linked_kind.links:
                known_names = ", ".join(linked_kind.links)
                raise QueryError(
                    f"{linked_kind.with_article} has no link {link!r}: it has {known_names}",
                    at,
                    option="$expand",
                )
            if level > MAX_EXPAND_DEPTH:
                raise QueryError(f"deeper than {MAX_EXPAND_DEPTH} levels", at, option="$expand")
            to_many, linked_kind = linked_kind.to_many(link), linked_type(linked_kind, link)
            expansion = expansion.expand.setdefault(link, QueryOptions())
        _merge_expansion(
            expansion,
            _parse_nested_options(
                options, start_column, linked_kind, to_many=to_many, depth=level, node_budget=node_budget
            ),
            at,
        )


def _parse_nested_options(
    options: str, start_column: int, kind: EntityType, *, to_many: bool, depth: int, node_budget: NodeBudget
) -> QueryOptions:
    pairs = []
    for part, at in split_outside_quotes(options, ";", start_column, "$expand"):
        if part.strip():
            name, _, value = part.partition("=")
            blanks = len(value) - len(value.lstrip())
            pairs.append((name.strip(), value.strip(), at + len(name) + 1 + blanks))
    # For a single entity, $orderby or $count has no effect and is allowed; a $filter would not be applied.
    allowed = ENTITY_OPTIONS + (
        SET_OPTIONS if to_many else tuple(one for one in SET_OPTIONS if one != "$filter")
    )
    return _parse_options(pairs, kind, to_many=to_many, allowed=allowed, depth=depth, node_budget=node_budget)


def _merge_expansion(query: QueryOptions, other: QueryOptions, at: int) -> None:
    """Merge two expansions of one link; only one of them may have options."""
    expand_only = QueryOptions(expand=other.expand)
    if other != expand_only:
        if query != QueryOptions(expand=query.expand):
            raise QueryError("this link stands twice, both times with options", at, option="$expand")
        for name in ("filter", "orderby", "top", "skip", "count", "select", "texts"):
            setattr(query, name, getattr(other, name))
    for link, expansion in other.expand.items():
        _merge_expansion(query.expand.setdefault(link, QueryOptions()), expansion, at)


def split_outside_quotes(text: str, separator: str, offset: int, option: str) -> Iterator[tuple[str, int]]:
    """Split a text at a separator outside quotes and parentheses; yield each part with its column."""
    start_column = at = depth = 0
    while at < len(text):
        character = text[at]
        if character == "'":
            try:
                at = read_quoted(text, at)[1]
            except ValueError as error:
                raise QueryError(str(error), offset + at, option=option) from error
            continue
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            raise QueryError("this ) closes nothing", offset + at, option=option)
        if character == separator and depth == 0:
            yield text[start_column:at], offset + start_column
            start_column = at + 1
        at += 1
    if depth:
        raise QueryError("here ) should stand", offset + len(text), option=option)
    yield text[start_column:], offset + start_column
