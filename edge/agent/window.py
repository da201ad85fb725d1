"""What to send when: plain decisions, told the time, without a socket."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

SLACK = 2.0  # the time-out is at least so many times what the newest receipt took


class _Sent(NamedTuple):
    """When a message was sent last, and whether it was sent before that."""

    at_s: float
    again: bool


class Window:
    """Go-back-N over spool numbers: a bounded stretch is on its way, in order, until it has receipts.

    Without a receipt in time it goes back to the oldest message and sends that one alone, a probe, after
    time-outs that double; the first receipt opens the whole window again. The time-out becomes short again
    with the receipt of a message that was sent only once, because only that one tells how long a receipt
    takes (Karn and Partridge 1987).

    Parameters
    ----------
    size : messages on their way at most
    timeout_s : the oldest one without a receipt for so long is sent again [s]
    longest_s : what the time-out doubles up to [s]

    """

    def __init__(self, size: int, timeout_s: float, longest_s: float) -> None:
        self._size = size
        self._first_s = timeout_s
        self._longest_s = max(timeout_s, longest_s)
        self._on_its_way: OrderedDict[int, _Sent] = OrderedDict()
        self._at_broker: set[int] = set()
        self._highest_sent = 0
        self.timeout_s = timeout_s
        self.probing = False
        self.last_sent = 0

    @property
    def room(self) -> int:
        """How many more may be sent now."""
        return (1 if self.probing else self._size) - len(self._on_its_way)

    def sent(self, number: int, now_s: float) -> None:
        """A message went off."""
        self._on_its_way[number] = _Sent(now_s, again=number <= self._highest_sent)
        self._highest_sent = max(self._highest_sent, number)
        self.last_sent = number

    def at_broker(self, number: int) -> None:
        """The broker acknowledged a message: a session that it resumes needs no second copy."""
        if number in self._on_its_way:
            self._at_broker.add(number)

    def kept(self, ranges: Iterable[tuple[int, int]], now_s: float) -> None:
        """A receipt: the platform keeps these closed ranges; nothing need be known of them here."""
        slowest_s = None
        for first, last in ranges:
            for number in [one for one in self._on_its_way if first <= one <= last]:
                sent = self._drop(number)
                if not sent.again:
                    slowest_s = max(slowest_s or 0.0, now_s - sent.at_s)
        self.probing = False
        if slowest_s is not None:
            self.timeout_s = min(self._longest_s, max(self._first_s, SLACK * slowest_s))

    def go_back(self) -> None:
        """Begin again at the oldest message without a receipt."""
        if self._on_its_way:
            self._go_back_to(next(iter(self._on_its_way)))

    def reconnected(self, now_s: float, *, session_present: bool) -> None:
        """Begin again where the new connection has to.

        A broker that lost the session lost what it held: everything without a receipt is sent again at once.
        One that resumes it holds what it acknowledged; what follows the first message without a PUBACK is
        sent again, and the others wait for their receipts from now on.
        """
        if not session_present:
            self.go_back()
            return
        for number in self._on_its_way:
            if number not in self._at_broker:
                self._go_back_to(number)
                break
        for number in self._on_its_way:
            self._on_its_way[number] = _Sent(now_s, again=True)

    def look(self, now_s: float) -> bool:
        """Go back if the oldest one waited too long; returns whether it did."""
        oldest = next(iter(self._on_its_way.values()), None)
        if oldest is None or now_s - oldest.at_s <= self.timeout_s:
            return False
        self.go_back()
        self.probing = True
        self.timeout_s = min(self._longest_s, 2 * self.timeout_s)
        return True

    def _go_back_to(self, number: int) -> None:
        for one in [one for one in self._on_its_way if one >= number]:
            self._drop(one)
        self.last_sent = number - 1

    def _drop(self, number: int) -> _Sent:
        self._at_broker.discard(number)
        return self._on_its_way.pop(number)


class Pace:
    """A bound on readings per second, as a bucket that holds one second's worth; rate 0 is no bound."""

    def __init__(self, readings_per_s: float) -> None:
        self._rate = readings_per_s
        self._tokens = readings_per_s
        self._at_s: float | None = None

    def allows(self, now_s: float) -> bool:
        """Whether another message may go off now."""
        if not self._rate:
            return True
        if self._at_s is not None:
            self._tokens = min(self._rate, self._tokens + (now_s - self._at_s) * self._rate)
        self._at_s = now_s
        return self._tokens > 0

    def spend(self, readings: int) -> None:
        """A message with so many readings went off."""
        self._tokens -= readings


class Backoff:
    """Waits that double from one to a longest, with jitter, so that a town does not come back at once."""

    def __init__(self, first_s: float = 0.5, longest_s: float = 30.0) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._tries = 0

    def reset(self) -> None:
        """It worked."""
        self._tries = 0

    def next_s(self, chance: float) -> float:
        """The next wait [s]; ``chance`` in [0, 1) takes up to half of it away."""
        wait_s = min(self._longest_s, self._first_s * 2.0**self._tries)
        self._tries = min(self._tries + 1, 16)
        return wait_s * (1 - chance / 2)
