"""Estimates the state of a river and a road network where a sensor is left out, beside simpler estimates.

``make bench NAME=state [ARGS="--picture docs/pictures/state.png"]``. Data: TOWNTWIN_DATA.

Water: four sites of the Logan River in a chain. Each sensor in turn is silent for a day; its own past until
midnight is available, for the estimate as for the others. Travel times, correlations and spreads are those of
the first 60 % of the record, the correlation time is chosen there; every third day of the rest is tested.
Traffic: 207 loops of METR-LA. No reading of the loop left out is used in the tested part (the last 20 % of
the week), only those of the others at the same time. "Its history known": its mean by time of day and its
correlations with its neighbours in the first 80 % are available. "Never measured": that mean is interpolated
from the others, and weights are by closeness on the road. Scale, power and noise are chosen in the last
quarter of the first part. Baselines: the nearest other sensor, inverse distance, climatology, and for water
also the last value, and the value of a day before.

Verdicts: windows of half an hour in which a loop departs, taken as events, beside windows into which an
error of the same size is put. Speed: processor time of one step, beside a plain ``spsolve`` for the means
alone. Last, one JSON line.
"""

from __future__ import annotations

import argparse
import json
import warnings
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.sparse import csc_array
from scipy.sparse.linalg import spsolve

from analytics.twin import correlation_field
from analytics.twin.sensor_verdict import explain_departure
from analytics.twin.state_calibration import fit_to_sensors
from analytics.twin.state_estimation import SensorRecord, StateModel, estimate_state
from benchmarks.forecast import DATA, QUANTITIES, SITES, _logan_river
from benchmarks.twin import lattice, least_time

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Indices = NDArray[np.intp]

Z80 = 1.2816
DAY = 96
TICK_S = 900.0
DOWN_THE_RIVER = ("TonyGrove", "WaterLab", "MainStreet", "Mendon")
CLIMATE_DAYS, STRIDE, MAX_LAG = 7, 4, 48
WATER_NOISE = 0.01  # spreads²
FITTED_DAYS, FITTED_STRIDE, LAG_S = 2, 24, 6 * 3600.0  # as the service does: a day every 6 h
CORRELATION_TIMES_H = (12.0, 48.0, 200.0)
FITTED_TICKS = 12  # of the day before the tested part of the loops
LOOP_DAY, WEEKDAYS = 288, (0, 1, 4, 5, 6)  # the week begins on a Thursday
SENSOR_SHARE, N_BINS = 0.02, 48


class Held(NamedTuple):
    """Estimates for left-out readings: each (k,), in the unit of the readings."""

    day: NDArray[np.intp]
    tick: NDArray[np.intp]
    site: NDArray[np.intp]
    mean: Floats
    deviation: Floats
    actual: Floats
    baselines: Floats  # (k, 5): last value, yesterday, climatology, nearest, inverse distance


