"""Restores a data folder from a base backup and the log, up to a point in time; verifies backups."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.backup.encryption import BackupError
from deploy.embedded.server_environment import free_port

if TYPE_CHECKING:
    from datetime import datetime

    from deploy.backup.backup_folder import BackupFolder, BaseBackup
    from deploy.embedded.server_environment import ServerUser

POLL_S = 0.05
STOP_S = 120.0
COPY_BYTES = 1 << 20
NOT_REACHED = "recovery ended before configured recovery target was reached"


def restore(
    folder: BackupFolder, programs: Path, data: Path, *, to: datetime | None, user: ServerUser | None
) -> BaseBackup:
    """Create a data folder with the state at a time; return the base backup that it was made from.

    It is made beside its place and renamed at the end: a restore that was cut off leaves no half data.

    Parameters
    ----------
    folder : the backups
    programs : folder of the server's programs
    data : has to be missing or empty
    to : all that was committed up to this time is restored; None for the end of the log
    user : who owns the data, None for the user of this process

    Raises
    ------
    BackupError
        If the folder has data, no backup reaches the time, a file was changed, or recovery fails.

    """
    if data.exists() and any(data.iterdir()):
        raise BackupError(f"{data} has data: stop the server and move the folder away, then repeat")
    base, segments = select_backup(folder, to)
    staging, log = (data.with_name(f"{data.name}-{suffix}") for suffix in ("being-restored", "restored-log"))
    for one in (staging, log):
        shutil.rmtree(one, ignore_errors=True)
        one.mkdir(mode=0o700, parents=True)
    try:
        extract_base(folder, base, staging)
        for name in segments:
            (log / name).write_bytes(folder.read_segment(name))
        _extract_secret_files(folder, base, data.parent, user)
        _give(user, staging, log)
        _recover(programs, staging, log, to, user)
        if data.exists():
            data.rmdir()
        staging.rename(data)
    finally:
        for one in (staging, log):
            shutil.rmtree(one, ignore_errors=True)
    return base


def select_backup(folder: BackupFolder, to: datetime | None) -> tuple[BaseBackup, list[str]]:
    """Return the newest base backup before a time, and the names of the segments from it to the time."""
    bases = folder.bases()
    usable = [base for base in bases if to is None or base.end <= to]
    if not usable:
        first = f"the first one ended at {bases[0].end.isoformat()}" if bases else "there is none"
        raise BackupError(f"no backup in {folder.path} allows restoring to {to and to.isoformat()}: {first}")
    base = usable[-1]
    segments = folder.segments(base)
    if not segments:
        raise BackupError(f"{base.path} can't be used: its segment {base.segment} of the log is missing")
    later = [one.segment for one in bases if one.end > base.end and one.timeline == base.timeline]
    if len(later) > 1:  # the time is before the end of the first later one, hence before the second begins
        segments = [name for name in segments if name <= later[1]]
    return base, segments


def verify(folder: BackupFolder, base: BaseBackup, programs: Path, *, spool: Path | None = None) -> int:
    """Check a base backup by pg_verifybackup and all of its log by decryption; return the number of segments.

    Raises
    ------
    BackupError
        If a file was changed, is missing, or has another key.

    """
    if not folder.is_log_complete(base):
        segments = folder.segments(base)
        after = f"after {segments[-1]}" if segments else f"from {base.segment} on"
        raise BackupError(f"{folder.path}: segments of the log are missing {after}: run a backup with --full")
    with tempfile.TemporaryDirectory(prefix="towntwin-verify-", dir=spool) as temporary:
        data, log = Path(temporary) / "data", Path(temporary) / "wal"
        data.mkdir()
        log.mkdir()
        extract_base(folder, base, data)
        last = _last_needed_segment(data, base)
        segments = folder.segments(base)
        for name in segments:
            content = folder.read_segment(name)
            if name <= last:
                (log / name).write_bytes(content)
        done = subprocess.run(
            [str(programs / "pg_verifybackup"), "--quiet", "-w", str(log), str(data)],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise BackupError(f"{base.path} is damaged: {(done.stderr or done.stdout).strip()}")
    return len(segments)


def extract_base(folder: BackupFolder, base: BaseBackup, target: Path) -> None:
    """Decrypt and unpack a base backup."""
    with folder.reader(base.path, base.label) as file:
        with tarfile.open(fileobj=file, mode="r|") as archive:
            archive.extractall(target, filter="tar")
        while file.read(COPY_BYTES):  # to the end, so that a cut file is noticed
            pass


def _last_needed_segment(data: Path, base: BaseBackup) -> str:
    """Return the name of the segment with the end of a base backup, from its manifest."""
    ranges = json.loads((data / "backup_manifest").read_text("utf-8"))["WAL-Ranges"]
    high, low = (int(part, 16) for part in ranges[-1]["End-LSN"].split("/"))
    return f"{base.timeline}{high:08X}{low >> 24:08X}"


def _extract_secret_files(
    folder: BackupFolder, base: BaseBackup, parent: Path, user: ServerUser | None
) -> None:
    """Write the files that were beside the data, those that are missing."""
    path = base.path.with_suffix(".files")
    if not path.exists():
        return
    with folder.reader(path, f"{base.label}-files") as file, tarfile.open(fileobj=file, mode="r|") as archive:
        for member in archive:
            target = parent / Path(member.name).name
            content = archive.extractfile(member)
            if content is None or target.exists():
                continue
            with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as written:
                written.write(content.read())
            if user is not None:
                os.chown(target, user.uid, user.gid)


def _give(user: ServerUser | None, *folders: Path) -> None:
    if user is not None:
        for one in (path for folder in folders for path in (folder, *folder.rglob("*"))):
            os.chown(one, user.uid, user.gid, follow_symlinks=False)


def _recover(programs: Path, data: Path, log: Path, to: datetime | None, user: ServerUser | None) -> None:
    """Run the server until it has applied the log up to the time, then stop it; nobody can connect."""
    access, config = log / "pg_hba.conf", log / "postgresql.conf"
    access.write_text("host all all all reject\n")
    config.write_text("")
    (data / "recovery.signal").write_text("")
    _give(user, data / "recovery.signal", access, config)
    command = f"cp {shlex.quote(str(log))}/%f %p"
    settings = {
        "config_file": str(config),
        "hba_file": str(access),
        "ident_file": str(config),
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "dynamic_shared_memory_type": "mmap",  # as the user of the data may have no /dev/shm
        "hot_standby": "off",
        "restore_command": command,
        "recovery_target_timeline": "current",
        "max_wal_size": "2GB",
        **(
            {}
            if to is None
            else {"recovery_target_time": to.isoformat(), "recovery_target_action": "promote"}
        ),
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    identity = {} if user is None else {"user": user.uid, "group": user.gid, "extra_groups": []}
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(
            [str(programs / "postgres"), "-D", str(data), "-p", str(free_port()), *options],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=messages,
            stderr=messages,
            **identity,  # type: ignore[call-overload]
        )
        try:
            while process.poll() is None and not _is_ready(data):
                time.sleep(POLL_S)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(STOP_S)
        messages.seek(0)
        text = messages.read().decode(errors="replace")
    if NOT_REACHED in text:
        raise BackupError(
            f"the backup has no change after {to and to.isoformat()}: restore its last state by --to end, or"
            " see with `towntwin backup verify` whether a part of the log is missing"
        )
    if process.returncode != 0 or (data / "recovery.signal").exists():
        raise BackupError(f"recovery failed: {text.strip()[-2000:]}")


def _is_ready(data: Path) -> bool:
    """Whether recovery is over: the status line of ``postmaster.pid``."""
    with suppress(OSError, IndexError):
        return (data / "postmaster.pid").read_text().splitlines()[7].strip() == "ready"
    return False
