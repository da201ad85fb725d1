"""Runs throw-away servers for tests: PostgreSQL, TimescaleDB and Mosquitto on free loopback ports."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

import psutil
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from deploy.embedded.server_environment import free_port
from ingest_service.storage.postgres.migrate import migrate
from tests.support import not_tested
from tests.support.run_folders import kill_tree, new_folder
from tests.support.server_installation import runs_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deploy.debian_servers.installation import Installation

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
EMPTY_TEMPLATE, SCHEMA_TEMPLATE = "towntwin_empty", "towntwin_schema"

# The throw-away clusters give up durability for speed. SIGKILL does not affect the operating system's cache,
# so a killed server finds all that it wrote even with fsync off; only a power failure would lose data. Full
# page writes stay on, so that recovery after a kill is the normal one.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "max_connections": "60",
    "shared_buffers": "128MB",
    "dynamic_shared_memory_type": "mmap",  # needs no /dev/shm, leaves nothing behind after a kill
    "log_min_messages": "log",
    "timezone": "UTC",
}
TIMESCALE = {
    "shared_preload_libraries": "timescaledb",
    "timescaledb.telemetry_level": "off",
    "timescaledb.max_background_workers": "4",
}

_databases = itertools.count(1)


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop a server and its children by SIGSTOP; they continue at the end of the context."""
    server = psutil.Process(pid)
    server.suspend()  # first, so that it starts no child that would not be stopped
    processes = [server, *server.children(recursive=True)]
    for one in processes[1:]:
        one.suspend()
    try:
        yield
    finally:
        for one in processes:
            with suppress(psutil.NoSuchProcess):
                one.resume()


