"""Tests that the spool keeps what it has accepted through a loss of power, which drops unsynced sectors."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from edge.agent.settings import Settings
from edge.agent.spool import Spool
from tests.support import faulty_libc, not_tested
from tests.support.processes import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

LOSSES = 8
PLAIN = """
import os, sys
for name in ("synced", "unsynced"):
    fd = os.open(f"{sys.argv[1]}/{name}", os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"before")
    os.fsync(fd)
    os.pwrite(fd, b"after!", 0)
    if name == "synced":
        os.fsync(fd)
os.kill(os.getpid(), 9)
"""
# Each number is printed once the spool has accepted it; receipts remove the older half.
WRITER = """
import sys
from pathlib import Path
from edge.agent.settings import Settings
from edge.agent.spool import Spool, SpoolEntry
spool = Spool.open(Path(sys.argv[1]) / "spool", Settings())
while True:
    number = spool.put([SpoolEntry(f"message {spool.newest() + 1}".encode() * 40, 1)])
    print(spool.newest(), flush=True)
    if spool.newest() % 7 == 0:
        spool.forget(spool.epoch, [(1, spool.newest() // 2)])
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = faulty_libc.build(tmp_path_factory.mktemp("library"))
    if found is None:
        not_tested.skip_always("the spool through a loss of power: install a C compiler")
    return found


def start(script: str, folder: Path, library: Path) -> subprocess.Popen[str]:
    environ = {**os.environ, **faulty_libc.environment(library, folder=folder)}
    command = [sys.executable, "-c", script, str(folder)]
    return subprocess.Popen(command, cwd=REPOSITORY, env=environ, stdout=subprocess.PIPE, text=True)


def test_what_was_not_synced_is_lost_and_what_was_synced_is_not(library: Path, tmp_path: Path) -> None:
    source, undone = random.Random(1), 0
    while not undone:
        with start(PLAIN, tmp_path, library) as process:
            assert process.wait(20) == -9
        assert (tmp_path / "unsynced").read_bytes() == b"after!", "without a loss of power, nothing is lost"
        undone = faulty_libc.drop_unsynced(tmp_path, source)
    assert (tmp_path / "unsynced").read_bytes() == b"before"
    assert (tmp_path / "synced").read_bytes() == b"after!"


def test_the_spool_has_every_message_that_it_accepted(library: Path, tmp_path: Path) -> None:
    source, accepted, undone = random.Random(26), 0, 0
    for _ in range(LOSSES):
        with start(WRITER, tmp_path, library) as process:
            assert process.stdout is not None
            accepted = int(process.stdout.readline())
            time.sleep(source.uniform(0.02, 0.3))
            process.kill()
            for line in process.stdout.read().splitlines(keepends=True):
                accepted = int(line) if line.endswith("\n") else accepted
        undone += faulty_libc.drop_unsynced(tmp_path, source)
        spool = Spool.open(tmp_path / "spool", Settings())
        try:
            newest = spool.newest()
            messages = spool.after(accepted // 2, 10**6)
        finally:
            spool.close()
        assert newest >= accepted, "a number that was given out would be given out again"
        assert [one.number for one in messages] == list(range(accepted // 2 + 1, newest + 1))
        assert all(one.payload == f"message {one.number}".encode() * 40 for one in messages)
    assert undone > 0, "nothing was ever undone"
    assert not list(tmp_path.glob("*.damaged*"))
