"""Has the steps of the twin's models compiled into Numba's cache by a child process of the gateway.

Compiling takes 6 to 26 s, which the first scenario on roads took before; loading what was compiled takes less
than one. The compiler's memory stays with the child.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from analytics.twin import compilation

IMPORT_FOLDER: Final = Path(__file__).parents[1]
NICENESS: Final = 19
TIMEOUT_S: Final = 300.0


def start() -> None:
    """Start the child beside this process; without Numba there is nothing to compile."""
    if compilation.is_available():
        threading.Thread(target=_run, daemon=True, name="compile_steps").start()


def _run() -> None:
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(
            [sys.executable, "-m", "gateway.compile_steps"],
            cwd=IMPORT_FOLDER,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # the first scenario meets the same error and reports it
            timeout=TIMEOUT_S,
            check=False,
        )


if __name__ == "__main__":
    from analytics.twin import compile_ahead

    os.nice(NICENESS)
    compile_ahead.compile_traffic()
