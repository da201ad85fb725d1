"""Check parameters by quantity: what a usual sensor of it can and can't do.

Limits are in canonical units. Absolute limits come from the plausible range of the quantity registry;
the rest stands here. Any of it may be overridden for one series, by its site file (`Series.limits`) and over
that by an engineer (`Series.adopted`).
Sources: rates and flat-line times follow the practice of QARTOD's water manuals and were checked
against the sondes of the Logan River Observatory; traffic after the PeMS diagnostics (4 h constant).
"""

from __future__ import annotations

import math
from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from analytics.core import feedback, parameters
from analytics.core.parameters import DEFAULTS, Parameters
from edge.wire.quantities import QUANTITIES
from ingest_service.storage.model import Series

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np

HOUR_S = 3600.0
LOCAL_DAY_OFFSET_S = 8 * HOUR_S

# Flat for so long is stuck; quantities that rest naturally (rain, idle outfalls) have no entry.
FLAT_SUSPECT_S: Mapping[str, float] = {
    "water_temperature": 6 * HOUR_S,
    "ph": 12 * HOUR_S,
    "dissolved_oxygen": 2 * HOUR_S,
    "conductivity": 2 * HOUR_S,
    "turbidity": 2 * HOUR_S,
    "ammonia_nitrogen": 3 * HOUR_S,
    "permanganate_index": 6 * HOUR_S,
    "water_level": 12 * HOUR_S,
    "traffic_flow": 3 * HOUR_S,
    "traffic_speed": 3 * HOUR_S,
    "occupancy": 3 * HOUR_S,
}

# Most of the time zero, then anything: an hour's habit says nothing of the next shower.
NOTHING_EXPECTED = frozenset({"rainfall"})


USUAL_INTERVAL_S = Series(site_id="", quantity="").interval_s


def problems(series: Series) -> list[str]:
    """What is wrong with a series as it is enrolled, one sentence each: quantity, interval, limits.

    >>> problems(Series(site_id="s", quantity="ph", limits={"suspect_low": 9, "suspect_high": 6}))
    ['suspect_low 9 is above suspect_high 6']
    """
    if series.quantity not in QUANTITIES:
        near = get_close_matches(series.quantity.lower(), QUANTITIES, 1)
        remedy = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(QUANTITIES)}"
        return [f"quantity {series.quantity[:80]!r} is not known: {remedy}"]
    found = []
    if not (math.isfinite(series.interval_s) and series.interval_s > 0):
        found.append(f"interval_s {series.interval_s:g} must be a finite number above 0")
        series = msgspec.structs.replace(series, interval_s=USUAL_INTERVAL_S)
    base = defaults(series)
    return found + parameters.problems(series.limits | series.adopted, base)


class Usable(NamedTuple):
    """Series that the judge can judge, and what is wrong with those that it can't, or not as enrolled."""

    series: list[Series]
    problems: dict[str, list[str]]


def usable(series: Iterable[Series]) -> Usable:
    """Series as the judge judges them, whatever is enrolled.

    One whose limits can't be used has those of its quantity, or the site file's if only adopted ones are
    wrong; one whose interval can't be has the usual one; one of an unknown quantity is left out.

    Returns
    -------
    Usable
        With the problems by ``site/quantity``.

    """
    good: list[Series] = []
    wrong: dict[str, list[str]] = {}
    for one in series:
        found = problems(one)
        if found:
            wrong[f"{one.site_id}/{one.quantity}"] = found
            if one.quantity not in QUANTITIES:
                continue
        good.append(_mended(one) if found else one)
    return Usable(good, wrong)


def _mended(series: Series) -> Series:
    """A series without the limits and the interval that can't be."""
    if not (math.isfinite(series.interval_s) and series.interval_s > 0):
        series = msgspec.structs.replace(series, interval_s=USUAL_INTERVAL_S)
    if problems(series):
        series = msgspec.structs.replace(series, adopted={})
    return msgspec.structs.replace(series, limits={}) if problems(series) else series


def of_series(series: Sequence[Series]) -> Parameters:
    """The judge's parameters for some series, in their order.

    Raises
    ------
    ValueError
        Where a series can't be judged as it is enrolled (`problems`).

    """
    n = len(series)
    columns: dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]] = {}

    def set_limit(name: str, slot: int, value: float) -> None:
        if name not in columns:
            columns[name] = getattr(Parameters.of(n), name).copy()
        columns[name][slot] = value

    for slot, one in enumerate(series):
        wrong = problems(one)
        if wrong:
            raise ValueError(
                f"series {one.site_id}/{one.quantity}: {'; '.join(wrong)}; see docs/detection.md"
            )
        for name, value in applied(one).items():
            set_limit(name, slot, value)
    return Parameters.of(n, **columns)


def applied(series: Series) -> dict[str, float]:
    """The limits of a series that are not the judge's own; operators' feedback moves them."""
    adopted = {name: math.nan if one is None else one for name, one in series.adopted.items()}
    limits = defaults(series) | series.limits | adopted
    if series.score_shift:
        limits |= feedback.moved(DEFAULTS | limits, series.score_shift)
    return limits


def defaults(series: Series) -> dict[str, float]:
    """The limits of a series before its own overrides."""
    quantity = QUANTITIES[series.quantity]
    limits = {
        "fail_low": quantity.low,
        "fail_high": quantity.high,
        "spread_floor": quantity.resolution,
        "day_offset_s": LOCAL_DAY_OFFSET_S,
    }
    if series.quantity in NOTHING_EXPECTED:
        limits |= dict.fromkeys(
            ("score_close", "score_weak", "score_strong", "shift_least", "novelty_least", "step_deviations"),
            math.nan,
        )
    flat = FLAT_SUSPECT_S.get(series.quantity)
    if flat is not None:
        flat = max(flat, 6 * series.interval_s)
        limits |= {
            "flat_suspect_s": flat,
            "flat_fail_s": 3 * flat,
            "flat_tolerance": quantity.resolution / 20,
        }
    return limits
