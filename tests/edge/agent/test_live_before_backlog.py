"""Tests that live messages go before the backlog of an outage, each in order, and what an outage costs."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from edge.agent.agent import Agent
from edge.agent.send_window import SendWindow
from edge.agent.settings import Settings
from edge.agent.spool import Spool, SpoolEntry
from edge.drivers import Pack
from edge.wire import broker_address, senml
from edge.wire.senml import Record
from tests.edge.agent.test_agent import AREA, DEVICE, ReceiptSender
from tests.support.processes import wait_until
from tests.support.town_outage import INTERVALS_S, device_cost, town_cost

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BACKLOG, LIVE = 800, 10


class LiveDriver:
    """One reading each 50 ms, with its time, beginning when the backlog is on its way."""

    def __init__(self, began: threading.Event) -> None:
        self._began = began

    def packs(self) -> Iterator[Pack | None]:
        while not self._began.is_set():
            time.sleep(0.02)
            yield None
        for tick in range(LIVE):
            now_s = time.time()
            yield Pack(due_s=now_s, records=[Record(name="ph", time_s=now_s, value=float(BACKLOG + tick))])
            time.sleep(0.05)


def test_live_readings_are_sent_before_the_backlog_and_both_in_order(mosquitto: Any, tmp_path: Path) -> None:
    settings = Settings(backlog_readings_per_s=400, window=16)
    spool = Spool.open(tmp_path / "spool", settings)
    spool.put(
        [
            SpoolEntry(senml.encode_json([Record(name="ph", time_s=1.7e9 + one, value=float(one))]), 1)
            for one in range(BACKLOG)
        ]
    )
    began = threading.Event()
    one = Agent(
        area=AREA,
        device=DEVICE,
        driver=LiveDriver(began),
        spool=spool,
        broker=broker_address.parse_broker_address(mosquitto.url),
        settings=settings,
    )
    platform = ReceiptSender(mosquitto)
    thread = threading.Thread(target=one.run, args=(threading.Event(),))
    thread.start()
    wait_until(lambda: len(platform.received) > 50, within_s=30, what="the backlog is on its way")
    began.set()
    thread.join(60)
    platform.close()
    assert not thread.is_alive()
    live = [value for value in platform.received if value >= BACKLOG]
    backlog = [value for value in platform.received if value < BACKLOG]
    assert live == [float(BACKLOG + tick) for tick in range(LIVE)]
    assert backlog == [float(number) for number in range(BACKLOG)]
    assert platform.received.index(live[-1]) < len(platform.received) - 1, "the last live one did not wait"


@given(st.lists(st.sampled_from(["new", "send", "keep", "lose", "wait", "defer", "resume"]), max_size=80))
def test_no_message_is_left_out_whatever_is_lost_and_deferred(steps: list[str]) -> None:  # noqa: C901 - steps
    window, spool, way, now_s, newest = SendWindow(4, 2, 8), set[int](), list[int](), 0.0, 0

    def send() -> None:
        numbers = [one for one in sorted(spool) if one > window.last_sent][: max(0, window.free_slots)]
        if not numbers and window.has_backlog:
            rows = [one for one in sorted(spool) if window.backlog_last < one <= window.backlog_end]
            numbers = [one for one in rows if not window.is_in_flight(one)][: max(0, window.backlog_slots)]
            if not rows:
                window.end_backlog()
        for number in numbers:
            assert not window.is_in_flight(number)
            window.sent(number, now_s)
            way.append(number)

    for step in steps:
        now_s += 1
        if step == "new":
            spool.update(range(newest + 1, newest + 4))
            newest += 3
        elif step == "send":
            send()
        elif step == "keep" and way:
            kept = way.pop(0)
            spool.discard(kept)
            window.acknowledged([(kept, kept)], now_s)
        elif step == "lose" and way:
            way.pop(0)
        elif step == "wait":
            window.check_timeout(now_s)
        elif step == "defer" and not window.has_backlog:
            window.defer(newest)
        elif step == "resume":
            window.reconnected(now_s, session_present=False)
            way.clear()
    for _ in range(4 * len(spool) + 20):  # then all goes well
        now_s += 10
        window.check_timeout(now_s)
        send()
        for kept in way:
            spool.discard(kept)
            window.acknowledged([(kept, kept)], now_s)
        way.clear()
    assert spool == set()


def test_an_hour_without_ingest_costs_a_town_of_forty_at_most_two_per_cent() -> None:
    """In simulated time. Devices that had run for long were seen to send two thirds more in that hour."""
    for before_s in (0.0, 600.0, 6 * 3600.0):
        assert town_cost(before_s=before_s).surplus <= 0.02, before_s
        assert town_cost(before_s=before_s, outage_s=24 * 3600.0).surplus <= 0.02, before_s


def test_a_broker_that_drops_all_costs_a_few_messages_and_every_one_arrives() -> None:
    """In simulated time: `device_cost` checks that all are stored after the platform's announcement."""
    for interval_s in set(INTERVALS_S):
        for before_s in (0.0, 600.0):
            cost = device_cost(interval_s, before_s=before_s, is_held=False)
            assert 1 <= cost.repeats <= 8, (interval_s, before_s, cost)
