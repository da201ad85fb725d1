"""Combines the scores of a site's quantities into one score of the site.

The departures of a site are its residuals in spreads, quantity by quantity. Each is smoothed and goes
through a tail learned from the site's own good history (`analytics.core.tail`), which makes it a signed
score; so do the distances of `analytics.core.site`, which see combinations. The scores are then summed, as
Fisher did with p-values, and not maximised. Quantities of one water depend on each other, so the sum is
compared with a gamma distribution of the mean and variance that it has in the good history (Brown 1975;
empirically as in Poole, Gibbs, Shmulevich, Bernard and Knijnenburg, Bioinformatics 32 (17), 2016):

    X = sum of -ln p;   P(X > x) = Q(mean² / variance, x mean / variance);   score = -log10 P

then once more over that, the reference and the Mahalanobis distance, so that a plain combination is not lost
among many calm quantities; and through a tail of its own, so that the probability stated is the one met.
Arrays are (n_ticks, n_sites, n_quantities); NaN means missing, and padded where a site has fewer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from scipy.special import gammaincc

from analytics.core import site, tail
from analytics.core.tail import Begin, Tail

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

LEAST_TICKS = 144  # of good history before a site is judged
SMOOTH = 0.4  # gain of the mean departure, a tick
CLIP = 30.0  # spreads that one reading may count
MOST = 12.0  # score that one quantity may add
LARGEST = 99.0
FAILED = 7.0  # score of a reading that failed a check, whatever is expected
LN10 = float(np.log(10.0))
USUAL = 5.0  # scores above are no part of what is usual
LEAST_VARIANCE = 1.0  # of Fisher's sum, as a share of what independent quantities have

DEPARTURE = Begin.of(1.8, 0.02, 0.6)  # spreads of a smoothed residual
DISTANCE = Begin.of(1.0, 0.02, 0.2)  # of the largest of the good history's middle, see `Model`
TOGETHER = Begin.of(2.0, 0.01, 1 / LN10)  # what -log10 of a probability has, if it is one
N_DISTANCES = 2
TINY = 1e-9


class Sum(NamedTuple):
    """What the sum of some scores is like when all is well.

    Attributes
    ----------
    mean, variance : (n_sites,) of the sum of −ln p
    item : (n_sites, n_parts) mean score of each part, which stands in for a missing one

    """

    mean: Floats
    variance: Floats
    item: Floats

    @classmethod
    def of(cls, parts: Floats, there: Bools) -> Self:
        """Of a good history, ``(n_ticks, n_sites, n_parts)``; what is far off is no part of what is usual."""
        usual = np.where(there & (parts < USUAL), parts, np.nan)
        item = np.nansum(usual, axis=0) / np.maximum((~np.isnan(usual)).sum(axis=0), 1)
        total = np.where(np.isnan(usual), item, usual).sum(axis=2) * LN10
        mean = total.mean(axis=0)
        return cls(mean, np.maximum(total.var(axis=0), LEAST_VARIANCE * mean), item)

    def score(self, parts: Floats, there: Bools) -> Floats:
        """−log10 of the probability of so large a sum, ``(n_ticks, n_sites)``."""
        total = np.where(there, parts, self.item).sum(axis=2) * LN10
        mean, variance = np.maximum(self.mean, TINY), np.maximum(self.variance, TINY)
        beyond = gammaincc(mean * mean / variance, total * mean / variance)
        with np.errstate(divide="ignore"):
            return np.where(beyond > 0, np.minimum(-np.log10(beyond), LARGEST), LARGEST)


class Learned(NamedTuple):
    """A tail, and how many ticks it has seen."""

    tail: Tail
    ticks: Floats

    @classmethod
    def of(cls, x: Floats, begin: Begin) -> Self:
        """From a history, (n_ticks, …)."""
        known = tail.of_history(x.reshape(len(x), -1), begin)
        count = (~np.isnan(x)).sum(axis=0).astype(np.float64)
        return cls(Tail(*(part.reshape(x.shape[1:]) for part in known)), count)

    def score(self, x: Floats, begin: Begin) -> Floats:
        """Scores of distances, (n_ticks, …); 0 where one is missing."""
        known = Tail(*(np.broadcast_to(part, x.shape) for part in self.tail))
        return tail.score(np.nan_to_num(x), known, np.broadcast_to(self.ticks, x.shape), begin)


@dataclass(frozen=True, slots=True)
class Model:
    """What is usual for some sites, learned from their good history.

    Attributes
    ----------
    known : (n_sites, n_quantities) whether there was enough history
    reference : of `analytics.core.site`, fitted to departures
    unit : (n_sites, n_distances) what divides the distances: their 98th percentile
    quantities, distances, whole : tails
    over_quantities, over_all : the sums of the quantities' scores, and of that and the distances'

    """

    known: Bools
    reference: site.Reference
    unit: Floats
    quantities: Learned
    distances: Learned
    over_quantities: Sum
    over_all: Sum
    whole: Learned

    @classmethod
    def fit(cls, departures: Floats) -> Self | None:
        """Learn from good history, ``(n_ticks, n_sites, n_quantities)``; None where that is too short.

        Parameters
        ----------
        departures : residuals in spreads; NaN where a reading is missing or was flagged

        """
        known = np.isfinite(departures).sum(axis=0) >= LEAST_TICKS
        if len(departures) < LEAST_TICKS or not known.any():
            return None
        z = np.where(known, np.clip(departures, -CLIP, CLIP), np.nan)
        reference = site.Reference.fit(z)
        means, apart = np.abs(smoothed(z)), _apart(reference, z)
        unit = np.maximum(np.quantile(apart, 0.98, axis=0), TINY)
        quantities, distances = Learned.of(means, DEPARTURE), Learned.of(apart / unit, DISTANCE)
        there = ~np.isnan(means)
        parts = np.minimum(quantities.score(means, DEPARTURE), MOST)
        over_quantities = Sum.of(parts, there)
        pair = _with_distances(over_quantities.score(parts, there), distances.score(apart / unit, DISTANCE))
        several = _several(there)
        over_all = Sum.of(pair, several)
        whole = Learned.of(over_all.score(pair, several), TOGETHER)
        return cls(known, reference, unit, quantities, distances, over_quantities, over_all, whole)


class Scores(NamedTuple):
    """What is said of sites at each tick.

    Attributes
    ----------
    signed : (n_ticks, n_sites, n_quantities) score of each quantity, with its departure's sign; 0 unknown
    site : (n_ticks, n_sites) of the whole site
    shares : (n_ticks, n_sites, n_quantities) of each quantity in it; they sum to 1, or to 0 where it is calm

    """

    signed: Floats
    site: Floats
    shares: Floats


def score(model: Model, departures: Floats, failed: Bools) -> Scores:
    """Score a stretch, whose first ticks serve to warm up.

    Parameters
    ----------
    departures : (n_ticks, n_sites, n_quantities) residuals in spreads; NaN means missing
    failed : likewise, whether a reading failed a check of its own

    """
    z = np.where(model.known, np.clip(departures, -CLIP, CLIP), np.nan)
    failed = failed & model.known
    means = smoothed(z)
    there = ~np.isnan(means) | failed
    parts = model.quantities.score(np.abs(means), DEPARTURE)
    parts = np.minimum(np.where(failed, np.maximum(parts, FAILED), parts), MOST)
    distances = model.distances.score(_apart(model.reference, z) / model.unit, DISTANCE)
    pair = _with_distances(model.over_quantities.score(parts, there), distances)
    whole = model.whole.score(model.over_all.score(pair, _several(there)), TOGETHER)
    whole = np.where(failed.any(axis=2), np.maximum(whole, FAILED), whole)
    shares = parts / np.maximum(parts.sum(axis=2, keepdims=True), TINY)
    return Scores(np.where(means < 0, -parts, parts), np.minimum(whole, LARGEST), shares)


def smoothed(z: Floats) -> Floats:
    """Exponential means over ticks; a missing value changes nothing, and stays missing."""
    mean = np.zeros(z.shape[1:])
    made = np.empty_like(z)
    for tick, now in enumerate(z):  # over time; all sites and quantities at once
        there = ~np.isnan(now)
        mean = np.where(there, mean + SMOOTH * (np.where(there, now, 0.0) - mean), mean)
        made[tick] = np.where(there, mean, np.nan)
    return made


def _with_distances(over_quantities: Floats, distances: Floats) -> Floats:
    """(n_ticks, n_sites, 1 + n_distances): what is summed for the whole site."""
    return np.concatenate([over_quantities[..., None], np.minimum(distances, MOST)], axis=2)


def _several(there: Bools) -> Bools:
    """Which of that can be told: distances where there is more than one quantity."""
    more = there.sum(axis=2) > 1
    return np.stack([np.ones_like(more), *[more] * N_DISTANCES], axis=2)


def _apart(reference: site.Reference, z: Floats) -> Floats:
    """(n_ticks, n_sites, n_distances)."""
    found = site.distances(site.State.empty(reference.centre), reference, z)
    return np.stack([found.reference, found.mahalanobis], axis=2)
