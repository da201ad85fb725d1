"""Simulates the send windows of a town's devices in an outage of the platform, in simulated time.

The broker is up: it acknowledges each message at once and keeps it for the platform, whose receipts come
after `RECEIPT_S`, or at the end of the outage.
"""

from __future__ import annotations

from typing import NamedTuple

from edge.agent.send_window import SendWindow
from edge.agent.settings import Settings

STEP_S = 5.0
RECEIPT_S = 5.0
DEVICES = 40
INTERVALS_S = (
    60.0,
    300.0,
    300.0,
    300.0,
)  # of every fourth device; 300 s is the demo's, 60 s a traffic counter's


class OutageCost(NamedTuple):
    """Messages that had to be sent, and those that were sent, from the begin of the outage on."""

    messages: int
    publishes: int

    @property
    def surplus(self) -> float:
        """Share of the messages that was sent in vain."""
        return self.publishes / self.messages - 1


def device_cost(
    interval_s: float, *, before_s: float, outage_s: float = 3600.0, after_s: float = 3600.0
) -> OutageCost:
    """Return the cost of one device that has run for ``before_s`` when the outage begins [s]."""
    settings = Settings()
    window = SendWindow(settings.window, settings.receipt_timeout_s, settings.receipt_timeout_longest_s)
    begin_s, end_s = before_s, before_s + outage_s
    due: dict[int, float] = {}  # number -> when its receipt comes
    stored: set[int] = set()
    newest, messages, publishes = 0, 0, 0
    for tick in range(int((end_s + after_s) / STEP_S)):
        now_s = tick * STEP_S
        newest += now_s % interval_s == 0
        messages += now_s % interval_s == 0 and now_s >= begin_s
        for number in [one for one, at_s in due.items() if at_s <= now_s]:
            del due[number]
            stored.add(number)
            window.acknowledged([(number, number)], now_s)
        window.check_timeout(now_s)
        for number in range(window.last_sent + 1, newest + 1)[: max(0, window.free_slots)]:
            if number in stored:
                continue
            window.sent(number, now_s)
            window.mark_at_broker(number)
            publishes += now_s >= begin_s
            due.setdefault(number, end_s if begin_s <= now_s < end_s else now_s + RECEIPT_S)
    assert len(stored) >= newest - 1, "all is stored in the end"
    return OutageCost(messages, publishes)


def town_cost(*, before_s: float) -> OutageCost:
    """Return the cost of a town of `DEVICES` devices."""
    costs = [device_cost(one, before_s=before_s) for one in INTERVALS_S]
    share = DEVICES // len(INTERVALS_S)
    return OutageCost(share * sum(one.messages for one in costs), share * sum(one.publishes for one in costs))
