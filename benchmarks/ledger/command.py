"""Runs the kill ledger from the command line, prints its result, and writes the report on request.

With the path of a Telegraf in ``TOWNTWIN_BENCH_TELEGRAF`` it runs the same load and faults against that.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks._mqtt_load import UNBOUNDED_QUEUE
from benchmarks.ledger import checks, faults, report, rival_report
from benchmarks.ledger.fault_run import CausedFaults, RunOptions, cause_faults, wait_for_agents
from benchmarks.ledger.other_towns import OTHER_TOWNS, OtherDatabases
from benchmarks.ledger.platform import LedgerPlatform
from benchmarks.ledger.rival_run import run_rival
from deploy.debian_servers.installation import PROGRAMS
from tests.support import server_installation
from tests.support.database_power import watch_writes
from tests.support.small_disk import optional_small_disk
from tests.support.throwaway_servers import TIMESCALE, MosquittoServer, PostgresServer, fresh_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.ledger.checks import LedgerCounts

DISK_BYTES = 1536 << 20
REPEATED = ("seed", "readings", "faults", "longest", "interval")
TELEGRAF = "TOWNTWIN_BENCH_TELEGRAF"


class LedgerRun(NamedTuple):
    """Result of a run: its options, faults, counts, restarted processes, and time [s]."""

    options: RunOptions
    faults: CausedFaults
    counts: LedgerCounts
    restarts: int
    took_s: float


def run(
    database: PostgresServer,
    broker: MosquittoServer,
    folder: Path,
    options: RunOptions,
    *,
    disk: tuple[str, Path] | None = None,
    on_fault: Callable[[str], None] = lambda _: None,
) -> LedgerRun:
    """Run the platform under load, cause the faults of the schedule, and count what is left.

    Parameters
    ----------
    database, broker : running servers, which are killed and restarted
    folder : for spools and logs
    disk : tablespace on a disk of its own and the file that fills it up; without it no disk is filled
    on_fault : called with the name of each fault before it is caused

    """
    tablespace = disk[0] if disk else "pg_default"
    with ExitStack() as stack:
        dsn, county_dsn = (
            stack.enter_context(fresh_database(database, tablespace=tablespace)) for _ in range(2)
        )
        n_further = len(OTHER_TOWNS) + 1 if options.has_other_towns else 0
        further = [stack.enter_context(fresh_database(database)) for _ in range(n_further)]
        platform = stack.enter_context(
            LedgerPlatform(
                folder,
                database,
                broker,
                dsn,
                options.load,
                county_dsn=county_dsn,
                other_databases=OtherDatabases(tuple(further[1:]), further[0]) if further else None,
                filler=disk[1] if disk else None,
            )
        )
        began_s = time.monotonic()
        caused = cause_faults(platform, faults.possible_kinds(platform), options, on_fault)
        wait_for_agents(platform)
        counts = checks.count(platform, caused.poison)
        return LedgerRun(options, caused, counts, platform.restarts, time.monotonic() - began_s)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make ledger", description=__doc__)
    parser.add_argument("--seed", type=int, default=26, help="of the schedule (default %(default)s)")
    parser.add_argument("--readings", type=int, default=1_000_000, help="in all (default %(default)s)")
    parser.add_argument("--faults", type=int, default=216, help="in all (default %(default)s)")
    parser.add_argument("--longest", type=float, default=4.0, help="longest fault [s] (default %(default)s)")
    parser.add_argument(
        "--interval", type=float, default=0.1, help="between two packs of a device [s] (default %(default)s)"
    )
    parser.add_argument(
        "--three-towns", action="store_true", help="with two more towns, and a city above the county"
    )
    parser.add_argument(
        "--rival-only", action="store_true", help=f"run nothing but the Telegraf of {TELEGRAF}"
    )
    parser.add_argument("--report", type=Path, help="Markdown file to write, for example docs/ledger.md")
    return parser.parse_args(sys.argv[2:])


class _Servers(NamedTuple):
    """Servers of the runs with a disk of its own, and what is called with the name of each fault."""

    database: PostgresServer
    broker: MosquittoServer
    folder: Path
    disk: tuple[str, Path] | None
    on_fault: Callable[[str], None]


@contextmanager
def _servers(n_faults: int) -> Iterator[_Servers]:
    installation = server_installation.provide(print)
    database = PostgresServer(
        installation, "postgres", PROGRAMS, TIMESCALE | {"fsync": "on", "max_connections": "200"}
    )
    broker = MosquittoServer(installation, "mosquitto", persistence=True, lines=UNBOUNDED_QUEUE)
    columns = (TextColumn("{task.description:32}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    try:
        watch_writes(database)
        database.create()
        broker.start()
        with (
            tempfile.TemporaryDirectory() as folder,
            optional_small_disk(database, DISK_BYTES) as disk,
            Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress,
        ):
            task = progress.add_task("starting", total=n_faults)

            def on_fault(name: str) -> None:
                progress.update(task, description=name, advance=1)

            yield _Servers(database, broker, Path(folder), disk, on_fault)
    finally:
        broker.remove()
        database.remove()


def main() -> None:
    """Run the ledger and print the result; end with code 1 if a promise was broken."""
    arguments = _parse_arguments()
    options = RunOptions(
        arguments.seed,
        arguments.readings,
        arguments.faults,
        arguments.longest,
        arguments.interval,
        arguments.three_towns,
    )
    command = " ".join(f"--{name} {vars(arguments)[name]}" for name in REPEATED)
    telegraf = os.environ.get(TELEGRAF)
    if arguments.rival_only and not telegraf:
        sys.exit(f"--rival-only: set {TELEGRAF} to the path of a Telegraf binary")
    old = arguments.report.read_text() if arguments.report and arguments.report.exists() else ""
    section = rival_report.section_of(old)
    broken = 0
    if telegraf:
        with _servers(options.n_faults) as servers:
            *given, disk, on_fault = servers
            one_town = options._replace(has_other_towns=False)
            rival = run_rival(Path(telegraf), *given, one_town, disk=disk, on_fault=on_fault)
        section = rival_report.markdown(rival, f'make ledger ARGS="{command} --rival-only"')
        print(rival_report.summary(rival))
        if arguments.report:
            arguments.report.write_text(rival_report.with_section(old, section))
    if not arguments.rival_only:
        with _servers(options.n_faults) as servers:
            *given, disk, on_fault = servers
            done = run(*given, options, disk=disk, on_fault=on_fault)
        print(report.summary(done))
        if arguments.report:
            command += " --three-towns" * options.has_other_towns
            text = report.markdown(done, f'make ledger ARGS="{command}"')
            arguments.report.write_text(rival_report.with_section(text, section))
        print(json.dumps({"seed": options.seed, "faults": len(done.faults.caused), **done.counts._asdict()}))
        broken = len(done.counts.faults)
    if broken:
        sys.exit(1)
