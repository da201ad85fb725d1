"""Simulates the send windows of a town's devices in an outage of the platform, in simulated time.

The broker is up and acknowledges each message at once. Either it keeps it for the platform, whose receipts
come after `RECEIPT_S`, or at the end of the outage. Or it was restarted in memory when the outage began and
drops it, until the platform subscribes over a new session and announces that.
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
    """Messages of the time of the outage, and publishes beyond one a message, from its begin on."""

    messages: int
    repeats: int

    @property
    def surplus(self) -> float:
        """Repeats over the messages of the outage."""
        return self.repeats / self.messages


def device_cost(
    interval_s: float,
    *,
    before_s: float,
    outage_s: float = 3600.0,
    after_s: float = 3600.0,
    is_held: bool = True,
) -> OutageCost:
    """Return the cost of one device that has run for ``before_s`` when the outage begins [s].

    ``is_held`` is whether the broker keeps the messages for the platform.
    """
    settings = Settings()
    window = SendWindow(settings.window, settings.receipt_timeout_s, settings.receipt_timeout_longest_s)
    window.reconnected(0.0, session_present=False)
    begin_s, end_s = before_s, before_s + outage_s
    due: dict[int, float] = {}  # number -> when its receipt comes
    stored, sent = set[int](), set[int]()
    newest, messages, repeats = 0, 0, 0
    for tick in range(int((end_s + after_s) / STEP_S)):
        now_s = tick * STEP_S
        is_away = begin_s <= now_s < end_s
        newest += now_s % interval_s == 0
        messages += now_s % interval_s == 0 and is_away
        if not is_held and now_s == begin_s:
            window.reconnected(now_s, session_present=False)
        if not is_held and now_s == end_s:
            window.resend()
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
            repeats += number in sent and now_s >= begin_s
            sent.add(number)
            if is_held or not is_away:
                due.setdefault(number, end_s if is_away else now_s + RECEIPT_S)
    assert len(stored) >= newest - 1, "all is stored in the end"
    return OutageCost(messages, repeats)


def town_cost(*, before_s: float, outage_s: float = 3600.0, is_held: bool = True) -> OutageCost:
    """Return the cost of a town of `DEVICES` devices."""
    costs = [device_cost(one, before_s=before_s, outage_s=outage_s, is_held=is_held) for one in INTERVALS_S]
    share = DEVICES // len(INTERVALS_S)
    return OutageCost(share * sum(one.messages for one in costs), share * sum(one.repeats for one in costs))
