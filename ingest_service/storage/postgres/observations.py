"""Reads observations for the SensorThings API: by filter and order, counts, and the time range of series."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import msgspec
import psycopg
from psycopg import sql

from ingest_service.storage.contract.errors import StoreError
from ingest_service.storage.contract.filter_terms import ObservationField, SeriesScope, SortKey
from ingest_service.storage.postgres.named_queries import QUERIES
from ingest_service.storage.postgres.observation_filters import FilterCompiler, time_order

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Sequence

    from psycopg import Connection

    from ingest_service.storage.contract.filter_terms import FilterTerm, ScalarValue
    from ingest_service.storage.contract.store import Database

TIME_ORDER = (SortKey(ObservationField("time")),)
ID_ORDER = (SortKey(ObservationField("series")), *TIME_ORDER)
"""Order by id; appended to every other order to make it total."""
PAGE_GROWTH = 8
STATEMENT_MS = 15_000


class QueryRefusedError(StoreError):
    """The database can't evaluate this condition."""


class QueryTimeoutError(StoreError):
    """The database did not evaluate this within the statement timeout."""


class SeriesExtent(msgspec.Struct, frozen=True):
    """Measured and received time of the first and of the newest measured reading of a series."""

    first: dt.datetime
    first_received: dt.datetime
    last: dt.datetime
    last_received: dt.datetime


class Observation(NamedTuple):
    """One reading with its revised flag, and its sort keys."""

    series_id: int
    time_us: int
    received_us: int
    value: float
    quality: int
    rules: int
    expected: float | None
    spread: float | None
    keys: tuple[ScalarValue, ...]


