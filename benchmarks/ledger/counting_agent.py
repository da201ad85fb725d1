"""Runs an edge agent with numbered readings; after a kill it continues after the last number in its spool."""

from __future__ import annotations

import argparse
import math
import random
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from edge.agent.agent import Agent
from edge.agent.settings import Settings
from edge.agent.spool import Spool
from edge.drivers import Pack
from edge.wire.broker_address import parse_broker_address
from edge.wire.senml import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

INTERVAL_S = 5
PACK_READINGS = 50
RECEIPT_TIMEOUT_S = 2.0
RECEIPT_TIMEOUT_LONGEST_S = 8.0


def value_of(number: int) -> float:
    """Return the value of a reading: a daily rhythm with noise and a shift of 15 min in every 14 h [pH]."""
    day = 0.2 * math.sin(2 * math.pi * number * INTERVAL_S / 86_400)
    shift = 1.2 if 4_000 <= number % 10_000 < 4_180 else 0.0
    return round(7.3 + day + shift + random.Random(number).gauss(0, 0.02), 4)


def records(first: int, start_s: int) -> list[Record]:
    """Return the records of the pack whose first reading has the number ``first``."""
    return [
        Record(name="ph", time_s=float(start_s + one * INTERVAL_S), value=value_of(one), unit="pH")
        for one in range(first, first + PACK_READINGS)
    ]


class NumberedDriver:
    """A driver of numbered pH readings, `PACK_READINGS` a pack.

    Parameters
    ----------
    first : number of the first reading
    start_s : time of measurement of the reading with number 0, Unix seconds [s]
    readings : number of readings in all, a multiple of `PACK_READINGS`
    pack_interval_s : time between two packs [s]
    progress_file : the number of the next reading is written to it

    """

    def __init__(
        self, first: int, *, start_s: int, readings: int, pack_interval_s: float, progress_file: Path
    ) -> None:
        self._first, self._start_s, self._readings = first, start_s, readings
        self._pack_interval_s = pack_interval_s
        self._progress_file = progress_file

    def packs(self) -> Iterator[Pack]:
        """Yield the packs."""
        for begin in range(self._first, self._readings, PACK_READINGS):
            time.sleep(self._pack_interval_s)
            self._progress_file.write_text(str(begin))
            yield Pack(due_s=time.time(), records=records(begin, self._start_s))


def spool_settings() -> Settings:
    """Return the settings of the agent's spool and publisher."""
    return Settings(
        receipt_timeout_s=RECEIPT_TIMEOUT_S, receipt_timeout_longest_s=RECEIPT_TIMEOUT_LONGEST_S, window=64
    )


class AgentOptions(NamedTuple):
    """Arguments of an agent's process; the last three are as of `NumberedDriver`."""

    folder: Path
    area: str
    device: str
    broker: str
    start_s: int
    readings: int
    pack_interval_s: float


def parse_arguments() -> AgentOptions:
    """Return the arguments of this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    types = {"folder": Path, "start_s": int, "readings": int, "pack_interval_s": float}
    for name in AgentOptions._fields:
        parser.add_argument(name, type=types.get(name, str))
    return AgentOptions(**vars(parser.parse_args()))


def continued_driver(options: AgentOptions, spool: Spool) -> NumberedDriver:
    """Return the driver of the readings that a spool has not taken yet."""
    return NumberedDriver(
        # A message of the spool holds one pack, so its number gives the numbers of its readings.
        spool.newest() * PACK_READINGS,
        start_s=options.start_s,
        readings=options.readings,
        pack_interval_s=options.pack_interval_s,
        progress_file=options.folder / "progress",
    )


def main() -> None:
    """Run the agent until all its readings have receipts."""
    options = parse_arguments()
    spool = Spool.open(options.folder / "spool", spool_settings())
    Agent(
        area=options.area,
        device=options.device,
        driver=continued_driver(options, spool),
        spool=spool,
        broker=parse_broker_address(options.broker),
        settings=spool_settings(),
    ).run(threading.Event())


if __name__ == "__main__":
    main()
