"""Measures the drill of a restore: load, back up, more load, destroy, restore to a point, compare.

The database has the schema of a town with two hundred series: the embedded PostgreSQL, or with
``ARGS=--timescaledb``, as root on Debian, the TimescaleDB that the tests use. Of
``TOWNTWIN_BENCH_READINGS`` (ten million), 70 % are loaded before the base backup and 30 % after it, then come
as many again as a tenth, which are not to be there after the restore. The server is killed and its data
deleted. `towntwin backup` is a process of its own, as its timer and an operator run it. Prints a table, and
last one JSON line.

The checksum is the sum of 64-bit hashes of all rows of readings.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psycopg

from benchmarks._debian_programs import provide_programs
from deploy.debian_servers.timescaledb import DebianTimescale
from deploy.embedded.postgres import EmbeddedPostgres
from ingest_service.storage.contract.models import Area, Directory, Series, Site
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support import server_installation
from tests.support.run_folders import new_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.debian_servers.installation import Installation

READINGS = int(os.environ.get("TOWNTWIN_BENCH_READINGS", "10000000"))
SERIES = 200
BEFORE, AFTER, LOST = (
    0.7,
    0.3,
    0.1,
)  # shares of the readings: before and after the base backup, beyond the point
LIMIT_S = 300.0
REPOSITORY = Path(__file__).parents[1]

LOAD = """
INSERT INTO reading ("time", received, value, series_id, expected, spread, quality, rules)
SELECT "at", "at" + interval '1 second', round((7 + sin(n / 288.0) + random() / 10)::numeric, 3), series_id,
    7, 0.05, 1, 0
FROM (
    SELECT series_id, n, timestamptz '2020-01-01' + n * interval '5 minutes' AS "at"
    FROM generate_series(%(first)s::integer, %(last)s::integer) AS n CROSS JOIN series
) AS made"""
CHECKSUM = "SELECT count(*), coalesce(sum(hash_record_extended(reading, 0)::numeric), 0)::text FROM reading"


class Contents(NamedTuple):
    """Number of readings, and the sum of the hashes of their rows."""

    readings: int
    checksum: str


class Drill:
    """The folders, the server and the durations of one drill.

    Parameters
    ----------
    folder : for backups, key and, with the embedded server, data
    timescale : with the server of this installation; None for the embedded one
    server_folder : its folder, which it can reach

    """

    def __init__(self, folder: Path, timescale: Installation | None, server_folder: Path) -> None:
        self.folder = folder
        self.target = folder / "backups"
        self.target.mkdir()
        self.server_folder = server_folder
        self.seconds: dict[str, float] = {}
        self._timescale = timescale
        self._environ = {
            **os.environ,
            "TOWNTWIN_FOLDER": str(folder),
            "TOWNTWIN_BACKUP_TARGET": str(self.target),
            "TOWNTWIN_BACKUP_KEY_FILE": str(folder / "key"),
        }
        if timescale is not None:
            self._environ |= {
                "TOWNTWIN_BACKUP_DATA": str(server_folder / "data"),
                "TOWNTWIN_BACKUP_PROGRAMS": str(provide_programs(timescale, folder / "programs")),
            }

    def server(self) -> EmbeddedPostgres:
        """Return the server; its data are created where they are missing."""
        if self._timescale is None:
            return EmbeddedPostgres(self.server_folder)
        return DebianTimescale(self._timescale, self.server_folder)

    def use(self, server: EmbeddedPostgres) -> None:
        """Back up this server, which runs, from now on."""
        if self._timescale is not None:
            self._environ["TOWNTWIN_BACKUP_SUPERUSER_DSN"] = server.dsn("postgres")

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure a step."""
        began_s = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - began_s
        print(f"{name:60}{self.seconds[name]:>10.1f} s", flush=True)

    def backup(self, *args: str) -> None:
        """Run `towntwin backup`."""
        command = [sys.executable, "-m", "deploy", "backup", *args]
        subprocess.run(command, cwd=REPOSITORY, env=self._environ, check=True, stdout=subprocess.DEVNULL)


def load(dsn: str, first: float, last: float) -> datetime:
    """Commit the readings between two shares of all; return a time after the commit."""
    per_series = READINGS // SERIES
    bounds = {"first": round(first * per_series) + 1, "last": round(last * per_series)}
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(LOAD, bounds)
        (after,) = connection.execute("SELECT clock_timestamp()").fetchone() or ()
    assert isinstance(after, datetime)
    return after


