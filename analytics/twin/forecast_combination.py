"""Combines candidate forecasts by their validation errors, and puts a band around the combination.

A candidate of mean loss E on ν independent stretches has the weight exp(-c ν E / min E), c = 1/2 for squared
losses and 1 for absolute ones: the likelihood of its errors if they are normal, or Laplacian, with the spread
of the best candidate's (pseudo-Bayesian model averaging; S. T. Buckland, K. P. Burnham and N. H. Augustin,
Biometrics 53, 1997). Where validation separates the candidates little, the combination is near their mean,
and so near the forecasts without a model among them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analytics.twin.forecast_losses import mean_of_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.twin.forecast_plan import Loss

    Floats = NDArray[np.float64]

LIKELIHOOD_SHARE: dict[Loss, float] = {"squared": 0.5, "absolute": 1.0}


def combination_weights(errors: Floats, n_blocks: Floats | float, loss: Loss) -> Floats:
    """Return the weights of candidates, (…, n_candidates); they are 0 or more and sum to 1.

    Parameters
    ----------
    errors : (…, n_candidates) mean validation losses; NaN is without any, all weights are equal then
    n_blocks : independent stretches of the validation part that have values, (…,) or one for all
    loss : of the errors

    """
    compared = np.where(np.isfinite(errors), errors, 0)
    best = compared.min(axis=-1, keepdims=True)
    with np.errstate(over="ignore"):  # beside a candidate without errors
        excess = (compared - best) / np.maximum(best, np.finfo(np.float64).tiny)
        weights = np.exp(-LIKELIHOOD_SHARE[loss] * np.asarray(n_blocks)[..., None] * excess)
    normalised: Floats = weights / weights.sum(axis=-1, keepdims=True)
    return normalised


def conformal_band(residuals: Floats, share: float, block_ticks: int) -> tuple[Floats, Floats]:
    """Return the distances of a band's ends below and above a forecast, (n, k); NaN without residuals.

    The ends have the ranks (ν + 1) tail and (ν + 1) (1 - tail) among ν independent residuals, with
    tail = (1 - share) / 2, interpolated. Residuals of neighbouring ticks are alike, so that ν is less than
    their number: it is the number of independent ones whose held share would vary as much as that of the
    blocks does (the design effect; L. Kish, "Survey Sampling", 1965); it is 1 where one block alone has
    residuals. Distances are 0 or more: a forecast is in its band, also where all residuals have one sign.

    Parameters
    ----------
    residuals : (n_ticks, n, k) on the validation part; NaN is missing
    share : of future values that the band should hold
    block_ticks : ticks of a block; residuals of different blocks count as independent

    """
    ordered = np.sort(residuals, axis=0)  # NaN last
    count = np.isfinite(residuals).sum(axis=0)
    tail = np.full(count.shape, (1 - share) / 2)
    low, high = _quantile(ordered, count, tail), _quantile(ordered, count, 1 - tail)
    held = np.where(np.isfinite(residuals), (residuals >= low) & (residuals <= high), np.nan)
    _, uncertainty = mean_of_blocks(held, block_ticks)
    with np.errstate(divide="ignore", invalid="ignore"):
        independent = np.fmin(share * (1 - share) / uncertainty**2, count)
    independent = np.maximum(np.where(np.isfinite(independent), independent, count), 1)
    rank = np.clip(((independent + 1) * tail - 0.5) / independent, 0, tail)
    below, above = -_quantile(ordered, count, rank), _quantile(ordered, count, 1 - rank)
    return np.maximum(below, 0), np.maximum(above, 0)


def _quantile(ordered: Floats, count: NDArray[np.intp], level: Floats) -> Floats:
    """Return the quantiles of ordered columns, linear between the middles of the ranks (Hazen, 1914)."""
    last = np.maximum(count - 1, 0)
    position = np.clip(level * count - 0.5, 0, last)
    before = position.astype(np.intp)
    after = np.minimum(before + 1, last)
    low, high = (np.take_along_axis(ordered, rank[None], axis=0)[0] for rank in (before, after))
    between: Floats = low + (position - before) * (high - low)
    return between
