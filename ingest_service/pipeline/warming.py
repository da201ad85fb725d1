"""Loads the compiled judge on a thread of its own, so that a restart waits for nothing else meanwhile."""

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

DEEPEST = 64  # readings of one series that NumPy judges about as fast as they come in
BLAS = "scipy.linalg"


class WarmUp:
    """The loading of the compiled judge: 0.7 s from its cache, some 20 s where there is none yet.

    Until it is loaded, NumPy judges small blocks, with the same flags and events; larger ones wait. Where
    it can't be loaded, NumPy judges everything.
    """

    def __init__(self) -> None:
        self._done = threading.Event()
        self._works = False
        self._thread = threading.Thread(target=self._load, name="warm-up", daemon=True)

    def start(self) -> None:
        """Begin to load it, where the compiler is installed."""
        if frozen.AVAILABLE:
            self._thread.start()
        else:
            self._done.set()

    def fast(self, slots: NDArray[np.intp]) -> bool:
        """Whether the compiled judge is to take a block, ``slots`` (n,) sorted; waits where NumPy is slow."""
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
    """How many readings the series with the most of them has."""
    ends = np.flatnonzero(np.diff(slots, append=-1))
    return int(np.diff(ends, prepend=-1).max(initial=0))


@contextmanager
def _without_blas() -> Iterator[None]:
    """Numba imports `scipy.linalg` to see whether there is a BLAS; what is compiled here calls none.

    That import takes as long as loading the judge, and 30 MB. Numba goes on without where it is missing.
    """
    if BLAS in sys.modules:
        yield
        return
    sys.modules[BLAS] = None  # type: ignore[assignment]  # an import of it raises ImportError
    try:
        yield
    finally:
        del sys.modules[BLAS]
