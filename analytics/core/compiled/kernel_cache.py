"""Compiles the kernel in a child process, so that the process that uses it never holds the compiler's memory.

Compiling takes some twenty seconds and 200 MB, which a process keeps to its end. Loading the result from
Numba's cache takes 0.4 s and 50 MB.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

IMPORT_FOLDER = Path(__file__).parents[3]
TIMEOUT_S = 300.0
COMPILES_HERE = threading.Event()  # set in the child


def is_cached(kernel: ModuleType) -> bool:
    """Whether Numba's cache has the kernel as compiled from the present source by the present Numba."""
    cache = getattr(kernel.judge_block, "_cache", None)
    if cache is None:  # the compiler is switched off by NUMBA_DISABLE_JIT
        return True
    return bool(cache._cache_file._load_index())  # noqa: SLF001 - Numba has no public query of its cache


def fill_cache(kernel: ModuleType) -> bool:
    """Compile the kernel in a child process unless it is cached; return whether it is cached then.

    The child ends with this process. If it fails, the caller's first call of the kernel compiles it.
    """
    if COMPILES_HERE.is_set() or is_cached(kernel):
        return True
    with subprocess.Popen(
        [sys.executable, "-m", "analytics.core.compiled.compile_kernel"],
        cwd=IMPORT_FOLDER,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,  # the caller meets the same error and reports it
    ) as child:
        try:
            child.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()
    return is_cached(kernel)
