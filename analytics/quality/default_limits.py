"""Provides default limits of the quality checks by quantity, and the effective limits of each series.

Limits are in canonical units. The gross range is the plausible range of the quantity registry; the other
defaults are defined here. Both can be overridden per series by the site file (`Series.limits`), and that by
limits an engineer adopted (`Series.adopted`).

Sources: rates and flat-line times follow the practice of QARTOD's water manuals and were checked
against the sondes of the Logan River Observatory; traffic after the PeMS diagnostics (4 h constant).
"""

from __future__ import annotations

import math
from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from analytics.core import feedback, parameters, seasonal_limits
from analytics.core.parameters import DEFAULTS, Parameters
from edge.wire.quantities import QUANTITIES
from ingest_service.storage.contract.models import Series

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np

HOUR_S = 3600.0
LOCAL_DAY_OFFSET_S = 8 * HOUR_S

# Largest usual steps within an hour, by which a new series is judged until it has a scale of its own: twice
# the 99.99 % quantile of the steps at the sondes of the Logan River Observatory or more (0.8 °C, 0.2,
# 0.9 mg/L; but 7 mg/L at Mendon, whose oxygen jumps without a label). Turbidity, conductivity and level have
# none: their steps differ between sites by a factor of ten.
WARM_UP_STEPS = {"water_temperature": 2.0, "ph": 0.5, "dissolved_oxygen": 2.0}

# Zero most of the time, then any value: the usual value of an hour does not predict the next shower, so the
# detectors that use it are switched off.
WITHOUT_EXPECTATION = frozenset({"rainfall"})


DEFAULT_INTERVAL_S = Series(site_id="", quantity="").interval_s


def limit_problems(series: Series) -> list[str]:
    """List the faults of a series as it is enrolled (quantity, interval, limits), one sentence each.

    >>> limit_problems(Series(site_id="s", quantity="ph", limits={"suspect_low": 9, "suspect_high": 6}))
    ['suspect_low 9 is above suspect_high 6']
    """
    if series.quantity not in QUANTITIES:
        suggestions = get_close_matches(series.quantity.lower(), QUANTITIES, 1)
        remedy = (
            f" (did you mean {suggestions[0]!r}?)"
            if suggestions
            else f": choose from {', '.join(QUANTITIES)}"
        )
        return [f"quantity {series.quantity[:80]!r} is not known{remedy}"]
    detected_problems = []
    if not (math.isfinite(series.interval_s) and series.interval_s > 0):
        detected_problems.append(f"interval_s {series.interval_s:g} must be a finite number above 0")
        series = msgspec.structs.replace(series, interval_s=DEFAULT_INTERVAL_S)
    base = default_limits(series)
    return detected_problems + parameters.parameter_problems(
        parameters.with_budget_scores(series.limits) | parameters.with_budget_scores(series.adopted), base
    )


class UsableSeries(NamedTuple):
    """Series that can be judged, and the faults of those that can't be judged as enrolled."""

    series: list[Series]
    problems: dict[str, list[str]]


def usable_series(series: Iterable[Series]) -> UsableSeries:
    """Replace unusable settings of series by defaults, and leave out those that can't be judged at all.

    Unusable limits are replaced by the defaults of the quantity, or by those of the site file if only the
    adopted ones are wrong; an unusable interval by the default. Series of unknown quantities are left out.

    Returns
    -------
    UsableSeries
        With the faults by ``site/quantity``.

    """
    usable_list: list[Series] = []
    series_problems: dict[str, list[str]] = {}
    for one in series:
        detected_problems = limit_problems(one)
        if detected_problems:
            series_problems[f"{one.site_id}/{one.quantity}"] = detected_problems
            if one.quantity not in QUANTITIES:
                continue
        usable_list.append(_with_usable_limits(one) if detected_problems else one)
    return UsableSeries(usable_list, series_problems)


def _with_usable_limits(series: Series) -> Series:
    """Replace the unusable limits and interval of a series by defaults."""
    if not (math.isfinite(series.interval_s) and series.interval_s > 0):
        series = msgspec.structs.replace(series, interval_s=DEFAULT_INTERVAL_S)
    if limit_problems(series):
        series = msgspec.structs.replace(series, adopted={})
    return msgspec.structs.replace(series, limits={}) if limit_problems(series) else series


def judge_parameters(series: Sequence[Series]) -> Parameters:
    """Build the judge's parameters for n series, in their order.

    Raises
    ------
    ValueError
        If a series can't be judged as it is enrolled (`limit_problems`).

    """
    n = len(series)
    columns: dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]] = {}

    seasonal: dict[int, dict[str, float]] = {}

    def set_limit(name: str, slot: int, value: float) -> None:
        if name not in columns:
            columns[name] = getattr(Parameters.of(n), name).copy()
        columns[name][slot] = value

    for slot, one in enumerate(series):
        series_problems = limit_problems(one)
        if series_problems:
            raise ValueError(
                f"series {one.site_id}/{one.quantity}: {'; '.join(series_problems)}; see docs/detection.md"
            )
        for name, value in effective_limits(one).items():
            if seasonal_limits.is_seasonal(name):
                seasonal.setdefault(slot, {})[name] = value
            else:
                set_limit(name, slot, value)
    return Parameters.of(n, **columns).with_seasonal(seasonal)


def effective_limits(series: Series) -> dict[str, float]:
    """Return the limits of a series that differ from the judge's defaults, shifted by operators' feedback."""
    given = parameters.with_budget_scores(series.limits) | parameters.with_budget_scores(series.adopted)
    limits = default_limits(series) | {name: math.nan if one is None else one for name, one in given.items()}
    if series.score_shift:
        limits |= feedback.shifted_limits(DEFAULTS | limits, series.score_shift)
    return limits


def default_limits(series: Series) -> dict[str, float]:
    """Return the limits of a series by quantity and interval, before its own overrides."""
    quantity = QUANTITIES[series.quantity]
    limits = {
        "fail_low": quantity.low,
        "fail_high": quantity.high,
        "spread_floor": quantity.resolution,
        "day_offset_s": LOCAL_DAY_OFFSET_S,
    }
    if series.quantity in WARM_UP_STEPS:
        limits["warm_up_step"] = WARM_UP_STEPS[series.quantity]
    if series.quantity in WITHOUT_EXPECTATION:
        limits |= dict.fromkeys(
            ("score_close", "score_weak", "score_strong", "shift_least", "novelty_least", "step_deviations"),
            math.nan,
        )
    limits["flat_tolerance"] = quantity.resolution / 20
    return limits
