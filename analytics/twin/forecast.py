"""Forecasts series minutes to a day ahead by regression on their past, their neighbours and their usual day.

All series are fitted at once. With z the standardised series, a(t, h) an *anchor* that is known at t (the
newest
value, or the value at the same hour of the day before t + h) and f(t) the features of `forecast_features`,
the forecast is

    z(t + h) = a(t, h) + w_h · f(t),    w_h = argmin mean loss(residual) + λ ‖w‖²,

with one w_h per series and horizon. A large penalty λ leaves the anchor, so that a forecast falls back on
persistence or on yesterday's value where the record has no more to offer. The loss is squared (water), or
absolute (traffic, whose errors have heavy tails), the latter by iteratively reweighted least squares
(P. W. Holland and R. E. Welsch, Commun. Stat. A 6 (9), 1977).

Anchor and penalty are chosen per series and horizon on the last part of the training record (validation), to
which the weights compared were not fitted; afterwards the weights are fitted to all of it. Bands are
split-conformal: quantiles of the residuals on the validation part (V. Vovk et al., "Algorithmic Learning in a
Random World", 2005). A band holds its share as far as the coming days resemble the validation days.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analytics.twin.forecast_baselines import BASELINES, baseline_forecasts
from analytics.twin.forecast_features import Neighbours, Scale, features, fill_gaps
from analytics.twin.forecast_regression import fit_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.twin.forecast_plan import ForecastPlan, Loss

    Floats = NDArray[np.float64]

SIGNIFICANT = 1.64  # standard errors: a forecast without skill passes in one case of twenty


@dataclass(frozen=True, slots=True)
class ForecastModel:
    """Fitted weights, bands and validation errors of ``n`` series, ``k`` horizons, ``m`` features.

    Attributes
    ----------
    plan, neighbours : it was fitted with
    scale : mean, deviation and usual day of the training record
    weights : (n, m, k) float64
    anchor : (n, k) intp, index of the plan's anchor
    below, above : (n, k) distances of a band's ends from the forecast [canonical unit]; NaN without residuals
    error : (n, k) mean loss of the forecast on the validation part [canonical unit, or its square]
    baseline_errors : (n, k, 3) the same of `forecast_baselines.BASELINES`
    has_skill : (n, k) whether the gain over each baseline is above `SIGNIFICANT` standard errors

    """

    plan: ForecastPlan
    neighbours: Neighbours
    scale: Scale
    weights: Floats
    anchor: NDArray[np.intp]
    below: Floats
    above: Floats
    error: Floats
    baseline_errors: Floats
    has_skill: NDArray[np.bool_]

    @property
    def skill(self) -> Floats:
        """1 - error / error of the best baseline, on the validation part, (n, k); NaN without values."""
        best = self.baseline_errors.min(axis=2)
        skill: Floats = 1 - np.divide(self.error, best, out=np.full(best.shape, np.nan), where=best > 0)
        return skill

    def predict(self, values: Floats, ticks: NDArray[np.intp]) -> Floats:
        """Return the forecasts made at some ticks, (n_origins, n, k) [canonical unit].

        Parameters
        ----------
        values : (n_ticks, n), tick 0 at the same time of day as the training record's; NaN is missing
        ticks : (n_origins,) at which forecasts are made, from values up to and including that tick

        """
        z = fill_gaps(values, self.scale)
        design = features(z, ticks, self.scale, self.neighbours, self.plan)
        change = (design @ self.weights.astype(np.float32)).swapaxes(0, 1)
        anchors = _anchors(z, ticks, self.plan, self.scale)
        anchor = np.take_along_axis(anchors, self.anchor[None, ..., None], axis=3)[..., 0]
        restored: Floats = (anchor + change) * self.scale.deviation[:, None] + self.scale.mean[:, None]
        return restored


def fit(values: Floats, plan: ForecastPlan, neighbours: Neighbours | None = None) -> ForecastModel:
    """Fit forecasts of all series to a training record.

    Parameters
    ----------
    values : (n_ticks, n) float64, one column per series on a regular grid of ticks; NaN is missing
    plan : horizons, lags, loss and candidates
    neighbours : of each series; none if omitted

    Raises
    ------
    ForecastError
        If the record is too short for the plan, or the plan contradicts itself.

    """
    plan.check(len(values))
    neighbours = neighbours or Neighbours.none(values.shape[1])
    fitted = len(values) - plan.validation_ticks
    origins = np.arange(fitted, len(values) - plan.horizons[0])
    candidates, scale = _fit_candidates(values[:fitted], plan, neighbours)
    z = fill_gaps(values, scale)
    design = features(z, origins, scale, neighbours, plan)
    change = np.einsum("nof,nfkc->onkc", design, candidates.astype(np.float32), optimize=True)
    forecasts = np.repeat(_anchors(z, origins, plan, scale), len(plan.penalties), axis=3) + change
    actual = _targets(scale.standardised(values), origins, plan.horizons)
    losses = _losses(forecasts - actual[..., None], plan.loss)
    errors = _mean(losses)
    choice = _choose(losses, errors, plan)[..., None]
    residuals = actual - np.take_along_axis(forecasts, choice[None], axis=3)[..., 0]
    baselines = baseline_forecasts(z, origins, plan.horizons, scale)
    baseline_losses = _losses(baselines - actual[..., None], plan.loss)
    gain = baseline_losses - _losses(residuals, plan.loss)[..., None]
    mean_gain, uncertainty = _mean_of_blocks(gain, plan.block_ticks)
    below, above = _conformal_band(residuals, plan.share)
    refitted, final_scale = _fit_candidates(values, plan, neighbours)
    unit = scale.deviation[:, None]
    unit_of_loss = unit if plan.loss == "absolute" else unit**2
    return ForecastModel(
        plan=plan,
        neighbours=neighbours,
        scale=final_scale,
        weights=np.take_along_axis(refitted, choice[:, None], axis=3)[..., 0],
        anchor=choice[..., 0] // len(plan.penalties),
        below=below * unit,
        above=above * unit,
        error=np.take_along_axis(errors, choice, axis=2)[..., 0] * unit_of_loss,
        baseline_errors=_mean(baseline_losses) * unit_of_loss[..., None],
        has_skill=np.asarray((mean_gain > SIGNIFICANT * uncertainty).all(axis=2)),
    )


def _fit_candidates(values: Floats, plan: ForecastPlan, neighbours: Neighbours) -> tuple[Floats, Scale]:
    """Return the weights of all anchors and penalties, (n, m, k, n_anchors * n_penalties), and the scale."""
    scale = Scale.of(values, plan.day_ticks, plan.profile_ticks)
    z, observed = fill_gaps(values, scale), scale.standardised(values)
    origins = np.arange(plan.longest_lag, len(values) - plan.horizons[-1])
    targets = _targets(observed, origins, plan.horizons)
    is_valid = np.isfinite(targets).all(axis=2) & np.isfinite(observed[origins])
    aims = np.nan_to_num(targets)[..., None] - _anchors(z, origins, plan, scale)
    n_rows, n_series, n_horizons, n_anchors = aims.shape
    weights = fit_weights(
        features(z, origins, scale, neighbours, plan),
        aims.reshape(n_rows, n_series, -1).swapaxes(0, 1).astype(np.float32),
        is_valid.T,
        plan.penalties,
        plan.loss,
    )
    return weights.reshape(n_series, -1, n_horizons, n_anchors * len(plan.penalties)), scale


def _targets(observed: Floats, origins: NDArray[np.intp], horizons: tuple[int, ...]) -> Floats:
    """Return the values at each horizon after each origin, (n_origins, n, k); NaN after the record's end."""
    at = origins[:, None] + np.array(horizons)
    targets = observed[np.minimum(at, len(observed) - 1)]
    targets[at >= len(observed)] = np.nan
    restored: Floats = targets.swapaxes(1, 2)
    return restored


