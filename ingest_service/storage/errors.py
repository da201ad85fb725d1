"""What can go wrong with the store, in two kinds: wait and try again, or never."""

from __future__ import annotations


class StoreError(Exception):
    """The store did not do what it was asked."""


class StoreUnavailable(StoreError):
    """Temporary: the database is away, starting, read-only, full, or a transaction lost a race."""


class StoreTimeout(StoreUnavailable):
    """A statement took longer than the settings allow; asking for less may help."""


class StoreRefused(StoreError):
    """Permanent: this very content can't be stored; trying again will not help."""


class TextRefused(StoreRefused):
    """A text holds a NUL character, which PostgreSQL keeps nowhere."""


class ShardLost(StoreError):
    """Another process owns the shard now; what this one still holds will be sent to that one again."""
