"""Tests a site's score: against a slow reference, calibration on clean series, sums of evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.signal import lfilter

from analytics.core import event_shapes, score_events, site_score
from analytics.core.oxygen_solubility import oxygen_saturation
from tests.support import slow_site_score

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DAY = 288
SITES, QUANTITIES = 20, 6


def gaussian(random: np.random.Generator, ticks: int) -> Floats:
    return random.normal(0, 1, (ticks, SITES, QUANTITIES))


def remembering(random: np.random.Generator, ticks: int) -> Floats:
    """AR(1) with the memory of a river: 0.9 from tick to tick; neighbours in a row of 0.5."""
    noise = random.normal(0, (1 - 0.9**2) ** 0.5, (ticks, SITES, QUANTITIES))
    noise = (noise + noise.mean(axis=2, keepdims=True) * QUANTITIES**0.5) / 2**0.5
    remembered: Floats = lfilter([1], [1, -0.9], noise, axis=0)
    return remembered


def heavy(random: np.random.Generator, ticks: int) -> Floats:
    """Student's t of four degrees of freedom, scaled to a standard deviation of 1."""
    return random.standard_t(4, (ticks, SITES, QUANTITIES)) / 2**0.5


@pytest.mark.parametrize("kind", [gaussian, remembering, heavy])
def test_the_rate_of_false_alarms_is_bounded_on_clean_series(kind: object) -> None:
    """Two weeks teach, forty days are scored: 230,400 site-ticks.

    A score speaks of excursions, as its tail was learned from them (runs declustering); ticks that follow
    each other are one, so that a series with a memory has more of them than is stated, by a few times.
    """
    z = kind(np.random.default_rng(7), 54 * DAY)  # type: ignore[operator]
    model = site_score.SiteModel.fit(z[: 14 * DAY])
    assert model is not None
    found = site_score.score_sites(model, z[14 * DAY :], np.zeros(z[14 * DAY :].shape, np.bool_))
    rate = {decades: (found.site > decades).mean() for decades in (3, 4)}
    quantity = {decades: (np.abs(found.signed) > decades).mean() for decades in (3, 4)}
    off = found.site > 4
    excursions = (off[1:] & ~off[:-1]).mean()
    print(kind, rate, quantity, excursions)
    assert excursions <= 4e-4, "a score of 4 is one in 10,000, within a factor of four"
    assert rate[4] <= 1e-3
    assert quantity[4] <= 6e-4
    assert rate[3] <= 8e-3
    events = score_events.find_score_events(found.site, weak=5, strong=8, close=2.3, gap=12)
    assert len(events.track) <= 4, "events in 800 site-days"


def test_evidence_is_summed_and_not_maximised() -> None:
    random = np.random.default_rng(1)
    z = gaussian(random, 20 * DAY)
    model = site_score.SiteModel.fit(z[: 14 * DAY])
    assert model is not None
    new = z[14 * DAY :].copy()
    new[500:520, 0, 0] += 2  # one quantity
    new[500:520, 1, :4] += 2  # four of them, as far each
    found = site_score.score_sites(model, new, np.zeros(new.shape, np.bool_))
    one, four = (found.site[505:520, site].mean() for site in (0, 1))
    assert four > one + 2
    assert (found.signed[510, 1, :4] > 0).all()
    assert found.shares[510, 1, :4].sum() > 0.8
    np.testing.assert_allclose(found.shares[510].sum(axis=1), 1)


def test_a_combination_that_never_occurs_is_found_though_no_quantity_is_far_off() -> None:
    random = np.random.default_rng(2)
    z = remembering(random, 20 * DAY)
    z[:, :, 1] = z[:, :, 0] + 0.2 * z[:, :, 1]
    model = site_score.SiteModel.fit(z[: 14 * DAY])
    assert model is not None
    new = z[14 * DAY :].copy()
    new[500:540, :, 0], new[500:540, :, 1] = 2.2, -2.2
    found = site_score.score_sites(model, new, np.zeros(new.shape, np.bool_))
    assert np.median(found.site[520]) > 3
    assert np.median(np.abs(found.signed[520, :, :2])) < 3


def test_a_failed_check_is_no_matter_of_probability() -> None:
    z = gaussian(np.random.default_rng(3), 3 * DAY)
    model = site_score.SiteModel.fit(z)
    assert model is not None
    failed = np.zeros(z.shape, np.bool_)
    failed[400, 2, 3] = True
    found = site_score.score_sites(model, z, failed)
    assert found.site[400, 2] >= site_score.FAILED_CHECK_SCORE
    assert abs(found.signed[400, 2, 3]) >= site_score.FAILED_CHECK_SCORE


