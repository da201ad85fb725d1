"""Forecasts recorded traffic (METR-LA) and water (Logan River), beside forecasts without a model.

``make bench NAME=forecast [ARGS="--pictures docs/pictures"]``. Data: TOWNTWIN_DATA.

Traffic: 207 loops, fitted to the first 80 % of the week, errors on the rest, mean over all loops. As in the
literature, values of 0 are missing and don't count, and "15 min" is the mean over the steps up to 15 min; the
error of that step alone is printed beside it. Water: four sites, the technicians' corrected series; the
last 40 % is
forecast from models refitted every second day to the 90 days before it. Last, one JSON line.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.twin import forecast, forecast_plan
from analytics.twin.forecast_baselines import BASELINES, baseline_forecasts
from analytics.twin.forecast_features import Neighbours, fill_gaps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DATA = Path(os.environ.get("TOWNTWIN_DATA", Path(__file__).parents[2] / "shared/data"))
SITES = ("MainStreet", "Mendon", "TonyGrove", "WaterLab")
QUANTITIES = ("do", "temp", "stage", "cond")
MISSING_BELOW = -9000.0
TICK_S = 900
WINDOW_TICKS, REFIT_TICKS = 90 * 96, 2 * 96  # the platform fits anew every 6 h
FIRST_TICK = datetime(2019, 1, 1)  # noqa: DTZ001 - as recorded
TRAFFIC_STEPS = {"15 min": 3, "30 min": 6, "60 min": 12}


class Forecasts(NamedTuple):
    """Forecasts of one record; ``o`` origins, ``n`` series, ``k`` horizons.

    Attributes
    ----------
    ticks : (o,) of the forecasts
    middle, below, above : (o, n, k)
    baselines : (o, n, k, 3)
    is_shown : (o, n, k) whether the platform shows it: validation found skill

    """

    ticks: NDArray[np.intp]
    middle: Floats
    below: Floats
    above: Floats
    baselines: Floats
    is_shown: NDArray[np.bool_]


def main() -> None:
    """Print both tables, draw the pictures, print one JSON line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks forecast")
    parser.add_argument("benchmark", nargs="?")
    parser.add_argument("--pictures", type=Path)
    arguments = parser.parse_args()
    result = {"traffic": _traffic(arguments.pictures), "water": _water(arguments.pictures)}
    print(json.dumps(result))


def _traffic(pictures: Path | None) -> dict[str, object]:
    folder = DATA / "metrla"
    speed = np.loadtxt(folder / "los_speed.csv", delimiter=",", skiprows=1)
    speed[speed == 0] = np.nan
    closeness = np.loadtxt(folder / "los_adj.csv", delimiter=",")
    training = int(0.8 * len(speed))
    plan = forecast_plan.traffic_plan()
    start, start_cpu = time.perf_counter(), time.process_time()
    model = forecast.fit(speed[:training], plan, Neighbours.on_roads(closeness))
    seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    made = _forecasts(model, speed, np.arange(training - plan.horizons[-1], len(speed) - 1), 0)
    error, covered = np.empty((len(plan.horizons), 4)), np.empty(len(plan.horizons))
    for column, horizon in enumerate(plan.horizons):
        is_tested = (made.ticks + horizon >= training) & (made.ticks + horizon < len(speed))
        actual = speed[made.ticks[is_tested] + horizon]
        all_four = np.concatenate(
            [made.middle[is_tested, :, column, None], made.baselines[is_tested, :, column]], axis=2
        )
        error[column] = np.nanmean(np.abs(all_four - actual[..., None]), axis=(0, 1))
        covered[column] = _covered(made, is_tested, column, actual).mean()
    print(f"METR-LA, MAE [mi/h], mean over steps (last step); fitted in {seconds:.1f} s, {cpu:.1f} s of CPU")
    for row, name in enumerate(("forecast", *BASELINES)):
        cells = [f"{error[:n, row].mean():.2f} ({error[n - 1, row]:.2f})" for n in TRAFFIC_STEPS.values()]
        print(
            f"  {name:12}",
            "  ".join(f"{label} {cell}" for label, cell in zip(TRAFFIC_STEPS, cells, strict=True)),
        )
    print(f"  80 % band holds {covered.min():.3f} to {covered.max():.3f}")
    if pictures:
        worst = int(np.nanstd(speed[training:], axis=0).argmax())
        _draw_traffic(pictures / "forecast_traffic.png", made, speed, worst)
    return {
        "mae": {label: round(float(error[:n, 0].mean()), 3) for label, n in TRAFFIC_STEPS.items()},
        "held": [round(float(one), 3) for one in covered],
        "fit_s": round(seconds, 2),
        "fit_cpu_s": round(cpu, 2),
    }


