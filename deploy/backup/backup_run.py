"""Makes a backup: a base backup where one is due, and all of the write-ahead log since the last run.

A replication slot keeps the log on the server until it is in the folder of the backups, so that no setting of
the server has to be changed and no process has to run between two runs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, cast
from urllib.parse import unquote, urlsplit

from deploy.backup.backup_folder import TIME_FORMAT, BackupFolder, base_label
from deploy.backup.encryption import BackupError

if TYPE_CHECKING:
    from collections.abc import Sequence

SLOT = "towntwin_backup"
SEGMENT_BYTES = 16 << 20
COPY_BYTES = 1 << 20


class BackedUpServer(NamedTuple):
    """A server to back up: its address as a superuser, its programs and secret files beside its data."""

    dsn: str
    programs: Path
    secret_files: Sequence[Path] = ()

    def command(self, program: str, *args: str) -> tuple[list[str], dict[str, str]]:
        """Return a program's arguments and environment; the password is in the latter only."""
        parts = urlsplit(self.dsn)
        netloc = (
            parts.netloc if parts.password is None else parts.netloc.replace(f":{parts.password}@", "@", 1)
        )
        environment = {**os.environ, "PGCONNECT_TIMEOUT": "10"}
        if parts.password is not None:
            environment["PGPASSWORD"] = unquote(parts.password)
        # Not `geturl`: it drops the slashes of an address without a host (postgresql:///postgres?host=/run/postgresql).
        address = f"{parts.scheme}://{netloc}{parts.path}" + (f"?{parts.query}" if parts.query else "")
        return [str(self.programs / program), "-d", address, "-w", *args], environment

    def run(self, program: str, *args: str, stdin_text: str = "") -> str:
        """Run a client program; return its output. Raises `BackupError` with its message if it fails."""
        command, environment = self.command(program, *args)
        done = subprocess.run(
            command, env=environment, input=stdin_text, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise BackupError(f"{program} failed: {done.stderr.strip()}")
        return done.stdout.strip()

    def query(self, statement: str, **variables: str) -> str:
        """Return the result of a statement on the slot, columns separated by ``|``."""
        sets = [f"--set={name}={value}" for name, value in {"slot": SLOT, **variables}.items()]
        return self.run("psql", "-XAtq", "--set=ON_ERROR_STOP=1", *sets, stdin_text=statement)


class RunResult(NamedTuple):
    """What a run wrote: whether a base backup, how many segments, and how many files it deleted."""

    has_base: bool
    segments: int
    deleted: int


def run_backup(
    server: BackedUpServer,
    folder: BackupFolder,
    *,
    base_every: timedelta,
    keep: timedelta,
    spool: Path | None = None,
) -> RunResult:
    """Back up a server, then delete what is older than ``keep``.

    Raises
    ------
    BackupError
        If the server does not answer, the folder is in use, or a program fails.

    """
    with folder.locked():
        if (size := server.query("SHOW wal_segment_size;")) != "16MB":
            raise BackupError(f"the server has segments of {size}: only 16MB are supported, use pgBackRest")
        has_base = _is_base_due(server, folder, base_every)
        if has_base:
            _write_base(server, folder)
        count = _write_log(server, folder, spool)
        if not folder.is_log_complete(folder.bases()[-1]):
            _write_base(server, folder)
            count += _write_log(server, folder, spool)
            has_base = True
        now = datetime.now(UTC)
        deleted = folder.prune(keep, now)
        folder.record_run(now)
    return RunResult(has_base, count, len(deleted))


def _is_base_due(server: BackedUpServer, folder: BackupFolder, base_every: timedelta) -> bool:
    """Return whether a base backup is due; create the slot where it is missing or its log was removed."""
    slot = server.query(
        "SELECT coalesce((SELECT coalesce(wal_status, 'lost') FROM pg_replication_slots"
        " WHERE slot_name = :'slot'), 'missing');"
    )
    if slot == "lost":
        server.query("SELECT pg_drop_replication_slot(:'slot');")
    if slot in {"lost", "missing"}:
        server.query("SELECT pg_create_physical_replication_slot(:'slot', true);")
        return True
    bases = folder.bases()
    timeline = server.query("SELECT left(pg_walfile_name(pg_current_wal_insert_lsn()), 8);")
    return not bases or bases[-1].timeline != timeline or datetime.now(UTC) - bases[-1].begin >= base_every


def _write_base(server: BackedUpServer, folder: BackupFolder) -> None:
    """Stream a base backup into the folder: it is at no time on a disk in clear."""
    # The backup's checkpoint begins after this statement, hence not before this segment.
    segment = server.query("SELECT pg_walfile_name(pg_current_wal_insert_lsn());")
    begin = datetime.now(UTC)
    label = base_label(segment, begin)
    command, environment = server.command(
        "pg_basebackup", "-D", "-", "-F", "t", "-X", "none", "--checkpoint=fast", "--label=towntwin"
    )
    with tempfile.TemporaryFile() as messages, folder.writer(label) as (file, part):
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=messages) as process:
            shutil.copyfileobj(cast("IO[bytes]", process.stdout), file, COPY_BYTES)
        if process.returncode != 0:
            messages.seek(0)
            raise BackupError(f"pg_basebackup failed: {messages.read().decode(errors='replace').strip()}")
    path = folder.path / f"{label}-{datetime.now(UTC).strftime(TIME_FORMAT)}.enc"
    _write_secret_files(server, folder, path, label)
    part.rename(path)


def _write_secret_files(server: BackedUpServer, folder: BackupFolder, path: Path, label: str) -> None:
    """Encrypt the files beside the data without which the restored server can't be used: its passwords."""
    with folder.writer(f"{label}-files") as (file, part):
        _write_tar(file, server.secret_files)
    part.rename(path.with_suffix(".files"))


def _write_tar(file: IO[bytes], paths: Sequence[Path]) -> None:
    with tarfile.open(fileobj=file, mode="w|") as archive:
        for one in paths:
            archive.add(one, arcname=one.name, recursive=False)


def _write_log(server: BackedUpServer, folder: BackupFolder, spool: Path | None) -> int:
    """Receive the log up to now, encrypt it, then release it on the server; return the number of segments."""
    server.query("SELECT pg_switch_wal();")
    restart, end = (
        _lsn(text)
        for text in server.query(
            "SELECT restart_lsn, pg_current_wal_lsn() FROM pg_replication_slots WHERE slot_name = :'slot';"
        ).split("|")
    )
    end -= end % SEGMENT_BYTES
    if end <= restart:
        return 0
    with tempfile.TemporaryDirectory(prefix="towntwin-wal-", dir=spool) as received:
        # Without status messages (-s 0) the slot moves on only below, when all is in the folder.
        server.run(
            *("pg_receivewal", "-D", received, "-S", SLOT, "--no-loop", "-s", "0"),
            *(f"--endpos={_position(end - 1)}",),
        )
        segments = sorted(one for one in Path(received).iterdir() if not one.suffix)
        for segment in segments:
            folder.write_segment(segment)
    server.query(
        "SELECT pg_replication_slot_advance(slot_name, CAST(:'end' AS pg_lsn)) FROM pg_replication_slots"
        " WHERE slot_name = :'slot' AND restart_lsn < :'end';",
        end=_position(end),
    )
    return len(segments)


def _lsn(text: str) -> int:
    """Return a position of the log in bytes.

    >>> _lsn("1/2000000")
    4328521728
    """
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def _position(lsn: int) -> str:
    """Return a number of bytes as a position of the log.

    >>> _position(4328521728)
    '1/2000000'
    """
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
