"""Loads the compiled judge on a background thread, so that it does not delay a restart."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import structlog

from analytics.core import frozen
from analytics.core import judge as core

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

log = structlog.get_logger()

DEEPEST = 64  # readings of one series per block, up to which NumPy judges about as fast as they arrive
BLAS = "scipy.linalg"


class WarmUp:
    """Loads the compiled judge: 0.7 s from its cache, about 20 s without one.

    Until it is loaded, NumPy judges small blocks, with the same flags and events, and larger blocks wait. If
    it can't be loaded, NumPy judges all blocks.
    """

    def __init__(self) -> None:
        self._done = threading.Event()
        self._works = False
        self._thread = threading.Thread(target=self._load, name="warm-up", daemon=True)

    def start(self) -> None:
        """Start loading, if the compiler is installed."""
        if frozen.AVAILABLE:
            self._thread.start()
        else:
            self._done.set()

    def fast(self, slots: NDArray[np.intp]) -> bool:
        """Whether to use the compiled judge for sorted ``slots`` (n,); waits for it where NumPy is slow."""
        if not self._done.is_set() and _depth(slots) > DEEPEST:
            self._done.wait()
        return self._works

    def _load(self) -> None:
        try:
            with _without_blas():
                core.warm_up()
            self._works = True
            log.info("judge_loaded")
        except Exception:
            log.exception("compiler_failed", action="judging goes on with NumPy, more slowly")
        finally:
            self._done.set()


def _depth(slots: NDArray[np.intp]) -> int:
    """Return the largest number of readings that one series has in a block."""
    ends = np.flatnonzero(np.diff(slots, append=-1))
    return int(np.diff(ends, prepend=-1).max(initial=0))


@contextmanager
def _without_blas() -> Iterator[None]:
    """Keep Numba from importing `scipy.linalg`, which it does to find a BLAS that the judge does not use.

    That import takes as long as loading the judge, and 30 MB. Numba continues without it if it is missing.
    """
    if BLAS in sys.modules:
        yield
        return
    sys.modules[BLAS] = None  # type: ignore[assignment]  # an import of it raises ImportError
    try:
        yield
    finally:
        del sys.modules[BLAS]
