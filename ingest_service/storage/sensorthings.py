"""What the SensorThings façade reads: stretches of time, and observations by any condition and order."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self, runtime_checkable

import msgspec
import psycopg
from psycopg import sql

from ingest_service.storage.compiling import Compiler
from ingest_service.storage.errors import StoreError
from ingest_service.storage.sql import QUERIES
from ingest_service.storage.terms import Order, Own

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from psycopg import Connection

    from ingest_service.storage.terms import Plain, Scope, Term

BY_TIME = (Order(Own("time")),)
BY_ID = (Order(Own("series")), *BY_TIME)
"""The order of ids; the last keys of every other order."""
GROWTH = 8
STATEMENT_MS = 15_000


class QueryRefused(StoreError):
    """The database can't compute this condition, or not in time."""


@runtime_checkable
class Transacting(Protocol):
    """A store with a database behind it."""

    def transaction(self) -> AbstractContextManager[Connection[Any]]:
        """A connection in one transaction."""
        ...


class Extent(msgspec.Struct, frozen=True):
    """The first and the newest measured reading of a series: measured and received."""

    first: dt.datetime
    first_received: dt.datetime
    last: dt.datetime
    last_received: dt.datetime


class Observed(NamedTuple):
    """One reading with its revised flag, and the values that it was sorted by."""

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
    """Observations on a store; ``meanings[i]`` is flag i + 1, ``rules[i]`` is bit i in words."""

    def __init__(self, store: Transacting, *, meanings: Sequence[str], rules: Sequence[str]) -> None:
        self._store = store
        self._words = (list(meanings), list(rules))
        self._connection: Connection[Any] | None = None

    def extents(self, series_ids: Sequence[int]) -> dict[int, Extent]:
        """When the readings of series begin and end; series without any are left out."""
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
        """At most ``limit`` observations in order, after the row with the keys ``after``.

        Raises
        ------
        QueryRefused
            Where the condition can't be computed, or not in time.

        """
        order = (*order, *BY_ID)
        with self._transaction() as connection:
            if order == BY_ID and not skip:
                return self._by_series(connection, scope, where, after, limit)
            return self._page(connection, scope, where, order, after, limit=limit, skip=skip)

    def count(self, scope: Scope, where: Term | None) -> int:
        """How many observations there are. Raises `QueryRefused`."""
        if not scope.series_ids:
            return 0
        with self._transaction() as connection:
            compiler = self._compiler(scope)
            text = sql.SQL(QUERIES["sta_count"]).format(**compiler.arrays(), where=compiler.condition(where))
            (count,) = connection.execute(text, compiler.parameters).fetchone() or (0,)
            return int(count)

    def holding(self, scope: Scope, where: Term | None) -> set[int]:
        """The places in the scope whose series have such an observation. Raises `QueryRefused`."""
        if not scope.series_ids:
            return set()
        with self._transaction() as connection:
            compiler = self._compiler(scope)
            text = sql.SQL(QUERIES["sta_holding"]).format(
                **compiler.arrays(), where=compiler.condition(where)
            )
            return {place - 1 for (place,) in connection.execute(text, compiler.parameters)}

    def _by_series(
        self,
        connection: Connection[Any],
        scope: Scope,
        where: Term | None,
        after: Sequence[Plain] | None,
        limit: int,
    ) -> list[Observed]:
        """A page in the order of ids: a few series at a time, until it is full."""
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
        condition = compiler.condition(where)
        if after is not None:
            condition = sql.SQL("({} AND {})").format(condition, compiler.after(order, after))
        text = sql.SQL(QUERIES["sta_page"]).format(
            **compiler.arrays(),
            keys=compiler.keys(order),
            where=condition,
            order=compiler.order(order),
            outer_order=compiler.outer_order(order),
            inner_limit=compiler.parameter(limit + skip),
            limit=compiler.parameter(limit),
            skip=compiler.parameter(skip),
        )
        rows = connection.execute(text, compiler.parameters).fetchall()
        return [Observed._make((*row[:8], tuple(row[8:]))) for row in rows]

    def _compiler(self, scope: Scope) -> Compiler:
        return Compiler(scope, *self._words)

    @contextmanager
    def session(self) -> Iterator[Self]:
        """All that is asked inside is asked in one transaction: of one moment, and with fewer ways to go."""
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
            yield connection


@contextmanager
def _refusing() -> Iterator[None]:
    """What a condition does to the database is the fault of who asked."""
    try:
        yield
    except psycopg.errors.QueryCanceled as error:
        raise QueryRefused(
            f"it takes more than {STATEMENT_MS // 1000} s: ask for fewer series, or a shorter time"
        ) from error
    except (psycopg.DataError, psycopg.ProgrammingError) as error:
        raise QueryRefused(f"it can't be computed: {error.diag.message_primary}") from error
