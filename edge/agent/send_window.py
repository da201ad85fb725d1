"""Send window and rate limit of the publisher; performs no I/O, the caller passes the time."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from edge.wire.token_bucket import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Iterable

TIMEOUT_FACTOR = 2.0  # the time-out is at least this many times the delay of the newest receipt
PROBE_SHARE = 0.01  # share of messages that may be sent again although the broker holds them
TRIAL_FACTOR = 4.0  # the next trial of a path takes at most three times as long as it was cut off
MAX_PROBE_TOKENS = 64.0
HELD_FACTOR = 36.0  # with a longest time-out of 300 s, the broker is trusted for three hours


class _SentMessage(NamedTuple):
    """When a message was last sent, and whether it had been sent before."""

    at_s: float
    was_sent_before: bool


class SendWindow:
    """Window over spool numbers: a bounded number of messages is in flight, in order (go-back-N).

    After a time-out it goes back to the oldest message and sends only that one, as a probe, with time-outs
    that double; the first receipt opens the full window again. The time-out is shortened again by the receipt
    of a message that was sent only once, because only that one measures the delay of a receipt (Karn and
    Partridge 1987).

    A message that the broker acknowledged waits there for the platform. While no receipt at all arrives, it
    is sent again only as often as `PROBE_SHARE` of the messages since the last receipt permits, or after
    `HELD_FACTOR` times the longest time-out, or when the platform announces a new session of its own
    (`resend`): an outage of the platform costs at most that share (docs/decisions/0086). Over a new session
    of the device, where the broker may hold nothing, newer messages are the probes until the first receipt:
    after a time-out one more at a time, after waits that grow.

    After `defer` there are two sequences, each in order: newer messages, and the backlog before them.

    Parameters
    ----------
    size : messages in flight at most
    timeout_s : time without a receipt after which the oldest message is sent again [s]
    longest_s : limit to which the time-out doubles [s]

    Attributes
    ----------
    last_sent : number after which the next message is sent
    backlog_last, backlog_end : the backlog still to be sent has the numbers after the first up to the second

    """

    def __init__(self, size: int, timeout_s: float, longest_s: float) -> None:
        self._size = size
        self._first_s = timeout_s
        self._longest_s = max(timeout_s, longest_s)
        self._in_flight: OrderedDict[int, _SentMessage] = OrderedDict()
        self._at_broker: set[int] = set()
        self._highest_sent = 0
        self._probe_tokens = 0.0
        self._receipt_s = float("-inf")
        self._is_proven = False  # by a receipt over this session, or by a session that the broker kept
        self._trial_slots: int | None = None  # messages in flight at most, of a session that is not proven
        self._trial_wait_s = self._trial_due_s = 0.0
        self.timeout_s = timeout_s
        self.probing = False
        self.last_sent = 0
        self.backlog_last = self.backlog_end = 0

    @property
    def free_slots(self) -> int:
        """Number of further messages that may be sent now."""
        if self.probing:
            return 1 - len(self._in_flight)
        slots = self._size if self._trial_slots is None else min(self._size, self._trial_slots)
        return slots - len(self._in_flight)

    @property
    def backlog_slots(self) -> int:
        """Number of slots that the backlog may use: a quarter of the window is left to newer messages."""
        return self.free_slots if self._is_narrow else self.free_slots - self._size // 4

    @property
    def _is_narrow(self) -> bool:
        return self.probing or self._trial_slots is not None

    @property
    def in_flight(self) -> int:
        """Number of messages in flight."""
        return len(self._in_flight)

    @property
    def has_backlog(self) -> bool:
        """Whether a backlog is still to be sent."""
        return self.backlog_last < self.backlog_end

    def is_in_flight(self, number: int) -> bool:
        """Whether a message is on its way."""
        return number in self._in_flight

    def defer(self, newest: int) -> None:
        """Make all messages up to ``newest`` that are not in flight the backlog, behind newer ones."""
        if newest > self.last_sent:
            self.backlog_last = self.backlog_last if self.has_backlog else self.last_sent
            self.backlog_end = self.last_sent = newest

    def end_backlog(self) -> None:
        """Record that no message of the backlog is left to be sent."""
        self.backlog_last = self.backlog_end

    def sent(self, number: int, now_s: float) -> None:
        """Record that a message was sent."""
        was_sent_before = number <= self._highest_sent and number > self.backlog_end
        self._in_flight[number] = _SentMessage(now_s, was_sent_before=was_sent_before)
        self._highest_sent = max(self._highest_sent, number)
        self._probe_tokens = min(MAX_PROBE_TOKENS, self._probe_tokens + PROBE_SHARE)
        if number <= self.backlog_end:
            self.backlog_last = number
        else:
            self.last_sent = number

    def mark_at_broker(self, number: int) -> None:
        """Record a PUBACK: the message need not be sent again if the broker resumes the session."""
        if number in self._in_flight:
            self._at_broker.add(number)

    def acknowledged(self, ranges: Iterable[tuple[int, int]], now_s: float) -> None:
        """Process a receipt for closed ranges of numbers; numbers not in flight are ignored."""
        longest_wait_s = None
        for first, last in ranges:
            for number in [one for one in self._in_flight if first <= one <= last]:
                sent = self._remove(number)
                if not sent.was_sent_before:
                    longest_wait_s = max(longest_wait_s or 0.0, now_s - sent.at_s)
        self.probing = False
        self._is_proven, self._trial_slots = True, None
        self._receipt_s = now_s
        self._probe_tokens = 0.0  # the path works: those of weeks without an outage are void
        if longest_wait_s is not None:
            self.timeout_s = min(self._longest_s, max(self._first_s, TIMEOUT_FACTOR * longest_wait_s))

    def go_back(self) -> None:
        """Restart at the oldest messages without a receipt."""
        self._go_back(list(self._in_flight))

    def resend(self) -> None:
        """Send all messages without a receipt again: the broker held none of them for the platform."""
        self.go_back()
        self.probing, self._trial_slots = False, None
        self.timeout_s = self._first_s

    def reconnected(self, now_s: float, *, session_present: bool) -> None:
        """Restart after a reconnect.

        If the broker lost the session, its messages are lost: all messages without a receipt are sent again.
        If it resumes the session, it has those it acknowledged: messages from the first one without a PUBACK
        on are sent again, and the time-outs of the others restart now.
        """
        self._is_proven, self._trial_slots = session_present, None
        if not session_present:
            self.go_back()
            return
        for is_backlog in (True, False):
            numbers = [one for one in self._in_flight if (one <= self.backlog_end) == is_backlog]
            first = next((one for one in numbers if one not in self._at_broker), None)
            if first is not None:
                self._go_back([one for one in numbers if one >= first])
        for number in self._in_flight:
            self._in_flight[number] = _SentMessage(now_s, was_sent_before=True)

    def check_timeout(self, now_s: float) -> bool:
        """Go back if the oldest message has timed out; returns whether it has."""
        number, oldest = next(iter(self._in_flight.items()), (0, None))
        if oldest is None or now_s - oldest.at_s <= self.timeout_s:
            return False
        if number in self._at_broker and self._receipt_s < oldest.at_s:
            if self._probe_tokens < 1 and now_s - oldest.at_s <= HELD_FACTOR * self._longest_s:
                self._widen_trial(now_s)
                return False
            self._probe_tokens = max(0.0, self._probe_tokens - 1)
        self.go_back()
        self.probing = True
        self.timeout_s = min(self._longest_s, 2 * self.timeout_s)
        return True

    def _widen_trial(self, now_s: float) -> None:
        """Let one more message leave over a session that is not proven, after ever longer waits."""
        if self._is_proven or self.probing:
            return
        if self._trial_slots is None:
            self._trial_slots, self._trial_wait_s = len(self._in_flight), self.timeout_s
        elif now_s >= self._trial_due_s:
            self._trial_slots = len(self._in_flight) + 1
            self._trial_wait_s *= TRIAL_FACTOR
        else:
            return
        self._trial_due_s = now_s + self._trial_wait_s

    def _go_back(self, numbers: list[int]) -> None:
        for number in numbers:
            self._remove(number)
        backlog = [one for one in numbers if one <= self.backlog_end]
        newer = [one for one in numbers if one > self.backlog_end]
        if backlog:
            self.backlog_last = min(self.backlog_last, min(backlog) - 1)
        if newer:
            self.last_sent = min(newer) - 1

    def _remove(self, number: int) -> _SentMessage:
        self._at_broker.discard(number)
        return self._in_flight.pop(number)


class ReadingRateLimit:
    """Rate limit on readings per second: token bucket with a capacity of one second; 0 is unlimited."""

    def __init__(self, readings_per_s: float) -> None:
        self._bucket = TokenBucket(per_s=readings_per_s, burst=readings_per_s) if readings_per_s else None

    def allows(self, now_s: float) -> bool:
        """Whether another message may be sent now."""
        return self._bucket is None or self._bucket.tokens_at(now_s) > 0

    def spend(self, readings: int) -> None:
        """Record that a message with this number of readings was sent."""
        if self._bucket is not None:
            self._bucket.spend(readings)
