"""Token bucket: limits a rate and allows bursts; performs no I/O, the caller passes the time."""

from __future__ import annotations


class TokenBucket:
    """Bucket of ``burst`` tokens, refilled by ``per_s``; a caller may spend more tokens than there are.

    >>> bucket = TokenBucket(per_s=2, burst=3)
    >>> bucket.spend(3)
    >>> bucket.tokens_at(0.0), bucket.tokens_at(0.5), bucket.tokens_at(60.0)
    (0, 1.0, 3)
    """

    __slots__ = ("_at_s", "_burst", "_per_s", "_tokens")

    def __init__(self, *, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._tokens = burst
        self._at_s: float | None = None

    def tokens_at(self, now_s: float) -> float:
        """Refill the bucket for the time since the last call and return its tokens."""
        if self._at_s is not None:
            elapsed_s = max(0.0, now_s - self._at_s)
            if elapsed_s:
                self._tokens = min(self._burst, self._tokens + elapsed_s * self._per_s)
        self._at_s = now_s
        return self._tokens

    def spend(self, tokens: float) -> None:
        """Take tokens; the number left may become negative."""
        self._tokens -= tokens
