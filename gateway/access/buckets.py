"""Token buckets by name: how many requests of a key or an address are allowed."""

from __future__ import annotations

from collections import OrderedDict

MOST = 10_000


class Buckets:
    """Buckets that hold ``burst`` and fill by ``per_s``; those not used for longest are forgotten.

    >>> buckets = Buckets(per_s=2, burst=1)
    >>> buckets.take("a", now_s=0.0), buckets.take("a", now_s=0.0), buckets.take("a", now_s=0.5)
    (0.0, 0.5, 0.0)
    """

    def __init__(self, *, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # name -> (tokens, as of [s])

    def take(self, name: str, *, now_s: float) -> float:
        """Take one; 0, or how long to wait until there is one [s], and then nothing is taken."""
        wait_s = self.wait_s(name, now_s=now_s)
        if not wait_s:
            self._left[name] = (self._tokens(name, now_s) - 1, now_s)
            self._left.move_to_end(name)
            if len(self._left) > MOST:
                self._left.popitem(last=False)
        return wait_s

    def wait_s(self, name: str, *, now_s: float) -> float:
        """How long until there is one [s]."""
        return max(0.0, 1 - self._tokens(name, now_s)) / self._per_s

    def _tokens(self, name: str, now_s: float) -> float:
        tokens, then_s = self._left.get(name, (self._burst, now_s))
        return min(self._burst, tokens + max(0.0, now_s - then_s) * self._per_s)
