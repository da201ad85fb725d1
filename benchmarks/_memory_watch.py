"""Samples the memory and backlog of an ingest process over time, and plots them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, NamedTuple, Self

import matplotlib as mpl
import psutil
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SAMPLE_INTERVAL_S = 0.1
MB = 1e6

mpl.use("Agg")


class MemorySample(NamedTuple):
    """One sample.

    Attributes
    ----------
    at_s : time since the start of the watch [s]
    rss_mb : resident memory of the process [MB]
    backlog : readings that the broker has received and the database has not committed
    recorded_bytes : bytes that the process has sent to the broker so far

    """

    at_s: float
    rss_mb: float
    backlog: float
    recorded_bytes: int


class MemoryWatch:
    """Takes a sample every `SAMPLE_INTERVAL_S` while the context lasts.

    Parameters
    ----------
    pid : process id of the ingest process
    backlog, recorded_bytes : called for each sample

    """

    def __init__(self, pid: int, backlog: Callable[[], float], recorded_bytes: Callable[[], int]) -> None:
        self.samples: list[MemorySample] = []
        self._process = psutil.Process(pid)
        self._backlog, self._count_recorded_bytes = backlog, recorded_bytes
        self._began_s = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch")

    def now_s(self) -> float:
        """Return the time since the start of the watch [s]."""
        return time.monotonic() - self._began_s

    def between(self, from_s: float, to_s: float) -> list[MemorySample]:
        """Return the samples of a time range."""
        return [one for one in self.samples if from_s <= one.at_s < to_s]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(SAMPLE_INTERVAL_S):
            rss = self._process.memory_info().rss / MB
            self.samples.append(
                MemorySample(self.now_s(), rss, self._backlog(), self._count_recorded_bytes())
            )


def plot_memory(path: Path, samples: list[MemorySample], outage_range: tuple[float, float]) -> None:
    """Plot memory above, backlog below, with the outage shaded."""
    at_s = [one.at_s for one in samples]
    figure = Figure(figsize=(8, 4.5), dpi=90, layout="constrained")
    memory, backlog = figure.subplots(2, sharex=True)
    memory.plot(at_s, [one.rss_mb for one in samples], color="tab:blue")
    memory.set(ylabel="ingest, RSS [MB]", title="No database while ten times a town's hour comes in")
    memory.set_ylim(0, 1.25 * max(one.rss_mb for one in samples))
    backlog.plot(at_s, [one.backlog / 1000 for one in samples], color="tab:red")
    backlog.set(xlabel="time [s]", ylabel="waiting [1000 readings]")
    for axes in (memory, backlog):
        axes.axvspan(*outage_range, color="0.88", label="no database")
        axes.grid(visible=True, color="0.93")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    memory.legend(loc="lower right", frameon=False)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path)
