"""Tests many agents in one process: a member's exception is reported and does not affect the others."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from deploy import agent_fleet
from edge.agent.settings import Settings
from edge.drivers import Pack
from edge.wire.broker_address import BrokerAddress
from edge.wire.senml import Record
from tests.edge.agent.test_agent import AREA, DEVICE, ReceiptSender

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.throwaway_servers import MosquittoServer


BURST, TICKS = 30, 40


class Packs:
    """Packs that are overdue, and then an end or a fault."""

    def __init__(self, n: int, fault: Exception | None = None) -> None:
        self.n, self.fault = n, fault

    def packs(self) -> Iterator[Pack]:
        for tick in range(self.n):
            yield Pack(due_s=1.7e9 + tick, records=[Record(name="ph", time_s=1.7e9 + tick, value=1.0)])
        if self.fault is not None:
            raise self.fault


def test_one_member_that_dies_stops_no_other_and_is_reported(
    mosquitto: MosquittoServer, tmp_path: Path
) -> None:
    (tmp_path / "unusable.spool").mkdir()
    reports: list[agent_fleet.FleetProgress] = []

    def report(now: agent_fleet.FleetProgress) -> None:
        reports.append(now)
        if len(reports) == 1:
            raise OSError("no space left on device")

    last = agent_fleet.run_fleet(
        [
            agent_fleet.FleetMember("a", "unusable", Packs(5)),
            agent_fleet.FleetMember("a", "dies", Packs(3, ZeroDivisionError("a bad row"))),
            agent_fleet.FleetMember("a", "good", Packs(50)),
        ],
        folder=tmp_path,
        broker=BrokerAddress(mosquitto.host, mosquitto.port),
        settings=Settings(receipts=False),
        clock=time.time,
        stop=threading.Event(),
        report=report,
    )
    assert len(last.faults) == 2
    assert "unusable.spool" in last.faults[0]
    assert last.faults[1] == "dies: the driver ended: ZeroDivisionError: a bad row"
    assert last.taken == 53
    assert last.kept >= 50
    assert reports[-1] == last, "a report that can't be written stops nothing"


class LiveBurst:
    """Packs that are all due now, as those of a history are by a clock that runs fast."""

    def packs(self) -> Iterator[Pack]:
        for tick in range(TICKS):
            if tick >= BURST:
                time.sleep(0.03)
            now_s = time.time()
            yield Pack(due_s=now_s, records=[Record(name="ph", time_s=now_s, value=float(tick))])


def test_no_message_overtakes_the_history_before_it(mosquitto: MosquittoServer, tmp_path: Path) -> None:
    """The platform judges no reading that is measured before one that it has judged."""
    platform = ReceiptSender(mosquitto)
    last = agent_fleet.run_fleet(
        [agent_fleet.FleetMember(AREA, DEVICE, LiveBurst())],
        folder=tmp_path,
        broker=BrokerAddress(mosquitto.host, mosquitto.port),
        settings=Settings(window=2),
        clock=time.time,
        stop=threading.Event(),
        report=lambda _: None,
    )
    platform.close()
    assert last.kept == last.taken == TICKS
    assert list(dict.fromkeys(platform.received)) == [float(tick) for tick in range(TICKS)]
