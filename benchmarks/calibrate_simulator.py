"""Compares simulated with recorded series: daily amplitude, autocorrelation, noise and gaps, in one table.

Reads Logan River 2019 (15 min) and METR-LA (5 min) from ``TOWNTWIN_DATA`` (default ``../shared/data``),
simulates the demo towns without faults for four weeks, and prints one table in Markdown, which is in
``docs/demo.md``.

    python -m benchmarks.calibrate_simulator
"""

from __future__ import annotations

import csv
import gzip
import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from deploy import demo
from edge.wire.quantities import QUANTITIES, to_canonical

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

DATA = Path(os.environ.get("TOWNTWIN_DATA", "../shared/data"))
DAY_S = 86_400
WEEK = 7
SPREAD = 1.4826  # of a normal distribution, from the median absolute deviation
QUANTITY_OF_COLUMN = {  # column of Logan River -> quantity
    "temp": "water_temperature",
    "cond": "conductivity",
    "ph": "ph",
    "do": "dissolved_oxygen",
    "turb": "turbidity",
    "stage": "water_level",
}
SCALE_OF_COLUMN = {"stage": 0.01}
RELATIVE_QUANTITIES = {"conductivity", "turbidity", "traffic_speed"}  # shown as shares of the median
PRESENT_S = 1_764_000_000.0
WEEKS = 4


class SeriesMeasures(NamedTuple):
    """Statistics of a series, medians over its weeks.

    amplitude : half the range of the daily profile
    memory : autocorrelation of the residual at a lag of one tick
    spread : robust standard deviation of the residual
    step : robust standard deviation of the difference between ticks
    """

    amplitude: float
    memory: float
    spread: float
    step: float


def measure_series(values: NDArray[np.float64], per_day: int, *, relative: bool) -> SeriesMeasures | None:
    """Measure one series.

    values : (n,) float64 on a regular grid, NaN where there is no good reading
    """
    weeks = []
    for start in range(0, len(values) - WEEK * per_day + 1, WEEK * per_day):
        week = values[start : start + WEEK * per_day]
        if np.isfinite(week).mean() > 0.9:
            weeks.append(_measure_week(week, per_day, relative=relative))
    return SeriesMeasures(*np.nanmedian(weeks, axis=0)) if weeks else None


