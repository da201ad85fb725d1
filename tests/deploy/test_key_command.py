"""Tests `towntwin key`: a key is shown once, gives access to the gateway, and can be revoked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from deploy.__main__ import main
from ingest_service.storage.postgres.api_keys import ApiKeyStore, AuditQuery
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.asgi import send_request
from tests.support.gateway_access import gateway_app
from tests.support.store_samples import DIRECTORY

if TYPE_CHECKING:
    import pytest


def test_a_key_is_made_listed_and_revoked(plain_dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    migrate(plain_dsn)
    store = PostgresStore.open(plain_dsn)
    store.enrol(DIRECTORY)
    named = ["--name", "Wang Fang", "--area", "330483", "--days", "1", "--scope", "directory"]
    assert main(["key", "create", *named, "--dsn", plain_dsn]) == 0
    key = capsys.readouterr().out.strip()
    sites = send_request(gateway_app(store, accounts=None), "GET", "/v1/sites", headers={"X-API-Key": key})
    assert [one["site_id"] for one in sites.json()] == ["s1"]
    key_id, secret = key.split("_")[1:]
    assert main(["key", "list", "--dsn", plain_dsn]) == 0
    listed = capsys.readouterr().out
    assert key_id in listed
    assert secret not in listed
    assert [main(["key", "revoke", key_id, "--dsn", plain_dsn]) for _ in range(2)] == [0, 1]
    lines = ApiKeyStore(store).audit(AuditQuery())
    assert [(one.action, one.target) for one in lines] == [("key revoke", key_id), ("key create", key_id)]
    days = ["create", "--name", "x", "--days"]
    wrong = (["create"], [*days, "0"], [*days, "1e9"], [*days, "nan"], ["revoke"])
    assert [main(["key", *one, "--dsn", plain_dsn]) for one in wrong] == [2] * len(wrong)
    capsys.readouterr()
    assert main(["key", "create", "--name", "x", "--area", "nowhere", "--dsn", plain_dsn]) == 2
    assert "there is no area 'nowhere'" in capsys.readouterr().err
    store.close()


def test_a_key_list_obeys_no_control_character_of_a_name(
    plain_dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    migrate(plain_dsn)
    with psycopg.connect(plain_dsn) as connection:  # of a time before such names were refused
        connection.execute("ALTER TABLE api_key DROP CONSTRAINT api_key_has_a_plain_name")
        connection.execute(
            "INSERT INTO api_key (key_id, name, hash, role, created_by) "
            "VALUES ('a1', %s, 'h', 'viewer', 'me')",
            ("red \x1b[31m\nroot \x9b2J",),
        )
    assert main(["key", "list", "--dsn", plain_dsn]) == 0
    listed = capsys.readouterr().out
    assert r"\x1b[31m" in listed
    assert r"\x9b2J" in listed
    assert not {"\x1b", "\x9b"} & set(listed)
    assert not any(line.strip().startswith("root") for line in listed.splitlines())
