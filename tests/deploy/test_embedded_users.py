"""Tests the operating-system users of the embedded servers and the database role of the gateway."""

from __future__ import annotations

import os
import pwd
import stat
from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest

from deploy.embedded.broker import EmbeddedBroker
from deploy.embedded.postgres import EmbeddedPostgres
from deploy.embedded.server_environment import BROKER_UID, DATABASE_UID, server_user
from deploy.up.servers import GATEWAY_GROUP, GATEWAY_LOGIN
from ingest_service.storage.contract.models import AnomalyQuery
from ingest_service.storage.postgres.api_keys import ApiKeyStore
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.four_areas import ABROAD, OWN, enrol

if TYPE_CHECKING:
    from pathlib import Path


def test_the_broker_is_no_user_that_could_change_the_database(open_folder: Path) -> None:
    user = server_user(open_folder / "postgres/data")
    assert user is not None, "the tests run as root"
    with EmbeddedBroker(open_folder / "broker") as broker:
        assert psutil.Process(broker.pid).uids().real == BROKER_UID != user.uid


def test_new_data_belong_to_a_user_of_their_own_and_old_ones_keep_theirs(open_folder: Path) -> None:
    folder, nobody = open_folder / "postgres", pwd.getpwnam("nobody")
    with EmbeddedPostgres(folder) as server:
        server.database("town")
        assert psutil.Process(server.pid).uids().real == DATABASE_UID
    assert {one.stat().st_uid for one in (folder / "data").rglob("*")} == {DATABASE_UID}
    for one in (folder, *folder.rglob("*")):
        os.chown(one, nobody.pw_uid, nobody.pw_gid)  # as earlier versions made them
    with EmbeddedPostgres(folder) as server:
        server.database("town")
        assert psutil.Process(server.pid).uids().real == nobody.pw_uid


def test_the_gateway_of_the_embedded_stack_can_not_leave_the_scope_of_a_key(open_folder: Path) -> None:
    folder = open_folder / "postgres"
    with EmbeddedPostgres(folder) as server:
        owner_dsn = server.database("town")
        migrate(owner_dsn)
        owner = PostgresStore.open(owner_dsn)
        enrol(owner)
        owner.close()
        dsn = server.login(GATEWAY_LOGIN, GATEWAY_GROUP, "town")
        assert server.login(GATEWAY_LOGIN, GATEWAY_GROUP, "town") == dsn, "the password is kept"
        assert stat.S_IMODE((folder / f"password-{GATEWAY_LOGIN}").stat().st_mode) == 0o600
        store = PostgresStore.open(dsn)
        assert {one.area_id for one in store.for_area("*").directory().areas} >= {OWN, ABROAD}
        assert ApiKeyStore(store).secret, "cursors are signed with it"
        found = store.for_area(OWN).anomalies(AnomalyQuery())
        assert {one.site_id for one in found} == {"site-own", "site-below"}
        with store.for_area(OWN).transaction() as connection:
            connection.execute(
                "SELECT set_config('role', 'none', true), set_config('towntwin.area', '*', true)"
            )
            assert connection.execute("SELECT count(*) FROM public.site").fetchone() == (0,)
            (role,) = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = session_user")
            assert role == (False,)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT FROM public.reading")
            connection.rollback()
        store.close()
