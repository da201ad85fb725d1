"""Has the steps of the twin's models compiled by a child process, and loads them before the first scenario.

Compiling takes 6 to 26 s, once for each version, in a child process, with which the compiler's memory ends.
Scenarios until then are computed by NumPy. What was compiled is loaded, with SciPy and Numba, by the process
that computes scenarios: else the first request does so.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from analytics.twin import compilation

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger()

IMPORT_FOLDER: Final = Path(__file__).parents[1]
NICENESS: Final = 19
TIMEOUT_S: Final = 300.0


def start_compiling() -> None:
    """Start the child beside this process, which loads nothing; without Numba there is nothing to compile."""
    if compilation.is_available():
        _start(_run_child)


def start_loading() -> None:
    """Load the steps in a thread of this process, after the child has compiled those not in the cache."""
    _start(_load)


def _start(work: Callable[[], None]) -> None:
    threading.Thread(target=work, daemon=True, name="compile_steps").start()


def _load() -> None:
    begun_s = time.monotonic()
    from analytics.twin import compile_ahead, water_response, water_scenario  # noqa: F401, PLC0415 - as in a scenario

    if compilation.is_available():
        if not compile_ahead.is_cached():
            _run_child()
        compile_ahead.compile_traffic()
    log.info("steps_loaded", after_s=round(time.monotonic() - begun_s, 1))


def _run_child() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "gateway.compile_steps"],
        cwd=IMPORT_FOLDER,
        stdin=subprocess.PIPE,  # ends with this process
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,  # `_load` meets the same error and reports it
    ) as child:
        with suppress(subprocess.TimeoutExpired):
            child.wait(TIMEOUT_S)
        child.kill()


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # unbuffered: Python could not end while a thread has the buffer
    os._exit(1)


if __name__ == "__main__":
    # The heavy worker ignores signals, which its child inherits, and ends without waiting for threads: a
    # child that went on would hold up the stop of the service.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from analytics.twin import compile_ahead

    os.nice(NICENESS)
    compile_ahead.compile_traffic()
