"""Compiles the kernel into Numba's cache; `kernel_cache` runs it as a child process."""

from __future__ import annotations

import signal
import sys
import threading

from analytics.core import judge
from analytics.core.compiled import kernel_cache


def _end_with_input() -> None:
    """End the process at once when its standard input is closed, as it is at the end of its parent."""
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as unbuffered:
        unbuffered.read()
    signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_input, daemon=True).start()
    kernel_cache.COMPILES_HERE.set()
    judge.warm_up()
