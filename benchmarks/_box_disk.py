"""Measures the disk space that a reading takes, with its rollups and indexes, and compressed."""

from __future__ import annotations

import shutil
from typing import NamedTuple

import psycopg

from benchmarks._filled_database import STEP_US, fill_database
from deploy.debian_servers.installation import InstallationError
from deploy.debian_servers.timescaledb import DebianTimescale
from ingest_service.storage.postgres import migrate, named_queries
from ingest_service.storage.postgres.named_queries import load_queries
from tests.support import server_installation, timescale_community
from tests.support.run_folders import new_folder

SERIES = 200
WEEKS = 8
READINGS_A_WEEK = 7 * 86_400_000_000 // STEP_US
READINGS_A_YEAR = SERIES * 365 * 86_400_000_000 // STEP_US
COMPRESSED_SERIES = 20  # the WebAssembly build is slow; a series is compressed by itself
TABLES = ("reading", "rollup_15min", "rollup_1h", "rollup_1day")
STATEMENTS = load_queries("_box_disk.sql", "benchmarks")


class DiskUse(NamedTuple):
    """Disk space of tables with their indexes.

    Attributes
    ----------
    bytes_a_reading : by table, divided by the number of readings [bytes]
    compressed_bytes : a reading in compressed chunks [bytes]; None without the Community edition

    """

    bytes_a_reading: dict[str, float]
    compressed_bytes: float | None

    @property
    def year_gb(self) -> float:
        """A year of the box, nothing compressed [GB]."""
        return READINGS_A_YEAR * sum(self.bytes_a_reading.values()) / 1e9

    @property
    def compressed_year_gb(self) -> float | None:
        """A year of the box with its readings compressed and its rollups not [GB]."""
        if self.compressed_bytes is None:
            return None
        rollups = sum(size for table, size in self.bytes_a_reading.items() if table != "reading")
        return READINGS_A_YEAR * (rollups + self.compressed_bytes) / 1e9


def measure_disk() -> DiskUse:
    """Load `WEEKS` weeks of `SERIES` series into a database of their own and return its table sizes."""
    installed = server_installation.provide(print)
    folder = new_folder(server_installation.runs_folder(installed), "disk", (0, 0))
    folder.chmod(0o755)
    try:
        with DebianTimescale(installed, folder / "timescaledb") as server:
            return _table_sizes(server.database("disk"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _table_sizes(dsn: str) -> DiskUse:
    loaded = fill_database(dsn, readings=SERIES * WEEKS * READINGS_A_WEEK, anomalies=1000)
    with psycopg.connect(dsn) as connection:
        sizes: dict[str, int] = dict(
            connection.execute(STATEMENTS["sizes"], {"tables": list(TABLES)}).fetchall()
        )
    return DiskUse({table: float(sizes[table]) / loaded.readings for table in TABLES}, _compressed_bytes())


def _compressed_bytes() -> float | None:
    """Return the bytes of a compressed reading on TimescaleDB Community; None where it can't be installed."""
    try:
        community = timescale_community.provide(print)
    except InstallationError as error:
        print(f"compression is not measured: {error}")
        return None
    first, *later = [named_queries.read_sql_file(f"migrations/{name}") for name in migrate.migration_names()]
    schema = ["CREATE EXTENSION timescaledb", first, named_queries.read_sql_file("timescale.sql"), *later]
    load = STATEMENTS["readings"] % {"readings": WEEKS * READINGS_A_WEEK, "series": COMPRESSED_SERIES}
    (rows,) = community.run(*schema, load, STATEMENTS["compress"], queries=[STATEMENTS["size"]])
    return float(rows[0]["bytes"]) / (COMPRESSED_SERIES * WEEKS * READINGS_A_WEEK)
