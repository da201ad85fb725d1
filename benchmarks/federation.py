"""Forwards from three towns to a county and a city over bad lines, and counts what is lost and doubled.

Each platform's connections are in a network namespace of its own. The four lines between them delay, lose,
double and reorder IP packets, differently in each round, and some are cut. In each round every town gets
days of readings, re-judged flags, and anomalies that open, change and are withdrawn; once in three rounds a
second box with the town's identity appears for a while; once in eight a town's backup is restored. In the
end county and city must have what the towns have: readings with their flags, anomalies, and incidents with
their history. Prints a table, and last one JSON line.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analytics.service.incident_maintenance import maintain_incidents
from analytics.service.settings import Settings as ServiceSettings
from deploy.debian_servers.installation import PROGRAMS
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import REVISION, DeadLetterQuery
from tests.support import server_installation
from tests.support.federated_levels import N_DATABASES, FederatedLevels
from tests.support.federated_platforms import TOWNS
from tests.support.federation_rows import ANOMALIES, READINGS, WITHIN_S, copy_of, opened, rows_of
from tests.support.packet_line import LineConditions, PacketLine
from tests.support.processes import wait_until
from tests.support.store_samples import START_US, STEP_US, anomaly, readings
from tests.support.throwaway_servers import TIMESCALE, PostgresServer, fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

SERIES_IDS = (1, 2)
REVISED_READINGS = 20
CLONE_EVERY, RESTORE_EVERY = 3, 8
FINISH_TIMEOUT_S = 400.0


class BadLinesRun:
    """A run over bad lines.

    Attributes
    ----------
    databases : the present one of each town; a restored one takes the place of what it was copied from
    events : number of cuts, second boxes and restored backups

    """

    def __init__(self, stack: ExitStack, server: PostgresServer, levels: FederatedLevels, seed: int) -> None:
        self._stack, self._server, self._levels = stack, server, levels
        self._random = random.Random(seed)
        self.databases = list(levels.towns)
        self._forwarders = [ExitStack() for _ in TOWNS]
        self.events = {"cuts": 0, "second boxes": 0, "restored backups": 0}
        for number in range(len(TOWNS)):
            stack.enter_context(self._forwarders[number])
            self._start(number)

    @property
    def lines(self) -> list[PacketLine]:
        """The uplink of the county, and the line of each town."""
        return [self._levels.uplink, *self._levels.lines]

    def run_round(self, number: int, ticks: range, longest_cut_s: float) -> None:
        """Give each town readings at some ticks while its line is bad, cut, or another box has taken over."""
        for line in self.lines:
            shares = [self._random.uniform(0, 0.1) for _ in range(2)]
            delay_s, jitter_s = self._random.uniform(0, 0.15), self._random.uniform(0, 0.1)
            line.conditions = LineConditions(
                delay_s=delay_s, jitter_s=jitter_s, loss=shares[0], doubling=shares[1]
            )
        cut = self._random.choice(self.lines)
        cut.cut()
        self.events["cuts"] += 1
        town = self._random.randrange(len(TOWNS))
        if number % CLONE_EVERY == CLONE_EVERY - 1:
            self._clone(town, ticks)
        else:
            self._add_all(ticks)
        time.sleep(self._random.uniform(0, longest_cut_s))
        cut.restore()
        if number % RESTORE_EVERY == RESTORE_EVERY - 1:
            self._restore(town, ticks)

    def _start(self, number: int) -> None:
        self._forwarders[number].enter_context(self._levels.town_forwards(number, self.databases[number]))

    def _add_all(self, ticks: range) -> None:
        for dsn in self.databases:
            self._add(dsn, ticks)

    def _add(self, dsn: str, ticks: range) -> None:
        """Add readings, re-judge some, add an anomaly, and change an older one."""
        revised = np.zeros(REVISED_READINGS, REVISION)
        revised["series_id"], revised["quality"], revised["rules"] = 1, 3, 4
        revised["time_us"] = START_US + STEP_US * np.array(
            self._random.sample(range(ticks.stop), REVISED_READINGS)
        )
        older = self._random.randrange(ticks.stop) // len(ticks) * len(ticks)
        change: dict[str, Any] = self._random.choice([{"severity": 3}, {"state": "withdrawn"}])
        with opened(dsn) as store:
            for series_id in SERIES_IDS:
                store.commit(Batch(fresh=readings(series_id, ticks)))
            store.commit(Batch(revisions=np.sort(revised, order="time_us")))
            site_id = store.directory().sites[0].site_id
            for start, changed in ((ticks.start, {}), (older, change)):
                start_s = (START_US + start * STEP_US) / 1e6
                store.record_anomalies(
                    [
                        anomaly(
                            site_id=site_id, start_s=start_s, peak_s=start_s, end_s=start_s + 600, **changed
                        )
                    ]
                )
            maintain_incidents(store, ServiceSettings())

    def _clone(self, number: int, ticks: range) -> None:
        """Start two boxes at once, one with a copy of the database, until one is fenced; then the first."""
        self._forwarders[number].close()
        with copy_of(self._server, self.databases[number]) as clone:
            self._start(number)
            with self._levels.town_forwards(number, clone):
                self._add_all(ticks)
                for line in self.lines:
                    line.restore()
                wait_until(
                    lambda: any(_is_fenced(one) for one in (self.databases[number], clone)),
                    within_s=WITHIN_S * 3,
                    what="one of the two boxes is fenced",
                )
        self._forwarders[number].close()
        self._start(number)
        self.events["second boxes"] += 1

    def _restore(self, number: int, ticks: range) -> None:
        """Change an anomaly, which the city gets, and continue with a backup from before that change."""
        dsn, start_s = self.databases[number], (START_US + ticks.start * STEP_US) / 1e6
        self._forwarders[number].close()
        restored = self._stack.enter_context(copy_of(self._server, dsn))
        with self._levels.town_forwards(number, dsn), opened(dsn) as store:
            site_id = store.directory().sites[0].site_id
            changed = anomaly(
                site_id=site_id, start_s=start_s, peak_s=start_s, end_s=start_s + 900, score=30.0
            )
            store.record_anomalies([changed])
            wait_until(
                lambda: set(rows_of(dsn, ANOMALIES)) <= set(rows_of(self._levels.city, ANOMALIES)),
                within_s=WITHIN_S * 3,
                what="the city has the change",
            )
        self.databases[number] = restored
        with opened(restored) as store:
            store.record_anomalies(
                [anomaly(site_id=site_id, start_s=start_s, peak_s=start_s, state="withdrawn")]
            )
            maintain_incidents(store, ServiceSettings())
        self._start(number)
        self.events["restored backups"] += 1


def _is_fenced(dsn: str) -> bool:
    with opened(dsn) as store:
        return any(one.why == "fenced" for one in store.processes() if one.kind == "federation")


def _report(run: BadLinesRun, levels: FederatedLevels, options: argparse.Namespace, took_s: float) -> None:
    found = {name: Counter(rows_of(dsn, READINGS)) for name, dsn in _named(run, levels)}
    towns = sum((found[name] for name in found if name.startswith("town")), Counter())
    lost = sum((towns - found[level]).total() for level in ("county", "city"))
    doubled = sum((found[level] - towns).total() for level in ("county", "city"))
    stored = {name: rows.total() for name, rows in found.items()}
    dead = sum(len(store.dead_letters(DeadLetterQuery())) for store in _stores(levels))
    counts = [one.counts for one in run.lines]
    packets = {
        name: sum(getattr(one, name) for one in counts)
        for name in ("sent", "lost", "cut", "doubled", "overtaken")
    }
    simulated_h = options.readings * STEP_US / 3.6e9
    table = {
        "readings at the three towns, the county, the city": " / ".join(
            f"{one:,}" for one in stored.values()
        ),
        "lost, beyond those of the towns, dead letters": f"{lost}, {doubled}, {dead}",
        "cuts, each of this many hours of readings": f"{run.events['cuts']}, {simulated_h:.0f} h",
        "second boxes, restored backups": f"{run.events['second boxes']}, {run.events['restored backups']}",
        **{f"packets {name}": f"{value:,}" for name, value in packets.items()},
        "took": f"{took_s:.0f} s",
    }
    print("\n".join(f"{name:52}{value:>40}" for name, value in table.items()))
    line = {"seed": options.seed, "took_s": round(took_s), "lost": lost, "doubled": doubled, "dead": dead}
    print(json.dumps(line | stored | run.events | {f"packets_{name}": one for name, one in packets.items()}))
    if lost or doubled or dead:
        sys.exit(1)


def _named(run: BadLinesRun, levels: FederatedLevels) -> Iterator[tuple[str, str]]:
    yield from zip(("town 1", "town 2", "town 3"), run.databases, strict=True)
    yield from (("county", levels.county), ("city", levels.city))


def _stores(levels: FederatedLevels) -> Iterator[Any]:
    for dsn in (levels.county, levels.city):
        with opened(dsn) as store:
            yield store


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench NAME=federation", description=__doc__)
    parser.add_argument("--seed", type=int, default=26, help="of everything random (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=24, help="default %(default)s")
    parser.add_argument(
        "--readings", type=int, default=500, help="of a series and round (default %(default)s)"
    )
    parser.add_argument(
        "--longest", type=float, default=8.0, help="longest pause of a round (default %(default)s) [s]"
    )
    return parser.parse_args(sys.argv[2:])


def main() -> None:
    """Run all rounds, wait until the levels are equal, and print."""
    options = _parse_arguments()
    installation = server_installation.provide(print)
    server = PostgresServer(installation, "postgres", PROGRAMS, TIMESCALE)
    try:
        server.create()
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            databases = [stack.enter_context(fresh_database(server)) for _ in range(N_DATABASES)]
            levels = FederatedLevels(stack, databases, installation, Path(folder), seed=options.seed)
            stack.enter_context(levels.running_county_and_city())
            began_s = time.monotonic()
            run = BadLinesRun(stack, server, levels, options.seed)
            for number in range(options.rounds):
                ticks = range(number * options.readings, (number + 1) * options.readings)
                run.run_round(number, ticks, options.longest)
                print(
                    f"round {number + 1} of {options.rounds}, {time.monotonic() - began_s:.0f} s",
                    file=sys.stderr,
                )
            levels.wait_until_equal(run.databases, within_s=FINISH_TIMEOUT_S)
            _report(run, levels, options, time.monotonic() - began_s)
    finally:
        server.remove()
