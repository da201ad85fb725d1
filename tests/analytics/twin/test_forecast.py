"""Tests forecasts: skill on series that have a course, none on those that don't, bands, gaps, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from analytics.twin import forecast
from analytics.twin.forecast_baselines import BASELINES
from analytics.twin.forecast_combination import combination_weights, conformal_band
from analytics.twin.forecast_features import Neighbours, Scale, fill_gaps
from analytics.twin.forecast_plan import ForecastError, ForecastPlan, Loss, water_plan

DAY = 48
PLAN = ForecastPlan(
    day_ticks=DAY,
    horizons=(1, 4, DAY),
    own_lags=(0, 1, 2, 4),
    anchors=("persistence", "yesterday"),
    penalties=(1e-4, 1e-2, 1e6),
    loss="squared",
    validation_ticks=5 * DAY,
)


def days_and_walk(n_days: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return an autocorrelated series around a daily wave, and a random walk."""
    rng = np.random.default_rng(3)
    ticks = np.arange(n_days * DAY)
    around, noise = np.zeros(len(ticks)), rng.normal(0, 0.3, len(ticks))
    for tick in ticks[1:]:
        around[tick] = 0.8 * around[tick - 1] + noise[tick]
    return np.stack(
        [np.sin(2 * np.pi * ticks / DAY) * 3 + around, np.cumsum(rng.normal(0, 1, len(ticks)))], axis=1
    )


def test_a_course_is_forecast_and_a_random_walk_has_no_skill_over_its_newest_value() -> None:
    model = forecast.fit(days_and_walk(40), PLAN)
    assert model.skill[0, 0] > 0.15
    assert model.skill[0, 1] > 0.2
    assert (model.skill[1] < 0.1).all()


@pytest.mark.parametrize("loss", ["squared", "absolute"])
def test_a_band_holds_its_share_of_later_values(loss: Loss) -> None:
    values = days_and_walk(60)
    model = forecast.fit(values[: 40 * DAY], PLAN._replace(loss=loss, validation_ticks=10 * DAY))
    ticks = np.arange(40 * DAY, 59 * DAY)
    middle = model.predict(values, ticks)
    for column, horizon in enumerate(PLAN.horizons[:2]):
        actual = values[ticks + horizon, 0]
        held = np.abs(actual - middle[:, 0, column]) <= np.where(
            actual > middle[:, 0, column], model.above[0, column], model.below[0, column]
        )
        assert 0.72 < held.mean() < 0.88


def test_a_band_of_errors_that_last_for_days_is_as_wide_as_their_few_independent_values_need() -> None:
    """Bands of oxygen held 72 to 79 % in place of 80 %: 1,344 residuals of 14 days counted as 1,344."""
    rng = np.random.default_rng(5)
    n_days, n_series = 14, 400
    days = rng.normal(0, 1, (n_days + 1, n_series)).repeat(24, axis=0)
    errors = (days + rng.normal(0, 0.1, days.shape))[..., None]
    below, above = conformal_band(errors[: n_days * 24], 0.8, 24)
    later = errors[n_days * 24 :]
    assert ((later >= -below) & (later <= above)).mean() == pytest.approx(0.8, abs=0.04)
    independent = rng.normal(0, 1, (2000, 50, 1))
    below, above = conformal_band(independent, 0.8, 24)
    assert np.concatenate([below, above]).mean() == pytest.approx(1.2816, abs=0.03), "no wider than needed"


def test_a_day_ahead_is_no_worse_than_yesterday_where_days_drift() -> None:
    """At a site of the Logan River the error a day ahead was 8 % above that of the same hour yesterday."""
    rng = np.random.default_rng(2)
    n_days, fitted = 90, 60 * DAY
    drift = rng.normal(0, 1, (n_days, 12)).cumsum(axis=0).repeat(DAY, axis=0)
    values = drift + rng.normal(0, 0.3, drift.shape)
    ticks = np.arange(fitted, (n_days - 1) * DAY)
    model = forecast.fit(values[:fitted], PLAN._replace(validation_ticks=14 * DAY, uses_level=False))
    actual, made = values[ticks + DAY], model.predict(values, ticks)[..., 2]
    error, yesterday = (np.sqrt(np.mean((one - actual) ** 2)) for one in (made, values[ticks]))
    assert error < 0.99 * yesterday
    assert model.anchor_weights.shape == (12, 3, len(BASELINES))
    assert model.anchor_weights.sum(axis=2) == pytest.approx(1)


