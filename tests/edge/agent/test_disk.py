"""Tests an agent on a real disk that fills and is freed: no reading is lost."""

from __future__ import annotations

import subprocess
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from edge.agent.agent import Agent
from edge.agent.settings import Settings
from edge.agent.spool import Spool
from edge.drivers import Pack
from edge.wire import senml
from edge.wire.broker_address import BrokerAddress
from edge.wire.senml import Record
from tests.support import not_tested
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TICKS = 150


class SteadyDriver:
    """One reading each 10 ms."""

    def packs(self) -> Iterator[Pack | None]:
        for tick in range(TICKS):
            time.sleep(0.01)
            yield Pack(
                due_s=time.time(), records=[Record(name="ph", time_s=1.79e9 + tick, value=float(tick))]
            )


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Provide a file system of 16 MiB, more than the journal needs."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["/usr/bin/mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode != 0:
        not_tested.skip("an agent on a full disk: mounting a small one needs root")
    try:
        yield folder
    finally:
        subprocess.run(["/usr/bin/umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> None:
    with suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))


def test_no_reading_is_lost_while_the_disk_is_full(disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = Spool.open(disk / "spool", Settings())
    one = Agent(
        area="a",
        device="d",
        driver=SteadyDriver(),
        spool=spool,
        broker=BrokerAddress("127.0.0.1", 9),
        settings=Settings(),
    )
    stop = threading.Event()
    thread = threading.Thread(target=one.run, args=(stop,), daemon=True)
    thread.start()
    wait_until(lambda: one.counts().taken > 20, within_s=30, what="readings are taken")
    fill(disk)
    wait_until(lambda: "make room" in caplog.text, within_s=30, what="the disk is full")
    (disk / "filler").unlink()
    wait_until(lambda: one.counts().taken == TICKS, within_s=60, what="all readings are taken")
    stop.set()
    thread.join(30)
    assert one.not_spooled == 0
    assert spool.set_aside == 0, "a full disk is no damage"
    spool.close()
    again = Spool.open(disk / "spool", Settings())
    records = [senml.decode(row.payload, content_type=None, now_s=0)[0] for row in again.after(0, 2 * TICKS)]
    again.close()
    assert [record.value for record in records] == [float(tick) for tick in range(TICKS)]
