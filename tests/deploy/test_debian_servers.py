"""Tests Debian's TimescaleDB and Mosquitto as `towntwin up --timescaledb` runs them."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest
from paho.mqtt import publish, subscribe

from deploy.debian_servers.installation import Installation, InstallationError, provide
from deploy.debian_servers.mosquitto import ADMINISTRATOR, PLATFORM, DebianMosquitto
from deploy.debian_servers.timescaledb import DebianTimescale
from tests.support import not_tested
from tests.support.run_folders import new_folder
from tests.support.server_installation import runs_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paho.mqtt.publish import AuthParameter

TOPIC = "towntwin/v1/330421/buoy-1/data"


@pytest.fixture
def installed(real_servers: Installation | None) -> Installation:
    """Return the installation of the real servers."""
    if real_servers is None:
        not_tested.skip("Debian's TimescaleDB and Mosquitto are missing: run on Debian as root")
    return real_servers


@pytest.fixture
def folder(installed: Installation) -> Iterator[Path]:
    """Provide a folder that the servers can reach."""
    made = new_folder(runs_folder(installed), "debian", (os.geteuid(), os.getegid()))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def test_the_database_keeps_its_rows_and_requires_its_password(installed: Installation, folder: Path) -> None:
    with DebianTimescale(installed, folder / "timescaledb") as server:
        dsn = server.database("town")
        with psycopg.connect(dsn) as connection:
            shown = connection.execute(
                "SELECT current_setting('fsync'), extname FROM pg_extension"
            ).fetchall()
            assert ("on", "timescaledb") in shown
            connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000)")
        password = (folder / "timescaledb/password").read_text()
        assert password in dsn
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(dsn.replace(password, "guessed"))
        process = psutil.Process(server.pid)
        assert process.uids().real == installed.owner("postgres")[0] != 0
        assert {one.laddr.ip for one in process.net_connections() if one.status == "LISTEN"} == {"127.0.0.1"}
    assert stat.S_IMODE((folder / "timescaledb/password").stat().st_mode) == 0o600
    assert not psutil.pid_exists(process.pid)
    with (
        DebianTimescale(installed, folder / "timescaledb") as server,
        psycopg.connect(server.database("town")) as connection,
    ):
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (1000,)


def test_the_broker_requires_its_password_and_keeps_messages(installed: Installation, folder: Path) -> None:
    broker = DebianMosquitto(installed, folder / "mosquitto")
    with broker:
        for user in (ADMINISTRATOR, PLATFORM):
            assert stat.S_IMODE(broker.password_file(user).stat().st_mode) == 0o600
        password = broker.password_file(PLATFORM).read_text().strip()
        login: AuthParameter = {"username": PLATFORM, "password": password}
        guessed: AuthParameter = {"username": PLATFORM, "password": "guessed"}
        for refused in (None, guessed):
            with pytest.raises(Exception, match=r"(?i)not authori[sz]ed"):
                publish.single(TOPIC, "x", hostname=broker.host, port=broker.port, auth=refused)
        publish.single(TOPIC, "kept", qos=1, retain=True, hostname=broker.host, port=broker.port, auth=login)
        process = psutil.Process(broker.pid)
        assert process.uids().real == installed.owner("mosquitto")[0] != 0
        assert {one.laddr.ip for one in process.net_connections() if one.status == "LISTEN"} == {"127.0.0.1"}
    with broker:
        found = subscribe.simple("towntwin/#", hostname=broker.host, port=broker.port, auth=login)
        assert found.payload == b"kept"


def test_an_ordinary_user_is_refused_with_the_remedy(tmp_path: Path) -> None:
    if Installation(Path("/")).has_timescale:
        not_tested.skip_always("the refusal of `up --timescaledb`: this machine has the servers")
    with pytest.raises(InstallationError, match=r"become root.*leave out --timescaledb.*TOWNTWIN_DSN"):
        provide(tmp_path, print, user_id=1000)
    assert not list(tmp_path.iterdir())