class ObservationReader:
    """Observations of a store; ``meanings[i]`` is the text of flag i + 1, ``rules[i]`` that of rule bit i."""

    def __init__(self, database: Database, *, meanings: Sequence[str], rules: Sequence[str]) -> None:
        self._database = database
        self._flag_and_rule_names = (list(meanings), list(rules))
        self._connection: Connection[Any] | None = None
        self._index_only = False

    def extents(self, series_ids: Sequence[int]) -> dict[int, SeriesExtent]:
        """Return the time range of each series; series without readings are left out."""
        with self._transaction() as connection:
            rows = connection.execute(QUERIES["sta_extents"], {"series_ids": list(series_ids)}).fetchall()
        return {series_id: SeriesExtent(*timestamps) for series_id, *timestamps in rows}

    def page(
        self,
        scope: SeriesScope,
        where: FilterTerm | None,
        order: Sequence[SortKey],
        *,
        after: Sequence[ScalarValue] | None = None,
        limit: int,
        skip: int = 0,
    ) -> list[Observation]:
        """Return at most ``limit`` observations in order, after the row with the keys ``after``.

        Raises
        ------
        QueryRefused
            If the condition can't be evaluated.
        QueryTimeout
            If it is not evaluated in time.

        """
        order = (*order, *ID_ORDER)
        with self._transaction() as connection:
            if order == ID_ORDER and not skip:
                return self._by_series(connection, scope, where, after, limit)
            return self._page(connection, scope, where, order, after, limit=limit, skip=skip)

    def newest(self, series_ids: Sequence[int]) -> dict[int, Observation]:
        """Return the newest observation of each series, with the keys of the order by time and id."""
        with self._transaction() as connection:
            rows = connection.execute(QUERIES["sta_newest"], {"series_ids": list(series_ids)})
            return {one.series_id: one for one in map(_observation, rows)}

    def counts(self, series_ids: Sequence[int]) -> dict[int, int]:
        """Count the observations of each series, from the rollups where they are up to date."""
        with self._transaction() as connection:
            self._set_index_only(connection, enabled=False)
            query_parameters = {"series_ids": list(series_ids), "zone": self._database.zone.key}
            observations = dict(connection.execute(QUERIES["sta_counts"], query_parameters).fetchall())
        return {one: int(observations.get(one, 0)) for one in series_ids}

    def count(self, scope: SeriesScope, where: FilterTerm | None) -> int:
        """Count the observations that match a condition. Raises `QueryRefusedError`, `QueryTimeoutError`."""
        if not scope.series_ids:
            return 0
        if where is None:
            return sum(self.counts(scope.series_ids).values())
        with self._transaction() as connection:
            compiler = self._compiler(scope)
            condition = compiler.condition(where)
            text = sql.SQL(QUERIES["sta_count"]).format(
                **compiler.arrays(), where=condition, readings=compiler.readings()
            )
            self._set_index_only(connection, enabled=False)
            (count,) = connection.execute(text, compiler.parameters).fetchone() or (0,)
            return int(count)

    def series_matching(self, scope: SeriesScope, where: FilterTerm | None) -> set[int]:
        """Return the scope's indices of series with a matching observation. Raises `QueryRefusedError`."""
        if not scope.series_ids:
            return set()
        with self._transaction() as connection:
            compiler = self._compiler(scope)
            condition = compiler.condition(where)
            text = sql.SQL(QUERIES["sta_holding"]).format(
                **compiler.arrays(), where=condition, readings=compiler.readings()
            )
            self._set_index_only(connection, enabled=False)
            return {
                position_in_scope - 1
                for (position_in_scope,) in connection.execute(text, compiler.parameters)
            }

    def _by_series(
        self,
        connection: Connection[Any],
        scope: SeriesScope,
        where: FilterTerm | None,
        after: Sequence[ScalarValue] | None,
        limit: int,
    ) -> list[Observation]:
        """Read a page in the order of ids: a few series per statement, until the page is full."""
        observations: list[Observation] = []
        begin, width = 0, 1
        after_time: Sequence[ScalarValue] | None = None
        if after is not None:
            last, *times = after
            begin = sum(one < last for one in scope.series_ids)  # type: ignore[operator]
            after_time = times if last in scope.series_ids[begin : begin + 1] else None
        while begin < len(scope.series_ids) and len(observations) < limit:
            slice_of = scope.slice_of(begin, begin + width)
            order = TIME_ORDER if width == 1 else ID_ORDER
            observations += self._page(
                connection, slice_of, where, order, after_time, limit=limit - len(observations)
            )
            begin, after_time = begin + width, None
            width = width * PAGE_GROWTH if len(observations) * PAGE_GROWTH < limit * begin else 1
        return [one._replace(keys=(one.series_id, one.keys[-1])) for one in observations]

    def _page(
        self,
        connection: Connection[Any],
        scope: SeriesScope,
        where: FilterTerm | None,
        order: Sequence[SortKey],
        after: Sequence[ScalarValue] | None,
        *,
        limit: int,
        skip: int = 0,
    ) -> list[Observation]:
        if not scope.series_ids or not limit:
            return []
        compiler = self._compiler(scope)
        per_series_sql = self._per_series_query(compiler, where, order, after, limit + skip)
        text = sql.SQL(QUERIES["sta_page"]).format(
            **compiler.arrays(),
            per_series_sql=per_series_sql,
            key_names=compiler.key_names(order),
            outer_order=compiler.outer_order(order),
            limit=compiler.parameter(limit),
            skip=compiler.parameter(skip),
        )
        self._set_index_only(connection, enabled=time_order(order) is not None)
        rows = connection.execute(text, compiler.parameters).fetchall()
        return [_observation(row) for row in rows]

    @staticmethod
    def _per_series_query(
        compiler: FilterCompiler,
        where: FilterTerm | None,
        order: Sequence[SortKey],
        after: Sequence[ScalarValue] | None,
        limit: int,
    ) -> sql.Composable:
        """Compile the subquery for the first observations of one series."""
        condition = compiler.condition(where)
        if after is not None:
            condition = sql.SQL("({} AND {})").format(condition, compiler.after(order, after))
        keys = compiler.keys(order)
        return sql.SQL(QUERIES["sta_each"]).format(
            keys=keys,
            where=condition,
            order=compiler.order(order),
            inner_limit=compiler.parameter(limit),
            readings=compiler.readings(order, few=where is None),
        )

    def _set_index_only(self, connection: Connection[Any], *, enabled: bool) -> None:
        """Enforce index scans: behind a security barrier the planner ignores that a page ends early."""
        if enabled is not self._index_only:
            # never a generic plan of a page: beside the few rows expected behind a barrier it looks cheap
            plans = "force_custom_plan" if enabled else "auto"
            connection.execute(QUERIES["sta_by_index"], {"scans": "off" if enabled else "on", "plans": plans})
            self._index_only = enabled

    def _compiler(self, scope: SeriesScope) -> FilterCompiler:
        return FilterCompiler(scope, *self._flag_and_rule_names)

    def first_of_each(
        self,
        series_ids: Sequence[int],
        order: Sequence[SortKey],
        *,
        limit: int,
    ) -> dict[int, list[Observation]]:
        """Return the first ``limit`` observations of each series in order, in one statement."""
        order = (*order, *ID_ORDER)
        observations: dict[int, list[Observation]] = {one: [] for one in series_ids}
        if not series_ids or not limit:
            return observations
        with self._transaction() as connection:
            compiler = self._compiler(SeriesScope(list(series_ids)))
            per_series_sql = self._per_series_query(compiler, None, order, None, limit)
            text = sql.SQL(QUERIES["sta_of_each"]).format(
                **compiler.arrays(),
                per_series_sql=per_series_sql,
                key_names=compiler.key_names(order),
                outer_order=compiler.outer_order(order),
            )
            self._set_index_only(connection, enabled=time_order(order) is not None)
            for row in connection.execute(text, compiler.parameters):
                one = _observation(row)
                observations[one.series_id].append(one)
        return observations

    @contextmanager
    def session(self) -> Iterator[Self]:
        """Run all queries within the context in one transaction, which saves round trips."""
        with self._new_transaction() as connection:
            self._connection = connection
            try:
                yield self
            finally:
                self._connection = None

    @contextmanager
    def _transaction(self) -> Iterator[Connection[Any]]:
        if self._connection is not None:
            with _translated_query_errors():
                yield self._connection
            return
        with self._new_transaction() as connection, _translated_query_errors():
            yield connection

    @contextmanager
    def _new_transaction(self) -> Iterator[Connection[Any]]:
        with self._database.transaction() as connection:
            connection.execute(QUERIES["sta_limit_time"], (str(STATEMENT_MS),))
            self._index_only = False
            yield connection


def _observation(row: Sequence[Any]) -> Observation:
    return Observation._make((*row[:8], tuple(row[8:])))


@contextmanager
def _translated_query_errors() -> Iterator[None]:
    """Raise `QueryTimeoutError` or `QueryRefusedError` for what a client's condition caused."""
    try:
        yield
    except psycopg.errors.QueryCanceled as error:
        raise QueryTimeoutError(
            f"the database did not finish within {STATEMENT_MS / 1000:g} s: "
            "request fewer Datastreams, or a shorter phenomenonTime"
        ) from error
    except (psycopg.DataError, psycopg.ProgrammingError) as error:
        raise QueryRefusedError(f"it can't be computed: {error.diag.message_primary}") from error
