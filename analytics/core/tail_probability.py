"""Converts a detector's distance into a score, −log10 of its false-alarm probability, by tail fitting.

Beyond a threshold u the excess of a distance follows a generalised Pareto distribution (Pickands 1975; as in
SPOT, Siffer et al., KDD 2017), fitted here by its first two moments (Hosking and Wallis 1987), so that the
state of a series is a few sums. Consecutive readings beyond u are one excursion, of which only the peak is
learned (runs declustering, Coles 2001, section 5.3.2), so that a slow drift is not learned as usual. A prior
of some excursions stabilises the fit of a series with little history.

    score = −log10 P(distance > x) = −log10(rate beyond u) + log10(1 + ξ (x − u) / σ) / ξ

The score is the false-alarm probability of a reading on one scale for every detector: 6 is one in a million.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

PRIOR_EXCURSIONS = 20.0  # weight of the prior, in excursions
# Weight of an exponential tail in the shape [excursions]: ξ by the moments of n excursions has a standard
# deviation of about 1/√n (Hosking and Wallis 1987), so with less weight one excursion in a week makes the
# whole tail heavy.
SHAPE_PRIOR_EXCURSIONS = 60.0
LARGEST_SHAPE = 0.4  # upper bound of the shape ξ
SMALLEST_SHAPE = 1e-6  # below it the tail is exponential
TO_LOG10 = 0.4342944819032518
MAX_LEARNED_EXCESSES = 5.0  # mean excesses to which the peak of an excursion is clipped when learned


class TailStart(NamedTuple):
    """Threshold of a tail, its prior, and the score below the threshold.

    Attributes
    ----------
    at : threshold u
    share : prior share of readings that begin an excursion
    excess : prior mean excess of an excursion's peak
    slope : score per unit of distance below the threshold, where nothing is fitted

    """

    at: float
    share: float
    excess: float
    slope: float

    @classmethod
    def of(cls, at: float, share: float, excess: float) -> TailStart:
        """Build one whose slope makes the score continuous at the threshold, before anything is learned."""
        return cls(at, share, excess, -math.log10(share) / at)


RESIDUAL = TailStart.of(2.0, 0.02, 0.7)  # spreads; 5 is a score of 3.6, 9 one of 6.0
SHIFT = TailStart.of(1.5, 0.01, 0.27)  # spreads; 4 is a score of 6.0
NOVELTY = TailStart.of(0.02, 0.01, 0.03)  # shares of a range; 0.3 is a score of 6.1


class TailSums(NamedTuple):
    """Sums over the excursions beyond the threshold, ``(k,)`` each.

    Attributes
    ----------
    n, excess_sum, squared_excess_sum : of the excursions that ended: number, sum of their
        excesses, sum of their squares
    peak : largest distance of the current excursion, or 0

    """

    n: Floats
    excess_sum: Floats
    squared_excess_sum: Floats
    peak: Floats


def score(x: Floats, tail: TailSums, count: Floats, tail_start: TailStart) -> Floats:
    """Return the score of distances, −log10 of the probability of a larger one, (k,).

    Parameters
    ----------
    x : (k,) distances, not negative
    tail : sums of the excursions so far
    count : (k,) number of distances so far
    tail_start : threshold and prior

    Examples
    --------
    >>> nothing = TailSums(*np.zeros((4, 1)))
    >>> score(np.array([9.0]), nothing, np.zeros(1), RESIDUAL).round(2)
    array([6.04])

    """
    n = tail.n + PRIOR_EXCURSIONS
    mean = (tail.excess_sum + PRIOR_EXCURSIONS * tail_start.excess) / n
    square = (tail.squared_excess_sum + SHAPE_PRIOR_EXCURSIONS * 2 * mean * mean) / (
        tail.n + SHAPE_PRIOR_EXCURSIONS
    )
    variance = np.maximum(square - mean * mean, 0.25 * mean * mean)
    shape = np.minimum(np.maximum(0.5 * (1 - mean * mean / variance), 0.0), LARGEST_SHAPE)
    scale = mean * (1 - shape)
    rate = -np.log10(np.minimum(n / (count + PRIOR_EXCURSIONS / tail_start.share), 1.0))
    excess = np.maximum(x - tail_start.at, 0.0) / scale
    bounded_shape = np.maximum(shape, SMALLEST_SHAPE)
    beyond = np.where(shape > SMALLEST_SHAPE, np.log1p(bounded_shape * excess) / bounded_shape, excess)
    return np.where(x > tail_start.at, rate + TO_LOG10 * beyond, tail_start.slope * x)


def update_tail_sums(x: Floats, tail: TailSums, weight: Floats, tail_start: TailStart) -> TailSums:
    """Return the sums after one more distance each, (k,), of some weight (0 to 1)."""
    mean = (tail.excess_sum + PRIOR_EXCURSIONS * tail_start.excess) / (tail.n + PRIOR_EXCURSIONS)
    excess = np.minimum(tail.peak - tail_start.at, MAX_LEARNED_EXCESSES * mean)
    is_beyond = x > tail_start.at
    learned_weight = np.where(~is_beyond & (tail.peak > 0), weight, 0.0)
    peak = np.where(is_beyond, np.maximum(tail.peak, x), 0.0)
    return TailSums(
        tail.n + learned_weight,
        tail.excess_sum + learned_weight * excess,
        tail.squared_excess_sum + learned_weight * excess * excess,
        peak,
    )


def tail_of_history(x: Floats, tail_start: TailStart) -> TailSums:
    """Return the sums after a full history, as `update_tail_sums` gives tick by tick.

    Parameters
    ----------
    x : (n_ticks, k) distances; a missing one, NaN, neither extends nor ends an excursion
    tail_start : threshold and prior

    """
    ticks, k = x.shape
    last = np.maximum.accumulate(np.where(np.isnan(x), 0, np.arange(ticks)[:, None]), axis=0)
    known_distances = np.zeros((k, ticks + 1))  # an added tick of 0 ends the excursions of each column
    known_distances[:, :ticks] = (
        np.nan_to_num(np.take_along_axis(x, last, axis=0)).T if ticks else known_distances[:, :0]
    )
    is_beyond = np.zeros(known_distances.size + 1, np.bool_)
    is_beyond[1:] = (known_distances > tail_start.at).ravel()
    edges = np.flatnonzero(is_beyond[1:] != is_beyond[:-1])
    starts, ends = edges[::2], edges[1::2]
    history_tail = TailSums(*np.zeros((4, k)))
    if not len(starts):
        return history_tail
    peaks = np.maximum.reduceat(known_distances.ravel(), edges)[::2]
    column, is_ongoing = starts // (ticks + 1), ends % (ticks + 1) == ticks
    history_tail.peak[column[is_ongoing]] = peaks[is_ongoing]
    column, peaks = column[~is_ongoing], peaks[~is_ongoing]
    rank = np.arange(len(column)) - np.searchsorted(column, column)
    peaks_by_column = np.full((rank.max(initial=-1) + 1, k), np.nan)
    peaks_by_column[rank, column] = peaks
    n, excess_sum, squared_excess_sum, peak = history_tail
    for one in peaks_by_column:  # over excursions, oldest first; all columns at once
        has_excursion = ~np.isnan(one)
        mean = (excess_sum + PRIOR_EXCURSIONS * tail_start.excess) / (n + PRIOR_EXCURSIONS)
        excess = np.where(has_excursion, np.minimum(one - tail_start.at, MAX_LEARNED_EXCESSES * mean), 0.0)
        n, excess_sum, squared_excess_sum = (
            n + has_excursion,
            excess_sum + excess,
            squared_excess_sum + excess * excess,
        )
    return TailSums(n, excess_sum, squared_excess_sum, peak)
