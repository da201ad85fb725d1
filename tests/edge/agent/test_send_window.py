"""Tests the send window: go-back-N in order, a bounded rate, back-off with jitter."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from edge.agent.send_window import ReadingRateLimit, SendWindow

SIZE, TIMEOUT_S, LONGEST_S = 8, 5.0, 300.0
HOUR_S = 3600.0


def test_a_window_is_bounded_and_makes_room_by_receipts() -> None:
    window = SendWindow(3, timeout_s=10, longest_s=80)
    for number in (1, 2, 3):
        window.sent(number, 0)
    assert (window.free_slots, window.last_sent) == (0, 3)
    window.acknowledged([(1, 2)], 1)
    assert (window.free_slots, window.last_sent) == (2, 3)


def test_without_a_receipt_in_time_it_goes_back_to_the_oldest() -> None:
    window = SendWindow(10, timeout_s=10, longest_s=80)
    for number in (4, 5, 6):
        window.sent(number, float(number))
    window.acknowledged([(4, 4), (6, 6)], 7)
    assert not window.check_timeout(15)
    assert window.check_timeout(15.1)
    assert (window.last_sent, window.free_slots) == (4, 1), (
        "one of them, to see whether the platform is there"
    )


def test_a_lost_session_goes_back_and_an_empty_window_stays() -> None:
    window = SendWindow(10, timeout_s=10, longest_s=80)
    window.go_back()
    assert window.last_sent == 0
    window.sent(7, 0)
    window.acknowledged([(7, 7)], 1)
    window.go_back()
    assert window.last_sent == 7


@given(st.lists(st.sampled_from(["send", "lose", "keep", "wait"]), max_size=60))
def test_every_message_is_sent_again_until_it_is_kept_and_in_order(steps: list[str]) -> None:
    """Against a channel that may lose anything: what is on its way is always a stretch in order."""
    window, acknowledged, now_s = SendWindow(5, timeout_s=2, longest_s=2), set[int](), 0.0
    way: list[int] = []
    for step in steps:
        now_s += 1
        if step == "send" and window.free_slots:
            number = next(one for one in range(window.last_sent + 1, 10**6) if one not in acknowledged)
            window.sent(number, now_s)
            way.append(number)
        elif step == "lose" and way:
            way.pop(0)
        elif step == "keep" and way:
            acknowledged.add(way[0])
            window.acknowledged([(way[0], way[0])], now_s)
            way.pop(0)
        elif step == "wait" and window.check_timeout(now_s):
            way.clear()
    unkept = [one for one in range(1, window.last_sent + 1) if one not in acknowledged]
    assert len(unkept) <= 5


@dataclass
class LossyPlatform:
    """A platform in simulated time: it loses messages and receipts by plan, and all of them in an outage.

    ``plan`` tells of each message that arrives what becomes of it, and is used once: "lost", "receipt lost",
    or the seconds that its receipt takes.
    """

    plan: list[str | float]
    outage_s: tuple[float, float]
    publishes: int = 0
    losses: int = 0
    stored: set[int] = field(default_factory=set)
    receipts: list[tuple[float, int]] = field(default_factory=list)

    def take(self, number: int, now_s: float) -> None:
        self.publishes += 1
        fate = self.plan.pop() if self.plan else 0.1
        if self.outage_s[0] <= now_s < self.outage_s[1]:
            return
        if fate == "lost":
            self.losses += 1
            return
        self.stored.add(number)
        if fate == "receipt lost":
            self.losses += 1
            return
        heapq.heappush(self.receipts, (now_s + float(fate), number))

    def due(self, now_s: float) -> list[int]:
        numbers = []
        while self.receipts and self.receipts[0][0] <= now_s:
            numbers.append(heapq.heappop(self.receipts)[1])
        return numbers


def play(platform: LossyPlatform, messages: int, *, until_s: float) -> tuple[int, float]:
    """An agent's loop in steps of 0.2 s; returns how often it went back, and when it was done [s]."""
    window, spool, now_s, back = SendWindow(SIZE, TIMEOUT_S, LONGEST_S), set(range(1, messages + 1)), 0.0, 0
    while spool and now_s < until_s:
        for number in platform.due(now_s):
            spool.discard(number)
            window.acknowledged([(number, number)], now_s)
        back += window.check_timeout(now_s)
        for number in sorted(one for one in spool if one > window.last_sent)[: max(0, window.free_slots)]:
            assert number > window.last_sent, "in order"
            window.sent(number, now_s)
            platform.take(number, now_s)
        assert window.free_slots >= 0
        now_s += 0.2
    assert platform.stored >= set(range(1, messages + 1)) - spool, "what left the spool is stored"
    return back, now_s if not spool else until_s


fates = st.lists(
    st.sampled_from(["lost", "receipt lost", 0.0, 0.1, 1.0]) | st.floats(0, TIMEOUT_S / 3), max_size=60
)


