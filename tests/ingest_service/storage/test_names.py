"""Names with markup or control characters come in nowhere: not by SQL, not by the API, not by a command."""

from __future__ import annotations

import re

import msgspec
import psycopg
import pytest

from deploy.__main__ import main
from gateway.access.models import NewKey
from ingest_service.storage import names, sql
from ingest_service.storage.errors import StoreError
from ingest_service.storage.migrate import migrate
from ingest_service.storage.postgres import PostgresStore
from tests.support.kept import DIRECTORY

BAD = ["<b>", "a>b", "\x1b[31m", "two\nlines", "\u202ereversed", "\x9b1m", "\u2028"]
GOOD = ["乌镇东栅（演示）", "Main canal, east & west {1}", 'a "quoted" name']


def test_python_and_sql_refuse_the_same() -> None:
    written = re.findall(r"!~ '(.*?)'\)", sql.text("migrations/0028_plain_names_and_quotas.sql"))
    assert set(written) == {names.NO_NAME}
    assert len(written) == 6
    assert [names.is_name(one) for one in BAD + GOOD] == [False] * len(BAD) + [True] * len(GOOD)


def test_the_database_refuses_a_name_with_markup_or_controls(plain_dsn: str) -> None:
    migrate(plain_dsn)
    store = PostgresStore.open(plain_dsn)
    store.enrol(DIRECTORY)
    with psycopg.connect(plain_dsn, autocommit=True) as connection:
        for table, column in (("area", "zh"), ("site", "en"), ("node", "en"), ("link", "zh")):
            for name in BAD:
                with pytest.raises(psycopg.errors.CheckViolation):
                    connection.execute(f"UPDATE {table} SET {column} = %s", (name,))
            for name in GOOD:
                connection.execute(f"UPDATE {table} SET {column} = %s", (name,))
    wrong = msgspec.structs.replace(
        DIRECTORY, sites=[msgspec.structs.replace(DIRECTORY.sites[0], en="<script>")]
    )
    with pytest.raises(StoreError):
        store.enrol(wrong)
    store.close()


def test_a_key_has_no_name_with_markup_or_controls(
    plain_dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    migrate(plain_dsn)
    for name in BAD:
        with pytest.raises(ValueError, match="leave it out"):
            NewKey(name=name, role="viewer")
        assert main(["key", "create", "--name", name, "--dsn", plain_dsn]) == 2
        assert capsys.readouterr().err.strip().isprintable()
