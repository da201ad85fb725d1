"""Classifies database errors as temporary or permanent by SQLSTATE.

Temporary errors are retried until they succeed; after a permanent one the message becomes a dead letter, or
the process ends if it is starting. docs/failures.md shows this table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import psycopg
import psycopg_pool

from ingest_service.storage.errors import (
    StoreError,
    StoreRefused,
    StoreTimeout,
    StoreUnavailable,
    TextRefused,
)

if TYPE_CHECKING:
    from types import TracebackType


class SqlState(NamedTuple):
    """Meaning of the SQLSTATEs that start with one of the prefixes ``begins``."""

    begins: tuple[str, ...]
    what: str
    temporary: bool


TABLE = (
    SqlState(("08",), "connection exception", True),
    SqlState(("25006",), "read-only transaction: a standby, or a disk that is full", True),
    SqlState(("40",), "deadlock, serialization failure", True),
    SqlState(("53",), "out of disk, memory or connections", True),
    SqlState(("55",), "object in use, lock not available", True),
    SqlState(("57",), "cancelled, shutting down, starting, crashed", True),
    SqlState(("58", "XX"), "system error outside the database (I/O), internal error", True),
    SqlState(("22", "23"), "wrong data, broken constraint", False),
    SqlState(("42", "3D", "28"), "no such table or database, no right to it", False),
)
NO_CODE = SqlState((), "the connection broke, was refused, or timed out", True)
OTHER = SqlState((), "any other", False)


def classify(error: psycopg.Error | psycopg_pool.PoolTimeout | psycopg_pool.PoolClosed) -> StoreError:
    """Convert an error of psycopg to an error of the store.

    >>> type(classify(psycopg.errors.DeadlockDetected("deadlock"))).__name__
    'StoreUnavailable'
    >>> type(classify(psycopg.errors.NumericValueOutOfRange("too large"))).__name__
    'StoreRefused'
    """
    code = getattr(error, "sqlstate", None)
    sentence = f"{str(error).strip() or type(error).__name__}" + (f" [{code}]" if code else "")
    if code is None:
        temporary = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    else:
        temporary = next((one for one in TABLE if code.startswith(one.begins)), OTHER).temporary
    if isinstance(error, psycopg.DataError) and code is None and "NUL" in sentence:  # raised by psycopg
        return TextRefused(sentence)
    if isinstance(error, psycopg.errors.QueryCanceled):
        return StoreTimeout(sentence)
    return StoreUnavailable(sentence) if temporary else StoreRefused(sentence)


class classified:  # noqa: N801 - used like a function, in a with statement
    """Context manager that converts errors of psycopg to errors of the store."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, psycopg.Error | psycopg_pool.PoolTimeout | psycopg_pool.PoolClosed):
            raise classify(error) from error
