"""Parses system query options: $filter, $orderby, $top, $skip, $count, $select and $expand."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from gateway.problems import ProblemError
from gateway.sta import bind
from gateway.sta.bind import Binder
from gateway.sta.grammar import Budget, Parser
from gateway.sta.kinds import OBSERVATION, Kind, target
from gateway.sta.nodes import QueryError
from gateway.sta.tokens import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.sta.nodes import Node

OF_SETS = ("$filter", "$orderby", "$top", "$skip", "$count")
OF_ALL = ("$select", "$expand")
OF_ROOT = ("$resultFormat", "$skiptoken")
DEEPEST_EXPAND = 8
MOST = 2**31 - 1
_LETTERS = re.compile(r"[^A-Za-z]")
CONTROL = ("@iot.id", "@iot.selfLink", "selfLink")


@dataclass(slots=True)
class Query:
    """The options of a set or an entity; ``texts`` are those that a next link repeats as they are."""

    filter: Node | None = None
    orderby: list[tuple[Node, bool]] = field(default_factory=list)
    top: int | None = None
    skip: int = 0
    count: bool = False
    select: frozenset[str] | None = None
    expand: dict[str, Query] = field(default_factory=dict)
    data_array: bool = False
    token: str | None = None
    texts: dict[str, str] = field(default_factory=dict)

    def shows(self, name: str) -> bool:
        """Whether a property or link is wanted."""
        return self.select is None or name in self.select

    def written(self) -> Iterator[tuple[str, str]]:
        """The options again, but for the place of the page."""
        yield from self.texts.items()
        if self.expand:
            yield "$expand", ",".join(_written(link, query) for link, query in self.expand.items())


def _written(link: str, query: Query) -> str:
    options = [*query.written()]
    options += [("$top", str(query.top))] if query.top is not None else []
    options += [("$skip", str(query.skip))] if query.skip else []
    inside = ";".join(f"{name}={text}" for name, text in options)
    return f"{link}({inside})" if inside else link


def read(text: str, kind: Kind, *, many: bool) -> Query:
    """The options of a request, from its query string as it came. Raises `ProblemError`."""
    pairs = []
    for name, value in options(text):
        if name.startswith("$"):
            pairs.append((name, value, 0))
        elif (meant := f"${_LETTERS.sub('', name)}") in OF_SETS + OF_ALL + OF_ROOT:
            raise ProblemError(400, f"query: {name!r} is no option: write {meant}", where=meant)
    allowed = OF_ALL + OF_ROOT + (OF_SETS if many else ())
    return _query(pairs, kind, many=many, allowed=allowed, depth=0, budget=Budget())


def options(text: str) -> Iterator[tuple[str, str]]:
    """Names and values in a query string; blanks around a name are left out, an encoded sign is read.

    >>> list(options("%20$top=1&%24filter%3Dname+eq+'a%3Db'"))
    [('$top', '1'), ('$filter', "name eq 'a=b'")]
    """
    for part in filter(None, text.split("&")):
        name, equals, value = part.partition("=")
        name, _, begin = unquote_plus(name).partition("=")
        yield name.strip(), begin + (equals if begin else "") + unquote_plus(value)


def _query(
    pairs: list[tuple[str, str, int]],
    kind: Kind,
    *,
    many: bool,
    allowed: tuple[str, ...],
    depth: int,
    budget: Budget,
) -> Query:
    query = Query()
    seen: set[str] = set()
    for name, value, offset in pairs:
        if name not in OF_SETS + OF_ALL + OF_ROOT:
            raise ProblemError(501, f"{name} is not supported", where=name)
        if name not in allowed:
            wanted = "sets, and this is one entity" if name in OF_SETS else "the whole answer"
            raise ProblemError(400, f"{name} is for {wanted}", where=name)
        if name in seen:
            raise ProblemError(400, f"{name} stands twice", where=name)
        seen.add(name)
        _option(query, name, value, offset, kind, depth, budget)
    if query.data_array and (kind is not OBSERVATION or not many):
        raise ProblemError(400, "$resultFormat: dataArray is for Observations", where="$resultFormat")
    if query.data_array and query.expand:
        raise ProblemError(501, "$expand: a dataArray holds no entities, only properties", where="$expand")
    return query


def _option(query: Query, name: str, value: str, offset: int, kind: Kind, depth: int, budget: Budget) -> None:
    match name:
        case "$filter":
            parsed = Parser(value, offset, name, budget).expression()
            query.filter = bind.condition(parsed, kind, name)
        case "$orderby":
            binder = Binder(kind, name)
            sorted_by = Parser(value, offset, name, budget).sorted_by()
            query.orderby = [(binder.bind(node), descending) for node, descending in sorted_by]
        case "$select":
            query.select = frozenset(_selected(value, offset, kind))
        case "$expand":
            _expand(query, value, offset, kind, depth, budget)
        case _:
            _plain_option(query, name, value)
    if name in {"$filter", "$orderby", "$count", "$select", "$resultFormat"}:
        query.texts[name] = value


def _plain_option(query: Query, name: str, value: str) -> None:
    match name:
        case "$top":
            query.top = _whole(name, value)
        case "$skip":
            query.skip = _whole(name, value)
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


def _whole(name: str, value: str) -> int:
    if not (value.isascii() and value.isdecimal()) or len(value) > 18:
        raise ProblemError(400, f"{name}: give a whole number from 0 on", where=name)
    return min(int(value), MOST)


def _selected(value: str, offset: int, kind: Kind) -> Iterator[str]:
    for part, at in split(value, ",", offset, "$select"):
        name = part.strip()
        if name == "*":
            yield from [*kind.properties, *kind.links, *CONTROL]
        elif name in {"id", "@iot.id"}:
            yield from ("id", "@iot.id")
        elif name in kind.properties or name in kind.links or name in CONTROL:
            yield {"selfLink": "@iot.selfLink"}.get(name, name)
        else:
            known = ", ".join([*kind.properties, *kind.links])
            raise QueryError(f"a {kind.name} has no {name!r}: it has {known}", at, option="$select")


def _expand(query: Query, value: str, offset: int, kind: Kind, depth: int, budget: Budget) -> None:
    for part, at in split(value, ",", offset, "$expand"):
        path, options, begin = part, "", at
        opened = part.find("(")
        if opened >= 0:
            path, rest = part[:opened], part[opened + 1 :].rstrip()
            if not rest.endswith(")"):
                raise QueryError("here ) should stand", at + len(part), option="$expand")
            options, begin = rest[:-1], at + opened + 1
        here, inner, level = kind, query, depth
        for link in path.strip().split("/"):
            level += 1
            if link not in here.links:
                known = ", ".join(here.links)
                raise QueryError(f"a {here.name} has no link {link!r}: it has {known}", at, option="$expand")
            if level > DEEPEST_EXPAND:
                raise QueryError(f"deeper than {DEEPEST_EXPAND} levels", at, option="$expand")
            many, here = here.many(link), target(here, link)
            inner = inner.expand.setdefault(link, Query())
        _merge(inner, _nested(options, begin, here, many=many, depth=level, budget=budget), at)


def _nested(options: str, begin: int, kind: Kind, *, many: bool, depth: int, budget: Budget) -> Query:
    pairs = []
    for part, at in split(options, ";", begin, "$expand"):
        if part.strip():
            name, _, value = part.partition("=")
            blanks = len(value) - len(value.lstrip())
            pairs.append((name.strip(), value.strip(), at + len(name) + 1 + blanks))
    # of one entity an order or a count means nothing, but is allowed; a filter would promise to leave it out
    allowed = OF_ALL + (OF_SETS if many else tuple(one for one in OF_SETS if one != "$filter"))
    return _query(pairs, kind, many=many, allowed=allowed, depth=depth, budget=budget)


def _merge(query: Query, more: Query, at: int) -> None:
    """Two expansions of one link are one."""
    plain = Query(expand=more.expand)
    if more != plain:
        if query != Query(expand=query.expand):
            raise QueryError("this link stands twice, both times with options", at, option="$expand")
        for name in ("filter", "orderby", "top", "skip", "count", "select", "texts"):
            setattr(query, name, getattr(more, name))
    for link, inner in more.expand.items():
        _merge(query.expand.setdefault(link, Query()), inner, at)


def split(text: str, mark: str, offset: int, option: str) -> Iterator[tuple[str, int]]:
    """The parts of a text between marks outside of quotes and parentheses, each with its column."""
    begin = at = depth = 0
    while at < len(text):
        character = text[at]
        if character == "'":
            try:
                at = quoted(text, at)[1]
            except ValueError as error:
                raise QueryError(str(error), offset + at, option=option) from error
            continue
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            raise QueryError("this ) closes nothing", offset + at, option=option)
        if character == mark and depth == 0:
            yield text[begin:at], offset + begin
            begin = at + 1
        at += 1
    if depth:
        raise QueryError("here ) should stand", offset + len(text), option=option)
    yield text[begin:], offset + begin
