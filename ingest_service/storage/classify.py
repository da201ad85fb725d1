"""Which database errors are worth waiting for: the one place that decides, by SQLSTATE.

| SQLSTATE | What | Verdict |
|---|---|---|
| none | the connection broke, was refused, or timed out | wait |
| 08xxx | connection exception | wait |
| 25006 | read-only transaction: a standby, or a disk that is full | wait |
| 40xxx | serialization failure, deadlock | wait |
| 53xxx | out of disk, memory or connections | wait |
| 55xxx | object in use, lock not available | wait |
| 57xxx | cancelled, shutting down, starting, crashed | wait |
| 58xxx | system error outside the database (I/O) | wait |
| XX000 | internal error | wait |
| 22xxx, 23xxx | wrong data, broken constraint | never |
| 42xxx, 3Dxxx, 28xxx | no such table or database, no right to it | never |
| any other | | never |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import psycopg_pool

from ingest_service.storage.errors import StoreError, StoreRefused, StoreUnavailable

if TYPE_CHECKING:
    from types import TracebackType

TEMPORARY_CLASSES = ("08", "40", "53", "55", "57", "58", "XX")
TEMPORARY_CODES = ("25006",)
UNIQUE_VIOLATION = "23505"


def classify(error: psycopg.Error | psycopg_pool.PoolTimeout | psycopg_pool.PoolClosed) -> StoreError:
    """The store's error for one of the driver's.

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
        temporary = code in TEMPORARY_CODES or code.startswith(TEMPORARY_CLASSES)
    return StoreUnavailable(sentence) if temporary else StoreRefused(sentence)


class classified:  # noqa: N801 - a context manager reads as a word
    """Turns what the driver raises inside into the store's errors."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, psycopg.Error | psycopg_pool.PoolTimeout | psycopg_pool.PoolClosed):
            raise classify(error) from error
