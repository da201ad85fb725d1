"""Manages the folders of throw-away test servers and clears those of killed runs."""

from __future__ import annotations

import itertools
import os
import shutil
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from pathlib import Path

GONE_S = 10.0

_numbers = itertools.count(1)


def new_folder(runs: Path, kind: str, owner: tuple[int, int]) -> Path:
    """Create a folder ``PID-kind-number`` owned by the servers' user."""
    runs.mkdir(parents=True, exist_ok=True)
    folder = runs / f"{os.getpid()}-{kind}-{next(_numbers)}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    os.chown(folder, *owner)
    return folder


def clear_stale(runs: Path) -> None:
    """Remove the folders of killed runs, and kill servers that outlived them."""
    for folder in runs.glob("[0-9]*-*"):
        pid, *_ = folder.name.split("-")
        if not psutil.pid_exists(int(pid)):
            _end_server(folder / "data/postmaster.pid")
            shutil.rmtree(folder, ignore_errors=True)


def kill_tree(pid: int) -> None:
    """Kill a process and all its children by SIGKILL, and wait until they are gone."""
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        family = [parent, *parent.children(recursive=True)]
        for one in family:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        deadline = time.monotonic() + GONE_S
        while any(_lives(one) for one in family):
            assert time.monotonic() < deadline, f"process {pid} does not die"
            time.sleep(0.005)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _end_server(pid_file: Path) -> None:
    with suppress(OSError, ValueError, IndexError, psutil.NoSuchProcess):
        pid, data, *_ = pid_file.read_text().splitlines()
        if data in psutil.Process(int(pid)).cmdline():
            kill_tree(int(pid))
