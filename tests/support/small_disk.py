"""A tablespace on a small disk of its own (tmpfs), which a file fills up."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg

from tests.support import not_tested
from tests.support.throwaway_servers import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def small_disk(server: Any, size_bytes: int) -> Iterator[tuple[str, Path]]:
    """Provide a tablespace on a disk of its own: its name, and the file that fills the disk up.

    Skips the test where there can be none.
    """
    if not isinstance(server, PostgresServer) or os.geteuid() != 0:
        not_tested.skip("a full disk: a disk of its own takes root, and a server of the tests")
    with optional_small_disk(server, size_bytes) as found:
        if found is None:
            not_tested.skip("a full disk: this machine allows no mount")
        yield found


@contextmanager
def optional_small_disk(server: PostgresServer, size_bytes: int) -> Iterator[tuple[str, Path] | None]:
    """Provide the same, or None where this machine allows no mount."""
    disk = server.folder / "small"
    disk.mkdir()
    uid, gid = server.installation.owner(server.user)
    options = f"size={size_bytes},uid={uid},gid={gid},mode=700"
    done = subprocess.run(
        ["/usr/bin/mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        disk.rmdir()
        yield None
        return
    try:
        inside = disk / "data"
        inside.mkdir()
        os.chown(inside, uid, gid)
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(f"CREATE TABLESPACE small LOCATION '{server.installation.inside(inside)}'")
        yield "small", disk / "filler"
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("DROP TABLESPACE small")
    finally:
        subprocess.run(["/usr/bin/umount", "--lazy", str(disk)], check=True)
        disk.rmdir()


def fill(path: Path, *, leave_bytes: int = 0) -> None:
    """Take the space of a disk by a file, all of it or all but some."""
    with path.open("wb", buffering=0) as file:
        try:
            while free_space(path.parent) > leave_bytes:
                file.write(bytes(1 << 20 if free_space(path.parent) > leave_bytes + (2 << 20) else 4096))
        except OSError:
            return


def free_space(folder: Path) -> int:
    """Return the free space of a folder's disk [bytes]."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
