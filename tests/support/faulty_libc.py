"""Builds and uses `faulty_libc.c`: a loss of power drops what was written and not synced; clocks jump."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random

SOURCE = Path(__file__).with_name("faulty_libc.c")
SECTOR_BYTES = 512
"""What a disk writes as a whole."""
_REPLACED = struct.Struct("<4q")


class Replaced(NamedTuple):
    """A write that was not synced: where it began, what it replaced, its length, the file's size before."""

    offset: int
    old: bytes
    n_new: int
    old_size: int


def build(folder: Path) -> Path | None:
    """Compile the library into a folder and return its path; None where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    library = folder / "faulty_libc.so"
    command = [
        compiler,
        "-O1",
        "-Wall",
        "-Werror",
        "-fPIC",
        "-shared",
        "-o",
        str(library),
        str(SOURCE),
        "-ldl",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return library


def environment(library: Path, *, folder: Path | None = None, clock: Path | None = None) -> dict[str, str]:
    """Return the variables of a process whose files in a folder lose power, or whose clock is a file's."""
    found = {"LD_PRELOAD": str(library)}
    if folder is not None:
        found["FAULTY_FOLDER"] = str(folder.resolve())
    if clock is not None:
        found["FAULTY_CLOCK"] = str(clock)
    return found


def set_clock(clock: Path, offset_s: float) -> None:
    """Shift the clock of the processes that use a file, also of those that run."""
    if not clock.exists():
        clock.write_bytes(bytes(8))
    with clock.open("r+b") as file:  # in place: the processes have it mapped
        file.write(struct.pack("<q", round(offset_s * 1e9)))


def drop_unsynced(folder: Path, source: random.Random) -> int:
    """Undo what was not synced, each sector and each size at random, as a loss of power does.

    The processes that write there must have been killed. Returns the number of sectors that were undone.
    """
    undone = 0
    for undo in sorted(folder.rglob("*.undo")):
        path = undo.with_name(undo.name.removesuffix(".undo"))
        records = _read(undo.read_bytes())
        if records and path.exists():
            undone += _tear(path, records, source)
        undo.unlink()
    for index in folder.rglob("*-shm"):  # memory, which has lost its content
        index.unlink()
    return undone


def drop_unsynced_elsewhere(undo_folder: Path, root: Path, source: random.Random) -> int:
    """Do the same with undo files in a folder of their own, named by paths as seen in a root folder."""
    undone = 0
    for undo in sorted(undo_folder.iterdir()):
        path = _outside(root, undo.name.replace("%", "/"))
        records = _read(undo.read_bytes())
        if records and path.is_file():
            undone += _tear(path, records, source)
        undo.unlink()
    return undone


def _outside(root: Path, path: str) -> Path:
    """Return a path of a root folder as seen from outside, with its symbolic links followed inside."""
    found = root
    for part in Path(path).parts[1:]:
        found /= part
        if found.is_symlink():
            target = found.readlink()
            found = root / str(target).lstrip("/") if target.is_absolute() else found.parent / target
    return found


def _tear(path: Path, records: list[Replaced], source: random.Random) -> int:
    new = path.read_bytes()
    old = bytearray(new)
    touched: set[int] = set()
    for one in reversed(records):
        old[one.offset : one.offset + len(one.old)] = one.old
        del old[one.old_size :]
        touched.update(range(one.offset // SECTOR_BYTES, (one.offset + one.n_new) // SECTOR_BYTES + 1))
    size = source.choice([len(old), len(new)])
    length = max(len(old), len(new))
    torn, before = bytearray(new.ljust(length, b"\0")), bytes(old).ljust(length, b"\0")
    undone = [one for one in sorted(touched) if source.random() < source.choice([0.0, 0.5, 1.0])]
    for sector in undone:
        part = slice(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES)
        torn[part] = before[part]
    path.write_bytes(torn[:size])
    return len(undone)


def _read(content: bytes) -> list[Replaced]:
    records: list[Replaced] = []
    at = 0
    while at + _REPLACED.size <= len(content):
        offset, n_old, n_new, old_size = _REPLACED.unpack_from(content, at)
        at += _REPLACED.size
        if at + n_old > len(content):  # the kill came before the record, and so before the write
            break
        records.append(Replaced(offset, content[at : at + n_old], n_new, old_size))
        at += n_old
    return records
