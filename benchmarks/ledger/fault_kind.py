"""Defines what a kind of fault of the kill ledger is, and what it acts on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from benchmarks.ledger.platform import LedgerPlatform

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from benchmarks.ledger.chain import Chain


class FaultContext(NamedTuple):
    """What a fault acts on, random numbers, and the fault's number in the schedule."""

    chain: Chain
    random_source: random.Random
    number: int
    longest_s: float

    @property
    def platform(self) -> LedgerPlatform:
        """The platform, of a fault that only this one has."""
        assert isinstance(self.chain, LedgerPlatform)
        return self.chain

    def seconds(self, least_s: float = 0.3) -> float:
        """Return a random duration [s]."""
        return self.random_source.uniform(least_s, max(least_s, self.longest_s))


class NoEffectError(AssertionError):
    """A fault had no effect, or nothing to act on; the ledger does not count it."""


class LedgerFault(NamedTuple):
    """A kind of fault: its name, what is done, and the function that does it and undoes it again.

    ``needs`` is an attribute of the chain that is None where the fault can't be caused.
    """

    name: str
    description: str
    cause: Callable[[FaultContext], None]
    needs: str = "folder"
