"""Check parameters by quantity: what a usual sensor of it can and can't do.

Limits are in canonical units. Absolute limits come from the plausible range of the quantity registry;
the rest stands here. Any of it may be overridden for one series, by its site file (`Series.limits`) and over
that by an engineer (`Series.adopted`).
Sources: rates and flat-line times follow the practice of QARTOD's water manuals and were checked
against the sondes of the Logan River Observatory; traffic after the PeMS diagnostics (4 h constant).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from analytics.core import feedback
from analytics.core.parameters import DEFAULTS, Parameters
from edge.wire.quantities import QUANTITIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from ingest_service.storage.model import Series

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


def of_series(series: Sequence[Series]) -> Parameters:
    """The judge's parameters for some series, in their order.

    Raises
    ------
    ValueError
        Where a series overrides a limit that does not exist, or limits contradict each other.

    """
    n = len(series)
    columns: dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]] = {}

    def set_limit(name: str, slot: int, value: float) -> None:
        if name not in columns:
            columns[name] = getattr(Parameters.of(n), name).copy()
        columns[name][slot] = value

    for slot, one in enumerate(series):
        for name, value in applied(one).items():
            try:
                set_limit(name, slot, value)
            except AttributeError as error:
                message = (
                    f"series {one.site_id}/{one.quantity}: there is no limit {name!r}; see docs/detection.md"
                )
                raise ValueError(message) from error
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
