"""Reads observations for the SensorThings API: by filter and order, counts, and the time range of series."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self, runtime_checkable

import msgspec
import psycopg
from psycopg import sql

from ingest_service.storage.compiling import Compiler, direction
from ingest_service.storage.errors import StoreError
from ingest_service.storage.sql import QUERIES
from ingest_service.storage.terms import Order, Own, Scope

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from zoneinfo import ZoneInfo

    from psycopg import Connection

    from ingest_service.storage.terms import Plain, Term

BY_TIME = (Order(Own("time")),)
BY_ID = (Order(Own("series")), *BY_TIME)
"""Order by id; appended to every other order to make it total."""
GROWTH = 8
STATEMENT_MS = 15_000


class QueryRefused(StoreError):
    """The database can't evaluate this condition."""


class QueryTimeout(StoreError):
    """The database did not evaluate this within the statement timeout."""


@runtime_checkable
class Transacting(Protocol):
    """A store with a PostgreSQL database."""

    @property
    def zone(self) -> ZoneInfo:
        """Time zone of the rollups' days."""
        ...

    def transaction(self) -> AbstractContextManager[Connection[Any]]:
        """Open a connection in one transaction."""
        ...


class Extent(msgspec.Struct, frozen=True):
    """Measured and received time of the first and of the newest measured reading of a series."""

    first: dt.datetime
    first_received: dt.datetime
    last: dt.datetime
    last_received: dt.datetime


class Observed(NamedTuple):
    """One reading with its revised flag, and its sort keys."""

    series_id: int
    time_us: int
    received_us: int
    value: float
    quality: int
    rules: int
    expected: float | None
    spread: float | None
    keys: tuple[Plain, ...]


