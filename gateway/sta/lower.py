"""Translates an expression on observations to SQL conditions, using what is known of each series.

Whatever in a filter does not depend on the single observation (names of Things, geometry, units) is evaluated
here, once a series; what is left becomes SQL. So no geometry and no directory is asked of the database.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shapely.geometry.base import BaseGeometry

from gateway.sta import functions, geometry, intervals
from gateway.sta.bind import COMPARISONS, refs
from gateway.sta.describe import place_of
from gateway.sta.functions import ARITHMETIC, FUNCTIONS
from gateway.sta.grammar import size_of
from gateway.sta.intervals import INTERVALS, Ends
from gateway.sta.kinds import Type
from gateway.sta.nodes import Call, Literal, Node, QueryError, Ref, Span
from ingest_service.storage import terms
from ingest_service.storage.compiling import KINDS, OWN
from ingest_service.storage.terms import Given, Own, Scope, Value, kind_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.sta.evaluate import Evaluator, Picks
    from ingest_service.storage.terms import Plain, Term

OWN_NAMES: dict[tuple[str, ...], Own | Value] = {
    ("id",): Own("id"),
    ("result",): Own("result"),
    ("phenomenonTime",): Own("time"),
    ("resultTime",): Own("received"),
    ("resultQuality", "value"): Own("quality"),
    ("resultQuality", "meaning"): Own("meaning"),
    ("resultQuality", "nameOfMeasure"): Value("QARTOD flag"),
    ("resultQuality",): Value("object"),
    ("parameters",): Value("object"),
    ("parameters", "rules"): Own("rules"),
    ("parameters", "expected"): Own("expected"),
    ("parameters", "spread"): Own("spread"),
}
TYPES = {
    "number": Type.NUMBER,
    "text": Type.TEXT,
    "moment": Type.MOMENT,
    "truth": Type.TRUTH,
    "day": Type.DAY,
    "clock": Type.CLOCK,
}
RENAMED = {"contains": "substringof", "time": "time_of"}
LATER = {("moment", "number"): "later", ("day", "number"): "day_later"}
BETWEEN = {("moment", "moment"): "between", ("day", "day"): "days_between"}
NOTHING = Value(None)
MOST_WAYS = 50
MOST_TERMS = 20_000


@dataclass(frozen=True, slots=True)
class Context:
    """One series, and the entities that were picked on the way to its observations."""

    series_id: int
    picks: Picks
    place: int = 0


class Lowering:
    """Lowers expressions on the observations at the end of ``way``, for some contexts."""

    def __init__(self, evaluator: Evaluator, contexts: Sequence[Context], way: tuple[str, ...] = ()) -> None:
        self.contexts = list(contexts)
        self._evaluator = evaluator
        self._way = way
        self._columns: list[list[Plain]] = []

    def scope(self) -> Scope:
        """The series, with what the terms need to know of each."""
        return Scope([one.series_id for one in self.contexts], tuple(self._columns))

    def condition(self, node: Node | None) -> Term | None:
        """A filter; contexts in which it can't hold are dropped. To be called first."""
        return None if node is None else self._all(self._open(node))

    def gathered(self, node: Node) -> Term | None:
        """Likewise, where a series has several contexts: of each one is left, and any of them may hold.

        Raises `QueryError` where they are too many.
        """
        conjuncts = self._open(node)
        named = {ref.links[:n] for one in conjuncts for ref in refs(one) for n in range(len(ref.links) + 1)}
        ways: dict[int, dict[frozenset[Any], Context]] = {}
        for one in self.contexts:
            picks = frozenset(pick for pick in one.picks.items() if pick[0] in named)
            ways.setdefault(one.series_id, {}).setdefault(picks, one)
        rows = [list(one.values()) for one in ways.values()]
        most = max(map(len, rows), default=1)
        if most * sum(map(size_of, conjuncts)) > MOST_TERMS:
            raise QueryError("this takes too many operations over the entities of a set: name fewer", node.at)
        if most > MOST_WAYS:
            raise QueryError(
                f"this goes through more than {MOST_WAYS} entities of a set: name fewer", node.at
            )
        found = []
        for k in range(most):
            self.contexts = [row[k % len(row)] for row in rows]
            found.append(self._all(conjuncts))
        return terms.Call("or", tuple(one for one in found if one is not None)) if most > 1 else found[0]

    def _open(self, node: Node) -> list[Node]:
        """What of a filter depends on the single observation; contexts that fail the rest are dropped."""
        conjuncts = node.args if isinstance(node, Call) and node.name == "and" else (node,)
        free = [one for one in conjuncts if self._free(one)]
        self.contexts = [
            one
            for one in self.contexts
            if all(self._evaluator.value(each, one.picks) is True for each in free)
        ]
        return [one for one in conjuncts if not self._free(one)]

    def _all(self, conjuncts: Sequence[Node]) -> Term | None:
        found = tuple(self.plain(one) for one in conjuncts)
        return terms.Call("and", found) if len(found) > 1 else (found[0] if found else None)

    def key(self, node: Node) -> Term:
        """What to sort by: where an interval begins, the text of a geometry."""
        if not self._free(node):
            return self.plain(node)
        values = [geometry.sortable(self._evaluator.value(node, one.picks)) for one in self.contexts]
        return self._column([functions.start(one) for one in values], node)

    def plain(self, node: Node) -> Term:
        """An expression that gives no interval, or where one begins."""
        found = self._lowered(node)
        return found.start if isinstance(found, Ends) else found

    def _lowered(self, node: Node) -> Term | Ends:
        if self._free(node):
            return self._known(node)
        match node:
            case Ref(_, name, inside):
                found: Term = OWN_NAMES.get((name, *inside), NOTHING)
                return found
            case Call(name, args):
                return self._call(name, args)
        return NOTHING

    def _free(self, node: Node) -> bool:
        return all(one.links != self._way for one in refs(node))

    def _known(self, node: Node) -> Term | Ends:
        if isinstance(node, Literal):
            values: list[Any] = [node.value]
        else:
            values = [self._evaluator.value(node, one.picks) for one in self.contexts]
        if any(isinstance(one, BaseGeometry) for one in values):
            raise QueryError("a geometry stands where a value is wanted", node.at)
        if any(isinstance(one, Span) for one in values):
            starts, ends = ([cut(one) for one in values] for cut in (functions.start, functions.end))
            return Ends(self._column(starts, node), self._column(ends, node))
        return self._column(values, node)

    def _column(self, values: list[Any], node: Node) -> Term:
        plain = [one.total_seconds() if isinstance(one, dt.timedelta) else one for one in values]
        if len({kind_of(one) for one in plain} - {"null"}) > 1:
            raise QueryError("this is of several types over the Datastreams: name one of them", node.at)
        if all(one == plain[0] for one in plain):
            return Value(plain[0] if plain else None)
        self._columns.append(plain)
        return Given(len(self._columns) - 1)

    def _call(self, name: str, args: tuple[Node, ...]) -> Term | Ends:
        if name in {"and", "or", "not"}:
            return terms.Call(name, tuple(self.plain(one) for one in args))
        lowered = [self._lowered(one) for one in args]
        if name in COMPARISONS:
            return self._compared(name, *lowered)
        if name in ARITHMETIC:
            return self._calculated(name, *lowered)
        if name in INTERVALS:
            return NOTHING if NOTHING in lowered else INTERVALS[name](*lowered)
        return self._function(name, [intervals.start(one) for one in lowered])

    def _compared(self, name: str, one: Term | Ends, other: Term | Ends) -> Term:
        if name in {"gt", "ge"}:
            return self._compared("lt" if name == "gt" else "le", other, one)
        if name == "ne":
            return terms.Call("not", (self._compared("eq", one, other),))
        one, other = self._moment_beside(one, other), self._moment_beside(other, one)
        if isinstance(one, Ends) or isinstance(other, Ends):
            return {"eq": intervals.equal, "lt": intervals.before, "le": intervals.not_after}[name](
                one, other
            )
        for key, value in ((one, other), (other, one)):
            if name == "eq" and key == Own("id") and isinstance(value, Value):
                return _is_at(value.value)
        return terms.Call(name, (one, other))

    def _moment_beside(self, one: Term | Ends, other: Term | Ends) -> Term | Ends:
        """A day beside a moment is its begin."""
        if isinstance(one, Ends) or self._kind(one) != "day":
            return one
        beside = isinstance(other, Ends) or self._kind(other) == "moment"
        return terms.Call("begin_of", (one,)) if beside else one

    def _calculated(self, name: str, one: Term | Ends, other: Term | Ends) -> Term | Ends:
        """Arithmetic of values, or an interval that is shifted by a duration."""
        if isinstance(other, Ends) and name == "add":
            one, other = other, one
        if isinstance(other, Ends):
            return NOTHING
        if isinstance(one, Ends):
            return self._shifted(name, one, other)
        return self._arithmetic(name, one, other)

    def _arithmetic(self, name: str, one: Term, other: Term) -> Term:
        kinds = (self._kind(one), self._kind(other))
        if kinds == ("number", "number"):
            return terms.Call(name, (one, other))
        if name == "add" and kinds[0] == "number":
            one, other, kinds = other, one, (kinds[1], kinds[0])
        if name == "sub" and kinds in BETWEEN:
            return terms.Call(BETWEEN[kinds], (one, other))
        if name not in {"add", "sub"} or kinds not in LATER:
            return NOTHING
        return terms.Call(LATER[kinds], (one, other if name == "add" else terms.Call("neg", (other,))))

    def _shifted(self, name: str, one: Ends, by: Term) -> Term | Ends:
        if name not in {"add", "sub"} or self._kind(by) != "number":
            return NOTHING
        by = by if name == "add" else terms.Call("neg", (by,))
        return Ends(terms.Call("later", (one.start, by)), terms.Call("later", (one.end, by)))

    def _function(self, name: str, args: list[Term]) -> Term:
        for one, takes in zip(args, FUNCTIONS[name].takes, strict=False):
            if TYPES.get(self._kind(one)) not in takes:
                return NOTHING
        if name == "contains":
            args.reverse()
        if name == "substring" and len(args) == 3:
            return terms.Call("substring3", tuple(args))
        return terms.Call(RENAMED.get(name, name), tuple(args))

    def _kind(self, term: Term) -> str:
        match term:
            case Value(value):
                return kind_of(value)
            case Own(name):
                return OWN[name]
            case Given(column):
                return next((kind_of(one) for one in self._columns[column] if one is not None), "null")
        if term.name in {"and", "or", "not", "eq", "lt", "le", "is_at"}:
            return "truth"
        return KINDS.get(term.name, "number")


def _is_at(entity_id: Plain) -> Term:
    place = place_of(str(entity_id))
    return Value(value=False) if place is None else terms.Call("is_at", (Value(place[0]), Value(place[1])))