@dataclass(slots=True)
class PostgresServer:
    """A PostgreSQL server of one installation that tests can stop, kill and restart."""

    installation: Installation
    user: str
    programs: str
    settings: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    environ: dict[str, str] = field(default_factory=dict)
    folder: Path = field(init=False)
    process: subprocess.Popen[bytes] | None = field(init=False, default=None)
    _database_settings: list[str] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        owner = self.installation.owner(self.user)
        self.folder = new_folder(runs_folder(self.installation), "postgres", owner)

    @property
    def has_timescale(self) -> bool:
        """Whether databases get the TimescaleDB extension."""
        return "shared_preload_libraries" in self.settings

    @property
    def pid(self) -> int:
        """Process id of the postmaster."""
        assert self.process is not None, "the server is not running"
        return self.process.pid

    def dsn(self, database: str = "postgres") -> str:
        """The address of a database, as a superuser."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def create(self) -> None:
        """Create and start the cluster, and create the template of empty databases."""
        data = self.installation.inside(self.folder / "data")
        settings = [part for pair in self._settings() for part in ("-c", pair)]
        options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", *settings]
        self._assert_succeeded(self._run("initdb", "-D", data, *options))
        self.start()
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {EMPTY_TEMPLATE}")
        if self.has_timescale:
            with psycopg.connect(self.dsn(EMPTY_TEMPLATE), autocommit=True) as connection:
                connection.execute("CREATE EXTENSION timescaledb")
        self._close_database(EMPTY_TEMPLATE)

    def provide_schema_template(self) -> list[str]:
        """Create the template of databases with the schema, once; return the settings that a copy lacks."""
        if self._database_settings is None:
            with psycopg.connect(self.dsn(), autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {SCHEMA_TEMPLATE} TEMPLATE {EMPTY_TEMPLATE}")
            migrate(self.dsn(SCHEMA_TEMPLATE))
            self._close_database(SCHEMA_TEMPLATE)
            with psycopg.connect(self.dsn(), autocommit=True) as connection:
                rows = connection.execute(
                    "SELECT unnest(setconfig) FROM pg_db_role_setting AS s JOIN pg_database AS d"
                    " ON d.oid = s.setdatabase WHERE d.datname = %s AND s.setrole = 0",
                    [SCHEMA_TEMPLATE],
                ).fetchall()
            self._database_settings = [setting for (setting,) in rows]
        return self._database_settings

    def _close_database(self, name: str) -> None:
        """Let nobody connect to a template: sessions of TimescaleDB's jobs would block copying it."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [name]
            )

    def start(self) -> None:
        """Start the server, also after a kill, and wait until it answers. Call it from the main thread."""
        data = self.installation.inside(self.folder / "data")
        command = self.installation.command(
            self.user, f"{self.programs}/postgres", "-D", data, "-p", str(self.port)
        )
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd="/",
                env={**os.environ, **self.environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            ended = self.process.poll() is not None
            assert not ended, f"PostgreSQL did not start:\n{self._log.read_text()[-4000:]}"
            assert time.monotonic() < deadline, (
                f"PostgreSQL does not answer:\n{self._log.read_text()[-4000:]}"
            )
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop the server (fast shutdown)."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(STOP_TIMEOUT_S)
            self.process = None

    def kill(self) -> None:
        """Kill the postmaster and all its children by SIGKILL."""
        if self.process is not None:
            kill_tree(self.pid)
            self.process.wait(STOP_TIMEOUT_S)
            self.process = None

    def remove(self) -> None:
        """Kill the server and delete its data."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    def _settings(self) -> list[str]:
        return [f"{name}={value}" for name, value in {**SETTINGS, **self.settings}.items()]

    def _run(self, program: str, *args: str) -> subprocess.CompletedProcess[str]:
        command = self.installation.command(self.user, f"{self.programs}/{program}", *args)
        return subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)

    def _assert_succeeded(self, done: subprocess.CompletedProcess[str]) -> None:
        assert done.returncode == 0, f"{' '.join(done.args)} failed:\n{done.stdout}{done.stderr}"

    def _answers(self) -> bool:
        with suppress(psycopg.OperationalError), psycopg.connect(self.dsn(), connect_timeout=5):
            return True
        return False


@dataclass(frozen=True, slots=True)
class NamedServer:
    """An external server (TOWNTWIN_TEST_DSN): databases are created on it, and it is never stopped."""

    address: str
    has_timescale: bool = True

    def dsn(self, database: str = "postgres") -> str:
        """The address of a database, as a superuser."""
        return make_conninfo("", **{**conninfo_to_dict(self.address), "dbname": database})

    def stop(self) -> NoReturn:
        """Skip the test, as the server is not ours to stop."""
        not_tested.skip_always("the loss of a database: TOWNTWIN_TEST_DSN names one, and that is not stopped")

    kill = stop

    @property
    def pid(self) -> NoReturn:
        """Skip the test, as the process id is unknown."""
        self.stop()


@contextmanager
def fresh_database(
    server: PostgresServer | NamedServer, *, tablespace: str = "pg_default", is_empty: bool = False
) -> Iterator[str]:
    """Create a new database and yield its URL; drop it afterwards.

    On the servers of the tests it is a copy with the schema, unless ``is_empty``, so that `migrate` finds
    nothing to do there: migrating takes ten times as long as copying. A `NamedServer`'s is always empty.
    """
    name = f"towntwin_{os.getpid()}_{next(_databases)}"
    template, settings = "", list[str]()
    if isinstance(server, PostgresServer):
        settings = [] if is_empty else server.provide_schema_template()
        template = f" TEMPLATE {EMPTY_TEMPLATE if is_empty else SCHEMA_TEMPLATE}"
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}{template} TABLESPACE {tablespace}")
        for setting in settings:
            connection.execute("ALTER DATABASE {} SET {} = {}".format(name, *setting.split("=", 1)))
    try:
        if not template:
            with psycopg.connect(server.dsn(name), autocommit=True) as connection:
                connection.execute("CREATE EXTENSION timescaledb")
        yield server.dsn(name)
    finally:
        if isinstance(server, PostgresServer) and server.process is None:
            server.start()
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@dataclass(slots=True)
class MosquittoServer:
    """A Mosquitto broker; without ``persistence`` a kill loses its queued messages."""

    installation: Installation
    user: str
    persistence: bool = False
    lines: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    host: str = "127.0.0.1"
    folder: Path = field(init=False)
    process: subprocess.Popen[bytes] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.folder = new_folder(
            runs_folder(self.installation), "mosquitto", self.installation.owner(self.user)
        )
        inside = self.installation.inside(self.folder)
        persistence_lines = ["persistence true", f"persistence_location {inside}/", "autosave_interval 1"]
        config = [
            f"listener {self.port} {self.host}",
            "allow_anonymous true",
            *(persistence_lines if self.persistence else ["persistence false"]),
            *self.lines,
        ]
        (self.folder / "mosquitto.conf").write_text("\n".join(config) + "\n")

    @property
    def url(self) -> str:
        """``mqtt://host:port``."""
        return f"mqtt://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """Process id of the broker."""
        assert self.process is not None, "the broker is not running"
        return self.process.pid

    def start(self) -> None:
        """Start the broker, also after a kill, and wait until it listens. Call it from the main thread."""
        config = self.installation.inside(self.folder / "mosquitto.conf")
        command = self.installation.command(self.user, "/usr/sbin/mosquitto", "-c", config)
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._listens():
            ended = self.process.poll() is not None
            assert not ended, f"Mosquitto did not start:\n{self._log.read_text()[-4000:]}"
            assert time.monotonic() < deadline, f"Mosquitto does not listen:\n{self._log.read_text()[-4000:]}"
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop the broker by SIGTERM."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Stop the broker by SIGKILL."""
        self._end(signal.SIGKILL)

    def remove(self) -> None:
        """Kill the broker and delete its files."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    def _end(self, signal_number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(signal_number)
            self.process.wait(STOP_TIMEOUT_S)
            self.process = None

    def _listens(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=5):
                return True
        except OSError:
            return False
