"""Token-bucket rate limiter with one bucket per name (an API key or a client address)."""

from __future__ import annotations

from collections import OrderedDict

from edge.wire.token_bucket import TokenBucket

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
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def try_take(self, bucket_name: str, *, now_s: float) -> float:
        """Take a token and return 0; without one, return the time until there is one [s] and take nothing."""
        bucket = self._bucket(bucket_name)
        seconds_until_token = self._seconds_until_token(bucket, now_s)
        if not seconds_until_token:
            bucket.spend(1)
            self._buckets[bucket_name] = bucket
            self._buckets.move_to_end(bucket_name)
            if len(self._buckets) > MAX_BUCKETS:
                self._buckets.popitem(last=False)
        return seconds_until_token

    def seconds_until_token(self, bucket_name: str, *, now_s: float) -> float:
        """Return the time until the bucket has a token [s]; 0 where it has one."""
        return self._seconds_until_token(self._bucket(bucket_name), now_s)

    def _bucket(self, name: str) -> TokenBucket:
        return self._buckets.get(name) or TokenBucket(per_s=self._per_s, burst=self._burst)

    def _seconds_until_token(self, bucket: TokenBucket, now_s: float) -> float:
        return max(0.0, 1 - bucket.tokens_at(now_s)) / self._per_s
