"""Causes the faults of a schedule while the devices of a chain publish."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.ledger import faults
from benchmarks.ledger.chain import DEVICES, ChainLoad
from benchmarks.ledger.counting_agent import PACK_READINGS
from benchmarks.ledger.fault_kind import FaultContext, NoEffectError
from benchmarks.ledger.other_towns import OTHER_TOWNS
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.ledger.chain import Chain
    from benchmarks.ledger.fault_kind import LedgerFault

FINISH_TIMEOUT_S = 900.0
STALLED_S = 300.0
POLL_S = 0.1


class RunOptions(NamedTuple):
    """Options of a run.

    Attributes
    ----------
    seed : of the schedule and of all durations
    readings : number of readings in all
    n_faults : number of faults
    longest_s : longest duration of a fault [s]
    pack_interval_s : time between two packs of a device [s]
    has_other_towns : whether two more towns and a city are part of it, with an agent in each town

    """

    seed: int
    readings: int
    n_faults: int
    longest_s: float
    pack_interval_s: float
    has_other_towns: bool = False

    @property
    def load(self) -> ChainLoad:
        """What each device publishes, in whole packs."""
        devices = len(DEVICES) + (len(OTHER_TOWNS) if self.has_other_towns else 0)
        per_device = -(-self.readings // (devices * PACK_READINGS)) * PACK_READINGS
        return ChainLoad(per_device, self.pack_interval_s, self.seed)


class CausedFault(NamedTuple):
    """A fault as it was caused: its name, its start since the load began [s], its duration [s]."""

    name: str
    start_s: float
    took_s: float


class CausedFaults(NamedTuple):
    """Faults in order, sentences on those without effect, and the malformed payloads that were published."""

    caused: list[CausedFault]
    without_effect: list[str]
    poison: list[bytes]


def cause_faults(
    chain: Chain, kinds: Sequence[LedgerFault], options: RunOptions, on_fault: Callable[[str], None]
) -> CausedFaults:
    """Cause faults of these kinds one after the other, spread over the readings."""
    random_source = random.Random(options.seed)
    done = CausedFaults([], [], [])
    began_s = time.monotonic()
    for number, kind in enumerate(faults.schedule(options.seed, options.n_faults, kinds)):
        _wait_for_progress(chain, chain.readings * (number + 1) // (options.n_faults + 2))
        on_fault(kind.name)
        start_s = time.monotonic()
        try:
            kind.cause(FaultContext(chain, random_source, number, options.longest_s))
        except NoEffectError as error:
            done.without_effect.append(f"{kind.name}: {error}")
            continue
        done.caused.append(CausedFault(kind.name, start_s - began_s, time.monotonic() - start_s))
        if kind.name == faults.MALFORMED:
            done.poison.extend(faults.poison_payloads(number))
    return done


def wait_for_agents(chain: Chain) -> None:
    """Wait until no agent has anything left to send."""
    wait_until(
        lambda: all(one.has_finished for one in chain.all_agents),
        within_s=FINISH_TIMEOUT_S,
        what="every agent has sent all",
    )


def _wait_for_progress(chain: Chain, readings: int) -> None:
    until_s = time.monotonic() + STALLED_S
    while chain.progress() < readings:
        assert time.monotonic() < until_s, f"{chain.progress():,} readings taken, and no more"
        time.sleep(POLL_S)
