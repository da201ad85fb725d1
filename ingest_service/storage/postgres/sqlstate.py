"""Classifies database errors as temporary or permanent by SQLSTATE.

Temporary errors are retried until they succeed; after a permanent one the message becomes a dead letter, or
the process ends if it is starting. docs/failures.md shows this table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import psycopg
import psycopg_pool

from ingest_service.storage.contract.errors import (
    InvalidTextError,
    StoreError,
    StoreReadOnlyError,
    StoreRefusedError,
    StoreTimeoutError,
    StoreUnavailableError,
)

if TYPE_CHECKING:
    from types import TracebackType


class SqlStateClass(NamedTuple):
    """Meaning of the SQLSTATEs that start with one of the ``prefixes``."""

    prefixes: tuple[str, ...]
    description: str
    temporary: bool


SQLSTATE_CLASSES = (
    SqlStateClass(("08",), "connection exception", True),
    SqlStateClass(("25006",), "read-only transaction: a standby, or a disk that is full", True),
    SqlStateClass(("40",), "deadlock, serialization failure", True),
    SqlStateClass(("53",), "out of disk, memory or connections", True),
    SqlStateClass(("55",), "object in use, lock not available", True),
    SqlStateClass(("57",), "cancelled, shutting down, starting, crashed", True),
    SqlStateClass(("58", "XX"), "system error outside the database (I/O), internal error", True),
    SqlStateClass(("22", "23"), "wrong data, broken constraint", False),
    SqlStateClass(("42", "3D", "28"), "no such table or database, no right to it", False),
)
NO_CODE = SqlStateClass((), "the connection broke, was refused, or timed out", True)
READ_ONLY_SQLSTATES = {"25006", "53100"}  # read_only_sql_transaction, disk_full
UNLISTED_SQLSTATE = SqlStateClass((), "any other", False)


def store_error_for(error: psycopg.Error | psycopg_pool.PoolTimeout | psycopg_pool.PoolClosed) -> StoreError:
    """Convert an error of psycopg to an error of the store.

    >>> type(store_error_for(psycopg.errors.DeadlockDetected("deadlock"))).__name__
    'StoreUnavailableError'
    >>> type(store_error_for(psycopg.errors.NumericValueOutOfRange("too large"))).__name__
    'StoreRefusedError'
    """
    code = getattr(error, "sqlstate", None)
    sentence = f"{str(error).strip() or type(error).__name__}" + (f" [{code}]" if code else "")
    if code is None:
        temporary = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    else:
        temporary = next(
            (one for one in SQLSTATE_CLASSES if code.startswith(one.prefixes)), UNLISTED_SQLSTATE
        ).temporary
    if isinstance(error, psycopg.DataError) and code is None and "NUL" in sentence:  # raised by psycopg
        return InvalidTextError(sentence)
    if isinstance(error, psycopg.errors.QueryCanceled):
        return StoreTimeoutError(sentence)
    if code in READ_ONLY_SQLSTATES:
        return StoreReadOnlyError(sentence)
    return StoreUnavailableError(sentence) if temporary else StoreRefusedError(sentence)


class translated_errors:  # noqa: N801 - used like a function, in a with statement
    """Context manager that converts errors of psycopg to errors of the store."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, psycopg.Error | psycopg_pool.PoolTimeout | psycopg_pool.PoolClosed):
            raise store_error_for(error) from error