def test_too_little_history_judges_nothing() -> None:
    z = gaussian(np.random.default_rng(4), site_score.MIN_HISTORY_TICKS)
    assert site_score.SiteModel.fit(z[:-1]) is None
    z[1:, 0, 0] = np.nan
    model = site_score.SiteModel.fit(z)
    assert model is not None
    assert not model.known[0, 0]
    new = z.copy()
    new[:, 0, 0] = 25
    assert site_score.score_sites(model, new, np.zeros(z.shape, np.bool_)).signed[:, 0, 0].max() == 0


def test_smoothing_equals_its_slow_twin() -> None:
    z = gaussian(np.random.default_rng(5), 60)[:, :2, :2]
    z[np.random.default_rng(6).random(z.shape) < 0.2] = np.nan
    made = site_score.smooth_over_ticks(z)
    for site in range(2):
        for quantity in range(2):
            expected = slow_site_score.smooth_over_ticks(
                z[:, site, quantity].tolist(), site_score.SMOOTHING_GAIN
            )
            np.testing.assert_allclose(made[:, site, quantity], expected, rtol=1e-12)


@pytest.mark.parametrize("k", [1, 4, 9])
def test_fishers_sum_of_independent_scores_has_the_probability_of_a_gamma(k: int) -> None:
    """Without dependence Brown's mean and variance are both k, and the sum of k exponentials is known."""
    independent = site_score.FisherSum(np.array([float(k)]), np.array([float(k)]), np.zeros((1, k)))
    parts = np.random.default_rng(9).exponential(1, (50, 1, k)) / site_score.LN10
    found = independent.score(parts, np.ones(parts.shape, np.bool_))
    for tick in range(50):
        total = float(parts[tick].sum() * site_score.LN10)
        assert 10 ** -found[tick, 0] == pytest.approx(slow_site_score.gamma_survival(k, total), rel=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_events_are_those_of_the_slow_twin(seed: int) -> None:
    random = np.random.default_rng(seed)
    score = random.gamma(0.6, 3.5, (120, 3))
    score[random.random(score.shape) < 0.1] = np.nan
    limits = {"weak": 5.0, "strong": 8.0, "close": 2.3, "gap": 6}
    found = score_events.find_score_events(score, **limits)  # type: ignore[arg-type]
    for track in range(3):
        here = found.track == track
        rows = zip(*(column[here].tolist() for column in found[1:]), strict=True)
        assert list(rows) == slow_site_score.find_score_events(score[:, track].tolist(), **limits)  # type: ignore[arg-type]


def test_an_event_that_is_known_stays_where_it_began_whatever_follows() -> None:
    random = np.random.default_rng(11)
    score = random.gamma(0.6, 3.5, (200, 4))
    limits = {"weak": 5.0, "strong": 8.0, "close": 2.3, "gap": 6}
    whole = score_events.find_score_events(score, **limits)  # type: ignore[arg-type]
    begun = set(zip(whole.track.tolist(), whole.begin.tolist(), strict=True))
    for ticks in range(20, 200, 7):
        part = score_events.find_score_events(score[:ticks], **limits)  # type: ignore[arg-type]
        assert set(zip(part.track.tolist(), part.begin.tolist(), strict=True)) <= begun


def test_limits_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="limits must rise: close 6, weak 5, strong 8"):
        score_events.find_score_events(np.zeros((3, 1)), weak=5, strong=8, close=6, gap=3)


def test_oxygen_at_saturation_is_that_of_the_tables() -> None:
    celsius = np.arange(0.0, 40.5, 0.5)
    expected = [slow_site_score.oxygen_saturation(one) for one in celsius.tolist()]
    np.testing.assert_allclose(oxygen_saturation(celsius), expected, rtol=1e-12)
    # APHA Standard Methods, table 4500-O:I, chlorinity 0
    table = {0.0: 14.621, 5.0: 12.770, 10.0: 11.288, 15.0: 10.084, 20.0: 9.092, 25.0: 8.263, 30.0: 7.559}
    np.testing.assert_allclose(oxygen_saturation(list(table)), list(table.values()), atol=0.002)
    assert np.isnan(oxygen_saturation([-1.0, 41.0, np.nan])).all()


@pytest.mark.parametrize("seed", range(10))
def test_shapes_are_those_of_the_slow_twin(seed: int) -> None:
    random = np.random.default_rng(seed)
    departure = random.normal(size=(50, 2)).cumsum(axis=0)
    departure[random.random(departure.shape) < 0.1] = np.nan
    rise, stays = event_shapes._rise_and_remainder(departure)
    for column in range(2):
        expected = slow_site_score.rise_and_stay(departure[:, column].tolist(), event_shapes.STEP_TICKS)
        assert (rise[column], stays[column]) == pytest.approx(expected)