def _anchors(z: Floats, ticks: NDArray[np.intp], plan: ForecastPlan, scale: Scale) -> Floats:
    """Return the plan's anchors, (n_origins, n, k, n_anchors), standardised."""
    columns = [BASELINES.index(anchor) for anchor in plan.anchors]
    anchors: Floats = baseline_forecasts(z, ticks, plan.horizons, scale)[..., columns]
    return anchors


def _choose(losses: Floats, errors: Floats, plan: ForecastPlan) -> NDArray[np.intp]:
    """Return the candidate of the smallest validation error, (n, k), or the fallback where that is no better.

    The fallback is the better anchor under the largest penalty. The best candidate replaces it where its
    gain,
    as a mean of daily means, is above the standard error of that mean.
    """
    compared = np.where(np.isfinite(errors), errors, np.inf)
    best = compared.argmin(axis=2)[..., None]
    number = len(plan.penalties)
    fallback = compared[..., number - 1 :: number].argmin(axis=2)[..., None] * number + number - 1
    gain = np.take_along_axis(losses, fallback[None], axis=3) - np.take_along_axis(losses, best[None], axis=3)
    mean_gain, uncertainty = _mean_of_blocks(gain[..., 0], plan.day_ticks)
    choice: NDArray[np.intp] = np.where(mean_gain > uncertainty, best[..., 0], fallback[..., 0])
    return choice


def _mean_of_blocks(values: Floats, block_ticks: int) -> tuple[Floats, Floats]:
    """Return the mean of the means of consecutive blocks of ticks, and the standard error of that mean."""
    blocks = range(0, len(values), block_ticks)
    means = np.stack([_mean(values[first : first + block_ticks]) for first in blocks])
    count = np.maximum(np.isfinite(means).sum(axis=0), 1)
    mean = _mean(means)
    return mean, np.sqrt(_mean((means - mean) ** 2) / np.maximum(count - 1, 1))


def _losses(residuals: Floats, loss: Loss) -> Floats:
    """Return the loss of each residual, as the plan measures it."""
    return np.abs(residuals) if loss == "absolute" else residuals**2


def _mean(values: Floats) -> Floats:
    """Return the mean over the first axis, leaving out NaN; NaN where all are."""
    is_there = np.isfinite(values)
    count = is_there.sum(axis=0)
    total = np.where(is_there, values, 0).sum(axis=0)
    mean: Floats = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean


def _conformal_band(residuals: Floats, share: float) -> tuple[Floats, Floats]:
    """Return the distances of a band's ends below and above a forecast, (n, k); NaN without residuals.

    The ends are the residuals of rank ⌊(n + 1) tail⌋ and ⌈(n + 1) (1 - tail)⌉ among n,
    with tail = (1 - share) / 2.
    """
    ordered = np.sort(residuals, axis=0)  # NaN last
    count = np.isfinite(residuals).sum(axis=0)
    tail = (1 - share) / 2
    low = np.clip(np.floor((count + 1) * tail).astype(np.intp), 1, np.maximum(count, 1)) - 1
    high = np.clip(np.ceil((count + 1) * (1 - tail)).astype(np.intp), 1, np.maximum(count, 1)) - 1
    lower, upper = (np.take_along_axis(ordered, rank[None], axis=0)[0] for rank in (low, high))
    return -lower, upper
