"""Makes the features of forecasts: own past, neighbours' past, and the usual day, of all series at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.twin.forecast_plan import ForecastPlan

    Floats = NDArray[np.float64]
    Singles = NDArray[np.float32]

MAX_HELD_DAYS = 0.125  # a missing value is taken as the newest one for so long, then as the usual day's
PROFILE_POINTS = 4  # of the usual day, at horizons spread from first to last


class Scale(NamedTuple):
    """Mean, deviation and usual day of a training record, of ``n`` series.

    Attributes
    ----------
    mean, deviation : (n,) of the values that are there; 0 and 1 where there are none
    day : (day_ticks, n) usual day, in deviations from the mean

    """

    mean: Floats
    deviation: Floats
    day: Floats

    @classmethod
    def of(cls, values: Floats, day_ticks: int, profile_ticks: int) -> Scale:
        """Return the scale of a record (n_ticks, n) that begins at phase 0; NaN is missing."""
        there = np.isfinite(values)
        count = np.maximum(there.sum(axis=0), 1)
        mean = np.where(there, values, 0).sum(axis=0) / count
        deviation = np.sqrt((np.where(there, values - mean, 0) ** 2).sum(axis=0) / count)
        deviation[deviation == 0] = 1
        z = np.where(there, (values - mean) / deviation, 0)
        phases = np.arange(len(values)) % day_ticks
        total, number = np.zeros((day_ticks, values.shape[1])), np.zeros((day_ticks, values.shape[1]))
        np.add.at(total, phases, z)
        np.add.at(number, phases, there)
        window = (np.arange(day_ticks)[:, None] + np.arange(-profile_ticks, profile_ticks + 1)) % day_ticks
        number = number[window].sum(axis=1)
        return cls(mean, deviation, total[window].sum(axis=1) / np.maximum(number, 1))

    def standardised(self, values: Floats) -> Floats:
        """Return values (…, n) in deviations from the mean."""
        return (values - self.mean) / self.deviation


class Neighbours(NamedTuple):
    """Other series that are features of a series, of ``n`` series.

    Attributes
    ----------
    means : (n_means, n, n) weights; row i of each gives one mean over series as a feature of series i
    companions : (n, n_companions) series whose values are features each

    """

    means: Floats
    companions: NDArray[np.intp]

    @classmethod
    def none(cls, n_series: int) -> Neighbours:
        """Return neighbours of series that are forecast each from their own past."""
        return cls(np.empty((0, n_series, n_series)), np.empty((n_series, 0), np.intp))

    @classmethod
    def on_roads(cls, closeness: Floats) -> Neighbours:
        """Return means over direct neighbours, by closeness, and over the neighbours of these.

        Parameters
        ----------
        closeness : (n, n) from link to link, 0 where not adjacent; the diagonal is ignored

        """
        direct = np.where(np.eye(len(closeness), dtype=np.bool_), 0, closeness)
        is_next = (direct > 0).astype(np.float64)
        second = (((is_next @ is_next) > 0) & (direct == 0)).astype(np.float64)
        np.fill_diagonal(second, 0)
        means = np.stack([direct, second])
        total = means.sum(axis=2, keepdims=True)
        return cls(means / np.where(total > 0, total, 1), np.empty((len(closeness), 0), np.intp))

    @classmethod
    def by_correlation(cls, values: Floats, scale: Scale, lead: int, n_companions: int) -> Neighbours:
        """Return the series whose departures from the usual day best foreshadow each series' own.

        Parameters
        ----------
        values : (n_ticks, n) training record; NaN is missing
        scale : of the record
        lead : ticks by which a companion is ahead
        n_companions : of each series, at most

        """
        n_series = values.shape[1]
        number = min(n_companions, n_series - 1)
        if number < 1:
            return cls.none(n_series)
        departure = scale.standardised(values) - scale.day[np.arange(len(values)) % len(scale.day)]
        departure = np.where(np.isfinite(departure), departure, 0)
        norm = np.sqrt((departure**2).sum(axis=0))
        correlation = np.abs(departure[lead:].T @ departure[: len(values) - lead])
        correlation /= np.maximum(norm[:, None] * norm, np.finfo(np.float64).tiny)
        np.fill_diagonal(correlation, -1)
        return cls(np.empty((0, n_series, n_series)), np.argsort(-correlation, axis=1)[:, :number])


def fill_gaps(values: Floats, scale: Scale) -> Floats:
    """Return standardised values (n_ticks, n) without gaps: the newest value, later the usual day's."""
    z = scale.standardised(values)
    ticks = np.arange(len(z))[:, None]
    newest = np.maximum.accumulate(np.where(np.isfinite(z), ticks, -1), axis=0)
    held = np.take_along_axis(z, np.maximum(newest, 0), axis=0)
    is_held = (newest >= 0) & (ticks - newest <= MAX_HELD_DAYS * len(scale.day))
    filled: Floats = np.where(is_held, held, scale.day[ticks[:, 0] % len(scale.day)])
    return filled


def features(
    z: Floats, ticks: NDArray[np.intp], scale: Scale, neighbours: Neighbours, plan: ForecastPlan
) -> Singles:
    """Return the features of forecasts made at some ticks, (n, n_origins, n_features) float32.

    They are a constant, the newest value, its changes from lag to lag, the usual day now and at horizons, and
    for each neighbour (mean or companion) its newest departure from the usual day and the changes of that.
    A plan
    that doesn't use levels leaves out newest values: weights on them carry one season's level into the next.

    Parameters
    ----------
    z : (n_ticks, n) standardised values without gaps, tick 0 at phase 0
    ticks : (n_origins,) at which forecasts are made; those before the longest lag repeat the first value
    scale : of the training record
    neighbours, plan : of the model

    """
    day_ticks = len(scale.day)
    first = 0 if plan.uses_level else 1
    own = _from_lag_to_lag(_lagged(z, ticks, plan.own_lags))[..., first:]
    spread = np.linspace(0, len(plan.horizons) - 1, min(PROFILE_POINTS, len(plan.horizons))).astype(np.intp)
    ahead = np.array([0, *(plan.horizons[one] for one in spread)])
    usual = scale.day[(ticks[:, None] + ahead) % day_ticks].transpose(2, 0, 1)
    departure = z - scale.day[np.arange(len(z)) % day_ticks]
    parts = [np.ones((z.shape[1], len(ticks), 1)), own, usual]
    parts += [
        _from_lag_to_lag(_lagged(departure @ mean.T, ticks, plan.neighbour_lags))[..., first:]
        for mean in neighbours.means
    ]
    if neighbours.companions.size:
        changes = _from_lag_to_lag(_lagged(departure, ticks, plan.neighbour_lags))[..., first:]
        each = changes[neighbours.companions]
        parts.append(each.transpose(0, 2, 1, 3).reshape(z.shape[1], len(ticks), -1))
    return np.concatenate(parts, axis=2, dtype=np.float32)


def _lagged(z: Floats, ticks: NDArray[np.intp], lags: tuple[int, ...]) -> Floats:
    """Return values at lags before ticks, (n, n_origins, n_lags)."""
    lagged: Floats = z[np.maximum(ticks[:, None] - np.array(lags), 0)].transpose(2, 0, 1)
    return lagged


def _from_lag_to_lag(lagged: Floats) -> Floats:
    """Return the newest value and the changes from lag to lag: better conditioned than the values."""
    return np.concatenate([lagged[..., :1], lagged[..., :-1] - lagged[..., 1:]], axis=2)