@settings(deadline=None)
@given(fates, st.integers(1, 40))
def test_a_lossy_platform_gets_everything_and_is_not_flooded(plan: list[str | float], messages: int) -> None:
    platform = LossyPlatform(plan, (0, 0))
    back, _ = play(platform, messages, until_s=HOUR_S * 24)
    assert platform.stored == set(range(1, messages + 1))
    assert back <= platform.losses, "only what was lost makes it send again"
    assert platform.publishes <= messages + back * (SIZE + 1)


@settings(deadline=None, max_examples=40)
@given(st.floats(0, 5), st.floats(1, 1800), st.integers(1, 60))
def test_an_outage_costs_one_window_and_a_few_probes(begins_s: float, lasts_s: float, messages: int) -> None:
    platform = LossyPlatform([], (begins_s, begins_s + lasts_s))
    back, done_s = play(platform, messages, until_s=HOUR_S * 24)
    assert platform.stored == set(range(1, messages + 1))
    assert back <= 6 + lasts_s / LONGEST_S + 1, "time-outs double up to the longest"
    assert platform.publishes <= messages + 2 * SIZE + back
    assert done_s <= begins_s + lasts_s + LONGEST_S + 60, "it goes on soon after the platform came back"


def test_receipts_that_never_come_are_not_7488_publishes_an_hour() -> None:
    platform = LossyPlatform([], (0, 1e9))
    play(platform, 64, until_s=HOUR_S)
    assert platform.publishes <= SIZE + 20


def test_the_first_receipt_opens_the_whole_window_again() -> None:
    window = SendWindow(10, timeout_s=5, longest_s=80)
    for number in range(1, 11):
        window.sent(number, 0)
    assert window.check_timeout(6)
    assert (window.free_slots, window.timeout_s) == (1, 10)
    window.sent(1, 6)
    assert window.free_slots == 0
    window.acknowledged([(1, 1)], 7)
    assert window.free_slots == 10
    assert window.timeout_s == 10, "it was sent twice: nobody knows which one the receipt is for"
    window.sent(11, 7)
    window.acknowledged([(11, 11)], 7.1)
    assert window.timeout_s == 5


def test_a_platform_that_is_slow_is_not_sent_everything_twice_again_and_again() -> None:
    window = SendWindow(1, timeout_s=5, longest_s=80)
    window.sent(1, 0)
    window.acknowledged([(1, 1)], 4)
    assert window.timeout_s == 8, "twice what the newest receipt took"


def test_a_session_that_is_lost_is_sent_again_at_once_and_a_resumed_one_is_not() -> None:
    window = SendWindow(10, timeout_s=5, longest_s=80)
    for number in (1, 2, 3, 4):
        window.sent(number, 0)
    for number in (1, 2):
        window.mark_at_broker(number)
    window.reconnected(100, session_present=True)
    assert (window.last_sent, window.free_slots) == (2, 8), "the broker holds 1 and 2; 3 and 4 may be lost"
    assert not window.check_timeout(104), "their receipts may take as long as any"
    window.reconnected(105, session_present=False)
    assert (window.last_sent, window.free_slots) == (0, 10)


def test_a_new_session_of_the_platform_sends_all_again_at_once() -> None:
    window = SendWindow(10, timeout_s=5, longest_s=80)
    window.reconnected(0, session_present=False)
    for number in (1, 2, 3):
        window.sent(number, 0)
        window.mark_at_broker(number)
    assert not window.check_timeout(6), "the broker acknowledged them"
    assert window.free_slots == 0, "and there is no receipt yet: what follows may be lost, too"
    window.resend()
    assert (window.last_sent, window.free_slots, window.probing) == (0, 10, False)


def test_over_a_session_without_a_receipt_messages_leave_at_ever_longer_intervals() -> None:
    window, left_s = SendWindow(64, timeout_s=5, longest_s=300), list[int]()
    window.reconnected(0, session_present=False)
    for now_s in range(3600):
        window.check_timeout(now_s)
        if now_s % 10 == 0 and window.free_slots > 0:  # a message each 10 s, and the broker acknowledges it
            left_s.append(now_s)
            window.sent(len(left_s), now_s)
            window.mark_at_broker(len(left_s))
    intervals_s = [after - before for before, after in pairwise(left_s)]
    assert 4 <= len(left_s) <= 7
    assert intervals_s == sorted(intervals_s)
    window.acknowledged([(1, 1)], 3600)
    assert window.free_slots == 64 - len(left_s) + 1, "a receipt opens the whole window"


def test_a_pace_is_kept_over_time() -> None:
    pace, sent = ReadingRateLimit(100), 0
    for tick in range(1000):  # ten seconds
        if pace.allows(tick / 100):
            pace.spend(7)
            sent += 7
    assert 1000 <= sent <= 1000 + 100 + 7


def test_no_pace_is_no_bound() -> None:
    pace = ReadingRateLimit(0)
    pace.spend(10**9)
    assert pace.allows(0)
