"""Computes three multivariate distances of a site's readings from their usual values.

deviation    sum over quantities of abs(x − level) / spread, each at most `MAX_SPREADS`; the level follows
             the series, so that a new baseline is no event, but a slug is. Evidence in several signals adds
             up, as in EPA CANARY; docs/detection.md compares it with the largest deviation alone.
reference    largest abs(x − centre) / scale over quantities, median of the last `MEDIAN_READINGS` readings;
             the centre is that of a fault-free period and is not updated, so that a lasting fault stays
             visible.
mahalanobis  of the deviations, with the correlation of the fault-free period (Hotelling 1931), median
             likewise: detects a combination that never occurs, though each of its values does.

Arrays are (n_sites, n_quantities), padded with NaN where a site has fewer quantities.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from analytics.core.tick import LARGEST_USABLE_VALUE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEVEL_GAIN = 0.006  # gain of the level per reading
MAX_SPREADS = 12.0  # spreads to which the deviation of one quantity is clipped
MAX_LEVEL_STEP = 0.5  # standard deviations to which a reading is clipped when it updates the level
MEDIAN_READINGS = 11  # readings
MIN_SCALE_SHARE = 0.1  # lower bound of a scale over the standard deviation, for quantised and idle signals
CORRELATION_SHRINKAGE = 0.1  # of the correlations, towards zero
GOOD_QUANTILE = 0.995  # share of the fault-free period that lies within the limits, before the margins
REFERENCE_MARGIN, MAHALANOBIS_MARGIN = 1.0, 1.75  # factors on that quantile
MEAN_DEVIATION_TO_SIGMA, MAD_TO_SIGMA = 1.2533, 1.4826
TINY = 1e-9


@dataclass(frozen=True, slots=True)
class SiteReference:
    """Usual values of each site, fitted to a period known to be free of faults.

    Attributes
    ----------
    centre, scale : (n_sites, n_quantities) median and robust standard deviation of the values
    step : (n_sites, n_quantities) deviation to which a reading is clipped when it updates the level
    spread : (n_sites, n_quantities) robust standard deviation of the deviations from the level
    precision : (n_sites, n_quantities, n_quantities) inverse correlation of the deviations
    limits : (2, n_sites) upper limits of the reference and the Mahalanobis distance of a site without faults

    """

    centre: Floats
    scale: Floats
    step: Floats
    spread: Floats
    precision: Floats
    limits: Floats

    @classmethod
    def fit(cls, values: Floats) -> Self:
        """Fit to a fault-free period.

        Parameters
        ----------
        values : (n_ticks, n_sites, n_quantities), canonical units; NaN means missing

        Raises
        ------
        ValueError
            If there are fewer than `MEDIAN_READINGS` ticks.

        """
        if len(values) < MEDIAN_READINGS:
            raise ValueError(f"a reference takes {MEDIAN_READINGS} readings or more, not {len(values)}")
        values = _usable(values)
        measured = ~np.isnan(values).all(axis=0)
        filled = np.where(measured, values, 0.0)  # a quantity that a site does not measure is a constant
        centre = np.nanmedian(filled, axis=0)
        deviation = np.nanstd(filled, axis=0)
        robust = MAD_TO_SIGMA * np.nanmedian(np.abs(filled - centre), axis=0)
        step = MAX_LEVEL_STEP * deviation + TINY
        off = _deviations(DistanceState.empty(centre), filled, step)
        spread = (
            np.maximum(MEAN_DEVIATION_TO_SIGMA * np.nanmean(np.abs(off), axis=0), MIN_SCALE_SHARE * deviation)
            + TINY
        )
        precision = _inverse_correlation(np.clip(off / spread, -MAX_SPREADS, MAX_SPREADS))
        scale = np.maximum(robust, MIN_SCALE_SHARE * deviation) + TINY
        fitted = cls(centre, scale, step, spread, precision, np.zeros((2, len(centre))))
        good = distances(DistanceState.empty(centre), fitted, filled)
        limits = np.quantile(np.stack([good.reference, good.mahalanobis]), GOOD_QUANTILE, axis=1)
        return replace(fitted, limits=limits * np.array([[REFERENCE_MARGIN], [MAHALANOBIS_MARGIN]]))


@dataclass(slots=True)
class DistanceState:
    """Streaming state of the distances between blocks of readings.

    Attributes
    ----------
    level : (n_sites, n_quantities), NaN before the first value
    last : (MEDIAN_READINGS, n_sites, n_quantities) distances of the last readings from the centre
    recent_mahalanobis : (MEDIAN_READINGS, n_sites) Mahalanobis distances of the last readings

    """

    level: Floats
    last: Floats
    recent_mahalanobis: Floats

    @classmethod
    def empty(cls, template: Floats) -> Self:
        """Return the initial state for an array of shape (n_sites, n_quantities)."""
        last = np.full((MEDIAN_READINGS, *template.shape), np.nan)
        return cls(np.full(template.shape, np.nan), last, last[:, :, 0].copy())


class SiteDistances(NamedTuple):
    """Distances of sites at each tick, (n_ticks, n_sites) each; zero where too little was measured.

    Attributes
    ----------
    deviation, reference, mahalanobis : see the module
    shares : (n_ticks, n_sites, n_quantities) contribution of each quantity to the deviation
    off : bool, whether the reference or the Mahalanobis distance is beyond its limit

    """

    deviation: Floats
    reference: Floats
    mahalanobis: Floats
    shares: Floats
    off: NDArray[np.bool_]


def distances(state: DistanceState, reference: SiteReference, values: Floats) -> SiteDistances:
    """Return the distances of sites from their usual values, and update the state in place.

    Parameters
    ----------
    state : of these sites, changed
    reference : usual values of these sites
    values : (n_ticks, n_sites, n_quantities) by time, canonical units; NaN means missing

    Examples
    --------
    >>> random = np.random.default_rng(1)
    >>> good = random.normal(7, 0.1, (400, 1, 2))
    >>> reference = SiteReference.fit(good)
    >>> odd = distances(DistanceState.empty(reference.centre), reference, np.vstack([good, [[[9, 7]]]]))
    >>> bool(odd.deviation[-1, 0] > odd.deviation[:-1, 0].max())
    True

    """
    values = _usable(values)
    off = _deviations(state, values, reference.step) / reference.spread
    signed = np.clip(np.nan_to_num(off), -MAX_SPREADS, MAX_SPREADS)
    shares = np.abs(signed)
    decorrelated = np.einsum("tsq,sqr->tsr", signed, reference.precision)
    joint_distance = np.sqrt(np.maximum((signed * decorrelated).sum(axis=2), 0.0))
    centre_distance, state.last = _running_medians(state.last, (values - reference.centre) / reference.scale)
    joint_distance, state.recent_mahalanobis = _running_medians(state.recent_mahalanobis, joint_distance)
    farthest, joint_distance = (
        np.nan_to_num(np.abs(centre_distance)).max(axis=2, initial=0.0),
        np.nan_to_num(joint_distance),
    )
    off_reference, beyond_mahalanobis = farthest > reference.limits[0], joint_distance > reference.limits[1]
    return SiteDistances(
        shares.sum(axis=2), farthest, joint_distance, shares, off_reference | beyond_mahalanobis
    )


def _usable(values: Floats) -> Floats:
    """Return values with NaN for infinite ones and for those whose squares would overflow."""
    return np.where(np.abs(values) <= LARGEST_USABLE_VALUE, values, np.nan)


def _deviations(state: DistanceState, values: Floats, step: Floats) -> Floats:
    """Return the values less their moving levels, (n_ticks, n_sites, n_quantities), and update the levels."""
    if not len(values):
        return values
    off, change = np.empty_like(values), np.empty_like(step)
    is_present = ~np.isnan(values)
    first = np.take_along_axis(values, is_present.argmax(axis=0)[None], axis=0)[0]
    level = np.where(np.isnan(state.level), first, state.level)
    for current, present, off_level in zip(
        values, is_present, off, strict=True
    ):  # over time; all sites at once
        np.subtract(current, level, out=off_level)
        np.minimum(off_level, step, out=change)
        np.maximum(change, -step, out=change)
        change *= LEVEL_GAIN
        np.add(level, change, out=level, where=present)
    state.level = level
    return off


def _running_medians(last: Floats, current: Floats) -> tuple[Floats, Floats]:
    """Return medians of the last `MEDIAN_READINGS`, NaN where most are missing, and the new last readings."""
    joined = np.concatenate([last, current])
    missing = np.isnan(joined)
    missing_so_far = np.concatenate([np.zeros((1, *joined.shape[1:]), np.intp), np.cumsum(missing, axis=0)])
    count = MEDIAN_READINGS - (missing_so_far[MEDIAN_READINGS:] - missing_so_far[:-MEDIAN_READINGS])[1:]
    without_missing = np.where(missing, np.inf, joined)
    sorted_windows = np.sort(
        np.lib.stride_tricks.sliding_window_view(without_missing, MEDIAN_READINGS, axis=0)[1:], axis=-1
    )
    median_position = np.maximum(count - 1, 0) // 2
    fitted = np.take_along_axis(sorted_windows, median_position[..., None], axis=-1)[..., 0]
    return np.where(count > MEDIAN_READINGS // 2, fitted, np.nan), joined[len(joined) - MEDIAN_READINGS :]


def _inverse_correlation(off: Floats) -> Floats:
    """Return the inverse of the shrunken correlation of deviations, (n_sites, n_quantities, n_quantities)."""
    without_missing = np.nan_to_num(off)
    covariance = np.einsum("tsq,tsr->sqr", without_missing, without_missing) / len(without_missing)
    standard_deviation = np.sqrt(np.maximum(np.einsum("sqq->sq", covariance), TINY))
    correlation = covariance / (standard_deviation[:, :, None] * standard_deviation[:, None, :])
    identity = np.eye(off.shape[2])
    precision: Floats = np.linalg.inv(
        (1 - CORRELATION_SHRINKAGE) * correlation + CORRELATION_SHRINKAGE * identity
    )
    return precision