def test_candidates_of_equal_errors_weigh_the_same_and_worse_ones_less() -> None:
    weights = combination_weights(np.array([[1.0, 1.0, 2.0], [0.0, 0.0, 1e-9], [np.nan] * 3]), 14, "squared")
    assert weights[0] == pytest.approx(np.array([1, 1, np.exp(-7)]) / (2 + np.exp(-7)))
    assert weights[1:] == pytest.approx(np.array([[0.5, 0.5, 0], [1 / 3] * 3]))


def test_one_day_of_validation_proves_no_skill_and_is_no_narrow_band() -> None:
    """Half of 300 random walks had skill where readings were missing after the first day of validation."""
    plan = PLAN._replace(validation_ticks=14 * DAY, horizons=(1, 4), penalties=(1e-4, 1e-2))
    values = np.cumsum(np.random.default_rng(3).normal(0, 1, (30 * DAY, 100)), axis=0)
    values[-14 * DAY + plan.block_ticks :] = np.nan
    model = forecast.fit(values, plan)
    assert np.isfinite(model.skill).all()
    assert not model.has_skill.any()
    rng = np.random.default_rng(5)
    errors = np.full((14 * DAY, 1, 1), np.nan)
    errors[:DAY] = rng.normal(0, 1, (DAY, 1, 1))
    below, above = conformal_band(errors, 0.8, DAY)
    assert (-below.item(), above.item()) == (np.nanmin(errors), np.nanmax(errors)), "one independent residual"
    few, many = (combination_weights(np.array([1.0, 2.0]), number, "squared") for number in (0.5, 14))
    assert few[1] > 0.4 > many[1], "what is little validated is near the mean"
    actual = np.zeros((plan.validation_ticks - 1, 3, 2))
    actual[-3:, :, 1] = np.nan  # the targets after the end of the record
    actual[plan.block_ticks :, 1] = actual[:, 2] = np.nan
    assert forecast._validated_blocks(actual, plan) == pytest.approx(
        np.array([[84, 84], [1, 1], [0, 0]]), abs=0.02
    )


def test_a_forecast_lies_in_its_band_where_all_errors_have_one_sign() -> None:
    errors = np.random.default_rng(0).normal(3, 0.1, (300, 1, 1))
    for residuals in (errors, -errors):
        below, above = conformal_band(residuals, 0.8, 24)
        assert min(below.item(), above.item()) == 0
        assert max(below.item(), above.item()) > 3


def test_a_forecast_uses_nothing_measured_later() -> None:
    values = days_and_walk(30)
    model = forecast.fit(values, PLAN, Neighbours(np.empty((0, 2, 2)), np.array([[1], [0]])))
    changed = values.copy()
    changed[20 * DAY + 1 :] = np.nan
    tick = np.array([20 * DAY])
    assert np.array_equal(model.predict(values, tick), model.predict(changed, tick))


def test_gaps_are_filled_with_the_newest_value_and_later_with_the_usual_day() -> None:
    values = days_and_walk(30)
    scale = Scale.of(values, DAY, 1)
    gap = slice(20 * DAY, 21 * DAY)
    values[gap, 0] = np.nan
    z = fill_gaps(values, scale)
    assert z[20 * DAY + 3, 0] == z[20 * DAY - 1, 0]
    assert np.array_equal(z[20 * DAY + 20 : 21 * DAY, 0], scale.day[20:, 0])


def test_a_series_without_readings_has_no_band_and_no_skill() -> None:
    values = days_and_walk(30)
    values[:, 1] = np.nan
    model = forecast.fit(values, PLAN)
    assert np.isnan(model.skill[1]).all()
    assert np.isnan(model.below[1]).all()
    assert np.isfinite(model.skill[0]).all()


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (water_plan(900), "the record has 960 ticks"),
        (PLAN._replace(horizons=(2, 1)), "horizons"),
        (PLAN._replace(horizons=(DAY + 1,)), "a day of 48 at most"),
        (PLAN._replace(own_lags=(1, 0)), "own_lags"),
        (PLAN._replace(share=1.0), "share 1"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(plan: ForecastPlan, message: str) -> None:
    with pytest.raises(ForecastError, match=message):
        forecast.fit(days_and_walk(20), plan)
