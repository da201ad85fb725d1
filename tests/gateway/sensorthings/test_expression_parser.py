"""Tests the parser of SensorThings expressions: grammar, error messages, and bounded time."""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sensorthings import name_binding
from gateway.sensorthings.entity_types import DATASTREAM, ENTITY_TYPES, OBSERVATION, THING
from gateway.sensorthings.expression_parser import MAX_DEPTH, MAX_EXPRESSION_LENGTH, ExpressionParser
from gateway.sensorthings.expression_tree import (
    ExpressionNode,
    FunctionCall,
    LiteralValue,
    NamePath,
    QueryError,
    TimeInterval,
)

T0 = dt.datetime(2026, 11, 23, 8, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)


def parse(text: str) -> ExpressionNode:
    return ExpressionParser(text).parse_expression()


def call(name: str, *args: ExpressionNode) -> FunctionCall:
    return FunctionCall(name, args)


def path(text: str) -> NamePath:
    return NamePath(tuple(text.split("/")))


A, B, C = path("a"), path("b"), path("c")
ONE, TWO = LiteralValue(1.0), LiteralValue(2.0)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a or b and c", call("or", A, call("and", B, C))),
        ("a or b or c", call("or", A, B, C)),
        ("not a and b", call("and", call("not", A), B)),
        ("not (a and b)", call("not", call("and", A, B))),
        ("a eq b gt c", call("eq", A, call("gt", B, C))),
        ("a add 1 mul 2 gt b", call("gt", call("add", A, call("mul", ONE, TWO)), B)),
        ("(a add 1) mul 2", call("mul", call("add", A, ONE), TWO)),
        ("a sub 1 sub 2", call("sub", call("sub", A, ONE), TWO)),
        ("a div 2 mod 1", call("mod", call("div", A, TWO), ONE)),
        ("-1 lt a", call("lt", LiteralValue(-1.0), A)),
        ("-a lt 1", call("lt", call("neg", A), ONE)),
        ("Datastream/Thing/name eq 'it''s'", call("eq", path("Datastream/Thing/name"), LiteralValue("it's"))),
        ("properties/a/0", path("properties/a/0")),
        ("properties/my-key", path("properties/my-key")),
        ("@iot.id eq 1", call("eq", path("@iot.id"), ONE)),
        ("substringof('x', concat(a, b))", call("substringof", LiteralValue("x"), call("concat", A, B))),
        ("now() gt a", call("gt", call("now"), A)),
        ("a eq null", call("eq", A, LiteralValue(None))),
        ("a in (1, 2) and b", call("and", call("or", call("eq", A, ONE), call("eq", A, TWO)), B)),
        ("not a in(1)", call("not", call("eq", A, ONE))),
        (
            "not a gt 1 and not b lt 2 or c",
            call("or", call("and", call("not", call("gt", A, ONE)), call("not", call("lt", B, TWO))), C),
        ),
        ("not not a eq b", call("not", call("not", call("eq", A, B)))),
        ("in in (in)", call("eq", path("in"), path("in"))),
        (
            "a eq true or false",
            call("or", call("eq", A, LiteralValue(value=True)), LiteralValue(value=False)),
        ),
        ("1e-3 lt 1.5E2", call("lt", LiteralValue(1e-3), LiteralValue(150.0))),
        ("2026-11-23T08:00:00Z", LiteralValue(T0)),
        ("2026-11-23T16:00:00+08:00", LiteralValue(T0)),
        ("2026-11-23T16:00:00 08:00", LiteralValue(T0)),  # a plus sign that became a blank
        ("2026-11-23T08:00:00.000Z/2026-11-23T09:00:00Z", LiteralValue(TimeInterval(T0, T0 + HOUR))),
        ("2026-11-23T08:00:00Z/PT1H", LiteralValue(TimeInterval(T0, T0 + HOUR))),
        ("PT1H/x", path("PT1H/x")),
        ("properties/P1D", path("properties/P1D")),
        ("properties/P1D/2026", path("properties/P1D/2026")),
        ("2026-11-23", LiteralValue(T0.date())),
        ("08:30:00", LiteralValue(dt.time(8, 30))),
        ("duration'P1DT1H'", LiteralValue(dt.timedelta(days=1, hours=1))),
        ("time", path("time")),
        ("time(time)", call("time", path("time"))),
        ("and eq or", call("eq", path("and"), path("or"))),
    ],
)
def test_reads(text: str, tree: ExpressionNode) -> None:
    assert parse(text) == tree


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("", 1, "a value"),
        ("name eq", 8, "a value"),
        ("name eq 'x", 9, "does not end"),
        ("name == 'x'", 6, "does not belong"),
        ("(name eq 'x'", 13, ")"),
        ("name eq 'x')", 12, "operator"),
        ("name 'x'", 6, "operator"),
        ("length(name", 12, ")"),
        ("length(name,) gt 1", 13, "a value"),
        ("1_0 eq 1", 1, "no number"),
        ("12abc eq 1", 1, "neither a number"),
        ("2026-13-01T00:00:00Z lt time", 1, "month"),
        ("2026-11-24T00:00:00Z/2026-11-23T00:00:00Z eq time", 1, "before it begins"),
        ("geography'POINT(a b)' eq x", 1, "geometry"),
        ("geography'POLYGON((0 0,1 1,0 1,1 0,0 0))' eq x", 1, "self-intersection"),
        ("geography'POINT (nan 1)' eq x", 1, "invalid coordinate"),
        ("geography'CIRCULARSTRING (0 0, 1 1, 2 0)' eq x", 1, "curves"),
        ("a eq geography'GEOMETRYCOLLECTION (CURVEPOLYGON ((0 0,1 1,1 0,0 0)))'", 6, ""),
        ("guid'12' eq x", 1, "not known"),
        ("duration'P1Y' eq x", 1, "different lengths"),
        ("a/", 3, "a name"),
        ("a in 1", 6, "before a list"),
        ("a in ()", 3, "at least one"),
        ("a in (1", 8, ")"),
    ],
)
def test_reports_where_it_stops(text: str, column: int, says: str) -> None:
    with pytest.raises(QueryError, match=f"column {column}:") as caught:
        parse(text)
    assert says in str(caught.value)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("kind", "text", "column", "says"),
    [
        (THING, "nme eq 'x'", 1, "no 'nme'"),
        (THING, "name eq 'x' and size gt 1", 17, "no 'size'"),
        (THING, "Datastreams eq 1", 1, "is an entity"),
        (THING, "name/first eq 'x'", 1, "nothing inside"),
        (THING, "name gt 5", 9, "can't compare"),
        (THING, "name", 1, "true or false"),
        (THING, "length(name)", 1, "true or false"),
        (THING, "not length(name)", 5, "does not take"),
        (THING, "year(name) eq 1", 6, "does not take"),
        (THING, "frob(name) eq 1", 1, "no function"),
        (THING, "length(name, name) eq 1", 1, "1 argument"),
        (THING, "name add 1 eq 2", 1, "does not take"),
        (DATASTREAM, "phenomenonTime gt 3", 19, "can't compare"),
        (DATASTREAM, "phenomenonTime gt 'noon'", 19, "can't compare"),
        (OBSERVATION, "geo.distance(result, phenomenonTime) gt 3", 22, "does not take"),
    ],
)
def test_refuses_what_can_mean_nothing(kind: Any, text: str, column: int, says: str) -> None:
    with pytest.raises(QueryError, match=f"column {column}:") as caught:
        name_binding.bind_filter(parse(text), kind)
    assert says in str(caught.value)


