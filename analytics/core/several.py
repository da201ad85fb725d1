"""How unusual a site is, over all of its quantities and on the one scale of scores.

The departures of a site are its residuals in spreads, quantity by quantity. Each is smoothed and goes
through a tail learned from the site's own good history (`analytics.core.tail`), which makes it a signed
score; so do the distances of `analytics.core.site`, which see combinations. The scores are then summed, as
Fisher did with p-values, and not maximised. Quantities of one water depend on each other, so the sum is
compared with a gamma distribution of the mean and variance that it has in the good history (Brown 1975;
empirically as in Poole, Gibbs, Shmulevich, Bernard and Knijnenburg, Bioinformatics 32 (17), 2016):

    X = sum of -ln p;   P(X > x) = Q(mean² / variance, x mean / variance);   score = -log10 P

and that, once more, through a tail of its own, so that the stated probability is the one that is met.
Arrays are (n_ticks, n_sites, n_quantities); NaN means missing, and padded where a site has fewer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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
N_DISTANCES = 3
TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Model:
    """What is usual for some sites, learned from their good history.

    Attributes
    ----------
    known : (n_sites, n_quantities) whether there was enough history
    reference : of `analytics.core.site`, fitted to departures
    unit : (n_sites, n_distances) what divides the distances: their 98th percentile
    quantities, distances, together : tails, and how many ticks each has seen
    mean, variance : (n_sites,) of Fisher's sum
    item : (n_sites, n_quantities + n_distances) mean score of each part, which stands in for a missing one

    """

    known: Bools
    reference: site.Reference
    unit: Floats
    quantities: tuple[Tail, Floats]
    distances: tuple[Tail, Floats]
    together: tuple[Tail, Floats]
    mean: Floats
    variance: Floats
    item: Floats

    @classmethod
    def fit(cls, departures: Floats) -> Self | None:
        """Learn from good history, ``(n_ticks, n_sites, n_quantities)``; None where that is too short.

        Parameters
        ----------
        departures : residuals in spreads; NaN where a reading is missing or was flagged

        """
        seen = np.isfinite(departures).sum(axis=0)
        known = seen >= LEAST_TICKS
        if len(departures) < LEAST_TICKS or not known.any():
            return None
        z = np.where(known, np.clip(departures, -CLIP, CLIP), np.nan)
        reference = site.Reference.fit(z)
        means, apart = np.abs(smoothed(z)), _apart(reference, z)
        unit = np.maximum(np.quantile(apart, 0.98, axis=0), TINY)
        quantities, distances = _learned(means, DEPARTURE), _learned(apart / unit, DISTANCE)
        nothing = np.zeros(z.shape[1])
        blank = (Tail(*np.zeros((4, len(nothing)))), nothing)
        item = np.zeros((*known.shape[:1], known.shape[1] + N_DISTANCES))
        made = cls(known, reference, unit, quantities, distances, blank, nothing, nothing, item)
        parts, there = _parts(made, means, apart, np.zeros(z.shape, np.bool_))
        usual = np.where(there & (parts < USUAL), parts, np.nan)
        item = np.nansum(usual, axis=0) / np.maximum((~np.isnan(usual)).sum(axis=0), 1)
        total = np.where(np.isnan(usual), item, usual).sum(axis=2) * LN10
        mean = total.mean(axis=0)
        variance = np.maximum(total.var(axis=0), LEAST_VARIANCE * mean)
        made = replace(made, mean=mean, variance=variance, item=item)
        return replace(made, together=_learned(_fisher(made, parts, there), TOGETHER))


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
    parts, there = _parts(model, np.abs(means), _apart(model.reference, z), failed)
    combined = _fisher(model, parts, there)
    whole = tail.score(combined, *_told(model.together, combined.shape), TOGETHER)
    whole = np.where(failed.any(axis=2), np.maximum(whole, FAILED), whole)
    of_quantities = parts[:, :, : z.shape[2]]
    signed = np.where(means < 0, -1.0, 1.0) * of_quantities
    shares = of_quantities / np.maximum(of_quantities.sum(axis=2, keepdims=True), TINY)
    return Scores(signed, np.minimum(whole, LARGEST), shares)


def smoothed(z: Floats) -> Floats:
    """Exponential means over ticks; a missing value changes nothing, and stays missing."""
    mean = np.zeros(z.shape[1:])
    made = np.empty_like(z)
    for tick, now in enumerate(z):  # over time; all sites and quantities at once
        there = ~np.isnan(now)
        mean = np.where(there, mean + SMOOTH * (np.where(there, now, 0.0) - mean), mean)
        made[tick] = np.where(there, mean, np.nan)
    return made


def _parts(model: Model, means: Floats, apart: Floats, failed: Bools) -> tuple[Floats, Bools]:
    """Scores of all quantities, then of the distances, and whether each could be told.

    Parameters
    ----------
    means : smoothed departures without their sign
    apart : distances
    failed : whether a reading failed a check of its own

    """
    there = ~np.isnan(means)
    quantities = tail.score(np.nan_to_num(means), *_told(model.quantities, means.shape), DEPARTURE)
    quantities = np.where(failed, np.maximum(quantities, FAILED), np.where(there, quantities, 0.0))
    distances = tail.score(apart / model.unit, *_told(model.distances, apart.shape), DISTANCE)
    several = np.broadcast_to((there.sum(axis=2) > 1)[..., None], distances.shape)
    parts = np.concatenate([quantities, np.where(several, distances, 0.0)], axis=2)
    return np.minimum(parts, MOST), np.concatenate([there | failed, several], axis=2)


def _fisher(model: Model, parts: Floats, there: Bools) -> Floats:
    """-log10 of the probability of so large a sum."""
    total = np.where(there, parts, model.item).sum(axis=2) * LN10
    mean, variance = np.maximum(model.mean, TINY), np.maximum(model.variance, TINY)
    beyond = gammaincc(mean * mean / variance, total * mean / variance)
    with np.errstate(divide="ignore"):
        return np.where(beyond > 0, np.minimum(-np.log10(beyond), LARGEST), LARGEST)


def _apart(reference: site.Reference, z: Floats) -> Floats:
    """(n_ticks, n_sites, n_distances)."""
    found = site.distances(site.State.empty(reference.centre), reference, z)
    return np.stack([found.deviation, found.reference, found.mahalanobis], axis=2)


def _learned(x: Floats, begin: Begin) -> tuple[Tail, Floats]:
    """The tail of a history, (n_ticks, …), and how many ticks it has seen."""
    known = Tail(*np.zeros((4, *x.shape[1:])))
    for now in x:  # over time
        there = ~np.isnan(now)
        after = tail.learn(np.where(there, now, 0.0), known, np.ones(now.shape), begin)
        known = Tail(*(np.where(there, new, old) for new, old in zip(after, known, strict=True)))
    return known, (~np.isnan(x)).sum(axis=0).astype(np.float64)


def _told(learned: tuple[Tail, Floats], shape: tuple[int, ...]) -> tuple[Tail, Floats]:
    known, count = learned
    return Tail(*(np.broadcast_to(part, shape) for part in known)), np.broadcast_to(count, shape)
