"""Measures the resident memory and the CPU time of a process and its children on Linux."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import psutil

KB = 1024
MB = 1e6


class ProcessUse(NamedTuple):
    """Memory and CPU time of a process with its children, or of several processes.

    Attributes
    ----------
    name : of the process
    count : of operating-system processes
    rss_mb : resident memory; pages shared by several processes are counted in each [MB]
    pss_mb : resident memory; shared pages are divided by the number of processes that share them [MB]
    own_mb : resident memory that is no page of a file, which the system could drop and read again [MB]
    cpu_s : CPU time since the start, user and system [s]

    """

    name: str
    count: int
    rss_mb: float
    pss_mb: float
    own_mb: float
    cpu_s: float


def measure(name: str, pid: int, *, children: bool = True) -> ProcessUse:
    """Return the use of a process and, unless ``children`` is false, of all processes below it."""
    parent = psutil.Process(pid)
    found = [
        _measure_one(name, one) for one in [parent, *(parent.children(recursive=True) if children else ())]
    ]
    return total(name, [one for one in found if one is not None])


def total(name: str, uses: list[ProcessUse]) -> ProcessUse:
    """Return the sum of several uses."""
    return ProcessUse(
        name,
        sum(one.count for one in uses),
        sum(one.rss_mb for one in uses),
        sum(one.pss_mb for one in uses),
        sum(one.own_mb for one in uses),
        sum(one.cpu_s for one in uses),
    )


def peak_mb(pid: int) -> float:
    """Return the largest resident memory that a process has had [MB]."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [one for one in status.splitlines() if one.startswith("VmHWM:")]
    return int(line.split()[1]) * KB / MB


def _measure_one(name: str, process: psutil.Process) -> ProcessUse | None:
    """Return the use of one process; None if it has ended, as a backend of PostgreSQL may."""
    try:
        fields = {
            words[0]: int(words[1]) * KB / MB
            for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()[1:]
            if (words := line.split())
        }
        times = process.cpu_times()
    except (OSError, psutil.NoSuchProcess):
        return None
    memory = (fields[f"{one}:"] for one in ("Rss", "Pss", "Anonymous"))
    return ProcessUse(name, 1, *memory, times.user + times.system)
