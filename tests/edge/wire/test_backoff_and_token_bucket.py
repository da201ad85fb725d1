"""Waits of the exponential back-off, and tokens of a bucket over time."""

from __future__ import annotations

from edge.wire.backoff import Backoff
from edge.wire.token_bucket import TokenBucket


def test_waits_double_up_to_the_longest_with_jitter() -> None:
    backoff = Backoff(1, 8)
    assert [backoff.next_s(0) for _ in range(5)] == [1, 2, 4, 8, 8]
    assert backoff.next_s(0.999) > 4
    assert all(4 < backoff.next_s() <= 8 for _ in range(100)), "drawn jitter shortens by up to half"
    backoff.reset()
    assert backoff.next_s(0) == 1


def test_waits_stay_finite_after_many_tries() -> None:
    backoff = Backoff(0.5, 30, tries=10_000)
    assert backoff.next_s(0) == 30


def test_a_bucket_refills_to_its_burst_and_never_by_a_clock_that_goes_back() -> None:
    bucket = TokenBucket(per_s=2, burst=3)
    bucket.spend(5)
    assert [bucket.tokens_at(now_s) for now_s in (10.0, 10.5, 9.0, 9.0)] == [-2, -1, -1, -1]
    assert bucket.tokens_at(100.0) == 3