def _water(pictures: Path | None) -> dict[str, object]:
    values = _logan_river()
    plan = forecast_plan.water_plan(TICK_S)
    n_sites, n_quantities = len(SITES), len(QUANTITIES)
    same_site = np.arange(n_sites * n_quantities).reshape(n_sites, n_quantities)
    companions = np.stack([np.delete(site, own) for site in same_site for own in range(n_quantities)])
    neighbours = Neighbours(np.empty((0, len(companions), len(companions))), companions)
    first = int(0.6 * len(values))
    parts, start_cpu = list[Forecasts](), time.process_time()
    for tick in range(first, len(values), REFIT_TICKS):
        begin = (tick - WINDOW_TICKS) // plan.day_ticks * plan.day_ticks
        model = forecast.fit(values[begin:tick], plan, neighbours)
        ticks = np.arange(tick, min(tick + REFIT_TICKS, len(values) - plan.horizons[0]))
        parts.append(_forecasts(model, values, ticks, begin))
    cpu = (time.process_time() - start_cpu) / len(parts)
    made = Forecasts(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    print(f"Logan River, RMSE; {len(parts)} fits of {len(companions)} series, {cpu:.1f} s of CPU each")
    print("  forecast / persistence / yesterday / climatology; share held by the 80 % band; share shown,")
    print("  and their RMSE over that of the best of the three at the same times")
    result = dict[str, object]()
    for quantity_index, quantity in enumerate(QUANTITIES):
        for site_index, site in enumerate(SITES):
            series = int(same_site[site_index, quantity_index])
            cells, scores = list[str](), list[dict[str, float | None]]()
            for column, horizon in enumerate(plan.horizons):
                is_tested = made.ticks + horizon < len(values)
                actual = values[made.ticks[is_tested] + horizon]
                every = np.concatenate(
                    [made.middle[is_tested, series, column, None], made.baselines[is_tested, series, column]],
                    axis=1,
                )
                rmse = np.sqrt(np.nanmean((every - actual[:, series, None]) ** 2, axis=0))
                held = _covered(made, is_tested, column, actual, series).mean()
                is_shown = made.is_shown[is_tested, series, column]
                over_best = np.nan
                if is_shown.any():
                    shown = np.nanmean((every - actual[:, series, None])[is_shown] ** 2, axis=0)
                    over_best = float(np.sqrt(shown[0] / shown[1:].min()))
                cells.append(
                    f"{horizon * TICK_S // 3600:2} h "
                    + "/".join(f"{one:.3f}" for one in rmse)
                    + f" {held:.2f} {is_shown.mean():.2f} {over_best:.2f}"
                )
                scores.append(
                    {
                        "hours": horizon * TICK_S / 3600,
                        "skill_over_persistence": round(float(1 - (rmse[0] / rmse[1]) ** 2), 3),
                        "rmse_over_yesterday": round(float(rmse[0] / rmse[2]), 3),
                        "held": round(float(held), 3),
                        "shown": round(float(is_shown.mean()), 3),
                        "shown_rmse_over_best": None if np.isnan(over_best) else round(over_best, 3),
                    }
                )
            print(f"  {quantity:5} {site:10}", " | ".join(cells))
            result[f"{site} {quantity}"] = scores
    if pictures:
        _draw_water(pictures / "forecast_water.png", made, values, plan.horizons)
    return result


def _logan_river() -> Floats:
    """Return the corrected series, (n_ticks, sites × quantities), from 2019-01-01 00:00 on every 15 min."""
    n_ticks = 269 * 96
    values = np.full((n_ticks, len(SITES) * len(QUANTITIES)), np.nan)
    for site_index, site in enumerate(SITES):
        with gzip.open(DATA / "logan_river" / f"{site}2019.csv.gz", "rt") as file:
            for row in csv.DictReader(file):
                offset = datetime.fromisoformat(row["datetime"]) - FIRST_TICK
                tick = int(offset.total_seconds()) // TICK_S
                if tick >= n_ticks:
                    break
                for quantity_index, quantity in enumerate(QUANTITIES):
                    text = row[f"{quantity}_cor"]
                    if text not in {"", "NULL"} and float(text) > MISSING_BELOW:
                        values[tick, site_index * len(QUANTITIES) + quantity_index] = float(text)
    return values


def _forecasts(
    model: forecast.ForecastModel, values: Floats, ticks: NDArray[np.intp], begin: int
) -> Forecasts:
    """Return the forecasts of a model whose training record began at tick ``begin``."""
    middle = model.predict(values[begin:], ticks - begin)
    z = fill_gaps(values[begin:], model.scale)
    baselines = baseline_forecasts(z, ticks - begin, model.plan.horizons, model.scale)
    unit, mean = (one[:, None, None] for one in (model.scale.deviation, model.scale.mean))
    shown = np.broadcast_to(model.has_skill, middle.shape)
    return Forecasts(
        ticks, middle, middle - model.below, middle + model.above, baselines * unit + mean, shown
    )


def _covered(
    made: Forecasts, is_tested: NDArray[np.bool_], column: int, actual: Floats, series: int | None = None
) -> NDArray[np.bool_]:
    """Return whether the band held each observed value."""
    chosen = slice(None) if series is None else slice(series, series + 1)
    observed = actual[:, chosen]
    held = (observed >= made.below[is_tested, chosen, column]) & (
        observed <= made.above[is_tested, chosen, column]
    )
    return held[np.isfinite(observed)]


def _draw_traffic(path: Path, made: Forecasts, speed: Floats, series: int) -> None:
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    figure = Figure(figsize=(10, 4.5), dpi=80, layout="constrained")
    for axes, (label, step) in zip(
        figure.subplots(2, 1, sharex=True), [("15 min", 3), ("60 min", 12)], strict=True
    ):
        hours = (made.ticks + step) / 12
        axes.fill_between(
            hours,
            made.below[:, series, step - 1],
            made.above[:, series, step - 1],
            color="#9ecae1",
            label="80 % band",
        )
        axes.plot(
            hours,
            made.middle[:, series, step - 1],
            color="#1f4e79",
            linewidth=1,
            label=f"forecast {label} before",
        )
        at = np.arange(made.ticks[0], len(speed))
        axes.plot(at / 12, speed[at, series], ".", color="#c0392b", markersize=2.5, label="measured")
        axes.set(ylabel="speed [mi/h]", ylim=(0, 80))
        axes.legend(loc="lower left", fontsize=7, ncols=3, frameon=False)
        axes.grid(visible=True, alpha=0.3)
    axes.set(xlabel="hour of the week")
    figure.savefig(path, pil_kwargs={"optimize": True})


def _draw_water(path: Path, made: Forecasts, values: Floats, horizons: tuple[int, ...]) -> None:
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    origin = len(made.ticks) // 2
    at = made.ticks[origin] + np.arange(-96, 97)
    figure = Figure(figsize=(10, 5), dpi=80, layout="constrained")
    for site, axes in enumerate(figure.subplots(2, 2, sharex=True).ravel()):
        series = site * len(QUANTITIES)
        hours = np.array(horizons) / 4
        axes.plot(
            (at - made.ticks[origin]) / 4, values[at, series], color="#c0392b", linewidth=1, label="measured"
        )
        axes.vlines(
            hours,
            made.below[origin, series],
            made.above[origin, series],
            color="#9ecae1",
            linewidth=5,
            label="80 % band",
        )
        axes.plot(
            hours, made.middle[origin, series], "o", color="#1f4e79", markersize=4, label="forecast at 0 h"
        )
        axes.set(title=SITES[site], xlabel="hours from the forecast", ylabel="DO [mg/L]")
        axes.grid(visible=True, alpha=0.3)
    axes.legend(loc="upper left", fontsize=7, frameon=False)
    figure.savefig(path, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    main()
