"""Compiles filters and orders of observations to SQL; values are parameters, SQL comes from `queries/`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from psycopg import sql

from ingest_service.storage.contract.filter_terms import (
    Constant,
    ObservationField,
    Operation,
    SeriesColumn,
    value_kind,
)
from ingest_service.storage.postgres.named_queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg.sql import Composable

    from ingest_service.storage.contract.filter_terms import FilterTerm, ScalarValue, SeriesScope, SortKey

FIELD_KINDS = {
    "id": "text",
    "series": "number",
    "time": "timestamp",
    "received": "timestamp",
    "result": "number",
    "quality": "number",
    "meaning": "text",
    "expected": "number",
    "spread": "number",
    "rules": "text",
}
NULLABLE_FIELDS = ("expected", "spread")
REVISABLE_FIELDS = ("quality", "meaning", "rules")
"""Fields that a revision may have changed: a statement that compares one has to join the revisions."""
BOOLEAN_FUNCTIONS = ("substringof", "startswith", "endswith")
TEXT_FUNCTIONS = ("substring", "substring3", "tolower", "toupper", "trim", "concat")
RESULT_KINDS = (
    dict.fromkeys(BOOLEAN_FUNCTIONS, "truth")
    | dict.fromkeys(TEXT_FUNCTIONS, "text")
    | {
        "later": "timestamp",
        "begin_of": "timestamp",
        "day_later": "day",
        "date": "day",
        "time_of": "clock",
    }
)
MAY_RETURN_NULL = ("div", "mod")


READING_SOURCES = {None: "reading", False: "reading_oldest_first", True: "reading_newest_first"}
SOURCES_OF_FEW = {None: "reading", False: "reading_oldest_few", True: "reading_newest_few"}
"""What finds a few rows of each of many series at less cost, and all rows of one series at more."""


def time_order(orders: Sequence[SortKey]) -> bool | None:
    """Whether observations of a series are read newest first; None if they are not ordered by time."""
    for one in orders:
        if one.term == ObservationField("time"):
            return one.descending
        if one.term != ObservationField("series"):
            return None
    return None


@dataclass(frozen=True, slots=True)
class SqlFragment:
    """SQL of a term, the kind of its value, and whether the value may be null."""

    text: Composable
    kind: str
    nullable: bool = True


@dataclass(slots=True)
class FilterCompiler:
    """Compiles the parts of one statement and collects its parameters."""

    scope: SeriesScope
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
        arrays = [_fragment("as_series", self.parameter(self.scope.series_ids))]
        names: list[Composable] = [sql.SQL("")]
        for k, column in enumerate(self.scope.columns):
            arrays.append(_fragment(f"as_{_column_kind(column)}s", self.parameter(column)))
            names.append(sql.Identifier(f"given{k}"))
        return {"arrays": sql.SQL(", ").join(arrays), "columns": sql.SQL(", ").join(names)}

    def condition(self, term: FilterTerm | None) -> Composable:
        """Compile a condition; a term that is not boolean is false."""
        if term is None:
            return _fragment("all")
        fragment = self.fragment(term)
        return fragment.text if fragment.kind == "truth" else _fragment("never")

    def fragment(self, term: FilterTerm) -> SqlFragment:
        """Compile a term."""
        match term:
            case Constant(value):
                return self._value(value)
            case ObservationField(name):
                self.revised = self.revised or name in REVISABLE_FIELDS
                return SqlFragment(_fragment(name), FIELD_KINDS[name], nullable=name in NULLABLE_FIELDS)
            case SeriesColumn(column):
                text = _fragment("given", sql.Identifier(f"given{column}"))
                return SqlFragment(text, _column_kind(self.scope.columns[column]))
            case Operation(name, args):
                return self._call(name, args)

    def order(self, orders: Sequence[SortKey]) -> Composable:
        """Compile ORDER BY for the readings of one series."""
        fragments = [self._key(one) for one in orders]
        return sql.SQL(", ").join(
            _ordered(fragment.text, one, fragment) for fragment, one in zip(fragments, orders, strict=True)
        )

    def outer_order(self, orders: Sequence[SortKey]) -> Composable:
        """Compile ORDER BY for the rows of all series, by their key columns."""
        names = [sql.Identifier("r", f"key{k}") for k in range(len(orders))]
        return sql.SQL(", ").join(
            _ordered(name, one, self._key(one)) for name, one in zip(names, orders, strict=True)
        )

    def readings(self, orders: Sequence[SortKey] = (), *, few: bool = False) -> Composable:
        """Compile the source table; call it last, for the other parts decide whether revisions are joined.

        Parameters
        ----------
        orders : the order of the observations of a series
        few : whether no more rows are read than are returned

        """
        sources = SOURCES_OF_FEW if few and len(self.scope.series_ids) > 1 else READING_SOURCES
        name = sources[time_order(orders)]
        return _fragment("judged" if self.revised else "reading_source", sql.Identifier(name))

    def key_names(self, orders: Sequence[SortKey]) -> Composable:
        """Compile the list of the names of the columns of `keys`."""
        return sql.SQL("").join(
            sql.SQL(", {}").format(sql.Identifier("r", f"key{k}")) for k in range(len(orders))
        )

    def keys(self, orders: Sequence[SortKey]) -> Composable:
        """Compile the sort keys as columns of the result."""
        named = [
            sql.SQL(", {} AS {}").format(self._key(one).text, sql.Identifier(f"key{k}"))
            for k, one in enumerate(orders)
        ]
        return sql.SQL("").join(named)

    def after(self, orders: Sequence[SortKey], last: Sequence[ScalarValue]) -> Composable:
        """Compile the condition for rows after the row with these keys; an index scan can start there."""
        condition_sql: Composable = _fragment("never")
        keys = [self._key(one) for one in orders]
        for key, one, value in reversed(list(zip(keys, orders, last, strict=True))):
            beyond_sql, equal_sql = self._after_value(key, one, value)
            condition_sql = _combined("or", [beyond_sql, _combined("and", [equal_sql, condition_sql])])
        if keys[0].nullable or last[0] is None:
            return condition_sql
        bound = "le_known" if orders[0].descending else "ge_known"
        return _combined("and", [_fragment(bound, keys[0].text, self._value(last[0]).text), condition_sql])

    def _after_value(
        self, key: SqlFragment, one: SortKey, value: ScalarValue
    ) -> tuple[Composable, Composable]:
        if value is None:
            beyond_sql = _fragment("never") if one.descending else _fragment("after_null", key.text)
            return beyond_sql, _fragment("is_null", key.text)
        value_sql = self._value(value).text
        name = "after_descending" if one.descending else "after_ascending"
        if not key.nullable:
            name = "lt_known" if one.descending else "gt_known"
        return _fragment(name, key.text, value_sql), _fragment("eq", key.text, value_sql)

    def _key(self, one: SortKey) -> SqlFragment:
        fragment = self.fragment(one.term)
        if fragment.kind != "text":
            return fragment
        return SqlFragment(_fragment("collated", fragment.text), fragment.kind, nullable=fragment.nullable)

    def _value(self, value: ScalarValue) -> SqlFragment:
        kind = value_kind(value)
        cast = "text" if kind == "null" else kind
        return SqlFragment(_fragment(f"as_{cast}", self.parameter(value)), kind, nullable=value is None)

    def _call(self, name: str, args: tuple[FilterTerm, ...]) -> SqlFragment:
        if name == "is_at":
            texts = [self.parameter(one.value) for one in args if isinstance(one, Constant)]
            return SqlFragment(_fragment("is_at", *texts), "truth", nullable=False)
        fragments = [self.fragment(one) for one in args]
        if name in {"and", "or"}:
            conditions = [one.text if one.kind == "truth" else self._unknown() for one in fragments]
            return SqlFragment(_combined(name, conditions), "truth")
        if name in {"eq", "lt", "le"}:
            return self._compared(name, *fragments)
        nullable = name in MAY_RETURN_NULL or any(one.nullable for one in fragments)
        if any(one.kind == "null" for one in fragments) or (name == "not" and fragments[0].kind != "truth"):
            return self._value(None)
        kind = "truth" if name == "not" else RESULT_KINDS.get(name, "number")
        return SqlFragment(_fragment(name, *(one.text for one in fragments)), kind, nullable=nullable)

    def _unknown(self) -> Composable:
        return _fragment("as_truth", self.parameter(None))

    def _compared(self, name: str, left: SqlFragment, right: SqlFragment) -> SqlFragment:
        """Compile a comparison; values of different kinds are never equal, and neither is less."""
        nullable = left.nullable or right.nullable
        if "null" in {left.kind, right.kind}:
            other = right if left.kind == "null" else left
            text = _fragment("is_null", other.text) if name == "eq" else _fragment("never")
            return SqlFragment(text, "truth", nullable=False)
        if left.kind != right.kind:
            return SqlFragment(_fragment("never"), "truth", nullable=False)
        texts = [left.text, right.text]
        if left.kind == "text" and name != "eq":
            texts = [_fragment("collated", one) for one in texts]
        suffix = ("_null" if name == "eq" else "") if nullable else ("" if name == "eq" else "_known")
        return SqlFragment(_fragment(name + suffix, *texts), "truth", nullable=False)


def _ordered(text: Composable, one: SortKey, key: SqlFragment) -> Composable:
    name = "descending" if one.descending else "ascending"
    return _fragment(name if key.nullable else f"{name}_known", text)


def _fragment(name: str, *args: Composable) -> Composable:
    return sql.SQL(QUERIES[f"sta_{name}"]).format(*args)


def _combined(word: str, texts: Sequence[Composable]) -> Composable:
    separator = sql.SQL(" {} ").format(sql.SQL(QUERIES[f"sta_{word}"])).as_string()
    return sql.SQL("({})").format(sql.SQL(separator).join(texts))


def _column_kind(column: Sequence[ScalarValue]) -> str:
    kinds = {value_kind(one) for one in column} - {"null"}
    if len(kinds) > 1:
        raise ValueError(f"values of several kinds can't be compared: {', '.join(sorted(kinds))}")
    return next(iter(kinds), "text")