class SensorThings:
    """Observations of a store; ``meanings[i]`` is the text of flag i + 1, ``rules[i]`` that of rule bit i."""

    def __init__(self, store: Transacting, *, meanings: Sequence[str], rules: Sequence[str]) -> None:
        self._store = store
        self._words = (list(meanings), list(rules))
        self._connection: Connection[Any] | None = None
        self._by_index = False

    def extents(self, series_ids: Sequence[int]) -> dict[int, Extent]:
        """Return the time range of each series; series without readings are left out."""
        with self._transaction() as connection:
            rows = connection.execute(QUERIES["sta_extents"], {"series_ids": list(series_ids)}).fetchall()
        return {series_id: Extent(*moments) for series_id, *moments in rows}

    def page(
        self,
        scope: Scope,
        where: Term | None,
        order: Sequence[Order],
        *,
        after: Sequence[Plain] | None = None,
        limit: int,
        skip: int = 0,
    ) -> list[Observed]:
        """Return at most ``limit`` observations in order, after the row with the keys ``after``.

        Raises
        ------
        QueryRefused
            If the condition can't be evaluated.
        QueryTimeout
            If it is not evaluated in time.

        """
        order = (*order, *BY_ID)
        with self._transaction() as connection:
            if order == BY_ID and not skip:
                return self._by_series(connection, scope, where, after, limit)
            return self._page(connection, scope, where, order, after, limit=limit, skip=skip)

    def newest(self, series_ids: Sequence[int]) -> dict[int, Observed]:
        """Return the newest observation of each series, with the keys of the order by time and id."""
        with self._transaction() as connection:
            rows = connection.execute(QUERIES["sta_newest"], {"series_ids": list(series_ids)})
            return {one.series_id: one for one in map(_observed, rows)}

    def counts(self, series_ids: Sequence[int]) -> dict[int, int]:
        """Count the observations of each series, from the rollups where they are up to date."""
        with self._transaction() as connection:
            self._read_by_index(connection, wanted=False)
            given = {"series_ids": list(series_ids), "zone": self._store.zone.key}
            found = dict(connection.execute(QUERIES["sta_counts"], given).fetchall())
        return {one: int(found.get(one, 0)) for one in series_ids}

    def count(self, scope: Scope, where: Term | None) -> int:
        """Count the observations that match a condition. Raises `QueryRefused`, `QueryTimeout`."""
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
            self._read_by_index(connection, wanted=False)
            (count,) = connection.execute(text, compiler.parameters).fetchone() or (0,)
            return int(count)

    def holding(self, scope: Scope, where: Term | None) -> set[int]:
        """Return the indices in the scope of series with a matching observation. Raises `QueryRefused`."""
        if not scope.series_ids:
            return set()
        with self._transaction() as connection:
            compiler = self._compiler(scope)
            condition = compiler.condition(where)
            text = sql.SQL(QUERIES["sta_holding"]).format(
                **compiler.arrays(), where=condition, readings=compiler.readings()
            )
            self._read_by_index(connection, wanted=False)
            return {place - 1 for (place,) in connection.execute(text, compiler.parameters)}

    def _by_series(
        self,
        connection: Connection[Any],
        scope: Scope,
        where: Term | None,
        after: Sequence[Plain] | None,
        limit: int,
    ) -> list[Observed]:
        """Read a page in the order of ids: a few series per statement, until the page is full."""
        found: list[Observed] = []
        begin, width = 0, 1
        after_time: Sequence[Plain] | None = None
        if after is not None:
            last, *times = after
            begin = sum(one < last for one in scope.series_ids)  # type: ignore[operator]
            after_time = times if last in scope.series_ids[begin : begin + 1] else None
        while begin < len(scope.series_ids) and len(found) < limit:
            part = scope.part(begin, begin + width)
            order = BY_TIME if width == 1 else BY_ID
            found += self._page(connection, part, where, order, after_time, limit=limit - len(found))
            begin, after_time = begin + width, None
            width = width * GROWTH if len(found) * GROWTH < limit * begin else 1
        return [one._replace(keys=(one.series_id, one.keys[-1])) for one in found]

    def _page(
        self,
        connection: Connection[Any],
        scope: Scope,
        where: Term | None,
        order: Sequence[Order],
        after: Sequence[Plain] | None,
        *,
        limit: int,
        skip: int = 0,
    ) -> list[Observed]:
        if not scope.series_ids or not limit:
            return []
        compiler = self._compiler(scope)
        each = self._each(compiler, where, order, after, limit + skip)
        text = sql.SQL(QUERIES["sta_page"]).format(
            **compiler.arrays(),
            each=each,
            key_names=compiler.key_names(order),
            outer_order=compiler.outer_order(order),
            limit=compiler.parameter(limit),
            skip=compiler.parameter(skip),
        )
        self._read_by_index(connection, wanted=direction(order) is not None)
        rows = connection.execute(text, compiler.parameters).fetchall()
        return [_observed(row) for row in rows]

    @staticmethod
    def _each(
        compiler: Compiler,
        where: Term | None,
        order: Sequence[Order],
        after: Sequence[Plain] | None,
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

    def _read_by_index(self, connection: Connection[Any], *, wanted: bool) -> None:
        """Enforce index scans: behind a security barrier the planner ignores that a page ends early."""
        if wanted is not self._by_index:
            # never a generic plan of a page: beside the few rows expected behind a barrier it looks cheap
            plans = "force_custom_plan" if wanted else "auto"
            connection.execute(QUERIES["sta_by_index"], {"scans": "off" if wanted else "on", "plans": plans})
            self._by_index = wanted

    def _compiler(self, scope: Scope) -> Compiler:
        return Compiler(scope, *self._words)

    def of_each(
        self,
        series_ids: Sequence[int],
        order: Sequence[Order],
        *,
        limit: int,
    ) -> dict[int, list[Observed]]:
        """Return the first ``limit`` observations of each series in order, in one statement."""
        order = (*order, *BY_ID)
        found: dict[int, list[Observed]] = {one: [] for one in series_ids}
        if not series_ids or not limit:
            return found
        with self._transaction() as connection:
            compiler = self._compiler(Scope(list(series_ids)))
            each = self._each(compiler, None, order, None, limit)
            text = sql.SQL(QUERIES["sta_of_each"]).format(
                **compiler.arrays(),
                each=each,
                key_names=compiler.key_names(order),
                outer_order=compiler.outer_order(order),
            )
            self._read_by_index(connection, wanted=direction(order) is not None)
            for row in connection.execute(text, compiler.parameters):
                one = _observed(row)
                found[one.series_id].append(one)
        return found

    @contextmanager
    def session(self) -> Iterator[Self]:
        """Run all queries within the context in one transaction, which saves round trips."""
        with self._opened() as connection:
            self._connection = connection
            try:
                yield self
            finally:
                self._connection = None

    @contextmanager
    def _transaction(self) -> Iterator[Connection[Any]]:
        if self._connection is not None:
            with _refusing():
                yield self._connection
            return
        with self._opened() as connection, _refusing():
            yield connection

    @contextmanager
    def _opened(self) -> Iterator[Connection[Any]]:
        with self._store.transaction() as connection:
            connection.execute(QUERIES["sta_limit_time"], (str(STATEMENT_MS),))
            self._by_index = False
            yield connection


def _observed(row: Sequence[Any]) -> Observed:
    return Observed._make((*row[:8], tuple(row[8:])))


@contextmanager
def _refusing() -> Iterator[None]:
    """Convert timeouts and errors that a client's condition causes to `QueryTimeout` and `QueryRefused`."""
    try:
        yield
    except psycopg.errors.QueryCanceled as error:
        raise QueryTimeout(
            f"the database did not finish within {STATEMENT_MS / 1000:g} s: "
            "request fewer Datastreams, or a shorter phenomenonTime"
        ) from error
    except (psycopg.DataError, psycopg.ProgrammingError) as error:
        raise QueryRefused(f"it can't be computed: {error.diag.message_primary}") from error
