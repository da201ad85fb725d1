"""Runs the kill ledger from the command line, prints its result, and writes the report on request."""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks._mqtt_load import UNBOUNDED_QUEUE
from benchmarks.ledger import checks, faults, report
from benchmarks.ledger.counting_agent import PACK_READINGS
from benchmarks.ledger.platform import DEVICES, LedgerPlatform
from deploy.debian_servers.installation import PROGRAMS
from tests.support import server_installation
from tests.support.database_power import watch_writes
from tests.support.processes import wait_until
from tests.support.small_disk import optional_small_disk
from tests.support.throwaway_servers import TIMESCALE, MosquittoServer, PostgresServer, fresh_database

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.ledger.checks import LedgerCounts

FINISH_TIMEOUT_S = 900.0
STALLED_S = 300.0
POLL_S = 0.1
DISK_BYTES = 1536 << 20
REPEATED = ("seed", "readings", "faults", "longest", "interval")


class CausedFault(NamedTuple):
    """A fault as it was caused: its name, its start since the load began [s], its duration [s]."""

    name: str
    start_s: float
    took_s: float


class LedgerRun(NamedTuple):
    """Result of a run: seed, faults in order, those without effect, counts, restarts, and time [s]."""

    seed: int
    caused: list[CausedFault]
    without_effect: list[str]
    counts: LedgerCounts
    restarts: int
    took_s: float


def run(
    database: PostgresServer,
    broker: MosquittoServer,
    folder: Path,
    *,
    seed: int,
    readings: int,
    n_faults: int,
    longest_s: float,
    pack_interval_s: float,
    disk: tuple[str, Path] | None = None,
    on_fault: Callable[[str], None] = lambda _: None,
) -> LedgerRun:
    """Run the platform under load, cause the faults of the schedule, and count what is left.

    Parameters
    ----------
    database, broker : running servers, which are killed and restarted
    folder : for spools and logs
    seed : of the schedule and of all durations
    readings : number of readings in all
    n_faults : number of faults
    longest_s : longest duration of a fault [s]
    pack_interval_s : time between two packs of a device [s]
    disk : tablespace on a disk of its own and the file that fills it up; without it no disk is filled
    on_fault : called with the name of each fault before it is caused

    """
    per_device = -(-readings // (len(DEVICES) * PACK_READINGS)) * PACK_READINGS
    random_source = random.Random(seed)
    caused: list[CausedFault] = []
    without_effect: list[str] = []
    poison: list[bytes] = []
    with (
        fresh_database(database, tablespace=disk[0] if disk else "pg_default") as dsn,
        fresh_database(database, tablespace=disk[0] if disk else "pg_default") as county_dsn,
        LedgerPlatform(
            folder,
            database,
            broker,
            dsn,
            county_dsn,
            readings=per_device,
            pack_interval_s=pack_interval_s,
            seed=seed,
            filler=disk[1] if disk else None,
        ) as platform,
    ):
        began_s = time.monotonic()
        planned = faults.schedule(seed, n_faults, faults.possible_kinds(platform))
        for number, kind in enumerate(planned):
            _wait_for_progress(platform, platform.readings * (number + 1) // (n_faults + 2))
            on_fault(kind.name)
            start_s = time.monotonic()
            try:
                kind.cause(faults.FaultContext(platform, random_source, number, longest_s))
            except faults.NoEffectError as error:
                without_effect.append(f"{kind.name}: {error}")
                continue
            caused.append(CausedFault(kind.name, start_s - began_s, time.monotonic() - start_s))
            if kind.name == faults.MALFORMED:
                poison += faults.poison_payloads(number)
        wait_until(
            lambda: all(one.has_finished for one in platform.agents),
            within_s=FINISH_TIMEOUT_S,
            what="every agent has its receipts",
        )
        counts = checks.count(platform, poison)
        took_s = time.monotonic() - began_s
        return LedgerRun(seed, caused, without_effect, counts, platform.restarts, took_s)


def _wait_for_progress(platform: LedgerPlatform, readings: int) -> None:
    until_s = time.monotonic() + STALLED_S
    while platform.progress() < readings:
        assert time.monotonic() < until_s, f"{platform.progress():,} readings taken, and no more"
        time.sleep(POLL_S)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make ledger", description=__doc__)
    parser.add_argument("--seed", type=int, default=26, help="of the schedule (default %(default)s)")
    parser.add_argument("--readings", type=int, default=1_000_000, help="in all (default %(default)s)")
    parser.add_argument("--faults", type=int, default=216, help="in all (default %(default)s)")
    parser.add_argument("--longest", type=float, default=4.0, help="longest fault [s] (default %(default)s)")
    parser.add_argument(
        "--interval", type=float, default=0.1, help="between two packs of a device [s] (default %(default)s)"
    )
    parser.add_argument("--report", type=Path, help="Markdown file to write, for example docs/ledger.md")
    return parser.parse_args(sys.argv[2:])


def main() -> None:
    """Run the ledger and print the result; end with code 1 if a promise was broken."""
    options = _parse_arguments()
    console = Console(stderr=True)
    installation = server_installation.provide(print)
    database = PostgresServer(installation, "postgres", PROGRAMS, TIMESCALE | {"fsync": "on"})
    broker = MosquittoServer(installation, "mosquitto", persistence=True, lines=UNBOUNDED_QUEUE)
    columns = (TextColumn("{task.description:32}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    try:
        watch_writes(database)
        database.create()
        broker.start()
        with (
            tempfile.TemporaryDirectory() as folder,
            optional_small_disk(database, DISK_BYTES) as disk,
            Progress(*columns, TimeElapsedColumn(), console=console) as progress,
        ):
            task = progress.add_task("starting", total=options.faults)
            done = run(
                database,
                broker,
                Path(folder),
                seed=options.seed,
                readings=options.readings,
                n_faults=options.faults,
                longest_s=options.longest,
                pack_interval_s=options.interval,
                disk=disk,
                on_fault=lambda name: progress.update(task, description=name, advance=1),
            )
    finally:
        broker.remove()
        database.remove()
    print(report.summary(done))
    if options.report:
        arguments = " ".join(f"--{name} {vars(options)[name]}" for name in REPEATED)
        options.report.write_text(report.markdown(done, f'make ledger ARGS="{arguments}"'))
    print(json.dumps({"seed": done.seed, "faults": len(done.caused), **done.counts._asdict()}))
    if done.counts.faults:
        sys.exit(1)
