"""Tests that a write that ends anywhere, or tears a page, keeps every message that was stored before it."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from edge.agent.settings import Settings
from edge.agent.spool import Spool, SpoolEntry

MESSAGES = 12


def payload(number: int) -> bytes:
    return b"message %02d " % number + bytes(range(256)) * (number % 3 * 10)


@pytest.mark.parametrize("torn", [False, True], ids=["cut", "torn"])
def test_a_write_that_ends_anywhere_keeps_all_messages_before_it(
    torn: bool,  # noqa: FBT001 - a parameter of the test
    tmp_path: Path,
) -> None:
    """Cut: the process is killed in the write. Torn: the power fails, and the rest of a page is noise."""
    chance = random.Random(21)
    path = tmp_path / "spool"
    spool = Spool.open(path, Settings())
    journal = Path(f"{path}-wal")
    ends = [journal.stat().st_size]  # of the journal after each message
    for number in range(1, MESSAGES + 1):
        spool.put([SpoolEntry(payload(number), 1)])
        ends.append(journal.stat().st_size)
    content = journal.read_bytes()
    assert ends == sorted(set(ends)), "the journal only grows: nothing is checkpointed meanwhile"
    for stored in range(MESSAGES):
        for end in {ends[stored], ends[stored + 1] - 1, chance.randrange(ends[stored], ends[stored + 1])}:
            copy = tmp_path / f"copy-{end}"
            shutil.copy(path, copy)
            # The first byte of the noise is never that of the message, which one missing byte would complete.
            noise = bytes([content[end] ^ 1]) + chance.randbytes(4095 - end % 4096) if torn else b""
            Path(f"{copy}-wal").write_bytes(content[:end] + noise)
            again = Spool.open(copy, Settings())
            assert [one.payload for one in again.after(0, 100)] == [payload(n + 1) for n in range(stored)]
            assert (again.epoch, again.set_aside) == (spool.epoch, 0)
            again.put([SpoolEntry(b"next", 1)])
            assert again.waiting == stored + 1
            again.close()
    spool.close()
