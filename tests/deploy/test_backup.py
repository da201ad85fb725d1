"""Tests encrypted backups and restoring to a point in time, on the embedded PostgreSQL and by the command."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import psycopg

from deploy.__main__ import main
from deploy.backup.backup_folder import BackupFolder
from deploy.backup.encryption import create_key, read_key
from deploy.embedded.postgres import EmbeddedPostgres

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    import pytest

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
        assert backup("run") == 0
        point, expected = load(dsn, 20_001, 50_000)
        load(dsn, 50_001, 70_000)
        assert backup("run") == 0
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
    content = bytearray(base.read_bytes())
    content[len(content) // 2] ^= 1
    base.write_bytes(content)
    shutil.rmtree(open_folder / "postgres/data")
    assert backup("restore", "--to", "end") == 1
    assert f"{base} was changed or cut off" in capsys.readouterr().err
    assert not list((open_folder / "postgres").glob("data*")), "no half data are left"
