"""Forecasts series minutes to a day ahead by regression on their past, their neighbours and their usual day.

All series are fitted at once. With z the standardised series, a(t, h) an *anchor* that is known at t (the
newest value, or the value at the same hour of the day before t + h) and f(t) the features of
`forecast_features`, a candidate forecast is

    z(t + h) = a(t, h) + w_h · f(t),    w_h = argmin mean loss(residual) + λ ‖w‖²,

with one w_h per series and horizon, for each anchor and penalty λ. The loss is squared (water), or absolute
(traffic, whose errors have heavy tails), the latter by iteratively reweighted least squares (P. W. Holland
and R. E. Welsch, Commun. Stat. A 6 (9), 1977).

The forecast is a combination of these candidates and of the forecasts without a model (`BASELINES`), weighted
per series and horizon by the errors on the last part of the training record (validation), to which the
weights compared were not fitted; afterwards the weights are fitted to all of it. As candidates are linear in
the features, so is the combination. Bands are split-conformal: quantiles of the residuals on the validation
part (V. Vovk et al., "Algorithmic Learning in a Random World", 2005), see `forecast_combination`. A band
holds its share as far as the coming days resemble the validation days.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analytics.twin.forecast_baselines import BASELINES, baseline_forecasts
from analytics.twin.forecast_combination import combination_weights, conformal_band
from analytics.twin.forecast_features import Neighbours, Scale, features, fill_gaps
from analytics.twin.forecast_losses import losses, mean, mean_of_blocks
from analytics.twin.forecast_regression import fit_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.twin.forecast_plan import ForecastPlan

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
    anchor_weights : (n, k, 3) of the forecasts of `forecast_baselines.BASELINES`; they sum to 1
    below, above : (n, k) distances of a band's ends from the forecast [canonical unit]; NaN without residuals
    error : (n, k) mean loss of the forecast on the validation part [canonical unit, or its square]
    baseline_errors : (n, k, 3) the same of `forecast_baselines.BASELINES`
    has_skill : (n, k) whether the gain over each baseline is above `SIGNIFICANT` standard errors

    """

    plan: ForecastPlan
    neighbours: Neighbours
    scale: Scale
    weights: Floats
    anchor_weights: Floats
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
        anchors = baseline_forecasts(z, ticks, self.plan.horizons, self.scale)
        anchor = (anchors * self.anchor_weights).sum(axis=3)
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
    baselines = baseline_forecasts(z, origins, plan.horizons, scale)
    anchored = np.repeat(baselines[..., _anchor_columns(plan)], len(plan.penalties), axis=3) + change
    forecasts = np.concatenate([anchored, baselines], axis=3)
    actual = _targets(scale.standardised(values), origins, plan.horizons)
    errors = mean(losses(forecasts - actual[..., None], plan.loss))
    share = combination_weights(errors, _validated_blocks(actual, plan), plan.loss)
    residuals = actual - (forecasts * share).sum(axis=3)
    own_losses = losses(residuals, plan.loss)
    baseline_losses = losses(baselines - actual[..., None], plan.loss)
    mean_gain, uncertainty = mean_of_blocks(baseline_losses - own_losses[..., None], plan.block_ticks)
    below, above = conformal_band(residuals, plan.share, plan.block_ticks)
    refitted, final_scale = _fit_candidates(values, plan, neighbours)
    unit = scale.deviation[:, None]
    unit_of_loss = unit if plan.loss == "absolute" else unit**2
    return ForecastModel(
        plan=plan,
        neighbours=neighbours,
        scale=final_scale,
        weights=np.einsum("nfkc,nkc->nfk", refitted, share[..., : refitted.shape[3]]),
        anchor_weights=_anchor_weights(share, plan),
        below=below * unit,
        above=above * unit,
        error=mean(own_losses) * unit_of_loss,
        baseline_errors=mean(baseline_losses) * unit_of_loss[..., None],
        has_skill=np.asarray((mean_gain > SIGNIFICANT * uncertainty).all(axis=2)),
    )


def _fit_candidates(values: Floats, plan: ForecastPlan, neighbours: Neighbours) -> tuple[Floats, Scale]:
    """Return the weights of all anchors and penalties, (n, m, k, n_anchors * n_penalties), and the scale."""
    scale = Scale.of(values, plan.day_ticks, plan.profile_ticks)
    z, observed = fill_gaps(values, scale), scale.standardised(values)
    origins = np.arange(plan.longest_lag, len(values) - plan.horizons[-1])
    targets = _targets(observed, origins, plan.horizons)
    is_valid = np.isfinite(targets).all(axis=2) & np.isfinite(observed[origins])
    anchors = baseline_forecasts(z, origins, plan.horizons, scale)[..., _anchor_columns(plan)]
    aims = np.nan_to_num(targets)[..., None] - anchors
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


def _validated_blocks(actual: Floats, plan: ForecastPlan) -> Floats:
    """Return how many blocks of the validation part have values, (n, k), of ``actual`` (n_origins, n, k).

    A target after the end of the record is no missing value.
    """
    possible = plan.validation_ticks - np.array(plan.horizons)
    there: Floats = np.isfinite(actual).sum(axis=0) / np.maximum(possible, 1)
    return there * (plan.validation_ticks // plan.block_ticks)


def _anchor_columns(plan: ForecastPlan) -> list[int]:
    """Return where the plan's anchors are among `BASELINES`."""
    return [BASELINES.index(anchor) for anchor in plan.anchors]


def _anchor_weights(share: Floats, plan: ForecastPlan) -> Floats:
    """Return the weights of `BASELINES` in a combination of candidates, (n, k, 3).

    Parameters
    ----------
    share : (n, k, n_anchors * n_penalties + 3) weights of the candidates, the last three of the baselines

    """
    weights = share[..., -len(BASELINES) :].copy()
    anchored = share[..., : -len(BASELINES)].reshape(*share.shape[:2], len(plan.anchors), -1)
    weights[..., _anchor_columns(plan)] += anchored.sum(axis=3)
    return weights