WORDS = st.sampled_from(["a", "name", "result", "and", "x-y", "@iot.id", "Größe"])
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)  # NUL is in no text
LITERALS = st.one_of(
    st.booleans(),
    st.none(),
    st.floats(0, 1e12),
    TEXTS,
    st.datetimes(dt.datetime(1, 1, 2), timezones=st.just(dt.UTC)),  # noqa: DTZ001 - the strategy adds the zone
    st.dates(),
    st.times(),
).map(LiteralValue)
LEAVES = LITERALS | st.lists(WORDS, min_size=1, max_size=3).map(lambda parts: NamePath(tuple(parts)))
BINARY = ["or", "and", "eq", "ne", "lt", "le", "gt", "ge", "add", "sub", "mul", "div", "mod"]


def trees(inner: st.SearchStrategy[ExpressionNode]) -> st.SearchStrategy[ExpressionNode]:
    def flat(name: str, left: ExpressionNode, right: ExpressionNode) -> ExpressionNode:
        if name in {"and", "or"} and isinstance(left, FunctionCall) and left.name == name:
            return FunctionCall(name, (*left.args, right))
        return FunctionCall(name, (left, right))

    return st.one_of(
        st.builds(flat, st.sampled_from(BINARY), inner, inner),
        st.builds(lambda one: FunctionCall("not", (one,)), inner),
        st.builds(lambda name, args: FunctionCall(name, tuple(args)),
                  st.sampled_from(["length", "now", "st_equals"]), st.lists(inner, max_size=3)),
    )  # fmt: skip


def write(node: ExpressionNode) -> str:
    match node:
        case LiteralValue(value):
            return written(value)
        case NamePath(parts):
            return "/".join(parts)
        case FunctionCall("not", (one,)):
            return f"not ({write(one)})"
        case FunctionCall(name, args) if name in BINARY:
            return "(" + f" {name} ".join(f"({write(one)})" for one in args) + ")"
        case FunctionCall(name, args):
            return f"{name}({', '.join(map(write, args))})"
    raise AssertionError(node)


def written(value: Any) -> str:
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case str():
            return "'" + value.replace("'", "''") + "'"
        case float():
            return repr(value)
    return str(value.isoformat())


@given(st.recursive(LEAVES, trees, max_leaves=12))
def test_what_is_written_is_read_again(tree: ExpressionNode) -> None:
    assert parse(write(tree)) == tree


@given(st.text(st.sampled_from("aeq 'or()/,-.19TZ:+$@%;\"\\_\u4e2d"), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for kind in ENTITY_TYPES.values():
        with suppress(QueryError):
            name_binding.bind_filter(parse(text), kind)


@pytest.mark.parametrize(
    "bomb",
    [
        "(" * 5000 + "1" + ")" * 5000,
        "not " * 2000 + "true",
        "-" * 5000 + "1",
        "length(" * 1000 + "name" + ")" * 1000,
        "1" + " add 1" * 1000 + " gt 1",
        "1" + " eq 1" * 1000,
        "'" * 9999,
        "9" * 9999 + " gt result and x",
        "a" * (MAX_EXPRESSION_LENGTH + 1),
    ],
)
def test_bombs_are_refused(bomb: str) -> None:
    with pytest.raises(QueryError):
        name_binding.bind_filter(parse(bomb), OBSERVATION)


def test_a_long_chain_is_not_deep() -> None:
    tree = parse(" or ".join(f"result eq {one}" for one in range(500)))
    assert isinstance(tree, FunctionCall)
    assert len(tree.args) == 500
    assert tree.subtree_depth == 2 < MAX_DEPTH