def contents(dsn: str) -> Contents:
    """Count all readings and add up the hashes of their rows."""
    with psycopg.connect(dsn) as connection:
        return Contents(*connection.execute(CHECKSUM).fetchone() or (0, ""))


def enrol(dsn: str) -> None:
    """Make the schema, and the sites and series of a town."""
    migrate(dsn)
    store = PostgresStore.open(dsn)
    area = Area(area_id="330483-d1", level="town", en="Town", zh="镇")
    sites = [
        Site(
            site_id=f"s{n}",
            area_id=area.area_id,
            kind="river_section",
            en="S",
            zh="断面",
            lon=120.5,
            lat=30.7,
        )
        for n in range(SERIES)
    ]
    series = [Series(site_id=one.site_id, quantity="ph") for one in sites]
    store.enrol(Directory(areas=[area], sites=sites, series=series))
    store.close()


def run_drill(drill: Drill) -> tuple[Contents, Contents]:
    """Run all steps; return the contents at the point and after the restore."""
    folder = drill.server_folder
    with drill.server() as server:
        drill.use(server)
        dsn = server.database("town")
        enrol(dsn)
        drill.backup("init")
        with drill.step(f"load {BEFORE * READINGS:,.0f} readings"):
            load(dsn, 0, BEFORE)
        with drill.step("back up: base backup, and the log"):
            drill.backup("run")
        with drill.step(f"load {AFTER * READINGS:,.0f} more: the point"):
            point = load(dsn, BEFORE, BEFORE + AFTER)
        with drill.step("count and checksum of all readings"):
            expected = contents(dsn)
        with drill.step(f"load {LOST * READINGS:,.0f} more, beyond the point"):
            load(dsn, BEFORE + AFTER, 1 + LOST)
        with drill.step("back up: the log"):
            drill.backup("run")
        size_gb = sum(one.stat().st_size for one in folder.rglob("*") if one.is_file()) / 1e9
        print(f"{'data folder':60}{size_gb:>10.2f} GB")
        with drill.step("destroy: kill the server, delete its data"):
            os.kill(server.pid, signal.SIGKILL)
            shutil.rmtree(folder / "data")
    with drill.step("restore to the point"):
        drill.backup("restore", "--to", point.isoformat())
    with drill.server() as server, drill.step("count and checksum after the restore"):
        restored = contents(server.dsn("town"))
    return expected, restored


def main() -> None:
    """Run the drill, compare and print."""
    timescale = server_installation.provide(print) if "--timescaledb" in sys.argv else None
    with tempfile.TemporaryDirectory(prefix="towntwin-backup-drill-") as name, ExitStack() as stack:
        Path(name).chmod(0o755)
        server_folder = Path(name) / "postgres"
        if timescale is not None:
            server_folder = new_folder(server_installation.runs_folder(timescale), "drill", (0, 0))
            stack.callback(shutil.rmtree, server_folder, ignore_errors=True)
        drill = Drill(Path(name), timescale, server_folder)
        print(f"{'server':60}{drill.server().name:>10}")
        expected, restored = run_drill(drill)
        backups_gb = sum(one.stat().st_size for one in drill.target.rglob("*") if one.is_file()) / 1e9
    print(f"{'backups, encrypted and compressed':60}{backups_gb:>10.2f} GB")
    print(f"{'readings, checksum at the point':60}{expected.readings:,}, {expected.checksum}")
    print(f"{'readings, checksum after the restore':60}{restored.readings:,}, {restored.checksum}")
    total_s = sum(drill.seconds.values())
    print(f"{'all steps':60}{total_s:>10.1f} s")
    assert expected.readings == READINGS // SERIES * SERIES
    assert restored == expected, "what was restored differs"
    assert total_s <= LIMIT_S or READINGS != 10_000_000, f"the drill takes at most {LIMIT_S:.0f} s"
    restore_s = drill.seconds["restore to the point"]
    line = {"readings": restored.readings, "all_s": round(total_s, 1), "restore_s": round(restore_s, 1)}
    print(json.dumps(line | {"backups_gb": round(backups_gb, 2)}))


if __name__ == "__main__":
    main()
