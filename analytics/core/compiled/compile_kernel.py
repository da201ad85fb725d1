"""Compiles the kernel into Numba's cache; `kernel_cache` runs it as a child process."""

from __future__ import annotations

import os
import sys
import threading

from analytics.core import judge
from analytics.core.compiled import kernel_cache


def _exit_with_input() -> None:
    """End the process at once when its standard input is closed, as it is at the end of its parent."""
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_exit_with_input, daemon=True).start()
    kernel_cache.COMPILES_HERE.set()
    judge.warm_up()
    os._exit(0)  # the reading thread would hold up the interpreter's end
