"""Tests encrypted backups and restoring to a point in time, on the embedded PostgreSQL and by the command."""

from __future__ import annotations

import random
import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

from deploy.__main__ import main
from deploy.backup.backup_folder import BackupFolder, next_segment
from deploy.backup.encryption import CHUNK_BYTES, HEADER_BYTES, TAG_BYTES, BackupError, create_key, read_key
from deploy.embedded.postgres import EmbeddedPostgres
from ingest_service.storage.postgres.security import read_database_security
from ingest_service.storage.settings import Settings as StoreSettings

if TYPE_CHECKING:
    from pathlib import Path

TABLE = (
    "CREATE TABLE reading (time timestamptz PRIMARY KEY, received timestamptz NOT NULL,"
    " value float8 NOT NULL, series_id integer NOT NULL, quality smallint NOT NULL)"
)
LOAD = (
    "INSERT INTO reading SELECT to_timestamp(n), now(), sin(n), 1, 1"
    " FROM generate_series(%s::integer, %s::integer) AS n"
)
CHECKSUM = "SELECT count(*), md5(string_agg(reading::text, ',' ORDER BY time)) FROM reading"


def load(dsn: str, first: int, last: int) -> tuple[datetime, tuple[int, str]]:
    """Commit readings; return a time after the commit, and count and checksum of all readings."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(LOAD, [first, last])
        found = connection.execute(CHECKSUM).fetchone()
        after = connection.execute("SELECT clock_timestamp()").fetchone()
    assert found is not None
    assert after is not None
    return after[0], found


def contents(dsn: str) -> tuple[int, str]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(CHECKSUM).fetchone() or (0, "")


def test_drill_of_restoring_to_a_point_between_two_backups(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target, key, other_key = (open_folder / name for name in ("backups", "key", "other-key"))
    target.mkdir()
    for variable, value in {"FOLDER": open_folder, "BACKUP_TARGET": target, "BACKUP_KEY_FILE": key}.items():
        monkeypatch.setenv(f"TOWNTWIN_{variable}", str(value))

    def backup(*args: str) -> int:
        return main(["backup", *args])

    assert backup("init") == 0
    with EmbeddedPostgres(open_folder / "postgres") as server:
        dsn = server.database("town")
        with psycopg.connect(dsn) as connection:
            connection.execute(TABLE)
        _, loaded = load(dsn, 1, 20_000)
        assert not read_database_security(dsn, StoreSettings(), grafana_user=None).has_backup
        assert backup("run") == 0
        point, expected = load(dsn, 20_001, 50_000)
        load(dsn, 50_001, 70_000)
        assert backup("run") == 0
        assert read_database_security(dsn, StoreSettings(), grafana_user=None).has_backup
    assert loaded[0] == 20_000
    assert expected[0] == 50_000

    assert backup("restore", "--to", point.isoformat()) == 1, "the data are there"
    assert "has data" in capsys.readouterr().err
    shutil.rmtree(open_folder / "postgres")
    create_key(other_key)
    assert backup("restore", "--to", point.isoformat(), "--key-file", str(other_key)) == 1
    assert "encrypted by another key" in capsys.readouterr().err

    assert backup("verify") == 0
    assert backup("restore", "--to", point.isoformat()) == 0
    with EmbeddedPostgres(open_folder / "postgres") as server:
        assert contents(server.dsn("town")) == expected
        assert backup("run") == 0, "on the new timeline"
        assert "a base backup" in capsys.readouterr().out
    _, newest = BackupFolder(target, read_key(key)).bases()
    base = newest.path
    main(["doctor"])
    assert "ok   backup: the last one in" in capsys.readouterr().out
    monkeypatch.setenv("TOWNTWIN_BACKUP_WARN_AFTER_H", "1e-9")
    assert main(["doctor"]) == 1
    assert f"FAIL backup: the last one in {target} is 0.0 h old" in capsys.readouterr().out

    content = bytearray(base.read_bytes())
    content[len(content) // 2] ^= 1
    base.write_bytes(content)
    shutil.rmtree(open_folder / "postgres/data")
    assert backup("restore", "--to", "end") == 1
    assert f"{base} was changed or cut off" in capsys.readouterr().err
    assert not list((open_folder / "postgres").glob("data*")), "no half data are left"


@pytest.fixture
def folder(tmp_path: Path) -> BackupFolder:
    """Provide an empty folder of backups."""
    create_key(tmp_path / "key")
    (tmp_path / "target/wal").mkdir(parents=True)
    return BackupFolder(tmp_path / "target", read_key(tmp_path / "key"))


def test_a_file_that_was_cut_between_chunks_or_renamed_is_refused(folder: BackupFolder) -> None:
    content = random.Random(1).randbytes(3 * CHUNK_BYTES)
    with folder.writer("one") as (file, path):
        file.write(content)
    with folder.reader(path, "one") as read:
        assert read.read() == content
    with pytest.raises(BackupError, match="changed or cut off"), folder.reader(path, "two") as read:
        read.read()
    path.write_bytes(path.read_bytes()[: HEADER_BYTES + 2 * (CHUNK_BYTES + TAG_BYTES)])
    with pytest.raises(BackupError, match="changed or cut off"), folder.reader(path, "one") as read:
        read.read()


def test_what_a_killed_backup_left_is_deleted_by_the_next_one(folder: BackupFolder) -> None:
    part = folder.path / "base-000000010000000000000002-20261129T000000Z.part"
    part.write_bytes(b"incomplete")
    with folder.locked():
        assert not part.exists()
        part.write_bytes(b"of the run that has the lock")
        with pytest.raises(BackupError, match="another backup runs"), folder.locked():
            pass
        assert part.exists(), "a second run leaves it alone"


def test_retention_keeps_what_the_oldest_time_needs(folder: BackupFolder) -> None:
    now = datetime(2026, 11, 29, tzinfo=UTC)
    segments = ["0000000100000000000000FD"]
    for _ in range(8):
        segments.append(next_segment(segments[-1]))
    for name in segments:
        (folder.path / f"wal/{name}.enc").touch()
    for days, name in ((20, segments[0]), (15, segments[3]), (9, segments[6])):
        time = (now - timedelta(days)).strftime("%Y%m%dT%H%M%SZ")
        (folder.path / f"base-{name}-{time}-{time}.enc").touch()
    deleted = {path.name for path in folder.prune(timedelta(14), now)}
    assert len(deleted) == 1 + 3
    assert {f"{name}.enc" for name in segments[:3]} < deleted
    kept = folder.bases()
    assert [base.segment for base in kept] == [segments[3], segments[6]]
    assert folder.is_log_complete(kept[0])
    (folder.path / f"wal/{segments[5]}.enc").unlink()
    assert not folder.is_log_complete(kept[0])
    assert folder.is_log_complete(kept[1])


def test_a_key_that_others_can_read_or_that_exists_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "key"
    create_key(key)
    with pytest.raises(BackupError, match="is not replaced"):
        create_key(key)
    key.chmod(0o640)
    with pytest.raises(BackupError, match="chmod 600"):
        read_key(key)
