"""Counts false events of new simulated series by reporting interval: nothing happens in any of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from analytics.core.flags import Rule
from analytics.core.judge import judge
from analytics.core.parameters import Parameters
from analytics.core.state import State
from benchmarks.detection.labelled import DAY_S, MONTH_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

INTERVALS_H = (24.0, 6.0, 1.0)
SERIES, DAYS, WINDOW_DAYS = 400, 60, 10
SEED = 1
SPREAD_FLOOR = 1e-3


def simulated_values(interval_s: float) -> Iterator[tuple[str, Floats]]:
    """Yield kinds of series and their values (n_series, n), all with a standard deviation of 1 or so."""
    random = np.random.default_rng(SEED)
    n = round(DAYS * DAY_S / interval_s)
    days = np.arange(n) * interval_s / DAY_S
    white = random.standard_normal((SERIES, n))
    memory = np.exp(-interval_s / (3 * DAY_S))
    autocorrelated = random.standard_normal((SERIES, n))
    for i in range(1, n):
        fresh = np.sqrt(1 - memory**2) * autocorrelated[:, i]
        autocorrelated[:, i] = memory * autocorrelated[:, i - 1] + fresh
    season = 10 * np.sin(2 * np.pi * (days / 365.25 + random.random((SERIES, 1))))
    yield "white noise", white
    yield "autocorrelated, 3 d", autocorrelated
    yield "season of 10 and white noise", season + white
    yield "the same, noise of 0.1", season + 0.1 * white
    yield "white, Student t of 4", random.standard_t(4, (SERIES, n))
    yield "autocorrelated, steps of 0.1", np.round(autocorrelated, 1)
    yield "white, steps of 0.5", np.round(2 * white) / 2
    yield "white, steps of 1", np.round(white)


def main() -> None:
    """Print false events a series-month, the most in ten days, their share of the time, and their reasons."""
    months = SERIES * DAYS * DAY_S / MONTH_S
    print(f"{'interval':>8}  {'series':30}a month   most   time  reasons")
    for interval_s in (3_600 * hours for hours in INTERVALS_H):
        for kind, value in simulated_values(interval_s):
            series, time_s = (
                np.repeat(np.arange(SERIES), value.shape[1]),
                np.tile(1.6e9 + interval_s * np.arange(value.shape[1]), SERIES),
            )
            parameters = Parameters.of(SERIES, spread_floor=SPREAD_FLOOR)
            events = judge(State.empty(SERIES), parameters, series, time_s, value.ravel()).events
            window = ((events.start_s - 1.6e9) / DAY_S / WINDOW_DAYS).astype(np.intp)
            most = np.bincount(window, minlength=1).max() / months * DAYS / WINDOW_DAYS
            end_s = np.where(np.isnan(events.end_s), 1.6e9 + DAYS * DAY_S, events.end_s)
            share = (end_s - events.start_s).sum() / (months * MONTH_S)
            reasons = ", ".join(
                f"{Rule(rule).name} {number / months:.2f}"
                for rule, number in Counter(events.rule.tolist()).most_common(3)
            )
            print(
                f"{interval_s / 3_600:6g} h  {kind:30}{len(window) / months:7.2f}{most:7.2f}{share:7.3f}"
                f"  {reasons}"
            )
