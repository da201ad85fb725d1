"""Supervises the child processes of `up`: starts, restarts with back-off, and stops them in order."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deploy.embedded.server_environment import open_log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

STOP_S = 20.0
RESTART_DELAY_S = 1.0
MAX_RESTARTS = 6
RESTART_RESET_S = 300.0  # after running this long the count of restarts is reset
CONSEQUENCES = {
    "ingest": ": no reading is stored or judged any more, devices keep theirs",
    "service": ": rollups, late readings, silent devices and assessments stand still",
    "hj212": ": HJ 212 stations get no answer, and keep their uploads",
    "simulate": ": the played devices publish nothing",
    "gateway": ": neither the API nor the console answers",
}


@dataclass(slots=True)
class ChildProcess:
    """One child process ``towntwin NAME ARGS``; one with ``once`` is not restarted when it ends."""

    name: str
    args: list[str] = field(default_factory=list)
    environ: Mapping[str, str] = field(default_factory=dict)  # added to that of all children
    once: bool = False
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    restarts: int = 0  # in a row
    was_restarted: bool = False
    lost: bool = False  # ended too often; not restarted any more


class ChildProcesses:
    """The child processes with their common environment and their log files."""

    def __init__(self, environ: Mapping[str, str], logs: Path, print_line: Callable[[str], None]) -> None:
        self._environ = {**os.environ, **environ}
        self._logs = logs
        self._print_line = print_line
        self._children: list[ChildProcess] = []
        logs.mkdir(parents=True, exist_ok=True)

    def start(
        self, name: str, *args: str, once: bool = False, environ: Mapping[str, str] | None = None
    ) -> ChildProcess:
        """Start a child process; later ones depend on earlier ones and are stopped first."""
        child = ChildProcess(name, list(args), environ or {}, once)
        self._children.append(child)
        self._launch(child)
        return child

    def restart_ended(self) -> None:
        """Restart ended processes; report once each process that ended too often to be restarted."""
        for child in self._children:
            if child.once or child.lost or child.process is None:
                continue
            ran_s = time.monotonic() - child.started_s
            if child.process.poll() is None:
                if ran_s > RESTART_RESET_S:
                    child.restarts = 0
            elif child.restarts >= MAX_RESTARTS:
                child.lost = True
                self._print_line(self._end_message(child))
            elif ran_s > RESTART_DELAY_S * 2**child.restarts:
                child.restarts += 1
                child.was_restarted = True
                self._print_line(f"{child.name} ended by itself (see {self._log(child)}): starting it again")
                self._launch(child)

    def stop(self, child: ChildProcess) -> int | None:
        """Terminate a child, kill it after ``STOP_S``; return its exit code."""
        process = child.process
        if process is None:
            return None
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._print_line(f"{child.name} did not stop within {STOP_S:.0f} s: killing it")
                process.kill()
                process.wait()
        child.process = None
        return process.returncode

    def stop_all(self) -> None:
        """Stop everything, last started first."""
        for child in reversed(self._children):
            self.stop(child)

    @property
    def lost(self) -> list[str]:
        """A sentence for each process that is not restarted any more."""
        return [self._end_message(child) for child in self._children if child.lost]

    @property
    def healthy(self) -> bool:
        """Whether no process was restarted or failed; ``once`` processes are judged by their summary."""
        return all(
            not child.was_restarted and (child.process is None or child.process.poll() in (None, 0))
            for child in self._children
            if not child.once
        )

    def last_log_line(self, child: ChildProcess) -> str:
        """Return the last line of a child's log, which says why it ended."""
        lines = self._log(child).read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"{child.name} ended without a word"

    def _launch(self, child: ChildProcess) -> None:
        with open_log(self._log(child), append=True) as log:
            child.process = subprocess.Popen(
                [sys.executable, "-m", "deploy", child.name, *child.args],
                env={**self._environ, **child.environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches `up` alone, which stops the others in order
            )
        child.started_s = time.monotonic()

    def _end_message(self, child: ChildProcess) -> str:
        process = child.process
        code = process.returncode if process is not None else 0
        end_text = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        consequence = CONSEQUENCES.get(child.name, "")
        return (
            f"{child.name} HAS ENDED FOR GOOD: it ended {child.restarts + 1} times in a row, at last "
            f"{end_text},"
            f" and is not started again{consequence}. See {self._log(child)}, mend the cause,"
            " and start `towntwin up` anew."
        )

    def _log(self, child: ChildProcess) -> Path:
        return self._logs / f"{child.name}.log"
