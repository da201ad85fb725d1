"""Tests that names with markup or control characters are refused by SQL, API and commands."""

from __future__ import annotations

import re

import msgspec
import psycopg
import pytest

from deploy.__main__ import main
from gateway.api.models.key_models import NewKeyRequest
from ingest_service.storage.contract import name_rules
from ingest_service.storage.contract.errors import StoreError
from ingest_service.storage.postgres import named_queries
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.store_samples import DIRECTORY

BAD = ["<b>", "a>b", "\x1b[31m", "two\nlines", "\u202ereversed", "\x9b1m", "\u2028"]
GOOD = ["乌镇东栅（演示）", "Main canal, east & west {1}", 'a "quoted" name']


def test_python_and_sql_refuse_the_same() -> None:
    written = re.findall(
        r"!~ '(.*?)'\)", named_queries.read_sql_file("migrations/0028_plain_names_and_quotas.sql")
    )
    assert set(written) == {name_rules.FORBIDDEN_IN_NAMES}
    assert len(written) == 6
    assert [name_rules.is_valid_name(one) for one in BAD + GOOD] == [False] * len(BAD) + [True] * len(GOOD)


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
            NewKeyRequest(name=name, role="viewer")
        assert main(["key", "create", "--name", name, "--dsn", plain_dsn]) == 2
        assert capsys.readouterr().err.strip().isprintable()