def _measure_week(week: NDArray[np.float64], per_day: int, *, relative: bool) -> SeriesMeasures:
    scale = float(np.nanmedian(week)) if relative else 1.0
    padded = np.pad(week, per_day // 2, mode="reflect")
    level = np.nanmedian(np.lib.stride_tricks.sliding_window_view(padded, per_day), axis=1)[: len(week)]
    days = (week - level).reshape(WEEK, per_day)
    profile = np.nanmedian(days, axis=0)
    rest = (days - profile).ravel()
    spread = _spread(rest)
    clipped = np.clip(rest, -4 * spread, 4 * spread)
    valid_pairs = np.isfinite(clipped[1:]) & np.isfinite(clipped[:-1])
    memory = np.corrcoef(clipped[1:][valid_pairs], clipped[:-1][valid_pairs])[0, 1]
    amplitude = (np.nanmax(profile) - np.nanmin(profile)) / 2
    return SeriesMeasures(amplitude / scale, memory, spread / scale, _spread(np.diff(week)) / scale)


def _spread(values: NDArray[np.float64]) -> float:
    return float(SPREAD * np.nanmedian(np.abs(values - np.nanmedian(values))))


def recorded_water() -> tuple[dict[str, list[SeriesMeasures]], list[float]]:
    """Return statistics of the Logan River by quantity over four sites, and missing shares by site."""
    found: dict[str, list[SeriesMeasures]] = defaultdict(list)
    missing = []
    for path in sorted((DATA / "logan_river").glob("*2019.csv.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        ticks = np.array([row["datetime"] for row in rows], dtype="M8[m]").astype(np.int64) // 15
        ticks -= ticks[0]
        missing.append(1 - len(np.unique(ticks)) / (ticks[-1] + 1))
        for column, quantity in QUANTITY_OF_COLUMN.items():
            grid = np.full(ticks[-1] + 1, np.nan)
            good_rows = [row[f"{column}_qual"] == "NULL" and row[column] not in {"", "NULL"} for row in rows]
            grid[ticks[good_rows]] = [
                float(row[column]) for row, is_good in zip(rows, good_rows, strict=True) if is_good
            ]
            one = measure_series(
                grid * SCALE_OF_COLUMN.get(column, 1.0), 96, relative=quantity in RELATIVE_QUANTITIES
            )
            if one:
                found[quantity].append(one)
    return found, missing


def recorded_speed() -> list[SeriesMeasures]:
    """Return statistics of the 207 loops of METR-LA, whose gaps are filled at the source."""
    loops = np.genfromtxt(DATA / "metrla" / "los_speed.csv", delimiter=",", skip_header=1) * 1.609344
    found = (measure_series(loop, 288, relative=True) for loop in loops.T)
    return [one for one in found if one]


def simulated_measures() -> tuple[dict[str, list[SeriesMeasures]], list[float]]:
    """Return statistics of the demo towns by quantity (water at 15 min), and missing shares by device."""
    town = demo.town(seed=1, live_from_s=PRESENT_S, history_s=WEEKS * WEEK * DAY_S, with_faults=False)
    found: dict[str, list[SeriesMeasures]] = defaultdict(list)
    missing = []
    for simulated_site in demo.spec().simulated_sites:
        if simulated_site.kind not in {"river_section", "road_section"}:
            continue
        rows: list[list[float]] = []
        for time_s, records in town.readings(simulated_site):
            if time_s >= PRESENT_S:
                break
            rows.append(
                [record.value or 0.0 for record in records] or [np.nan] * len(simulated_site.quantities)
            )
        grid = np.array(rows)
        missing.append(float(np.isnan(grid[:, 0]).mean()))
        tick_step = 1 if simulated_site.kind == "road_section" else 3
        for name, column in zip(simulated_site.quantities, grid.T, strict=True):
            conversion = to_canonical(QUANTITIES[name], QUANTITIES[name].wire_unit)
            values = column[::tick_step] * conversion.scale + conversion.offset
            one = measure_series(values, 288 // tick_step, relative=name in RELATIVE_QUANTITIES)
            if one:
                found[name].append(one)
    return found, missing


def row(
    name: str, recorded: Iterable[SeriesMeasures], simulated_by_quantity: Iterable[SeriesMeasures]
) -> str:
    """Return one row of the table: recorded / simulated, medians over series."""
    one, other = (np.median(list(measures), axis=0) for measures in (recorded, simulated_by_quantity))
    unit = "of the median" if name in RELATIVE_QUANTITIES else QUANTITIES[name].unit
    cells = " | ".join(f"{a:.3g} / {b:.3g}" for a, b in zip(one, other, strict=True))
    return f"| {QUANTITIES[name].en} [{unit}] | {cells} |"


def main() -> None:
    """Print the table."""
    water, water_missing = recorded_water()
    simulated_by_quantity, played_missing = simulated_measures()
    print("| Quantity | daily amplitude | memory, lag 1 | spread | step to step |")
    print("|---|---|---|---|---|")
    for quantity in QUANTITY_OF_COLUMN.values():
        print(row(quantity, water[quantity], simulated_by_quantity[quantity]))
    print(row("traffic_speed", recorded_speed(), simulated_by_quantity["traffic_speed"]))
    print()
    recorded_share, played_share = (100 * np.mean(shares) for shares in (water_missing, played_missing))
    print(f"Missing ticks: recorded {recorded_share:.3f} % (Logan River), simulated {played_share:.3f} %.")


if __name__ == "__main__":
    main()
