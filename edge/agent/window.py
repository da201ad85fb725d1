"""What to send when: plain decisions, told the time, without a socket."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Window:
    """Go-back-N over spool numbers: a bounded stretch is on its way, in order, until it has receipts.

    Parameters
    ----------
    size : messages on their way at most
    timeout_s : the oldest one without a receipt for so long sends all of them again [s]

    """

    def __init__(self, size: int, timeout_s: float) -> None:
        self._size = size
        self._timeout_s = timeout_s
        self._on_its_way: OrderedDict[int, float] = OrderedDict()
        self.last_sent = 0

    @property
    def room(self) -> int:
        """How many more may be sent now."""
        return self._size - len(self._on_its_way)

    def sent(self, number: int, now_s: float) -> None:
        """A message went off."""
        self._on_its_way[number] = now_s
        self.last_sent = number

    def kept(self, ranges: Iterable[tuple[int, int]]) -> None:
        """The platform keeps these closed ranges; nothing need be known of them here."""
        for first, last in ranges:
            for number in [one for one in self._on_its_way if first <= one <= last]:
                del self._on_its_way[number]

    def go_back(self) -> None:
        """Begin again at the oldest message without a receipt: the session is lost."""
        if self._on_its_way:
            self.last_sent = min(self._on_its_way) - 1
            self._on_its_way.clear()

    def look(self, now_s: float) -> bool:
        """Go back if the oldest one waited too long; says whether it did."""
        oldest_s = next(iter(self._on_its_way.values()), None)
        late = oldest_s is not None and now_s - oldest_s > self._timeout_s
        if late:
            self.go_back()
        return late


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
