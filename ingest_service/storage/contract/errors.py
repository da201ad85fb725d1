"""Exceptions of the store: temporary errors, which are worth a retry, and permanent ones."""

from __future__ import annotations


class StoreError(Exception):
    """Base class: an operation on the store failed."""


class StoreUnavailableError(StoreError):
    """Temporary: the database is unreachable, starting, read-only or full, or a transaction lost a race."""


class StoreTimeoutError(StoreUnavailableError):
    """A statement exceeded the statement timeout; a smaller query may succeed."""


class StoreReadOnlyError(StoreUnavailableError):
    """The database answers queries and accepts no writes: it is read-only, or its disk is full."""


class StoreRefusedError(StoreError):
    """Permanent: the content can't be stored, or the query is invalid; a retry would fail again."""


class InvalidTextError(StoreRefusedError):
    """A text contains a NUL character, which PostgreSQL can't store."""


class ShardLostError(StoreError):
    """Another process owns the shard now; the broker will send it the unacknowledged messages again."""
