"""Starts and stops the platform's own processes for tests."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

REPOSITORY = Path(__file__).parents[2]
STOP_S = 60.0


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``towntwin ARGS`` to its end in this process, which saves the time of a start."""
    out, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(errors):
        try:
            code = main(list(arguments))
        except SystemExit as end:  # argparse ends so
            code = int(end.code or 0)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), errors.getvalue())


class LoggedProcess:
    """A process with its log in a file.

    Parameters
    ----------
    command : program and arguments
    log : file of the process's output
    environ : variables besides those of this process

    """

    def __init__(self, command: Sequence[str | Path], log: Path, environ: Mapping[str, str]) -> None:
        self.log = log
        self._command, self._environ = command, {**os.environ, **environ}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process, also after a kill."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=REPOSITORY,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running process."""
        assert self._process is not None
        return self._process

    def kill(self) -> None:
        """Stop the process by SIGKILL."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Stop the process by SIGTERM; return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)


class PlatformProcess(LoggedProcess):
    """A process ``towntwin ARGS`` with its log in a file."""

    def __init__(self, *args: str, log: Path, **environ: str) -> None:
        self.args = args
        super().__init__([sys.executable, "-m", "deploy", *args], log, environ)


@contextmanager
def running_processes(*processes: PlatformProcess) -> Iterator[None]:
    """Run processes while the context lasts; print their logs if it fails."""
    try:
        for process in processes:
            process.start()
        yield
    except BaseException:
        for process in processes:
            print(f"--- {' '.join(process.args[:1])}\n{process.log.read_text()[-4000:]}")
        raise
    finally:
        for process in reversed(processes):
            if process.process.poll() is None:
                process.kill()


def wait_until(condition: Callable[[], bool], *, within_s: float, what: str) -> None:
    """Wait until a condition holds; fail with ``what`` after ``within_s``."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}"
        time.sleep(0.05)
