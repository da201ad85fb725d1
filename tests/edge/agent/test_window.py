"""What to send when: go-back-N in order, a bounded pace, a jittered back-off; the time is an argument."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge.agent.window import Backoff, Pace, Window


def test_a_window_is_bounded_and_makes_room_by_receipts() -> None:
    window = Window(3, timeout_s=10, longest_s=80)
    for number in (1, 2, 3):
        window.sent(number, 0)
    assert (window.room, window.last_sent) == (0, 3)
    window.kept([(1, 2)], 1)
    assert (window.room, window.last_sent) == (2, 3)


def test_without_a_receipt_in_time_it_goes_back_to_the_oldest() -> None:
    window = Window(10, timeout_s=10, longest_s=80)
    for number in (4, 5, 6):
        window.sent(number, float(number))
    window.kept([(4, 4), (6, 6)], 7)
    assert not window.look(15)
    assert window.look(15.1)
    assert (window.last_sent, window.room) == (4, 1), "one of them, to see whether the platform is there"


def test_a_lost_session_goes_back_and_an_empty_window_stays() -> None:
    window = Window(10, timeout_s=10, longest_s=80)
    window.go_back()
    assert window.last_sent == 0
    window.sent(7, 0)
    window.kept([(7, 7)], 1)
    window.go_back()
    assert window.last_sent == 7


@given(st.lists(st.sampled_from(["send", "lose", "keep", "wait"]), max_size=60))
def test_every_message_is_sent_again_until_it_is_kept_and_in_order(steps: list[str]) -> None:
    """Against a channel that may lose anything: what is on its way is always a stretch in order."""
    window, kept, now_s = Window(5, timeout_s=2, longest_s=2), set[int](), 0.0
    way: list[int] = []
    for step in steps:
        now_s += 1
        if step == "send" and window.room:
            number = next(one for one in range(window.last_sent + 1, 10**6) if one not in kept)
            window.sent(number, now_s)
            way.append(number)
        elif step == "lose" and way:
            way.pop(0)
        elif step == "keep" and way:
            kept.add(way[0])
            window.kept([(way[0], way[0])], now_s)
            way.pop(0)
        elif step == "wait" and window.look(now_s):
            way.clear()
    unkept = [one for one in range(1, window.last_sent + 1) if one not in kept]
    assert len(unkept) <= 5


def test_a_pace_is_kept_over_time() -> None:
    pace, sent = Pace(100), 0
    for tick in range(1000):  # ten seconds
        if pace.allows(tick / 100):
            pace.spend(7)
            sent += 7
    assert 1000 <= sent <= 1000 + 100 + 7


def test_no_pace_is_no_bound() -> None:
    pace = Pace(0)
    pace.spend(10**9)
    assert pace.allows(0)


def test_waits_double_up_to_the_longest_with_jitter() -> None:
    backoff = Backoff(1, 8)
    assert [backoff.next_s(0) for _ in range(5)] == [1, 2, 4, 8, 8]
    assert backoff.next_s(0.999) > 4
    backoff.reset()
    assert backoff.next_s(0) == 1
