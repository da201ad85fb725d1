"""Tests that the database of the last release is upgraded while that release writes to it."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
from datetime import datetime
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from deploy.__main__ import main
from deploy.embedded.postgres import EmbeddedPostgres
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import AnomalyQuery, DeadLetterQuery
from ingest_service.storage.postgres.migrate import migrate, migration_names
from ingest_service.storage.postgres.store import PostgresStore
from tests.support import not_tested
from tests.support.processes import REPOSITORY, wait_until
from tests.support.release_writer import FIRST_TICKS
from tests.support.store_samples import anomaly, assert_same, readings, stored

if TYPE_CHECKING:
    from pathlib import Path

RELEASE = "e89f8456"  # version 0.2.0
RELEASE_CODE = ("ingest_service", "analytics", "edge", "tests/__init__.py", "tests/support")
LAST_MIGRATION_OF_RELEASE = 31
CONTENTS = """
SELECT (SELECT (count(*), sum(hash_record_extended(r, 0)::numeric))::text FROM reading AS r),
    (SELECT (count(*), sum(hash_record_extended(a, 0)::numeric))::text FROM anomaly AS a),
    (SELECT count(*) FROM dead_letter), (SELECT max(number) FROM schema_migration)"""
WRITER = REPOSITORY / "tests/support/release_writer.py"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Return a folder with the code of the last release, from the history of the repository."""
    paths = [one for one in RELEASE_CODE if git("ls-tree", RELEASE, one)]
    if not paths:
        not_tested.skip(f"upgrading version 0.2.0: commit {RELEASE} is missing; fetch the whole history")
    with tarfile.open(fileobj=io.BytesIO(git("archive", RELEASE, *paths))) as archive:
        archive.extractall(tmp_path / "release", filter="data")
    return tmp_path / "release"


def git(*arguments: str) -> bytes:
    """Return the output of git; nothing if it fails."""
    program = shutil.which("git")
    if program is None:
        return b""
    done = subprocess.run(
        [program, "-c", "safe.directory=*", *arguments], cwd=REPOSITORY, capture_output=True, check=False
    )
    return done.stdout if done.returncode == 0 else b""


def started(release: Path, action: str, dsn: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", str(WRITER), action, dsn],
        cwd=release,
        env={**os.environ, "PYTHONPATH": str(release)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def number_of(dsn: str, table: str) -> int:
    with psycopg.connect(dsn) as connection:
        query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
        (count,) = connection.execute(query).fetchone() or (0,)
        return int(count)


def assert_views_answer(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        views = connection.execute("SELECT viewname FROM pg_views WHERE schemaname = 'public'").fetchall()
        for (view,) in views:
            connection.execute(sql.SQL("SELECT * FROM {} LIMIT 10").format(sql.Identifier(view))).fetchall()
    assert len(views) > 10


def test_migrations_of_the_last_release_are_as_they_were(release: Path) -> None:
    folder = "ingest_service/storage/postgres/migrations"
    before = sorted((release / folder).glob("*.sql"))
    assert [int(one.name[:4]) for one in before][-1] == LAST_MIGRATION_OF_RELEASE
    for one in before:
        assert (REPOSITORY / folder / one.name).read_bytes() == one.read_bytes(), f"{one.name} was edited"


def test_a_release_goes_on_writing_while_its_database_is_upgraded_and_nothing_is_lost(
    release: Path, empty_timescale_dsn: str
) -> None:
    dsn = empty_timescale_dsn
    writer = started(release, "fill", dsn)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "filled\n", writer.communicate("")
    wait_until(lambda: number_of(dsn, "anomaly") >= 2, within_s=30.0, what="the release writes")

    new = [name for name in migration_names() if int(name[:4]) > LAST_MIGRATION_OF_RELEASE]
    assert migrate(dsn) == new, "applied to the database of the release, beside its writer"
    before = number_of(dsn, "anomaly")
    wait_until(lambda: number_of(dsn, "anomaly") >= before + 2, within_s=30.0, what="it writes on")
    out, errors = writer.communicate("end\n", timeout=30.0)
    assert writer.returncode == 0, errors
    ticks = int(out)
    assert ticks > FIRST_TICKS + 40

    store = PostgresStore.open(dsn)
    assert_same(stored(store, 1), readings(1, range(ticks)))
    assert_same(stored(store, 2), readings(2, range(FIRST_TICKS)))
    found = store.anomalies(AnomalyQuery(limit=10_000))
    assert len(found) == len(range(FIRST_TICKS, ticks, 10)), "every anomaly is there"
    assert {(one.reason_zh, one.score, one.state) for one in found} == {("偏高", 20.0, "open")}
    assert store.count_dead_letters(DeadLetterQuery()) == 1
    checkpoint = store.checkpoint("main")
    assert checkpoint is not None
    assert checkpoint.payload == b"state"
    assert_views_answer(dsn)

    done = store.commit(
        Batch(fresh=readings(1, range(ticks, ticks + 10)), anomalies=[anomaly(start_s=1.8e9)])
    )
    assert done.fresh == 10
    while store.refresh_rollups(limit=1000):
        pass
    with psycopg.connect(dsn) as connection:
        total = connection.execute("SELECT sum(count) FROM rollup_1h WHERE series_id = 1").fetchone()
    assert total == (ticks + 10,), "old and new readings are in the rollups"
    assert store.health().rollups_due == 0
    store.close()

    refused = started(release, "open", dsn)
    _, errors = refused.communicate(timeout=30.0)
    assert refused.returncode != 0
    assert "install a newer towntwin" in errors, "the release does not start on the newer schema"


def test_going_back_to_the_last_release_restores_the_backup_from_before_the_upgrade(
    release: Path, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps of upgrade.md, with the commands of this release and the code of that one."""
    data, target = open_folder / "postgres/data", open_folder / "backups"
    target.mkdir()
    for name, value in {
        "FOLDER": open_folder,
        "BACKUP_TARGET": target,
        "BACKUP_KEY_FILE": open_folder / "key",
    }.items():
        monkeypatch.setenv(f"TOWNTWIN_{name}", str(value))
    assert main(["backup", "init"]) == 0
    with EmbeddedPostgres(open_folder / "postgres") as server:
        dsn = server.database("town")
        writer = started(release, "fill", dsn)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "filled\n", writer.communicate("")
        writer.communicate("end\n", timeout=30.0)
        assert main(["backup", "run"]) == 0
        expected, noted = contents(dsn)
        migrate(dsn)
        store = PostgresStore.open(dsn)
        store.commit(Batch(fresh=readings(2, range(FIRST_TICKS, FIRST_TICKS + 50))))
        store.close()
        assert main(["backup", "run"]) == 0, "the timer's"
        assert contents(dsn)[0] != expected
    data.rename(data.with_name("data-before"))
    assert main(["backup", "restore", "--to", noted.isoformat()]) == 0
    with EmbeddedPostgres(open_folder / "postgres") as server:
        dsn = server.dsn("town")
        assert contents(dsn)[0] == expected
        assert expected[-1] == LAST_MIGRATION_OF_RELEASE
        added = started(release, "add", dsn)
        out, errors = added.communicate(timeout=30.0)
        assert (added.returncode, out) == (0, "10\n"), errors
        assert main(["backup", "run"]) == 0, "it begins with a base backup"


def contents(dsn: str) -> tuple[tuple[object, ...], datetime]:
    """Return counts and checksums of the tables that every release has, and the time after that."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        found = connection.execute(CONTENTS).fetchone()
        (now,) = connection.execute("SELECT clock_timestamp()").fetchone() or ()
    assert found is not None
    assert isinstance(now, datetime)
    return found, now
