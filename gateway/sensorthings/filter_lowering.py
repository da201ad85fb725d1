"""Translates filter expressions on Observations to terms for SQL (`ingest_service.storage.contract`).

The parts of a filter that do not depend on the single Observation (names of Things, geometry, units) are
evaluated here, once for each series; the rest becomes SQL. So the database needs neither geometry nor
directory.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shapely.geometry.base import BaseGeometry

from gateway.sensorthings import functions, geometry, interval_relations
from gateway.sensorthings.entity_properties import parse_observation_id
from gateway.sensorthings.entity_types import ValueType
from gateway.sensorthings.expression_parser import evaluated_size
from gateway.sensorthings.expression_tree import (
    ExpressionNode,
    FunctionCall,
    LiteralValue,
    PropertyRef,
    QueryError,
    TimeInterval,
)
from gateway.sensorthings.functions import ARITHMETIC_OPERATORS, QUERY_FUNCTIONS
from gateway.sensorthings.interval_relations import INTERVAL_RELATIONS, IntervalTerms
from gateway.sensorthings.name_binding import COMPARISON_OPERATORS, property_refs
from ingest_service.storage.contract import filter_terms
from ingest_service.storage.contract.filter_terms import (
    Constant,
    ObservationField,
    SeriesColumn,
    SeriesScope,
    value_kind,
)
from ingest_service.storage.postgres.observation_filters import FIELD_KINDS, RESULT_KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.sensorthings.evaluation import Evaluator, PickedEntities
    from ingest_service.storage.contract.filter_terms import FilterTerm, ScalarValue

OBSERVATION_FIELDS: dict[tuple[str, ...], ObservationField | Constant] = {
    ("id",): ObservationField("id"),
    ("result",): ObservationField("result"),
    ("phenomenonTime",): ObservationField("time"),
    ("resultTime",): ObservationField("received"),
    ("resultQuality", "value"): ObservationField("quality"),
    ("resultQuality", "meaning"): ObservationField("meaning"),
    ("resultQuality", "nameOfMeasure"): Constant("QARTOD flag"),
    ("resultQuality",): Constant("object"),
    ("parameters",): Constant("object"),
    ("parameters", "rules"): ObservationField("rules"),
    ("parameters", "expected"): ObservationField("expected"),
    ("parameters", "spread"): ObservationField("spread"),
}
VALUE_TYPES = {
    "number": ValueType.NUMBER,
    "text": ValueType.TEXT,
    "timestamp": ValueType.DATETIME,
    "truth": ValueType.BOOLEAN,
    "day": ValueType.DATE,
    "clock": ValueType.TIME_OF_DAY,
}
SQL_FUNCTION_NAMES = {"contains": "substringof", "time": "time_of"}
ADD_DURATION_FUNCTIONS = {("timestamp", "number"): "later", ("day", "number"): "day_later"}
SUBTRACT_FUNCTIONS = {("timestamp", "timestamp"): "between", ("day", "day"): "days_between"}
NULL_CONSTANT = Constant(None)
MAX_CONTEXTS_PER_SERIES = 50
MAX_TERMS = 20_000


@dataclass(frozen=True, slots=True)
class PickedSeries:
    """One series, and the entities picked on the path to its Observations."""

    series_id: int
    picks: PickedEntities
    entity_number: int = 0


class FilterLowering:
    """Lowers expressions on the Observations at the end of a path to SQL terms.

    Parameters
    ----------
    evaluator : evaluates the parts that do not depend on the single Observation
    picked_series : the series, each with its picked entities
    observation_path : links from the filtered entity to Observations; empty for Observations themselves

    """

    def __init__(
        self,
        evaluator: Evaluator,
        picked_series: Sequence[PickedSeries],
        observation_path: tuple[str, ...] = (),
    ) -> None:
        self.picked_series = list(picked_series)
        self._evaluator = evaluator
        self._observation_path = observation_path
        self._columns: list[list[ScalarValue]] = []

    def scope(self) -> SeriesScope:
        """Return the series with the columns of values that the terms refer to."""
        return SeriesScope([one.series_id for one in self.picked_series], tuple(self._columns))

    def condition(self, node: ExpressionNode | None) -> FilterTerm | None:
        """Return the term of a filter; drop the series for which it can't hold. Call it before `scope`."""
        return None if node is None else self._conjunction(self._keep_observation_conditions(node))

    def any_picks_condition(self, node: ExpressionNode) -> FilterTerm | None:
        """Return the term of a filter that may hold for any picks of a series; keep one entry a series.

        Raises `QueryError` if there are too many picks.
        """
        conjuncts = self._keep_observation_conditions(node)
        named_links = {
            ref.links[:n]
            for one in conjuncts
            for ref in property_refs(one)
            for n in range(len(ref.links) + 1)
        }
        picks_by_series: dict[int, dict[frozenset[Any], PickedSeries]] = {}
        for one in self.picked_series:
            picks = frozenset(pick for pick in one.picks.items() if pick[0] in named_links)
            picks_by_series.setdefault(one.series_id, {}).setdefault(picks, one)
        rows = [list(one.values()) for one in picks_by_series.values()]
        max_contexts = max(map(len, rows), default=1)
        if max_contexts * sum(map(evaluated_size, conjuncts)) > MAX_TERMS:
            raise QueryError("this takes too many operations over the entities of a set: name fewer", node.at)
        if max_contexts > MAX_CONTEXTS_PER_SERIES:
            raise QueryError(
                f"this goes through more than {MAX_CONTEXTS_PER_SERIES} entities of a set: name fewer",
                node.at,
            )
        lowered_terms = []
        for k in range(max_contexts):
            self.picked_series = [row[k % len(row)] for row in rows]
            lowered_terms.append(self._conjunction(conjuncts))
        return (
            filter_terms.Operation("or", tuple(one for one in lowered_terms if one is not None))
            if max_contexts > 1
            else lowered_terms[0]
        )

    def _keep_observation_conditions(self, node: ExpressionNode) -> list[ExpressionNode]:
        """Return the conjuncts that depend on the single Observation; drop series that fail the others."""
        conjuncts = node.args if isinstance(node, FunctionCall) and node.name == "and" else (node,)
        independent = [one for one in conjuncts if self._is_independent(one)]
        self.picked_series = [
            one
            for one in self.picked_series
            if all(self._evaluator.value(each, one.picks) is True for each in independent)
        ]
        return [one for one in conjuncts if not self._is_independent(one)]

    def _conjunction(self, conjuncts: Sequence[ExpressionNode]) -> FilterTerm | None:
        lowered_terms = tuple(self.scalar_term(one) for one in conjuncts)
        return (
            filter_terms.Operation("and", lowered_terms)
            if len(lowered_terms) > 1
            else (lowered_terms[0] if lowered_terms else None)
        )

    def key(self, node: ExpressionNode) -> FilterTerm:
        """Return the term of a sort key: the start of an interval, the GeoJSON text of a geometry."""
        if not self._is_independent(node):
            return self.scalar_term(node)
        values = [geometry.sort_value(self._evaluator.value(node, one.picks)) for one in self.picked_series]
        return self._constant_or_column([functions.start_of(one) for one in values], node)

    def scalar_term(self, node: ExpressionNode) -> FilterTerm:
        """Return the term of an expression; the start of an interval."""
        lowered_terms = self._lower(node)
        return lowered_terms.start if isinstance(lowered_terms, IntervalTerms) else lowered_terms

    def _lower(self, node: ExpressionNode) -> FilterTerm | IntervalTerms:
        if self._is_independent(node):
            return self._constant_term(node)
        match node:
            case PropertyRef(_, name, json_path):
                lowered_terms: FilterTerm = OBSERVATION_FIELDS.get((name, *json_path), NULL_CONSTANT)
                return lowered_terms
            case FunctionCall(name, args):
                return self._call(name, args)
        return NULL_CONSTANT

    def _is_independent(self, node: ExpressionNode) -> bool:
        return all(one.links != self._observation_path for one in property_refs(node))

    def _constant_term(self, node: ExpressionNode) -> FilterTerm | IntervalTerms:
        if isinstance(node, LiteralValue):
            values: list[Any] = [node.value]
        else:
            values = [self._evaluator.value(node, one.picks) for one in self.picked_series]
        if any(isinstance(one, BaseGeometry) for one in values):
            raise QueryError("a geometry stands where a value is wanted", node.at)
        if any(isinstance(one, TimeInterval) for one in values):
            starts, ends = (
                [take_end(one) for one in values] for take_end in (functions.start_of, functions.end_of)
            )
            return IntervalTerms(self._constant_or_column(starts, node), self._constant_or_column(ends, node))
        return self._constant_or_column(values, node)

    def _constant_or_column(self, values: list[Any], node: ExpressionNode) -> FilterTerm:
        scalar_term = [one.total_seconds() if isinstance(one, dt.timedelta) else one for one in values]
        if len({value_kind(one) for one in scalar_term} - {"null"}) > 1:
            raise QueryError("this is of several types over the Datastreams: name one of them", node.at)
        if all(one == scalar_term[0] for one in scalar_term):
            return Constant(scalar_term[0] if scalar_term else None)
        self._columns.append(scalar_term)
        return SeriesColumn(len(self._columns) - 1)

    def _call(self, name: str, args: tuple[ExpressionNode, ...]) -> FilterTerm | IntervalTerms:
        if name in {"and", "or", "not"}:
            return filter_terms.Operation(name, tuple(self.scalar_term(one) for one in args))
        lowered = [self._lower(one) for one in args]
        if name in COMPARISON_OPERATORS:
            return self._lower_comparison(name, *lowered)
        if name in ARITHMETIC_OPERATORS:
            return self._lower_arithmetic(name, *lowered)
        if name in INTERVAL_RELATIONS:
            return NULL_CONSTANT if NULL_CONSTANT in lowered else INTERVAL_RELATIONS[name](*lowered)
        return self._lower_function(name, [interval_relations.start_term(one) for one in lowered])

    def _lower_comparison(
        self, name: str, one: FilterTerm | IntervalTerms, other: FilterTerm | IntervalTerms
    ) -> FilterTerm:
        if name in {"gt", "ge"}:
            return self._lower_comparison("lt" if name == "gt" else "le", other, one)
        if name == "ne":
            return filter_terms.Operation("not", (self._lower_comparison("eq", one, other),))
        one, other = self._day_to_datetime(one, other), self._day_to_datetime(other, one)
        if isinstance(one, IntervalTerms) or isinstance(other, IntervalTerms):
            return {
                "eq": interval_relations.equal_intervals,
                "lt": interval_relations.ends_before,
                "le": interval_relations.not_after,
            }[name](one, other)
        for key, value in ((one, other), (other, one)):
            if name == "eq" and key == ObservationField("id") and isinstance(value, Constant):
                return _observation_id_condition(value.value)
        return filter_terms.Operation(name, (one, other))

    def _day_to_datetime(
        self, one: FilterTerm | IntervalTerms, other: FilterTerm | IntervalTerms
    ) -> FilterTerm | IntervalTerms:
        """Return a date that is compared with a time or an interval as its start; else the term unchanged."""
        if isinstance(one, IntervalTerms) or self._term_kind(one) != "day":
            return one
        is_compared_with_time = isinstance(other, IntervalTerms) or self._term_kind(other) == "timestamp"
        return filter_terms.Operation("begin_of", (one,)) if is_compared_with_time else one

    def _lower_arithmetic(
        self, name: str, one: FilterTerm | IntervalTerms, other: FilterTerm | IntervalTerms
    ) -> FilterTerm | IntervalTerms:
        """Return the term of an arithmetic operation on values, or of an interval shifted by a duration."""
        if isinstance(other, IntervalTerms) and name == "add":
            one, other = other, one
        if isinstance(other, IntervalTerms):
            return NULL_CONSTANT
        if isinstance(one, IntervalTerms):
            return self._shift_interval(name, one, other)
        return self._scalar_arithmetic(name, one, other)

    def _scalar_arithmetic(self, name: str, one: FilterTerm, other: FilterTerm) -> FilterTerm:
        kinds = (self._term_kind(one), self._term_kind(other))
        if kinds == ("number", "number"):
            return filter_terms.Operation(name, (one, other))
        if name == "add" and kinds[0] == "number":
            one, other, kinds = other, one, (kinds[1], kinds[0])
        if name == "sub" and kinds in SUBTRACT_FUNCTIONS:
            return filter_terms.Operation(SUBTRACT_FUNCTIONS[kinds], (one, other))
        if name not in {"add", "sub"} or kinds not in ADD_DURATION_FUNCTIONS:
            return NULL_CONSTANT
        return filter_terms.Operation(
            ADD_DURATION_FUNCTIONS[kinds],
            (one, other if name == "add" else filter_terms.Operation("neg", (other,))),
        )

    def _shift_interval(self, name: str, one: IntervalTerms, by: FilterTerm) -> FilterTerm | IntervalTerms:
        if name not in {"add", "sub"} or self._term_kind(by) != "number":
            return NULL_CONSTANT
        by = by if name == "add" else filter_terms.Operation("neg", (by,))
        return IntervalTerms(
            filter_terms.Operation("later", (one.start, by)), filter_terms.Operation("later", (one.end, by))
        )

    def _lower_function(self, name: str, args: list[FilterTerm]) -> FilterTerm:
        for one, arg_types in zip(args, QUERY_FUNCTIONS[name].arg_types, strict=False):
            if VALUE_TYPES.get(self._term_kind(one)) not in arg_types:
                return NULL_CONSTANT
        if name == "contains":
            args.reverse()
        if name == "substring" and len(args) == 3:
            return filter_terms.Operation("substring3", tuple(args))
        return filter_terms.Operation(SQL_FUNCTION_NAMES.get(name, name), tuple(args))

    def _term_kind(self, term: FilterTerm) -> str:
        match term:
            case Constant(value):
                return value_kind(value)
            case ObservationField(name):
                return FIELD_KINDS[name]
            case SeriesColumn(column):
                return next((value_kind(one) for one in self._columns[column] if one is not None), "null")
        if term.name in {"and", "or", "not", "eq", "lt", "le", "is_at"}:
            return "truth"
        return RESULT_KINDS.get(term.name, "number")


def _observation_id_condition(entity_id: ScalarValue) -> FilterTerm:
    entity_number = parse_observation_id(str(entity_id))
    return (
        Constant(value=False)
        if entity_number is None
        else filter_terms.Operation("is_at", (Constant(entity_number[0]), Constant(entity_number[1])))
    )
