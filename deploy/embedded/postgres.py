"""Creates, starts and stops the embedded PostgreSQL server, with a persistent data folder, on loopback."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from deploy.embedded.errors import EmbeddedError
from deploy.embedded.postgres_binaries import postgres_programs
from deploy.embedded.server_environment import (
    ServerUser,
    check_reachable,
    data_creator,
    free_port,
    make_traversable,
    open_log,
    server_user,
)

if TYPE_CHECKING:
    from types import TracebackType

HOST = "127.0.0.1"
SUPERUSER = "postgres"
START_S = 60.0
STOP_S = 30.0
POLL_S = 0.02

# Deviations from PostgreSQL's defaults. fsync and synchronous_commit stay on: a receipt means durable.
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "60",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "max_slot_wal_keep_size": "4GB",  # a backup that fails for days does not fill the disk
    "log_checkpoints": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class PostmasterStatus(NamedTuple):
    """Content of a running server's ``postmaster.pid`` file."""

    pid: int
    port: int
    is_ready: bool


class EmbeddedPostgres:
    """A PostgreSQL server in a folder: created once, started when needed, its data kept.

    It listens on loopback only and requires a password that is created with the data and stored beside them,
    readable by their owner alone. A server that already runs on the folder is used, and left running. A
    server started by this process ends with the thread that started it, however that ends (on Linux), so
    start it from the main thread. If this process is root, the server runs as an unprivileged user.

    Parameters
    ----------
    folder : for data, password and log; created where it is missing
    port : on loopback; a free port where None

    """

    name: ClassVar[str] = "the embedded PostgreSQL"
    command_sets_user: ClassVar[bool] = False

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder.absolute()
        self.port = port or free_port()
        self._user = self._server_user()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether the server is running, also if another process started it."""
        if self._process is not None:
            return self._process.poll() is None
        postmaster = self._postmaster_status()
        return postmaster is not None and _is_postmaster_of(postmaster.pid, self._program_path(self._data))

    @property
    def pid(self) -> int:
        """Process id of the postmaster."""
        postmaster = self._postmaster_status()
        if postmaster is None:
            raise EmbeddedError(f"{self.name} is not running: start it first")
        return postmaster.pid

    def dsn(self, database: str) -> str:
        """Return the connection URL of a database as superuser."""
        return f"postgresql://{SUPERUSER}:{self._password}@{HOST}:{self.port}/{database}"

    def database(self, name: str, *, fresh: bool = False) -> str:
        """Create a database where it is missing, or recreate it if ``fresh``; return its URL."""
        if fresh:
            self._run_sql('DROP DATABASE IF EXISTS :"name" WITH (FORCE);', name=name)
        if not self._run_sql("SELECT 1 FROM pg_database WHERE datname = :'name';", name=name):
            self._run_sql('CREATE DATABASE :"name";', name=name)
        return self.dsn(name)

    def login(self, role: str, group: str, database: str) -> str:
        """Create a login role that is a member of one group role only; return its URL of a database.

        Its password is created once and kept in a file of the folder, readable by its owner alone.
        """
        file = self.folder / f"password-{role}"
        if not file.exists():
            _write_secret(file, secrets.token_urlsafe(24))
        password = file.read_text()
        if not self._run_sql("SELECT 1 FROM pg_roles WHERE rolname = :'role';", role=role):
            self._run_sql('CREATE ROLE :"role";', role=role)
        limits = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
        # Passed by standard input: process arguments are readable by every user of the machine.
        self._run_sql(f"ALTER ROLE :\"role\" {limits} PASSWORD '{password}';", role=role)
        self._run_sql('GRANT :"group" TO :"role";', role=role, group=group)
        return f"postgresql://{role}:{password}@{HOST}:{self.port}/{database}"

    def start(self) -> Self:
        """Create the data where there are none, start the server and wait until it accepts connections.

        Raises
        ------
        EmbeddedError
            If it does not start; the message has the end of its log.

        """
        self._create_data()
        if self._is_already_running():
            return self
        settings = [part for name, value in self._settings().items() for part in ("-c", f"{name}={value}")]
        arguments = ("-D", self._program_path(self._data), "-p", str(self.port), *settings)
        with open_log(self._log, append=self._process is not None) as log:
            self._process = subprocess.Popen(
                self._command("postgres", *arguments, ends_with_parent=True),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the parent, which stops the server last
                **self._credentials(self._user),
            )
        deadline = time.monotonic() + START_S
        while (
            not (postmaster := self._postmaster_status())
            or not postmaster.is_ready
            or postmaster.pid != self._process.pid
        ):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                text = self._log.read_text(errors="replace")[-2000:]
                raise EmbeddedError(f"{self.name} in {self.folder} does not start: {text}")
            time.sleep(POLL_S)
        return self

    def stop(self) -> None:
        """Stop the server that this process started (fast shutdown): open transactions roll back."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            process.wait(STOP_S)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    @property
    def _password(self) -> str:
        try:
            return (self.folder / "password").read_text()
        except FileNotFoundError:
            raise EmbeddedError(
                f"{self.folder} has lost its password: move the folder away to begin anew"
            ) from None

    def _create_data(self) -> None:
        """Create folder, password and data; the data are made in a staging folder, then renamed."""
        make_traversable(self.folder.parent)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.folder.chmod(0o700)
        has_data = self._data.exists()
        maker = None if self._user is None else self._user if has_data else self._data_creator()
        if maker is not None:
            os.chown(self.folder, maker.uid, maker.gid)
            check_reachable(self.folder, maker)
        if has_data:
            self._check_version()
        else:
            self._make_data(maker)

    def _make_data(self, maker: ServerUser | None) -> None:
        """Run initdb as ``maker``, since it requires an account; then give the files to the server's user."""
        password = secrets.token_urlsafe(24)
        _write_secret(self.folder / "password", password)
        staging = self.folder / "data-being-made"
        shutil.rmtree(staging, ignore_errors=True)
        password_file = self.folder / "password-given"
        _write_secret(password_file, password)
        if maker is not None:
            os.chown(password_file, maker.uid, maker.gid)
        try:
            self._run(
                "initdb",
                *("-D", self._program_path(staging), "-U", SUPERUSER, "-A", "scram-sha-256"),
                f"--pwfile={self._program_path(password_file)}",
                *("-E", "UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                user=maker,
            )
        finally:
            password_file.unlink()
        if self._user is not None:
            for one in (self.folder, staging, *staging.rglob("*")):
                os.chown(one, self._user.uid, self._user.gid)
        staging.rename(self._data)

    def _check_version(self) -> None:
        data_version = (self._data / "PG_VERSION").read_text().strip()
        server_version = self._run("postgres", "--version").split()[-1].split(".")[0]
        if data_version != server_version:
            raise EmbeddedError(
                f"{self._data} was made by PostgreSQL {data_version}, this is {server_version}: move it "
                "away to begin anew,"
                f" or carry its databases over with pg_dump of PostgreSQL {data_version}"
            )

    def _is_already_running(self) -> bool:
        """Return whether a server runs on this folder; waits for one that is starting or stopping."""
        deadline = time.monotonic() + STOP_S
        while (
            (postmaster := self._postmaster_status())
            and _is_postmaster_of(postmaster.pid, self._program_path(self._data))
            and time.monotonic() < deadline
        ):
            if postmaster.is_ready:
                self.port = postmaster.port
                return True
            time.sleep(POLL_S)
        if (
            postmaster
            and not _is_postmaster_of(postmaster.pid, self._program_path(self._data))
            and _process_exists(postmaster.pid)
        ):
            # The server was killed and its process id was reused. Otherwise the file stays: with it
            # PostgreSQL detects whether sessions of the killed server still write to these data.
            (self._data / "postmaster.pid").unlink(missing_ok=True)
        return False

    def _postmaster_status(self) -> PostmasterStatus | None:
        """Return the content of ``postmaster.pid``, or None where there is none or it is incomplete."""
        with suppress(OSError, ValueError, IndexError):
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            return PostmasterStatus(int(lines[0]), int(lines[3]), lines[7].strip() == "ready")
        return None

    def _settings(self) -> dict[str, str]:
        """Return the server's settings that differ from PostgreSQL's defaults."""
        return SETTINGS

    def _server_user(self) -> ServerUser | None:
        """Return the user that the server runs as; None for the user of this process."""
        return server_user(self._data)

    def _data_creator(self) -> ServerUser:
        """Return the user that creates the data where this process is root."""
        return data_creator()

    def _program_path(self, path: Path) -> str:
        """Return a path as the server's programs see it."""
        return str(path)

    def _command(self, program: str, *args: str, ends_with_parent: bool = False) -> list[str]:
        """Return the command that runs a program of the server."""
        prefix = _pdeathsig_prefix() if ends_with_parent else []
        return [*prefix, str(postgres_programs() / program), *args]

    def _credentials(self, user: ServerUser | None) -> dict[str, Any]:
        """Return the `subprocess` arguments that run a program as a user; empty for that of this process."""
        if user is None or self.command_sets_user:
            return {}
        return {"user": user.uid, "group": user.gid, "extra_groups": []}

    def _run_sql(self, statement: str, *, _database: str = "postgres", **variables: str) -> str:
        sets = [part for name, value in variables.items() for part in ("-v", f"{name}={value}")]
        address = ("-h", HOST, "-p", str(self.port), "-U", SUPERUSER, "-d", _database, "-w")
        return self._run("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", *address, *sets, stdin_text=statement)

    def _run(self, program: str, *args: str, stdin_text: str = "", user: ServerUser | None = None) -> str:
        done: subprocess.CompletedProcess[str] = subprocess.run(
            self._command(program, *args),
            cwd="/",
            env={**os.environ, "PGPASSWORD": self._password, "PGCONNECT_TIMEOUT": "5"},
            input=stdin_text,
            capture_output=True,
            text=True,
            check=False,
            **self._credentials(user or self._user),
        )
        if done.returncode != 0:
            raise EmbeddedError(f"{program} failed in {self.folder}: {done.stderr.strip()}")
        return done.stdout


def _is_postmaster_of(pid: int, data: str) -> bool:
    """Return whether a process exists and, where /proc shows it, is the postmaster of these data."""
    with suppress(OSError):
        return os.fsencode(data) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return _process_exists(pid)


def _process_exists(pid: int) -> bool:
    """Return whether a process with this id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _pdeathsig_prefix() -> list[str]:
    program = shutil.which("setpriv")  # Linux: part of util-linux
    return [] if program is None else [program, "--pdeathsig=INT"]


def _write_secret(path: Path, secret: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secret)
