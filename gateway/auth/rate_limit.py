"""Token buckets by name: how many requests of a key or an address are allowed."""

from __future__ import annotations

from collections import OrderedDict

MAX_BUCKETS = 10_000


class TokenBuckets:
    """Buckets that hold ``burst`` and fill by ``per_s``; those not used for longest are forgotten.

    >>> buckets = TokenBuckets(per_s=2, burst=1)
    >>> buckets.try_take("a", now_s=0.0), buckets.try_take("a", now_s=0.0), buckets.try_take("a", now_s=0.5)
    (0.0, 0.5, 0.0)
    """

    def __init__(self, *, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # name -> (tokens, as of [s])

    def try_take(self, bucket_name: str, *, now_s: float) -> float:
        """Take one; 0, or how long to wait until there is one [s], and then nothing is taken."""
        seconds_until_token = self.seconds_until_token(bucket_name, now_s=now_s)
        if not seconds_until_token:
            self._buckets[bucket_name] = (self._tokens_now(bucket_name, now_s) - 1, now_s)
            self._buckets.move_to_end(bucket_name)
            if len(self._buckets) > MAX_BUCKETS:
                self._buckets.popitem(last=False)
        return seconds_until_token

    def seconds_until_token(self, bucket_name: str, *, now_s: float) -> float:
        """How long until there is one [s]."""
        return max(0.0, 1 - self._tokens_now(bucket_name, now_s)) / self._per_s

    def _tokens_now(self, bucket_name: str, now_s: float) -> float:
        tokens, updated_s = self._buckets.get(bucket_name, (self._burst, now_s))
        return min(self._burst, tokens + max(0.0, now_s - updated_s) * self._per_s)
