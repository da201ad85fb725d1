"""Combines the anomaly scores of a site's quantities into one score of the site.

The departures of a site are its residuals in spreads, by quantity. Each is smoothed and converted into a
signed score by a tail distribution fitted to the site's own fault-free history
(`analytics.core.tail_probability`); so are the distances of `analytics.core.site_distances`, which respond to
combinations. The scores are then summed, by Fisher's method for p-values, and not maximised. Quantities of
one water body depend on each other, so the sum is compared with a gamma distribution of the mean and variance
that it has in the fault-free history (Brown 1975; empirically as in Poole, Gibbs, Shmulevich, Bernard and
Knijnenburg, Bioinformatics 32 (17), 2016):

    X = sum of -ln p;   P(X > x) = Q(mean² / variance, x mean / variance);   score = -log10 P

then once more over that, the reference and the Mahalanobis distance, so that an unusual combination is not
lost among many calm quantities; and through a tail of its own, so that the stated probability is the observed
one. Arrays are (n_ticks, n_sites, n_quantities); NaN means missing, and padded where a site has fewer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from analytics.core import site_distances, tail_probability
from analytics.core.tail_probability import TailStart, TailSums

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

MIN_HISTORY_TICKS = 144  # ticks of fault-free history that a quantity needs (12 h at 5 min)
SMOOTHING_GAIN = 0.4  # gain of the smoothed departure per tick
CLIP_SPREADS = 30.0  # spreads to which a departure is clipped
MAX_PART_SCORE = 12.0  # largest score that one quantity or distance adds
MAX_SCORE = 99.0
FAILED_CHECK_SCORE = 7.0  # score of a reading that failed a check, whatever its residual
LN10 = float(np.log(10.0))
MAX_USUAL_SCORE = 5.0  # scores above are left out when the usual sum is fitted
MIN_VARIANCE_SHARE = 1.0  # lower bound of the variance of Fisher's sum, over that of independent quantities

DEPARTURE_TAIL_START = TailStart.of(1.8, 0.02, 0.6)  # spreads of a smoothed residual
DISTANCE_TAIL_START = TailStart.of(1.0, 0.02, 0.2)  # in units of the history's 98th percentile
TOTAL_TAIL_START = TailStart.of(2.0, 0.01, 1 / LN10)  # as -log10 of a uniform probability is distributed
N_DISTANCES = 2
TINY = 1e-9


class FisherSum(NamedTuple):
    """Gamma distribution of a sum of scores under normal conditions.

    Attributes
    ----------
    mean, variance : (n_sites,) of the sum of −ln p
    mean_part : (n_sites, n_parts) mean score of each part, which replaces a missing one

    """

    mean: Floats
    variance: Floats
    mean_part: Floats

    @classmethod
    def of(cls, parts: Floats, is_present: Bools) -> Self:
        """Fit to a fault-free history, (n_ticks, n_sites, n_parts), below `MAX_USUAL_SCORE`."""
        usual = np.where(is_present & (parts < MAX_USUAL_SCORE), parts, np.nan)
        mean_part = np.nansum(usual, axis=0) / np.maximum((~np.isnan(usual)).sum(axis=0), 1)
        total = np.where(np.isnan(usual), mean_part, usual).sum(axis=2) * LN10
        mean = total.mean(axis=0)
        return cls(mean, np.maximum(total.var(axis=0), MIN_VARIANCE_SHARE * mean), mean_part)

    def score(self, parts: Floats, is_present: Bools) -> Floats:
        """Return −log10 of the probability of a sum at least as large, ``(n_ticks, n_sites)``."""
        from scipy.special import gammaincc  # noqa: PLC0415 - 0.4 s that a gateway, which imports this, saves

        total = np.where(is_present, parts, self.mean_part).sum(axis=2) * LN10
        mean, variance = np.maximum(self.mean, TINY), np.maximum(self.variance, TINY)
        exceedance_probability = gammaincc(mean * mean / variance, total * mean / variance)
        with np.errstate(divide="ignore"):
            return np.where(
                exceedance_probability > 0,
                np.minimum(-np.log10(exceedance_probability), MAX_SCORE),
                MAX_SCORE,
            )


class LearnedTail(NamedTuple):
    """Tail distribution fitted to a history, and the number of ticks with a value in it."""

    tail: TailSums
    ticks: Floats

    @classmethod
    def of(cls, x: Floats, tail_start: TailStart) -> Self:
        """Fit to a history, (n_ticks, …)."""
        known = tail_probability.tail_of_history(x.reshape(len(x), -1), tail_start)
        count = (~np.isnan(x)).sum(axis=0).astype(np.float64)
        return cls(TailSums(*(part.reshape(x.shape[1:]) for part in known)), count)

    def score(self, x: Floats, tail_start: TailStart) -> Floats:
        """Return the scores of distances, (n_ticks, …); 0 where one is missing."""
        known = TailSums(*(np.broadcast_to(part, x.shape) for part in self.tail))
        return tail_probability.score(
            np.nan_to_num(x), known, np.broadcast_to(self.ticks, x.shape), tail_start
        )


@dataclass(frozen=True, slots=True)
class SiteModel:
    """Usual departures, distances and sums of scores of some sites, fitted to their fault-free history.

    Attributes
    ----------
    known : (n_sites, n_quantities) whether there was enough history
    reference : of `analytics.core.site_distances`, fitted to departures
    unit : (n_sites, n_distances) scale of the distances: their 98th percentile
    quantities, distances, site_scores : tails of the departures, the distances and the site's score
    quantity_sum : sum of the scores of the quantities
    total_sum : sum of the score of that and those of the distances

    """

    known: Bools
    reference: site_distances.SiteReference
    unit: Floats
    quantities: LearnedTail
    distances: LearnedTail
    quantity_sum: FisherSum
    total_sum: FisherSum
    site_scores: LearnedTail

    @classmethod
    def fit(cls, departures: Floats) -> Self | None:
        """Fit to a fault-free history; return None if that is too short.

        Parameters
        ----------
        departures : (n_ticks, n_sites, n_quantities) residuals in spreads; NaN where a reading is missing or
            was flagged

        """
        known = np.isfinite(departures).sum(axis=0) >= MIN_HISTORY_TICKS
        if len(departures) < MIN_HISTORY_TICKS or not known.any():
            return None
        z = np.where(known, np.clip(departures, -CLIP_SPREADS, CLIP_SPREADS), np.nan)
        reference = site_distances.SiteReference.fit(z)
        means, distance_values = np.abs(smooth_over_ticks(z)), _distances_of(reference, z)
        unit = np.maximum(np.quantile(distance_values, 0.98, axis=0), TINY)
        quantities, distances = (
            LearnedTail.of(means, DEPARTURE_TAIL_START),
            LearnedTail.of(distance_values / unit, DISTANCE_TAIL_START),
        )
        is_present = ~np.isnan(means)
        parts = np.minimum(quantities.score(means, DEPARTURE_TAIL_START), MAX_PART_SCORE)
        quantity_sum = FisherSum.of(parts, is_present)
        total_parts = _append_distances(
            quantity_sum.score(parts, is_present),
            distances.score(distance_values / unit, DISTANCE_TAIL_START),
        )
        has_several = _has_several_quantities(is_present)
        total_sum = FisherSum.of(total_parts, has_several)
        site_scores = LearnedTail.of(total_sum.score(total_parts, has_several), TOTAL_TAIL_START)
        return cls(known, reference, unit, quantities, distances, quantity_sum, total_sum, site_scores)


class SiteScores(NamedTuple):
    """Scores of sites at each tick, −log10 of false-alarm probabilities.

    Attributes
    ----------
    signed : (n_ticks, n_sites, n_quantities) score of each quantity, with its departure's sign; 0 unknown
    site : (n_ticks, n_sites) score of the site
    shares : (n_ticks, n_sites, n_quantities) share of each quantity in it; they sum to 1, or to 0 where all
        scores are 0

    """

    signed: Floats
    site: Floats
    shares: Floats


def score_sites(model: SiteModel, departures: Floats, failed: Bools) -> SiteScores:
    """Score a time range, whose first ticks warm up the smoothing.

    Parameters
    ----------
    model : of these sites
    departures : (n_ticks, n_sites, n_quantities) residuals in spreads; NaN means missing
    failed : (n_ticks, n_sites, n_quantities) bool, whether a reading failed a check of its own

    """
    z = np.where(model.known, np.clip(departures, -CLIP_SPREADS, CLIP_SPREADS), np.nan)
    failed = failed & model.known
    means = smooth_over_ticks(z)
    is_present = ~np.isnan(means) | failed
    parts = model.quantities.score(np.abs(means), DEPARTURE_TAIL_START)
    parts = np.minimum(np.where(failed, np.maximum(parts, FAILED_CHECK_SCORE), parts), MAX_PART_SCORE)
    distances = model.distances.score(_distances_of(model.reference, z) / model.unit, DISTANCE_TAIL_START)
    total_parts = _append_distances(model.quantity_sum.score(parts, is_present), distances)
    site_scores = model.site_scores.score(
        model.total_sum.score(total_parts, _has_several_quantities(is_present)), TOTAL_TAIL_START
    )
    site_scores = np.where(failed.any(axis=2), np.maximum(site_scores, FAILED_CHECK_SCORE), site_scores)
    shares = parts / np.maximum(parts.sum(axis=2, keepdims=True), TINY)
    return SiteScores(np.where(means < 0, -parts, parts), np.minimum(site_scores, MAX_SCORE), shares)


def smooth_over_ticks(z: Floats) -> Floats:
    """Return exponential means over ticks, of the same shape; missing values stay missing."""
    mean, change = np.zeros(z.shape[1:]), np.empty(z.shape[1:])
    is_present = ~np.isnan(z)
    made = np.empty_like(z)
    for current, present, mean_now in zip(z, is_present, made, strict=True):  # over time; all sites at once
        np.subtract(current, mean, out=change)
        change *= SMOOTHING_GAIN
        np.add(mean, change, out=mean, where=present)
        mean_now[...] = mean
    return np.where(is_present, made, np.nan)


def _append_distances(quantity_sum: Floats, distances: Floats) -> Floats:
    """Return the scores that are summed for the site, (n_ticks, n_sites, 1 + n_distances)."""
    return np.concatenate([quantity_sum[..., None], np.minimum(distances, MAX_PART_SCORE)], axis=2)


def _has_several_quantities(is_present: Bools) -> Bools:
    """Return which of these scores exist, of the same shape: distances need more than one quantity."""
    is_multivariate = is_present.sum(axis=2) > 1
    return np.stack([np.ones_like(is_multivariate), *[is_multivariate] * N_DISTANCES], axis=2)


def _distances_of(reference: site_distances.SiteReference, z: Floats) -> Floats:
    """Return the reference and the Mahalanobis distance, (n_ticks, n_sites, n_distances)."""
    distances_of_site = site_distances.distances(
        site_distances.DistanceState.empty(reference.centre), reference, z
    )
    return np.stack([distances_of_site.reference, distances_of_site.mahalanobis], axis=2)
