"""Forecasts without a model, which a forecast must beat: newest value, same hour yesterday, usual day."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.twin.forecast_features import Scale

    Floats = NDArray[np.float64]

BASELINES = ("persistence", "yesterday", "climatology")


def baseline_forecasts(z: Floats, ticks: NDArray[np.intp], horizons: tuple[int, ...], scale: Scale) -> Floats:
    """Return the forecasts of each of `BASELINES`, (n_origins, n, n_horizons, 3), standardised.

    Parameters
    ----------
    z : (n_ticks, n) standardised values without gaps, tick 0 at phase 0
    ticks : (n_origins,) at which forecasts are made
    horizons : ticks ahead, at most a day
    scale : of the training record; its usual day is the climatology

    """
    day_ticks = len(scale.day)
    target = ticks[:, None] + np.array(horizons)
    persistence = np.broadcast_to(z[ticks][:, None], (*target.shape, z.shape[1]))
    yesterday = z[np.maximum(target - day_ticks, 0)]
    climatology = scale.day[target % day_ticks]
    return np.stack([persistence, yesterday, climatology], axis=-1).swapaxes(1, 2)
