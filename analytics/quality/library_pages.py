"""Releases the memory of a shared library's code that is not executed any more.

The compiler's library (LLVM) is needed to load the compiled judge, and 70 MB of it stay in the process. Its
unchanged pages are files on the disk: Linux reads them again if they are executed after all.
"""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MAPPINGS = Path("/proc/self/smaps")
MADV_DONTNEED = 4  # madvise(2)
_HEADER = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \d+ +(\S.*)")


def release_unchanged_pages(library: str) -> int:
    """Release the unchanged pages of the libraries whose file name contains ``library``.

    Returns
    -------
    length : of the released mappings [bytes]; 0 where the system is not Linux

    """
    if not MAPPINGS.exists():
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return sum(
        end - start
        for start, end in list(unchanged_mappings(MAPPINGS.read_text(), library))
        if libc.madvise(start, end - start, MADV_DONTNEED) == 0
    )


def unchanged_mappings(smaps: str, library: str) -> Iterator[tuple[int, int]]:
    """Yield start and end address of the read-only mappings of a library which hold no changed page.

    A page that the loader changed (a relocation) is anonymous memory: releasing it would restore the file's
    bytes. The fields are those of proc_pid_smaps(5).
    """
    mapping: tuple[int, int] | None = None
    for line in smaps.splitlines():
        if header := _HEADER.fullmatch(line):
            start, end, permissions, path = header.groups()
            is_wanted = "w" not in permissions and library in Path(path).name
            mapping = (int(start, 16), int(end, 16)) if is_wanted else None
        elif line[:1].isdigit():  # a mapping without a file
            mapping = None
        elif mapping is not None and line.startswith("Anonymous:") and int(line.split()[1]) == 0:
            yield mapping
