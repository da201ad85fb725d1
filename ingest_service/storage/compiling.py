"""Compiles filters and orders of observations to SQL; values are parameters, SQL comes from `queries/`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from psycopg import sql

from ingest_service.storage.sql import QUERIES
from ingest_service.storage.terms import Call, Given, Own, Value, kind_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg.sql import Composable

    from ingest_service.storage.terms import Order, Plain, Scope, Term

OWN = {
    "id": "text",
    "series": "number",
    "time": "moment",
    "received": "moment",
    "result": "number",
    "quality": "number",
    "meaning": "text",
    "expected": "number",
    "spread": "number",
    "rules": "text",
}
NULLABLE = ("expected", "spread")
REVISED = ("quality", "meaning", "rules")
"""Fields that a revision may have changed: a statement that compares one has to join the revisions."""
TRUTHS = ("substringof", "startswith", "endswith")
TEXTS = ("substring", "substring3", "tolower", "toupper", "trim", "concat")
KINDS = (
    dict.fromkeys(TRUTHS, "truth")
    | dict.fromkeys(TEXTS, "text")
    | {
        "later": "moment",
        "begin_of": "moment",
        "day_later": "day",
        "date": "day",
        "time_of": "clock",
    }
)
RAISES_NULL = ("div", "mod")


SOURCES = {None: "reading", False: "reading_oldest_first", True: "reading_newest_first"}
SOURCES_OF_FEW = {None: "reading", False: "reading_oldest_few", True: "reading_newest_few"}
"""What finds a few rows of each of many series at less cost, and all rows of one series at more."""


def direction(orders: Sequence[Order]) -> bool | None:
    """Whether observations of a series are read newest first; None if they are not ordered by time."""
    for one in orders:
        if one.term == Own("time"):
            return one.descending
        if one.term != Own("series"):
            return None
    return None


@dataclass(frozen=True, slots=True)
class Piece:
    """SQL of a term, the kind of its value, and whether the value may be null."""

    text: Composable
    kind: str
    nullable: bool = True


@dataclass(slots=True)
class Compiler:
    """Compiles the parts of one statement and collects its parameters."""

    scope: Scope
    meanings: list[str]
    rules: list[str]
    parameters: dict[str, Any] = field(default_factory=dict)
    revised: bool = False
    """Whether anything compiled so far depends on revised flags."""

    def __post_init__(self) -> None:
        self.parameters |= {"meanings": self.meanings, "rules": self.rules}

    def parameter(self, value: object) -> Composable:
        """Add a parameter and return its placeholder."""
        name = f"p{len(self.parameters)}"
        self.parameters[name] = value
        return sql.Placeholder(name)

    def arrays(self) -> dict[str, Composable]:
        """Compile the scope to arrays and the names of its columns."""
        arrays = [_piece("as_series", self.parameter(self.scope.series_ids))]
        names: list[Composable] = [sql.SQL("")]
        for k, column in enumerate(self.scope.columns):
            arrays.append(_piece(f"as_{_column_kind(column)}s", self.parameter(column)))
            names.append(sql.Identifier(f"given{k}"))
        return {"arrays": sql.SQL(", ").join(arrays), "columns": sql.SQL(", ").join(names)}

    def condition(self, term: Term | None) -> Composable:
        """Compile a condition; a term that is not boolean is false."""
        if term is None:
            return _piece("all")
        piece = self.piece(term)
        return piece.text if piece.kind == "truth" else _piece("never")

    def piece(self, term: Term) -> Piece:
        """Compile a term."""
        match term:
            case Value(value):
                return self._value(value)
            case Own(name):
                self.revised = self.revised or name in REVISED
                return Piece(_piece(name), OWN[name], nullable=name in NULLABLE)
            case Given(column):
                text = _piece("given", sql.Identifier(f"given{column}"))
                return Piece(text, _column_kind(self.scope.columns[column]))
            case Call(name, args):
                return self._call(name, args)

    def order(self, orders: Sequence[Order]) -> Composable:
        """Compile ORDER BY for the readings of one series."""
        pieces = [self._key(one) for one in orders]
        return sql.SQL(", ").join(
            _directed(piece.text, one, piece) for piece, one in zip(pieces, orders, strict=True)
        )

    def outer_order(self, orders: Sequence[Order]) -> Composable:
        """Compile ORDER BY for the rows of all series, by their key columns."""
        names = [sql.Identifier("r", f"key{k}") for k in range(len(orders))]
        return sql.SQL(", ").join(
            _directed(name, one, self._key(one)) for name, one in zip(names, orders, strict=True)
        )

    def readings(self, orders: Sequence[Order] = (), *, few: bool = False) -> Composable:
        """Compile the source table; call it last, for the other parts decide whether revisions are joined.

        Parameters
        ----------
        orders : the order of the observations of a series
        few : whether no more rows are read than are returned

        """
        sources = SOURCES_OF_FEW if few and len(self.scope.series_ids) > 1 else SOURCES
        name = sources[direction(orders)]
        return _piece("judged" if self.revised else "reading_source", sql.Identifier(name))

    def key_names(self, orders: Sequence[Order]) -> Composable:
        """Compile the list of the names of the columns of `keys`."""
        return sql.SQL("").join(
            sql.SQL(", {}").format(sql.Identifier("r", f"key{k}")) for k in range(len(orders))
        )

    def keys(self, orders: Sequence[Order]) -> Composable:
        """Compile the sort keys as columns of the result."""
        named = [
            sql.SQL(", {} AS {}").format(self._key(one).text, sql.Identifier(f"key{k}"))
            for k, one in enumerate(orders)
        ]
        return sql.SQL("").join(named)

    def after(self, orders: Sequence[Order], last: Sequence[Plain]) -> Composable:
        """Compile the condition for rows after the row with these keys; an index scan can start there."""
        found: Composable = _piece("never")
        keys = [self._key(one) for one in orders]
        for key, one, value in reversed(list(zip(keys, orders, last, strict=True))):
            beyond, same = self._beyond(key, one, value)
            found = _joined("or", [beyond, _joined("and", [same, found])])
        if keys[0].nullable or last[0] is None:
            return found
        bound = "le_known" if orders[0].descending else "ge_known"
        return _joined("and", [_piece(bound, keys[0].text, self._value(last[0]).text), found])

    def _beyond(self, key: Piece, one: Order, value: Plain) -> tuple[Composable, Composable]:
        if value is None:
            beyond = _piece("never") if one.descending else _piece("after_null", key.text)
            return beyond, _piece("is_null", key.text)
        given = self._value(value).text
        name = "after_descending" if one.descending else "after_ascending"
        if not key.nullable:
            name = "lt_known" if one.descending else "gt_known"
        return _piece(name, key.text, given), _piece("eq", key.text, given)

    def _key(self, one: Order) -> Piece:
        piece = self.piece(one.term)
        if piece.kind != "text":
            return piece
        return Piece(_piece("collated", piece.text), piece.kind, nullable=piece.nullable)

    def _value(self, value: Plain) -> Piece:
        kind = kind_of(value)
        cast = "text" if kind == "null" else kind
        return Piece(_piece(f"as_{cast}", self.parameter(value)), kind, nullable=value is None)

    def _call(self, name: str, args: tuple[Term, ...]) -> Piece:
        if name == "is_at":
            texts = [self.parameter(one.value) for one in args if isinstance(one, Value)]
            return Piece(_piece("is_at", *texts), "truth", nullable=False)
        pieces = [self.piece(one) for one in args]
        if name in {"and", "or"}:
            truths = [one.text if one.kind == "truth" else self._unknown() for one in pieces]
            return Piece(_joined(name, truths), "truth")
        if name in {"eq", "lt", "le"}:
            return self._compared(name, *pieces)
        nullable = name in RAISES_NULL or any(one.nullable for one in pieces)
        if any(one.kind == "null" for one in pieces) or (name == "not" and pieces[0].kind != "truth"):
            return self._value(None)
        kind = "truth" if name == "not" else KINDS.get(name, "number")
        return Piece(_piece(name, *(one.text for one in pieces)), kind, nullable=nullable)

    def _unknown(self) -> Composable:
        return _piece("as_truth", self.parameter(None))

    def _compared(self, name: str, left: Piece, right: Piece) -> Piece:
        """Compile a comparison; values of different kinds are never equal, and neither is less."""
        nullable = left.nullable or right.nullable
        if "null" in {left.kind, right.kind}:
            other = right if left.kind == "null" else left
            text = _piece("is_null", other.text) if name == "eq" else _piece("never")
            return Piece(text, "truth", nullable=False)
        if left.kind != right.kind:
            return Piece(_piece("never"), "truth", nullable=False)
        texts = [left.text, right.text]
        if left.kind == "text" and name != "eq":
            texts = [_piece("collated", one) for one in texts]
        suffix = ("_null" if name == "eq" else "") if nullable else ("" if name == "eq" else "_known")
        return Piece(_piece(name + suffix, *texts), "truth", nullable=False)


def _directed(text: Composable, one: Order, key: Piece) -> Composable:
    name = "descending" if one.descending else "ascending"
    return _piece(name if key.nullable else f"{name}_known", text)


def _piece(name: str, *args: Composable) -> Composable:
    return sql.SQL(QUERIES[f"sta_{name}"]).format(*args)


def _joined(word: str, texts: Sequence[Composable]) -> Composable:
    glue = sql.SQL(" {} ").format(sql.SQL(QUERIES[f"sta_{word}"])).as_string()
    return sql.SQL("({})").format(sql.SQL(glue).join(texts))


def _column_kind(column: Sequence[Plain]) -> str:
    kinds = {kind_of(one) for one in column} - {"null"}
    if len(kinds) > 1:
        raise ValueError(f"values of several kinds can't be compared: {', '.join(sorted(kinds))}")
    return next(iter(kinds), "text")
