"""Tests the tail model: stated probabilities are met, and an excursion updates it by its peak only."""

from __future__ import annotations

import numpy as np
import pytest

from analytics.core import tail_probability
from analytics.core.tail_probability import RESIDUAL, TailSums


def learned(x: np.ndarray[tuple[int], np.dtype[np.float64]]) -> TailSums:
    known = TailSums(*np.zeros((4, 1)))
    for one in x:
        known = tail_probability.update_tail_sums(np.array([one]), known, np.ones(1), RESIDUAL)
    return known


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_the_stated_probability_is_met(scale: float) -> None:
    """Independent exponential excesses, as many as share 0.02 says."""
    random = np.random.default_rng(1)
    n = 50_000
    x = np.where(random.random(n) < 0.02, 2 + random.exponential(scale, n), 1.0)
    known = learned(x)
    score = tail_probability.score(
        x, TailSums(*(np.full(n, part[0]) for part in known)), np.full(n, float(n)), RESIDUAL
    )
    for decades in (2.0, 3.0):
        assert 0.5 < (score > decades).mean() * 10**decades < 2


def test_an_excursion_teaches_its_peak_alone() -> None:
    known = learned(np.array([1.0, 2.5, 4.0, 3.0, 1.0]))
    assert (known.n[0], known.peak[0]) == (1, 0)
    assert known.excess_sum[0] == pytest.approx(2.0)
    assert learned(np.linspace(2.1, 9, 500)).n[0] == 0, "a drift that goes on has taught nothing yet"


def test_a_farther_distance_never_scores_less() -> None:
    x = np.linspace(0, 1e6, 10_001)
    known = TailSums(*(np.full(len(x), part) for part in (30.0, 25.0, 60.0, 0.0)))
    score = tail_probability.score(x, known, np.full(len(x), 3_000.0), RESIDUAL)
    assert np.isfinite(score).all()
    assert (np.diff(score[x > RESIDUAL.at]) >= 0).all()


@pytest.mark.parametrize("seed", range(10))
def test_a_whole_history_teaches_what_its_ticks_do(seed: int) -> None:
    random = np.random.default_rng(seed)
    x = np.abs(random.standard_t(3, (400, 5)))
    x[:, 0], x[-3:, 1] = 0.5, 9.0
    x[random.random(x.shape) < 0.2] = np.nan
    known = TailSums(*np.zeros((4, 5)))
    for now in x:
        there = ~np.isnan(now)
        after = tail_probability.update_tail_sums(np.where(there, now, 0.0), known, np.ones(5), RESIDUAL)
        known = TailSums(*(np.where(there, new, old) for new, old in zip(after, known, strict=True)))
    for part, expected in zip(tail_probability.tail_of_history(x, RESIDUAL), known, strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-12)
    assert tail_probability.tail_of_history(x[:0], RESIDUAL).n.tolist() == [0] * 5
