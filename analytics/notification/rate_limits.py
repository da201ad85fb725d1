"""Limits of destinations (a bucket that survives restarts) and of readers (no flood of notifications)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edge.wire.token_bucket import TokenBucket
from ingest_service.storage.contract.notifications import DestinationRate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analytics.notification.robots import RateLimit

READER_WINDOW_S: Final = 630.0
"""Ten minutes and the longest time that a message is under way."""
MAX_IN_WINDOW: Final = 10
AT_ONCE: Final = 3
URGENT_AT_ONCE: Final = 8
SHORT_GAP_S, LONG_GAP_S = 60.0, 120.0


class DestinationBucket:
    """Bucket of a destination, restored from what was stored.

    Parameters
    ----------
    destination : key of the destination
    limit : messages that it takes
    stored : tokens at a time; None is a full bucket

    """

    def __init__(self, destination: str, limit: RateLimit, stored: DestinationRate | None) -> None:
        self._destination = destination
        self._bucket = TokenBucket(per_s=limit.per_s, burst=limit.burst)
        self._blocked_until_s = None if stored is None else stored.blocked_until_s
        if stored is not None:
            self._bucket.tokens_at(stored.at_s)
            self._bucket.spend(limit.burst - stored.tokens)

    def may_send(self, now_s: float) -> bool:
        """Whether there is a token, and the destination is not blocked."""
        is_blocked = self._blocked_until_s is not None and now_s < self._blocked_until_s
        return not is_blocked and self._bucket.tokens_at(now_s) >= 1

    def spend(self, now_s: float) -> DestinationRate:
        """Take a token and return what has to be stored before the message is sent."""
        tokens = self._bucket.tokens_at(now_s) - 1
        self._bucket.spend(1)
        return DestinationRate(destination=self._destination, tokens=tokens, at_s=now_s)

    def block(self, now_s: float, blocked_s: float) -> DestinationRate:
        """Refuse everything for a time [s], with an empty bucket, and return what has to be stored."""
        self._blocked_until_s = now_s + blocked_s
        tokens = min(0.0, self._bucket.tokens_at(now_s))
        return DestinationRate(
            destination=self._destination, tokens=tokens, at_s=now_s, blocked_until_s=self._blocked_until_s
        )


def may_notify(sent_s: Sequence[float], now_s: float, *, is_urgent: bool) -> bool:
    """Whether a reader may get another message, by when the last ones were sent [Unix s].

    At most ten in any ten minutes. The first three come at once; then the gaps grow, so that a storm does not
    use up the ten in its first minute, and two are left for what is urgent.
    """
    recent = [one for one in sent_s if one > now_s - READER_WINDOW_S]
    count = len(recent)
    if count < AT_ONCE:
        return True
    gap_s = now_s - max(recent)
    if is_urgent:
        return count < URGENT_AT_ONCE or (count < MAX_IN_WINDOW and gap_s >= SHORT_GAP_S)
    if count < 2 * AT_ONCE:
        return gap_s >= SHORT_GAP_S
    return count < URGENT_AT_ONCE and gap_s >= LONG_GAP_S
