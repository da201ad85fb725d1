"""The folder of the backups: encrypted base backups and segments of the log, and their retention."""

from __future__ import annotations

import fcntl
import gzip
import io
import os
import re
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import IO, TYPE_CHECKING, NamedTuple, cast

from deploy.backup.encryption import BackupError, DecryptingReader, EncryptingWriter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEGMENTS_PER_ID = 256  # of 16 MiB in 4 GiB, PostgreSQL's default
TIME_FORMAT = "%Y%m%dT%H%M%SZ"
BASE_NAME = re.compile(r"base-([0-9A-F]{24})-(\d{8}T\d{6}Z)-(\d{8}T\d{6}Z)\.enc")
SEGMENT_NAME = re.compile(r"[0-9A-F]{24}")
COMPRESSION_LEVEL = 1  # a quarter of the time of level 6; segments are mostly zeros


class BaseBackup(NamedTuple):
    """A base backup: the first segment of the log that it needs, and when it began and ended."""

    path: Path
    segment: str
    begin: datetime
    end: datetime

    @property
    def timeline(self) -> str:
        """The timeline of its log: the first eight digits of a segment's name."""
        return self.segment[:8]

    @property
    def label(self) -> str:
        """The authenticated label of its file."""
        return base_label(self.segment, self.begin)


def base_label(segment: str, begin: datetime) -> str:
    """Return the label of a base backup; its end is not known when its encryption begins."""
    return f"base-{segment}-{begin.strftime(TIME_FORMAT)}"


def next_segment(name: str) -> str:
    """Return the name of the following segment.

    >>> next_segment("0000000100000000000000FF")
    '000000010000000100000000'
    """
    number = int(name[8:16], 16) * SEGMENTS_PER_ID + int(name[16:], 16) + 1
    return f"{name[:8]}{number // SEGMENTS_PER_ID:08X}{number % SEGMENTS_PER_ID:08X}"


class BackupFolder:
    """The encrypted files of the backups of one server.

    Parameters
    ----------
    path : the folder; it has to exist, so that a disk that is not mounted is noticed
    key : 32 bytes

    """

    def __init__(self, path: Path, key: bytes) -> None:
        if not path.is_dir():
            raise BackupError(f"{path} is no folder: mount the disk of the backups, or create the folder")
        self.path, self._key = path, key
        self._log = path / "wal"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs from this folder, and delete what a killed one left incomplete.

        Raises `BackupError` where one is working.
        """
        self._log.mkdir(mode=0o700, exist_ok=True)
        with (self.path / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BackupError(f"another backup runs in {self.path}: wait for its end") from None
            for part in self.path.glob("*.part"):
                part.unlink()
            yield

    def bases(self) -> list[BaseBackup]:
        """Return the complete base backups, oldest first."""
        found = [(path, BASE_NAME.fullmatch(path.name)) for path in self.path.iterdir()]
        bases = [BaseBackup(path, m[1], _time(m[2]), _time(m[3])) for path, m in found if m]
        return sorted(bases, key=lambda base: base.end)

    def segments(self, base: BaseBackup) -> list[str]:
        """Return the names of the segments from a base backup on, up to the first that is missing."""
        found, name = [], base.segment
        while (self._log / f"{name}.enc").exists():
            found.append(name)
            name = next_segment(name)
        return found

    def is_log_complete(self, base: BaseBackup) -> bool:
        """Whether there are segments from a base backup to its timeline's newest one, without a gap."""
        segments, newest = self.segments(base), self.newest_segment(base.timeline)
        return bool(segments) and segments[-1] == newest

    def newest_segment(self, timeline: str) -> str | None:
        """Return the name of the newest segment of a timeline."""
        return max((one for one in self._segment_names() if one.startswith(timeline)), default=None)

    @contextmanager
    def writer(self, label: str) -> Iterator[tuple[IO[bytes], Path]]:
        """Yield a file to write to, and where it is; the caller renames it when it is complete and synced."""
        part = self.path / f"{label}.part"
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                with (
                    EncryptingWriter(file, self._key, label) as encrypted,
                    gzip.GzipFile(
                        fileobj=encrypted, mode="wb", compresslevel=COMPRESSION_LEVEL, mtime=0
                    ) as packed,
                ):
                    yield cast("IO[bytes]", packed), part
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def write_segment(self, source: Path) -> None:
        """Encrypt a segment into the folder; one that is there is left alone."""
        target = self._log / f"{source.name}.enc"
        if target.exists():
            return
        with self.writer(f"wal-{source.name}") as (file, part):
            file.write(source.read_bytes())
        part.rename(target)

    @contextmanager
    def reader(self, path: Path, label: str) -> Iterator[IO[bytes]]:
        """Yield the decrypted content of a file. Raises `BackupError` as `DecryptingReader` does."""
        with (
            path.open("rb") as file,
            gzip.GzipFile(
                fileobj=io.BufferedReader(DecryptingReader(path, file, self._key, label))
            ) as content,
        ):
            yield cast("IO[bytes]", content)

    def read_segment(self, name: str) -> bytes:
        """Return the content of a segment."""
        with self.reader(self._log / f"{name}.enc", f"wal-{name}") as file:
            return file.read()

    def prune(self, keep: timedelta, now: datetime) -> list[Path]:
        """Delete what restoring to times within ``keep`` does not need; return the deleted files.

        The newest base backup is always kept, and the newest of those that ended before the period.
        """
        bases = self.bases()
        earlier = [base for base in bases if base.end <= now - keep]
        first_kept = bases.index(earlier[-1]) if earlier else 0
        if not bases:
            return []
        obsolete = [
            path
            for base in bases[:first_kept]
            for path in (base.path, base.path.with_suffix(".files"))
            if path.exists()
        ]
        kept = bases[first_kept:]
        firsts = {
            base.timeline: min(one.segment for one in kept if one.timeline == base.timeline) for base in kept
        }
        obsolete += [
            self._log / f"{name}.enc"
            for name in self._segment_names()
            if name < firsts.get(name[:8], kept[0].segment)
        ]
        for path in obsolete:
            path.unlink()
        return obsolete

    def record_run(self, now: datetime) -> None:
        """Write when the last complete run was; `last_run` reads it."""
        path = self.path / "last-run"
        path.write_text(now.isoformat(timespec="seconds") + "\n", encoding="ascii")
        path.chmod(0o644)  # whoever watches the age of backups need not be able to read them

    def _segment_names(self) -> list[str]:
        names = [path.stem for path in self._log.iterdir()] if self._log.is_dir() else []
        return sorted(name for name in names if SEGMENT_NAME.fullmatch(name))


def last_run(path: Path) -> datetime | None:
    """Return when the last complete run into a folder was, None where there was none.

    Raises
    ------
    OSError
        If the folder can't be entered.

    """
    try:
        return datetime.fromisoformat((path / "last-run").read_text("ascii").strip())
    except (FileNotFoundError, ValueError):
        return None


def _time(text: str) -> datetime:
    return datetime.strptime(text, TIME_FORMAT).replace(tzinfo=UTC)
