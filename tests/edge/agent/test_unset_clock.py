"""Tests a device that starts with a wrong clock: readings are re-dated once when it is set, and marked."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from edge.agent import clock_sync
from edge.agent.agent import Agent
from edge.agent.clock_sync import ClockSync, UnsetClock
from edge.agent.settings import Settings
from edge.agent.spool import ReDatedPayload, Spool, SpoolEntry
from edge.drivers import Pack
from edge.wire import senml
from edge.wire.broker_address import BrokerAddress
from edge.wire.senml import Record
from tests.support.mqtt_publisher import MqttPublisher
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

    from tests.support.throwaway_servers import MosquittoServer

TRUE_S = 1_790_000_000.0  # at the boot
BEHIND_S = 86_400.0 * 3


class StartingMachine:
    """A device with a boot clock, and a clock that is three days behind until it is set."""

    def __init__(self) -> None:
        self.up_s, self.behind_s, self.has_time_service = 10.0, BEHIND_S, False

    def clock(self) -> float:
        return TRUE_S + self.up_s - self.behind_s

    def sync(self, boot: str = "boot-1") -> ClockSync:
        return ClockSync(
            is_synchronised=lambda: self.has_time_service,
            clock=self.clock,
            boot_clock=lambda: self.up_s,
            boot=boot,
        )

    def pack(self, tick: int, *, own_time: bool = False) -> Pack:
        time_s = 1_780_000_000.0 if own_time else self.clock()
        records = [Record(name="ph", time_s=time_s, value=float(tick))]
        return Pack(due_s=self.clock(), records=records, taken_s=None if own_time else self.up_s)


class QueueDriver:
    """Packs that a test adds."""

    def __init__(self) -> None:
        self.queue: list[Pack] = []
        self.closed = False

    def packs(self) -> Iterator[Pack | None]:
        pause = threading.Event()
        try:
            while True:
                pause.wait(0.01)
                yield self.queue.pop(0) if self.queue else None
        finally:
            self.closed = True


class Running:
    """An agent on a thread, on a machine whose clocks a test moves."""

    def __init__(self, folder: Path, machine: StartingMachine, broker: Any = None, **settings: Any) -> None:
        self.driver, self._stop = QueueDriver(), threading.Event()
        chosen = Settings(**settings)
        self.spool = Spool.open(folder / "spool", chosen)
        address = BrokerAddress(broker.host, broker.port) if broker else BrokerAddress("127.0.0.1", 9)
        self.agent = Agent(
            area="a", device="d", driver=self.driver, spool=self.spool, broker=address, settings=chosen,
            clock=machine.clock, clock_sync=machine.sync(),
        )  # fmt: skip
        self._thread = threading.Thread(target=self.agent.run, args=(self._stop,), daemon=True)
        self._thread.start()

    def take(self, *packs: Pack) -> None:
        taken = self.agent.counts().taken + len(packs)
        self.driver.queue += packs
        wait_until(lambda: self.agent.counts().taken == taken, within_s=20, what="they are in the spool")

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)
        assert self.driver.closed
        self.spool.close()


def contents(spool: Spool) -> list[tuple[float, float | None, dict[str, str]]]:
    rows = spool.after(0, 100)
    decoded = [(senml.decode(one.payload, content_type=None, now_s=0)[0], one.properties) for one in rows]
    return [(record.time_s, record.value, dict(properties)) for record, properties in decoded]


def test_readings_before_the_first_synchronisation_are_re_dated_once_and_marked(tmp_path: Path) -> None:
    machine = StartingMachine()
    running = Running(tmp_path, machine)
    late = []
    for tick in range(3):
        running.take(machine.pack(tick), machine.pack(tick + 100, own_time=True))
        machine.up_s += 60.0
    late.append(machine.pack(3))  # is still in a driver's queue when the clock is set
    assert [value for _, value, _ in contents(running.spool)] == [100.0, 101.0, 102.0], "the others wait"
    machine.behind_s = 0.0
    wait_until(lambda: len(contents(running.spool)) == 6, within_s=20, what="they are re-dated")
    running.take(*late, machine.pack(4))
    machine.behind_s = -50.0  # is set again: nothing is re-dated twice
    running.take(machine.pack(5))
    found = contents(running.spool)
    running.stop()
    mark = {"clock": "re-dated"}
    own = [(time_s, marks) for time_s, value, marks in found if value is not None and value < 100]
    assert own == [
        (TRUE_S + 10.0, mark), (TRUE_S + 70.0, mark), (TRUE_S + 130.0, mark), (TRUE_S + 190.0, mark),
        (TRUE_S + 190.0, {}), (TRUE_S + 240.0, {}),
    ]  # fmt: skip
    others = [(time_s, marks) for time_s, value, marks in found if value is not None and value >= 100]
    assert others == [(1_780_000_000.0, {})] * 3


def test_an_agent_that_is_started_again_re_dates_what_the_one_before_took(tmp_path: Path) -> None:
    """In the same boot; readings of an earlier boot keep their times and are flagged."""
    machine = StartingMachine()
    first = Running(tmp_path, machine)
    first.take(machine.pack(1))
    first.stop()
    spool = Spool.open(tmp_path / "spool", Settings())
    payload = senml.encode_json([Record(name="ph", time_s=1e9, value=0.0)])
    spool.put([SpoolEntry(payload, 1, clock=UnsetClock("boot-0", 12.0))])
    spool.close()
    machine.behind_s, machine.has_time_service = 0.0, True
    second = Running(tmp_path, machine)
    wait_until(lambda: len(contents(second.spool)) == 2, within_s=20, what="they are re-dated")
    found = contents(second.spool)
    second.stop()
    assert found == [
        (TRUE_S + 10.0, 1.0, {"clock": "re-dated"}), (1e9, 0.0, {"clock": "unset", "quality": "3"}),
    ]  # fmt: skip


def test_a_clock_that_is_never_set_is_waited_for_only_while_there_is_no_connection(
    tmp_path: Path, mosquitto: MosquittoServer
) -> None:
    machine = StartingMachine()
    with MqttPublisher(mosquitto, "towntwin/v1/a/d/data") as platform:
        running = Running(tmp_path, machine, mosquitto, clock_wait_s=1.0)
        running.take(machine.pack(1))
        wait_until(lambda: len(platform.received) == 1, within_s=20, what="it is sent in the end")
        running.take(machine.pack(2))
        machine.has_time_service, machine.behind_s = True, 0.0
        machine.up_s += 60
        wait_until(lambda: len(platform.received) == 2, within_s=20, what="the next one is sent at once")
        wait_until(lambda: running.agent._clock_due_s > 1e300, within_s=20, what="the synchronisation")
        running.take(machine.pack(3))
        found = contents(running.spool)
        running.stop()
    assert [marks for _, _, marks in found] == [{"clock": "unset", "quality": "3"}] * 2 + [{}]
    assert found[-1][0] == TRUE_S + 70.0


def test_a_clock_that_is_set_back_holds_up_no_driver(tmp_path: Path) -> None:
    machine = StartingMachine()
    machine.has_time_service = True
    running = Running(tmp_path, machine)
    pack = machine.pack(1)
    machine.behind_s += 86_400.0
    running.take(pack, machine.pack(2))
    running.stop()


def test_the_size_of_a_re_dated_spool_is_known(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path / "spool", Settings())
    clock = UnsetClock("b", 1.0)
    spool.put([SpoolEntry(b"x" * 10, 1, clock=clock)] * 1500 + [SpoolEntry(b"y", 1)])
    assert spool.re_date(lambda _clock, payload: ReDatedPayload(payload * 2, (("a", "b"),))) == 1500
    assert spool._totals.size == 1500 * 20 + 1
    assert spool.re_date(lambda _clock, payload: ReDatedPayload(payload * 2, ())) == 0, "once"
    spool.close()
    again = Spool.open(tmp_path / "spool", Settings())
    assert again._totals.size == 1500 * 20 + 1
    assert again.after(0, 1)[0].properties == (("a", "b"),)
    again.close()


def test_the_state_of_the_kernels_clock_is_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert clock_sync.kernel_clock_is_synchronised() in {True, False}
    monkeypatch.setattr("edge.agent.clock_sync.ctypes.CDLL", lambda *_, **__: object())
    assert clock_sync.kernel_clock_is_synchronised(), "another system: no wait"
