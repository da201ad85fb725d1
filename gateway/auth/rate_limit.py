"""Token-bucket rate limiter with one bucket per name (an API key or a client address)."""

from __future__ import annotations

from collections import OrderedDict

MAX_BUCKETS = 10_000


class TokenBuckets:
    """Buckets of ``burst`` tokens, refilled by ``per_s``; beyond `MAX_BUCKETS` the least recently used goes.

    >>> buckets = TokenBuckets(per_s=2, burst=1)
    >>> buckets.try_take("a", now_s=0.0), buckets.try_take("a", now_s=0.0), buckets.try_take("a", now_s=0.5)
    (0.0, 0.5, 0.0)
    """

    def __init__(self, *, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # name -> (tokens, as of [s])

    def try_take(self, bucket_name: str, *, now_s: float) -> float:
        """Take a token and return 0; without one, return the time until there is one [s] and take nothing."""
        seconds_until_token = self.seconds_until_token(bucket_name, now_s=now_s)
        if not seconds_until_token:
            self._buckets[bucket_name] = (self._tokens_now(bucket_name, now_s) - 1, now_s)
            self._buckets.move_to_end(bucket_name)
            if len(self._buckets) > MAX_BUCKETS:
                self._buckets.popitem(last=False)
        return seconds_until_token

    def seconds_until_token(self, bucket_name: str, *, now_s: float) -> float:
        """Return the time until the bucket has a token [s]; 0 where it has one."""
        return max(0.0, 1 - self._tokens_now(bucket_name, now_s)) / self._per_s

    def _tokens_now(self, bucket_name: str, now_s: float) -> float:
        tokens, updated_s = self._buckets.get(bucket_name, (self._burst, now_s))
        return min(self._burst, tokens + max(0.0, now_s - updated_s) * self._per_s)