def main() -> None:
    """Print the tables, draw the picture, print one JSON line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks state")
    parser.add_argument("benchmark", nargs="?")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--nodes", type=int, nargs="+", default=(500, 5_000, 50_000))
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", "Mean of empty slice|Degrees of freedom", RuntimeWarning)
    speed = time_steps(arguments.nodes, arguments.seconds)
    water, drawn = leave_out_sondes()
    traffic = Loops()
    result = {"speed": speed, "water": water, **traffic.leave_out()}
    result["verdict"] = traffic.judge_windows()
    if arguments.picture:
        draw(arguments.picture, drawn, traffic)
    print(json.dumps(result))


def leave_out_sondes() -> tuple[dict[str, object], Held]:
    """Print and return the errors at each site and quantity; return the estimates of oxygen as well."""
    values = _logan_river()
    training = int(0.6 * len(values) / DAY)
    columns = {
        one: [SITES.index(site) * len(QUANTITIES) + at for site in DOWN_THE_RIVER]
        for at, one in enumerate(QUANTITIES)
    }
    departures = {one: departures_from_days(values[: training * DAY, columns[one]]) for one in QUANTITIES}
    lags = common_lags(list(departures.values()))
    print(f"Logan River: travel {', '.join(f'{one * TICK_S / 3600:.2f} h' for one in lags)}; RMSE (MAE)")
    print("  estimate | last value / yesterday / climatology / nearest / inverse distance | in the 80 % band")
    result, drawn = dict[str, object](), None
    for quantity in QUANTITIES:
        record, spread = values[:, columns[quantity]], np.nanstd(departures[quantity], axis=0)
        causal = departures_from_days(record) / spread
        along = np.array(
            [
                correlation_at(departures[quantity][:, at], departures[quantity][:, at + 1], lag)
                for at, lag in enumerate(lags)
            ]
        )
        models = [river_chain(np.maximum(along, 0), lags, hours) for hours in CORRELATION_TIMES_H]
        tried = [left_out(one, record, causal, spread, range(10, training, 15), 8) for one in models]
        chosen = int(np.argmin([negative_log_likelihood(one) for one in tried]))
        tested = range(training, len(values) // DAY, 3)
        held = left_out(models[chosen], record, causal, spread, tested, STRIDE)
        drawn = held if drawn is None else drawn
        for site, name in enumerate(DOWN_THE_RIVER):
            result[f"{name} {quantity}"] = print_errors(f"{quantity:5} {name:10}", held, site)
    assert drawn is not None
    return result, drawn


def departures_from_days(values: Floats) -> Floats:
    """Return values minus their mean at the same time of the seven days before."""
    expected = np.full_like(values, np.nan)
    for day in range(CLIMATE_DAYS, len(values) // DAY):
        past = values[(day - CLIMATE_DAYS) * DAY : day * DAY]
        expected[day * DAY : (day + 1) * DAY] = np.nanmean(past.reshape(CLIMATE_DAYS, DAY, -1), axis=0)
    return values - expected


def correlation_at(upper: Floats, lower: Floats, lag: int) -> float:
    """Return the correlation of two series, the second ``lag`` ticks later."""
    one, other = upper[: len(upper) - lag], lower[lag:]
    both = np.isfinite(one) & np.isfinite(other)
    return float(np.corrcoef(one[both], other[both])[0, 1])


def common_lags(departures: list[Floats]) -> list[int]:
    """Return the lag of each reach at which the mean correlation of all quantities is greatest."""
    return [
        1
        + int(
            np.argmax(
                [
                    np.mean([correlation_at(one[:, at], one[:, at + 1], lag) for one in departures])
                    for lag in range(1, MAX_LAG)
                ]
            )
        )
        for at in range(len(DOWN_THE_RIVER) - 1)
    ]


def river_chain(along: Floats, lags: list[int], correlation_time_h: float) -> StateModel:
    """Return the model of the four sites."""
    tail, head = np.arange(3), np.arange(1, 4)
    field = correlation_field.field_along_flow(4, tail, head, along, np.ones(3))
    clock_s = correlation_field.travel_to_mouth(4, tail, head, TICK_S * np.array(lags))
    return StateModel(field, clock_s, 3600 * correlation_time_h, TICK_S)


def left_out(  # noqa: PLR0917 - of one benchmark
    model: StateModel, values: Floats, causal: Floats, spread: Floats, days: range, stride: int
) -> Held:
    """Return the estimates of each site for its silent days.

    Parameters
    ----------
    values : (ticks, 4) readings
    causal : (ticks, 4) their departures from the seven days before each [spreads]
    spread : (4,) of the departures
    days, stride : silent days, and ticks between two estimates

    """
    rows, noise = list[tuple[float, ...]](), np.full(4, WATER_NOISE)
    distance = np.abs(np.subtract.outer(model.clock_s, model.clock_s))
    np.fill_diagonal(distance, np.inf)
    for day in days:
        past = values[(day - CLIMATE_DAYS) * DAY : day * DAY].reshape(CLIMATE_DAYS, DAY, 4)
        expected = np.nanmean(past, axis=0)
        if not np.isfinite(expected).all():
            continue
        two_days = values[(day - 1) * DAY : (day + 1) * DAY].reshape(2, DAY, 4)
        departures = ((two_days - expected) / spread).reshape(-1, 4)
        times_s = TICK_S * np.arange(2 * DAY)
        past_s = TICK_S * np.arange(FITTED_DAYS * DAY)
        recorded = SensorRecord(np.arange(4), past_s, causal[(day - FITTED_DAYS) * DAY : day * DAY], noise)
        fitted = fit_to_sensors(model, recorded, past_s[DAY::FITTED_STRIDE].tolist(), LAG_S)
        for site in range(4):
            silent = departures.copy()
            silent[DAY:, site] = np.nan
            before = values[: day * DAY, site]
            last = before[np.isfinite(before)][-1]
            record = SensorRecord(np.arange(4), times_s, silent, fitted.record.noise)
            weight = 1 / distance[site]
            for tick in range(0, DAY, stride):
                found = estimate_state(fitted.model, record, times_s[DAY + tick])
                now = two_days[1, tick]
                there = np.isfinite(now) & (weight > 0)
                if not np.isfinite(now[site]) or not there.any():
                    continue
                nearest = now[there][weight[there].argmax()]
                mean = expected[tick, site] + spread[site] * found.mean[site]
                variance = found.variance[site] + fitted.record.noise[site]
                deviation = spread[site] * fitted.scale_at_sensors * np.sqrt(variance)
                others = np.sum(weight[there] * now[there]) / np.sum(weight[there])
                baselines = (last, two_days[0, tick, site], expected[tick, site], nearest, others)
                rows.append((day, tick, site, mean, deviation, now[site], *baselines))
    table = np.array(rows)
    day, tick, site = table[:, :3].astype(np.intp).T
    return Held(day, tick, site, table[:, 3], table[:, 4], table[:, 5], table[:, 6:])


def negative_log_likelihood(held: Held) -> float:
    """Return the mean over all left-out readings [nats]."""
    ratio = (held.actual - held.mean) / held.deviation
    return float(np.mean(0.5 * ratio**2 + np.log(held.deviation)))


def print_errors(label: str, held: Held, site: int) -> dict[str, object]:
    """Print and return the errors of one site."""
    here = held.site == site
    error = np.column_stack([held.mean, held.baselines])[here] - held.actual[here, None]
    rmse, mae = np.sqrt(np.nanmean(error**2, axis=0)), np.nanmean(np.abs(error), axis=0)
    covered = float(np.mean(np.abs(error[:, 0]) <= Z80 * held.deviation[here]))
    cells = [f"{one:.3f} ({other:.3f})" for one, other in zip(rmse, mae, strict=True)]
    print(f"  {label} {cells[0]} | {' / '.join(cells[1:])} | {covered:.2f}")
    return {
        "rmse": np.round(rmse, 4).tolist(),
        "mae": np.round(mae, 4).tolist(),
        "covered": round(covered, 3),
    }


class Loops:
    """The week of the loops, and the field whose weights are chosen on it."""

    def __init__(self) -> None:
        folder = DATA / "metrla"
        self.speed = np.loadtxt(folder / "los_speed.csv", delimiter=",", skiprows=1)
        closeness = np.loadtxt(folder / "los_adj.csv", delimiter=",")
        self.n = self.speed.shape[1]
        self.training = int(0.8 * len(self.speed))
        self.expected = self._expected()
        self.spread = (self.speed - self.expected)[: self.training].std(axis=0)
        self.departure = (self.speed - self.expected) / self.spread
        self.one, self.other = np.nonzero(np.triu(closeness, 1))
        self.closeness = closeness[self.one, self.other]
        np.fill_diagonal(closeness, 0)
        self.nearest = closeness.argmax(axis=1)
        distance = np.sqrt(-np.log(np.where(closeness > 0, closeness, 1e-9)))
        self.inverse = np.where(closeness > 0, 1 / np.maximum(distance, 0.05), 0)
        recorded = np.corrcoef(self.departure[: self.training].T)[self.one, self.other]
        recorded = correlation_field.weight_of_correlation(np.clip(recorded, 0.02, 0.98))
        self.model, self.noise = self._chosen_model("recorded correlation", recorded, (1.0, 1.5, 2.0))
        self.by_road, self.road_noise = self._chosen_model("closeness", self.closeness, (1.0, 2.0, 4.0))

    def _expected(self) -> Floats:
        """Return the mean by time of day of the training part, weekdays and weekends apart, (ticks, n)."""
        tick = np.arange(len(self.speed))
        is_weekday = np.isin(tick // LOOP_DAY, WEEKDAYS)
        expected = np.empty_like(self.speed)
        for kind in (False, True):
            rows = np.flatnonzero((is_weekday == kind) & (tick < self.training))
            means = np.stack([self.speed[rows[rows % LOOP_DAY == at]].mean(axis=0) for at in range(LOOP_DAY)])
            smooth = np.mean([np.roll(means, shift, axis=0) for shift in range(-3, 4)], axis=0)
            expected[is_weekday == kind] = smooth[tick[is_weekday == kind] % LOOP_DAY]
        return expected

    def _chosen_model(
        self, name: str, closeness: Floats, powers: tuple[float, ...]
    ) -> tuple[StateModel, float]:
        """Return model and noise with the greatest likelihood of readings left out before the tested part."""
        ticks = np.arange(int(0.6 * len(self.speed)), self.training, 40)
        tried = list[tuple[float, tuple[float, ...], StateModel]]()
        for scale, power in product((1.0, 3.0, 10.0), powers):
            field = correlation_field.field_of_neighbours(
                self.n, self.one, self.other, scale * closeness**power
            )
            model = StateModel(field, np.zeros(self.n), 3600.0, 300.0)
            for noise in (0.05, 0.2):
                mean, variance = self.without_own(model, noise, self.departure[ticks])
                ratio = (mean - self.departure[ticks]) ** 2 / variance
                tried.append((float(np.mean(ratio + np.log(variance))), (scale, power, noise), model))
        _, setting, model = min(tried, key=lambda one: one[0])
        print(f"METR-LA: weights by {name}: scale, power, noise {setting}")
        return model, setting[2]

    def without_own(self, model: StateModel, noise: float, rows: Floats) -> tuple[Floats, Floats]:
        """Return mean and variance of each loop given all others at the same time, two (rows, n)."""
        sensors, variance = np.arange(self.n), np.full(self.n, noise)
        found = [
            estimate_state(model, SensorRecord(sensors, np.zeros(1), row[None], variance), 0.0)
            for row in rows
        ]
        return np.stack([one.others_mean for one in found]), np.stack([one.others_variance for one in found])

    def _never_measured(self, rows: Floats) -> tuple[Floats, Floats]:
        """Return mean and variance of each loop of the tested part, by the model as fitted just before it."""
        before = np.arange(self.training - LOOP_DAY, self.training, LOOP_DAY // FITTED_TICKS)
        noise = np.full(self.n, self.road_noise)
        record = SensorRecord(np.arange(self.n), 300.0 * before, rows[before], noise)
        fitted = fit_to_sensors(self.by_road, record, record.time_s.tolist())
        mean, variance = self.without_own(fitted.model, self.road_noise, rows[self.training :])
        return mean, fitted.scale**2 * variance

    def leave_out(self) -> dict[str, object]:
        """Print and return the errors over all loops and the tested part."""
        ticks = np.arange(self.training, len(self.speed))
        actual = self.speed[ticks]
        mean, variance = self.without_own(self.model, self.noise, self.departure[ticks])
        estimate = self.expected[ticks] + self.spread * mean
        self.band = (ticks, estimate, Z80 * self.spread * np.sqrt(variance))
        level, level_spread = self.expected[ticks].mean(), self.expected[ticks].std()
        mean, variance = self._never_measured(self.departure)
        interpolated, uncertain = self._never_measured((self.expected - level) / level_spread)
        spread = self.inverse @ self.spread / np.maximum(self.inverse.sum(axis=1), 1e-12)
        spread = np.where(spread > 0, spread, self.spread.mean())
        blind = level + level_spread * interpolated + spread * mean
        blind_band = Z80 * np.sqrt(level_spread**2 * uncertain + spread**2 * variance)
        weights = self.inverse.sum(axis=1)
        rows = {
            "estimate, its history known": (estimate, self.band[2]),
            "estimate, never measured": (blind, blind_band),
            "nearest": (actual[:, self.nearest], None),
            "inverse distance": (actual @ self.inverse.T / np.where(weights > 0, weights, np.nan), None),
            "climatology": (self.expected[ticks], None),
            "nearest's departure": (
                self.expected[ticks] + self.spread * self.departure[ticks][:, self.nearest],
                None,
            ),
        }
        print(f"METR-LA, {self.n} loops, {len(ticks)} ticks; [mi/h]")
        result = dict[str, object]()
        for name, (values, band) in rows.items():
            error = values - actual
            rmse, mae = float(np.sqrt(np.nanmean(error**2))), float(np.nanmean(np.abs(error)))
            covered = None if band is None else round(float(np.mean(np.abs(error) <= band)), 3)
            print(f"  {name:28} RMSE {rmse:.2f}  MAE {mae:.2f}  80 % band holds {covered}")
            result[name] = {"rmse": round(rmse, 3), "mae": round(mae, 3), "covered": covered}
        return {"traffic": result}

    def judge_windows(self, n: int = 200, width: int = 6) -> dict[str, float]:
        """Print and return how well recorded departures and injected errors are told apart."""
        rng = np.random.default_rng(0)
        starts = np.arange(self.training, len(self.speed) - width, width)
        means = np.stack([self.departure[at : at + width].mean(axis=0) for at in starts])
        departing, quiet = np.argwhere(np.abs(means) > 2.5), np.argwhere(np.abs(means) < 1)
        departing = departing[rng.permutation(len(departing))[:n]]
        quiet = quiet[rng.permutation(len(quiet))[: len(departing)]]
        sizes = means[departing[:, 0], departing[:, 1]]
        event = np.array([self._verdict(starts[at], width, loop, 0.0) for at, loop in departing])
        fault = np.array(
            [
                self._verdict(starts[at], width, loop, size)
                for (at, loop), size in zip(quiet, sizes, strict=True)
            ]
        )
        area = float(np.mean(event[:, None] > fault) + 0.5 * np.mean(event[:, None] == fault))
        right = float(np.mean(np.concatenate([event > 0.5, fault <= 0.5])))
        brier = float(np.mean(np.concatenate([(1 - event) ** 2, fault**2])))
        print(
            f"verdicts on {len(event)} recorded departures and as many injected errors: area under the curve"
            f" {area:.3f}, right {right:.3f}, Brier {brier:.3f} (0.25 without evidence); mean P(event)"
            f" {event.mean():.2f} and {fault.mean():.2f}"
        )
        return {"n": len(event), "area": round(area, 3), "right": round(right, 3), "brier": round(brier, 3)}

    def _verdict(self, start: int, width: int, loop: int, error: float) -> float:
        departure = self.departure[start : start + width].copy()
        departure[:, loop] += error
        times_s = 300.0 * np.arange(width)
        record = SensorRecord(np.arange(self.n), times_s, departure, np.full(self.n, self.noise))
        return explain_departure(self.model, record, int(loop), 0.0, times_s[-1]).event_probability


def time_steps(sizes: list[int], seconds: float) -> list[dict[str, float]]:
    """Print and return the processor times of a step on a road lattice and a river tree [s]."""
    print("speed, processor time [ms]; river: nodes in 48 bins of travel time, variances exact")
    print(f"{'nodes':>8}{'road step':>12}{'spsolve':>10}{'ratio':>8}{'river step':>12}")
    rows = []
    for size in sizes:
        rng = np.random.default_rng(0)
        n, one, other = lattice(size)
        weight = correlation_field.weight_of_correlation(np.full(len(one), 0.7))
        field = correlation_field.field_of_neighbours(n, one, other, weight)
        road = StateModel(field, np.zeros(n), 3600.0, 300.0)
        head = np.arange(1, size) - 1 - rng.integers(0, np.minimum(np.arange(1, size), 30))
        tail = np.arange(1, size)
        shares = correlation_field.shares_of_inflow(head, np.ones(size - 1))
        clock_s = correlation_field.travel_to_mouth(size, tail, head, rng.uniform(200, 600, size - 1))
        along = np.full(size - 1, 0.95)
        tree = correlation_field.field_along_flow(size, tail, head, along, shares)
        river = StateModel(tree, clock_s, 86_400.0, float(clock_s.max()) / (N_BINS - 1))
        records = [sensors_of(rng, one, SENSOR_SHARE) for one in (n, size)]
        values = field.values.copy()
        values[field.diagonal] += np.bincount(records[0].node, 1 / records[0].noise, n)
        matrix = csc_array((values, (field.row, field.column)), shape=(n, n))
        right = np.bincount(records[0].node, records[0].departure[-1] / records[0].noise, n)
        found = estimate_state(road, records[0], records[0].time_s[-1])
        assert np.abs(found.mean - spsolve(matrix, right)).max() < 1e-9
        row = {
            "nodes": n,
            "road_s": least_time(lambda: estimate_state(road, records[0], records[0].time_s[-1]), seconds),  # noqa: B023
            "spsolve_s": least_time(lambda: spsolve(matrix, right), seconds),  # noqa: B023
            "river_s": least_time(lambda: estimate_state(river, records[1], records[1].time_s[-1]), seconds),  # noqa: B023
        }
        ratio = row["road_s"] / row["spsolve_s"]
        times = [1000 * row[key] for key in ("road_s", "spsolve_s", "river_s")]
        print(f"{n:8}{times[0]:12.1f}{times[1]:10.1f}{ratio:8.2f}{times[2]:12.1f}")
        rows.append(row)
    return rows


def sensors_of(rng: np.random.Generator, n: int, share: float) -> SensorRecord:
    """Return a day of readings of sensors at some nodes."""
    node = np.sort(rng.choice(n, max(round(share * n), 2), replace=False))
    times_s = TICK_S * np.arange(DAY)
    return SensorRecord(node, times_s, rng.normal(size=(DAY, len(node))), np.full(len(node), 0.05))


def draw(path: Path, held: Held, traffic: Loops) -> None:
    """Draw oxygen at one site over its silent days, and one loop over the tested part."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    figure = Figure(figsize=(10, 6), dpi=80, layout="constrained")
    upper, lower = figure.subplots(2, 1)
    here = (held.site == 1) & (held.day < held.day.min() + 30)
    hours = np.arange(here.sum())
    low, high = (held.mean[here] + sign * Z80 * held.deviation[here] for sign in (-1, 1))
    upper.fill_between(hours, low, high, color="#9ecae1", label="80 % band")
    upper.plot(hours, held.mean[here], color="#1f4e79", linewidth=1, label="estimated from the other sites")
    upper.plot(hours, held.actual[here], ".", color="#c0392b", markersize=3, label="measured, left out")
    upper.plot(hours, held.baselines[here, 2], color="#7f7f7f", linewidth=0.8, label="climatology")
    upper.set(title="WaterLab, every third day of a month", ylabel="DO [mg/L]", xlabel="hours of silent days")
    ticks, mean, width = traffic.band
    loop = int(np.argsort(np.abs(traffic.departure[ticks]).mean(axis=0))[-20])
    at = ticks / 12
    lower.fill_between(at, mean[:, loop] - width[:, loop], mean[:, loop] + width[:, loop], color="#9ecae1")
    lower.plot(at, mean[:, loop], color="#1f4e79", linewidth=1)
    lower.plot(at, traffic.speed[ticks, loop], ".", color="#c0392b", markersize=3)
    lower.plot(at, traffic.expected[ticks, loop], color="#7f7f7f", linewidth=0.8)
    lower.set(title=f"METR-LA, loop {loop}", xlabel="hour of the week", ylabel="speed [mi/h]")
    for axes in (upper, lower):
        axes.grid(visible=True, alpha=0.3)
    upper.legend(loc="upper right", fontsize=7, ncols=4, frameon=False)
    figure.savefig(path, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    main()
