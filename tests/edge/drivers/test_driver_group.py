"""Tests several drivers as one: they are closed, recordings are marked, paths are those of the site file."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from edge.agent.agent import Agent
from edge.agent.settings import Settings
from edge.agent.spool import Spool
from edge.drivers import Pack, registry
from edge.drivers.driver_group import MAX_QUEUED, DriverGroup
from edge.drivers.driver_options import DriverOptionsError
from edge.drivers.site_drivers import DeviceFileError, build_drivers, read_site_file
from edge.wire.broker_address import BrokerAddress
from edge.wire.senml import Record
from tests.support.modbus_instruments import device, float_words, tcp_instrument
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SITE = """
area = "a"
device = "d"

[driver.sonde]
kind = "modbus"
bus = "BUS"
map = "maps/own.toml"
interval_s = 0.1

[driver.past]
kind = "replay"
file = "past.csv"
mapping = "maps/past.toml"

[driver.simulated]
kind = "simulator"
quantities = ["dissolved_oxygen", "turbidity"]
interval_s = 0.2
"""
MAP = """
model = "own"
source = "none"
function = 3
[[registers]]
name = "ph"
number = 409
unit = "pH"
"""
MAPPING = """
[time]
column = "t"
zone = "UTC"
[[column]]
match = "ph"
site = "s"
quantity = "ph"
unit = "pH"
"""


class EndlessDriver:
    """Packs without end, faster than they are stored."""

    def __init__(self) -> None:
        self.thread = self.closed_by = ""

    def packs(self) -> Iterator[Pack | None]:
        self.thread = threading.current_thread().name
        try:
            while True:
                now_s = time.time()
                yield Pack(due_s=now_s, records=[Record(name="ph", time_s=now_s, value=7.0)])
        finally:
            self.closed_by = threading.current_thread().name


def test_the_generators_of_a_group_are_closed_on_their_own_threads_though_its_queue_is_full() -> None:
    drivers = {"one": EndlessDriver(), "two": EndlessDriver()}
    group = DriverGroup(drivers)
    packs: Any = group.packs()
    next(packs)
    wait_until(lambda: group._queue.qsize() == MAX_QUEUED, within_s=20, what="the queue is full")
    packs.close()
    for name, one in drivers.items():
        assert one.closed_by == one.thread == f"driver {name}"


def test_drivers_of_a_site_file_read_files_beside_it_and_recordings_are_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A map was seen to be looked up in the working directory, and recordings to be refused as too old."""
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps/own.toml").write_text(MAP)
    (tmp_path / "maps/past.toml").write_text(MAPPING)
    (tmp_path / "past.csv").write_text("t,ph\n2015-01-01T00:00:00,7.1\n2015-01-01T01:00:00,7.2\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with tcp_instrument(device({409: float_words(6.5)}, fill=420)) as bus:
        (tmp_path / "site.toml").write_text(SITE.replace("BUS", bus))
        group = build_drivers(read_site_file(tmp_path / "site.toml"), tmp_path, lambda _sentence: None)
        settings = Settings()
        spool = Spool.open(tmp_path / "spool", settings)
        agent = Agent(
            area="a", device="d", driver=group, spool=spool,
            broker=BrokerAddress("127.0.0.1", 9), settings=settings,
        )  # fmt: skip
        stop = threading.Event()
        thread = threading.Thread(target=agent.run, args=(stop,), daemon=True)
        thread.start()

        def payloads() -> dict[str, tuple[tuple[str, str], ...]]:
            found = dict[str, tuple[tuple[str, str], ...]]()
            for one in spool.after(0, 1000):
                for name in (b'"ph"', b'"s:ph"', b'"turbidity"'):
                    found |= {name.decode(): one.properties} if name in one.payload else {}
            return found

        wait_until(lambda: len(payloads()) == 3, within_s=30, what="readings of all drivers")
        found = payloads()
        stop.set()
        thread.join(30)
        spool.close()
    assert found == {'"ph"': (), '"s:ph"': (("recorded", "1"),), '"turbidity"': ()}


@pytest.mark.parametrize(
    "options", [{"quantities": []}, {"quantities": ["mood"]}, {"quantities": ["ph"], "interval_s": 0}]
)
def test_wrong_options_of_the_simulator_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(DriverOptionsError):
        registry.DRIVERS["simulator"](options)


def test_a_missing_map_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(
        'area = "a"\ndevice = "d"\n[driver.x]\nkind = "modbus"\nbus = "tcp://127.0.0.1:1"\nmap = "no.toml"\n'
    )
    with pytest.raises(DeviceFileError, match=r"driver x: there is no register map 'no\.toml'"):
        build_drivers(read_site_file(tmp_path / "site.toml"), tmp_path, lambda _sentence: None)
