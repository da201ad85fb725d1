"""Loads the compiled judge on a background thread, for ingest and the gateway."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import structlog

from analytics.core import judge as core
from analytics.core.compiled import constants, kernel_cache
from analytics.quality import library_pages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

log = structlog.get_logger()

MAX_NUMPY_DEPTH = 64
"""Readings of one series per block, up to which NumPy judges about as fast as they arrive."""
COMPILER_LIBRARY = "llvmlite"
BLAS_MODULE = "scipy.linalg"
WAIT_KEY = "compiling"


class CompiledJudgeLoader:
    """Loads the compiled judge: milliseconds as machine code, 0.7 s by Numba, about 20 s without a cache.

    Where it takes long, the process starts loading once nothing more urgent is to be done. Until then, NumPy
    judges small blocks, with the same flags and events, and larger blocks wait. If it can't be loaded, NumPy
    judges all blocks.

    Parameters
    ----------
    report_wait : called with a key of `process_messages.REASON_TEXTS` when a block begins to wait, and with
        an empty text once the wait is over

    """

    def __init__(self, report_wait: Callable[[str], None] = lambda _: None) -> None:
        self._report_wait = report_wait
        self._finished = threading.Event()
        self._is_usable = False
        self._is_started, self._started_s = False, 0.0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._load, name="warm-up", daemon=True)

    @property
    def is_finished(self) -> bool:
        """Whether loading has ended, with the compiled judge or with none."""
        return self._finished.is_set()

    @property
    def is_usable(self) -> bool:
        """Whether the compiled judge is loaded."""
        return self._is_usable

    def wait_after_start(self, limit_s: float) -> bool:
        """Wait until loading has ended, up to ``limit_s`` [s] after its start; return `is_finished`.

        All callers wait for the same end: one that comes later waits less.
        """
        return self._finished.wait(max(0.0, self._started_s + limit_s - time.monotonic()))

    def start(self) -> None:
        """Start loading, if the compiler is installed; further calls have no effect."""
        with self._lock:
            if self._is_started:
                return
            self._is_started, self._started_s = True, time.monotonic()
        if constants.NUMBA_AVAILABLE:
            self._thread.start()
        else:
            self._finished.set()

    def start_if_quick(self) -> None:
        """Start loading if that takes milliseconds."""
        if constants.NUMBA_AVAILABLE and kernel_cache.is_machine_code_cached():
            self.start()

    def use_compiled(self, slots: NDArray[np.intp]) -> bool:
        """Whether to use the compiled judge for sorted ``slots`` (n,); waits for it where NumPy is slow."""
        if not self._finished.is_set() and _longest_series(slots) > MAX_NUMPY_DEPTH:
            self.start()
            self._report_wait(WAIT_KEY)
            self._finished.wait()
            self._report_wait("")
        return self._is_usable

    def _load(self) -> None:
        try:
            with _without_blas():
                core.warm_up()
            if COMPILER_LIBRARY in sys.modules:
                library_pages.release_unchanged_pages(COMPILER_LIBRARY)
            self._is_usable = True
            log.info("judge_loaded")
        except Exception:
            log.exception("compiler_failed", action="judging goes on with NumPy, more slowly")
        finally:
            self._finished.set()


def _longest_series(slots: NDArray[np.intp]) -> int:
    """Return the largest number of readings that one series has in a block."""
    ends = np.flatnonzero(np.diff(slots, append=-1))
    return int(np.diff(ends, prepend=-1).max(initial=0))


@contextmanager
def _without_blas() -> Iterator[None]:
    """Keep Numba from importing `scipy.linalg`, which it does to find a BLAS that the judge does not use.

    That import takes as long as loading the judge, and 30 MB. Numba continues without it if it is missing.
    """
    if BLAS_MODULE in sys.modules:
        yield
        return
    sys.modules[BLAS_MODULE] = None  # type: ignore[assignment]  # an import of it raises ImportError
    try:
        yield
    finally:
        del sys.modules[BLAS_MODULE]
