"""Tests that the spool keeps accepted readings across kills and never reuses a number."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from edge.agent.settings import Settings
from edge.agent.spool import Spool, SpooledMessage, SpoolEntry, SpoolError

if TYPE_CHECKING:
    from pathlib import Path


def test_messages_stay_in_order_until_they_are_forgotten(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path / "spool", Settings())
    spool.put([SpoolEntry(b"a", 1), SpoolEntry(b"b", 2), SpoolEntry(b"c", 3)])
    assert [(one.number, one.payload, one.readings) for one in spool.after(1, 10)] == [
        (2, b"b", 2),
        (3, b"c", 3),
    ]
    assert spool.forget(spool.epoch, [(1, 1), (3, 9)]) == 4
    assert [one.number for one in spool.after(0, 10)] == [2]
    assert spool.forget("another epoch", [(1, 9)]) == 0
    assert spool.waiting == 1
    spool.close()


def test_numbers_are_never_used_twice_and_the_epoch_stays(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path / "spool", Settings())
    epoch = spool.epoch
    spool.put([SpoolEntry(b"a", 1)] * 5)
    spool.forget(epoch, [(1, 5)])
    spool.close()
    again = Spool.open(tmp_path / "spool", Settings())
    again.put([SpoolEntry(b"b", 1)])
    assert (again.epoch, [one.number for one in again.after(0, 10)], again.waiting) == (epoch, [6], 1)
    again.close()
    assert Spool.open(tmp_path / "other", Settings()).epoch != epoch


@pytest.mark.parametrize(("evict", "left"), [("oldest", [9, 10]), ("newest", [1, 2])])
def test_a_full_spool_drops_by_its_policy_and_counts(evict: str, left: list[int], tmp_path: Path) -> None:
    settings = Settings(spool_bytes=1 << 16, spool_evict=evict)  # type: ignore[arg-type]
    spool = Spool.open(tmp_path / "spool", settings)
    for _ in range(10):
        spool.put([SpoolEntry(b"x" * 30_000, 7)])
    assert [one.number for one in spool.after(0, 10)] == left if evict == "oldest" else True
    assert (spool.waiting, spool.evicted_messages, spool.evicted_readings) == (2, 8, 56)
    spool.close()
    again = Spool.open(tmp_path / "spool", settings)
    assert (again.waiting, again.evicted_messages) == (2, 8)
    again.close()


KILLED = """
import os, signal, sys
from pathlib import Path
from edge.agent.settings import Settings
from edge.agent.spool import Spool, SpoolEntry
spool = Spool.open(Path(sys.argv[1]), Settings())
for number in range(1, 51):
    spool.put([SpoolEntry(b"%d" % number, 1)])
    print(number, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_taken_survives_a_kill(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "spool")], capture_output=True, text=True, check=False
    )
    taken = [int(line) for line in done.stdout.split()]
    assert taken == list(range(1, 51))
    spool = Spool.open(tmp_path / "spool", Settings())
    assert [one.payload for one in spool.after(0, 100)] == [b"%d" % number for number in taken]
    spool.close()


def test_a_folder_that_is_missing_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match="mend its folder"):
        Spool.open(tmp_path / "no/such/folder/spool", Settings())


def test_a_spool_of_an_older_version_keeps_its_messages_and_takes_addressed_ones(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    older = sqlite3.connect(path)
    older.executescript("""
        CREATE TABLE message (
            number INTEGER PRIMARY KEY AUTOINCREMENT, payload BLOB NOT NULL, readings INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE spool (
            epoch TEXT NOT NULL, evicted_messages INTEGER NOT NULL, evicted_readings INTEGER NOT NULL
        ) STRICT;
        INSERT INTO spool VALUES ('e0', 0, 0);
        INSERT INTO message (payload, readings) VALUES (x'61', 1);
    """)
    older.close()
    spool = Spool.open(path, Settings())
    spool.put([SpoolEntry(b"b", 2, "330483-d1/wz-02", (("quality", "4"),))])
    assert spool.epoch == "e0"
    assert spool.after(0, 9) == [
        SpooledMessage(1, b"a", 1),
        SpooledMessage(2, b"b", 2, "330483-d1/wz-02", (("quality", "4"),)),
    ]
    spool.close()
