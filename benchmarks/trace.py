"""Traces simulated releases in a tidal canal network of 216 nodes back to their outfalls.

``python -m benchmarks trace [--releases 200] [--seed 20000] [--non-detects] [--plot FILE]``. Tides at one
border and levels at the other drive the flow, which reverses in four reaches of five; 40 outfalls; five
sensors at the nodes that `analytics.twin.sensor_placement` chooses, read every hour, with noise and a limit
of detection. The truth is computed on a finer grid and shorter steps than the model, and the model is
wrong: each *world* has velocities off by a common factor (log-normal, 20 %) and one for each reach (10 %),
and a dispersion off by 50 %. A release (10 to 200 kg in 0.5 to 4 h) is traced six hours after a sensor has
first detected it twice in a row; releases that no sensor detects are counted and left out.

Beside the posterior: the lagged correlation of the sensors' readings, compared with travel times, and
travel time alone (`analytics.twin.upstream_trace`). Times are processor time of this process on one core:
of one trace, with the response computed for its window alone; for the table the response is computed once
for all releases. ``--weight``, ``--relative-error`` and ``--timing-error`` are those of `InferenceOptions`;
the ones in use were chosen on the releases of ``--seed 50000``, not on those reported. With
``--non-detects``, readings below the limit of detection have no value. Prints a table, and last one JSON
line.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.twin.compiled_adjoint import plan_elimination
from analytics.twin.network import FlowNetwork
from analytics.twin.sensor_placement import place_sensors
from analytics.twin.source_inference import (
    CREDIBLE_SHARE,
    WITH_VALUES,
    InferenceOptions,
    SensorReadings,
    infer_source,
)
from analytics.twin.upstream_trace import trace_upstream
from analytics.twin.water_response import (
    FlowHistory,
    concentrations,
    draw_variants,
    response_ensemble,
    response_matrix,
)
from benchmarks import _plain_network

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from analytics.twin.source_inference import SourcePosterior
    from benchmarks._plain_network import PlainNetwork

    Floats = NDArray[np.float64]

STEP_S, READ_EVERY = 1800.0, 2
N_STEPS, BEFORE, AFTER = 128, 60, 12  # steps simulated; traced before and after the first detection
RELEASE_STEPS = (24, 56)  # a release begins between
CELL_M, DISPERSION_M2_S, DECAY_PER_S = 150.0, 10.0, 1e-6
FINE, FINE_CELL_M = 3, 75.0  # steps of the truth in one of the model; its cells
NOISE, NOISE_SHARE = 0.02, 0.05  # of a sensor [g/m³], and as a share of the reading
LIMIT = 3 * NOISE
N_SENSORS, N_VARIANTS = 5, 24
PER_WORLD = 8
MODEL_SEED, TRUTH_SEED = 7, 20_000
DEFAULTS = WITH_VALUES


class TrueRelease(NamedTuple):
    """A true release, and what the sensors read of it.

    Attributes
    ----------
    outfall : its number among the outfalls
    begin, end : first step, and step after the last (in steps of the model, fractions)
    amount_g : [g]
    detected_at : step of the model of the second detection in a row
    readings : (n_steps / READ_EVERY, n_sensors) [g/m³], noise included

    """

    outfall: int
    begin: float
    end: float
    amount_g: float
    detected_at: int
    readings: Floats


class TraceScore(NamedTuple):
    """How the posterior ranked the true outfall.

    Attributes
    ----------
    rank : 0 is first
    in_set, set_size, set_mass : whether the 90 % set holds it, its size, and its probability
    in_drawn_set : chance that a set of exactly 90 % holds it, in which the last candidate is with a chance
    level : probability of those that are likelier: the sets of a greater one hold it

    """

    rank: int
    in_set: bool
    set_size: int
    set_mass: float
    in_drawn_set: float
    level: float


def main() -> None:
    """Trace all releases, print shares of ranks, and the JSON line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks trace")
    parser.add_argument("benchmark", nargs="?")
    parser.add_argument("--releases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=TRUTH_SEED, help="of the first world")
    parser.add_argument("--weight", type=float, default=DEFAULTS.weight)
    parser.add_argument("--relative-error", type=float, default=DEFAULTS.relative_error)
    parser.add_argument("--timing-error", type=float, default=DEFAULTS.timing_error_steps)
    parser.add_argument("--non-detects", action="store_true", help="readings below the limit lack a value")
    parser.add_argument("--plot", type=Path, help="write shares of ranks and of credible sets to a picture")
    arguments = parser.parse_args()
    options = InferenceOptions(
        weight=arguments.weight,
        relative_error=arguments.relative_error,
        timing_error_steps=arguments.timing_error,
    )
    network = _plain_network.build()
    history = model_history(network)
    sensors = choose_sensors(network, history)
    print(
        f"{network.n_nodes} nodes, {len(network.tail)} reaches, {history.grid.n_cells} cells; "
        f"sensors at {sensors.tolist()}"
    )
    response = model_response(network, history, sensors)
    releases: list[TrueRelease] = []
    n_undetected = 0
    for found, missed in worlds(network, sensors, arguments.seed):
        releases += found
        n_undetected += missed
        if len(releases) >= arguments.releases:
            break
    releases = releases[: arguments.releases]
    result, levels = evaluate(
        network, sensors, history, response, releases, options=options, is_censored=arguments.non_detects
    )
    compiled_s, general_s = (
        time_response(network, history, sensors, releases[:n], is_compiled=is_compiled)
        for n, is_compiled in ((6, True), (2, False))
    )
    result |= {
        "undetected": n_undetected,
        "response_cpu_s": round(compiled_s, 2),
        "whole_trace_cpu_s": round(compiled_s + result["trace_cpu_s"], 2),
        "general_response_cpu_s": round(general_s, 2),
    }
    print(
        f"no sensor detected {n_undetected} more; response of {N_VARIANTS} variants for one trace: "
        f"{compiled_s:.2f} s compiled, {general_s:.1f} s with a general solver"
    )
    if arguments.plot:
        draw(result, levels, arguments.plot)
    print(json.dumps(result))


def time_response(
    network: PlainNetwork,
    history: FlowHistory,
    sensors: NDArray[np.intp],
    releases: Sequence[TrueRelease],
    *,
    is_compiled: bool,
) -> float:
    """Return the processor time of the response for one trace, mean over releases [s]."""
    variants = draw_variants(N_VARIANTS, len(network.tail), np.random.default_rng(MODEL_SEED))
    began = time.process_time()
    for one in releases:
        begin, end = window(one)
        part, steps = history.between(begin, end), np.arange(READ_EVERY - 1, end - begin, READ_EVERY)
        plan = plan_elimination(part.grid) if is_compiled else None
        for variant in variants:
            response_matrix(
                part,
                variant,
                sensor=np.tile(sensors, len(steps)),
                step=np.repeat(steps, len(sensors)),
                candidates=network.outfalls,
                plan=plan,
            )
    return (time.process_time() - began) / len(releases)


def draw(result: dict[str, float], levels: Floats, path: Path) -> None:
    """Draw how often the true outfall is among the first, and how often credible sets hold it."""
    from matplotlib import pyplot as plt  # noqa: PLC0415 - for the picture alone

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    methods = {
        "posterior": "",
        "lagged correlation": "lagged_correlation_",
        "travel time": "travel_time_only_",
    }
    for number, (name, prefix) in enumerate(methods.items()):
        shares = [100 * result[f"{prefix}top{n}"] for n in (1, 3)]
        bars = left.bar(np.arange(2) + 0.27 * (number - 1), shares, 0.25, label=name)
        left.bar_label(bars, fmt="%.0f", fontsize=8)
    left.set(xticks=[0, 1], xticklabels=["first", "among three"], ylabel="true outfall [% of releases]")
    left.set_ylim(0, 110)
    left.legend(fontsize=8, loc="upper left")
    nominal = np.linspace(0.05, 1, 20)
    right.plot([0, 100], [0, 100], color="0.7", lw=1)
    right.plot(100 * nominal, [100 * np.mean(levels < one) for one in nominal], marker="o", ms=3)
    right.set(xlabel="probability of the credible set [%]", ylabel="sets that hold the true outfall [%]")
    figure.savefig(path, dpi=110)


def model_history(network: PlainNetwork) -> FlowHistory:
    """Return the flow as the model has it."""
    grid = network.grid(CELL_M)
    flow = network.discharges((np.arange(N_STEPS) + 0.5) * STEP_S)
    return FlowHistory(grid, STEP_S, flow[:, grid.reach], DISPERSION_M2_S, DECAY_PER_S)


def choose_sensors(network: PlainNetwork, history: FlowHistory) -> NDArray[np.intp]:
    """Return the nodes of the sensors."""
    return place_sensors(
        history.between(0, 72),
        network.outfalls,
        np.arange(network.n_nodes),
        n_sensors=N_SENSORS,
        amount_g=50e3,
        detection_limit=LIMIT,
        release_every=12,
        follow_steps=60,
    ).node


def model_response(
    network: PlainNetwork, history: FlowHistory, sensors: NDArray[np.intp], n_variants: int = N_VARIANTS
) -> NDArray[np.float32]:
    """Return responses, (n_variants, n_readings, n_sensors, n_outfalls, n_steps)."""
    steps = np.arange(READ_EVERY - 1, N_STEPS, READ_EVERY)
    variants = draw_variants(n_variants, len(network.tail), np.random.default_rng(MODEL_SEED))
    response = response_ensemble(
        history,
        variants,
        sensor=np.tile(sensors, len(steps)),
        step=np.repeat(steps, len(sensors)),
        candidates=network.outfalls,
    )
    return response.reshape(n_variants, len(steps), len(sensors), *response.shape[2:])


def worlds(
    network: PlainNetwork, sensors: NDArray[np.intp], seed: int
) -> Iterator[tuple[list[TrueRelease], int]]:
    """Yield the detected releases of one world after the other, and how many were not detected."""
    grid = network.grid(FINE_CELL_M)
    flow = network.discharges((np.arange(N_STEPS * FINE) + 0.5) * STEP_S / FINE)
    history = FlowHistory(grid, STEP_S / FINE, flow[:, grid.reach], DISPERSION_M2_S, DECAY_PER_S)
    for number in range(seed, seed + 10_000):
        rng = np.random.default_rng(number)
        variant = draw_variants(2, len(network.tail), rng)[1]
        variant = variant.__class__(
            variant.velocity_factor * np.exp(0.2 * rng.standard_normal()),
            float(np.exp(0.5 * rng.standard_normal())),
        )
        n = PER_WORLD
        outfall = rng.integers(len(network.outfalls), size=n)
        begin = rng.uniform(*RELEASE_STEPS, n)
        end = begin + np.exp(rng.uniform(np.log(0.5), np.log(4), n)) * 3600 / STEP_S
        amount = np.exp(rng.uniform(np.log(10e3), np.log(200e3), n))
        rates = np.zeros((N_STEPS * FINE, len(network.outfalls), n))
        edges = np.arange(N_STEPS * FINE + 1) / FINE
        for case in range(n):
            share = np.diff(np.clip((edges - begin[case]) / (end[case] - begin[case]), 0, 1))
            rates[:, outfall[case], case] = share * amount[case] / history.dt_s
        exact = concentrations(history, variant, rates, network.outfalls)[
            FINE * READ_EVERY - 1 :: FINE * READ_EVERY, sensors
        ]
        noise = rng.standard_normal(exact.shape)
        read = exact + np.hypot(NOISE, NOISE_SHARE * exact) * noise
        twice = ((read[1:] >= LIMIT) & (read[:-1] >= LIMIT)).any(axis=1)
        first = np.where(twice.any(axis=0), 1 + twice.argmax(axis=0), N_STEPS)
        at = first * READ_EVERY + READ_EVERY - 1
        is_traced = at + AFTER < N_STEPS
        yield (
            [
                TrueRelease(
                    int(outfall[case]),
                    float(begin[case]),
                    float(end[case]),
                    float(amount[case]),
                    int(at[case]),
                    read[:, :, case],
                )
                for case in np.flatnonzero(is_traced)
            ],
            int((~is_traced).sum()),
        )


def window(release: TrueRelease) -> tuple[int, int]:
    """Return the first step that is traced, and the one after the last."""
    return max(release.detected_at - BEFORE, 0), release.detected_at + AFTER + 1


def trace(
    response: NDArray[np.float32],
    release: TrueRelease,
    options: InferenceOptions | None = None,
    *,
    is_censored: bool = False,
) -> SourcePosterior:
    """Return the posterior over outfalls; steps count from ``BEFORE`` steps before the detection.

    If ``is_censored``, of a reading below the limit of detection only that is given.
    """
    begin, end = window(release)
    rows = slice(begin // READ_EVERY, end // READ_EVERY)
    part = response[:, rows, :, :, begin:end]
    value = release.readings[rows].ravel()
    is_given = (value >= LIMIT) | (not is_censored)
    readings = SensorReadings(
        np.where(is_given, value, LIMIT), is_given, np.hypot(NOISE, NOISE_SHARE * np.maximum(value, 0))
    )
    n_variants, n_readings, n_sensors, n_outfalls, n_steps = part.shape
    flat = part.reshape(n_variants, n_readings * n_sensors, n_outfalls, n_steps)
    return infer_source(flat, readings, dt_s=STEP_S, options=options)


def score(posterior: SourcePosterior, outfall: int) -> TraceScore:
    """Return the rank of an outfall in the posterior."""
    order = np.argsort(-posterior.probability, kind="stable")
    credible = posterior.credible_set()
    rank = int(np.flatnonzero(order == outfall)[0])
    above = float(posterior.probability[order[:rank]].sum())
    mass, own = float(posterior.probability[credible].sum()), float(posterior.probability[outfall])
    in_drawn_set = float(np.clip((CREDIBLE_SHARE - above) / own, 0, 1)) if own > 0 else 0.0
    return TraceScore(rank, outfall in credible, len(credible), mass, in_drawn_set, above)


def evaluate(
    network: PlainNetwork,
    sensors: NDArray[np.intp],
    history: FlowHistory,
    response: NDArray[np.float32],
    releases: Sequence[TrueRelease],
    *,
    options: InferenceOptions,
    is_censored: bool,
) -> tuple[dict[str, float], Floats]:
    """Print ranks of all methods; return them, and the level above which sets hold each true outfall."""
    began = time.process_time()
    scores, expectations = list[TraceScore](), list[tuple[float, float, float]]()
    for one in releases:
        posterior = trace(response, one, options, is_censored=is_censored)
        scores.append(score(posterior, one.outfall))
        expectations.append(
            (scores[-1].set_mass, scores[-1].in_drawn_set, float(posterior.probability.max()))
        )
    trace_s = (time.process_time() - began) / len(releases)
    rank = np.array([one.rank for one in scores])
    times = travel_times(network, history, sensors)
    baselines = {
        "lagged correlation": [rank_by_lag(times, one) for one in releases],
        "travel time only": [rank_by_travel_time(network, history, sensors, one) for one in releases],
    }
    print(f"{'':22}{'first':>8}{'in 3':>8}{'in 90 % set':>13}{'its size':>10}{'s each':>8}")
    in_set = np.mean([one.in_set for one in scores])
    size = np.mean([one.set_size for one in scores])
    first, in_three = np.mean(rank == 0), np.mean(rank < 3)
    print(f"{'posterior':22}{first:8.1%}{in_three:8.1%}{in_set:13.1%}{size:10.1f}{trace_s:8.2f}")
    mass, drawn, own = (np.mean(column) for column in zip(*expectations, strict=True))
    print(
        f"sets have {mass:.1%} of the probability; sets of {CREDIBLE_SHARE:.0%} exactly hold {drawn:.1%}; "
        f"the posterior expects {own:.1%} first"
    )
    result = {"releases": len(releases), "top1": first, "top3": in_three, "in_set": in_set, "set_size": size}
    result |= {"set_mass": mass, "in_drawn_set": drawn, "expected_top1": own}
    for name, ranks in baselines.items():
        expected = np.array(ranks)
        print(f"{name:22}{expected[:, 0].mean():8.1%}{expected[:, 1].mean():8.1%}")
        result[name.replace(" ", "_") + "_top1"] = expected[:, 0].mean()
        result[name.replace(" ", "_") + "_top3"] = expected[:, 1].mean()
    rounded = {name: round(float(value), 4) for name, value in (result | {"trace_cpu_s": trace_s}).items()}
    return rounded, np.array([one.level for one in scores])


def mean_network(network: PlainNetwork, history: FlowHistory) -> FlowNetwork:
    """Return the network directed by its mean flow, as a trace by travel time has it."""
    grid = history.grid
    face = np.unique(grid.reach, return_index=True)[1]
    speed = (history.face_m3_s[:, face] / network.area_m2).mean(axis=0)
    flows = np.abs(speed) > 1e-3
    back = speed < 0
    return FlowNetwork(
        network.n_nodes,
        np.where(back, network.head, network.tail)[flows],
        np.where(back, network.tail, network.head)[flows],
        network.length_m[flows],
        np.abs(speed)[flows],
    )


def travel_times(network: PlainNetwork, history: FlowHistory, sensors: NDArray[np.intp]) -> Floats:
    """Return travel times along the mean flow, (n_outfalls, n_sensors) [s]; inf where none leads there."""
    found = np.full((len(network.outfalls), len(sensors)), np.inf)
    directed = mean_network(network, history)
    for column, sensor in enumerate(sensors):
        upstream = trace_upstream(directed, int(sensor), window_s=1e7)
        times = np.full(network.n_nodes, np.inf)
        times[upstream.node] = upstream.travel_s
        times[sensor] = 0
        found[:, column] = times[network.outfalls]
    return found


def rank_by_lag(travel_s: Floats, release: TrueRelease) -> tuple[float, float]:
    """Return the chances that the outfall is first, and among three, by lags between sensors.

    The lag of each pair of sensors that detected is that of their greatest cross-correlation; an outfall is
    better, the closer its travel times to the two differ by that lag. With one sensor, the nearest is best.
    """
    read = release.readings[: (release.detected_at + AFTER + 1) // READ_EVERY]
    hit = np.flatnonzero((read >= LIMIT).sum(axis=0) >= 2)
    if len(hit) == 0:
        hit = np.array([int(read.max(axis=0).argmax())])
    misfit = np.where(np.isfinite(travel_s[:, hit]).all(axis=1), travel_s[:, hit[0]] * 1e-6, np.inf)
    for one in range(len(hit)):
        for other in range(one):
            a, b = (read[:, hit[i]] - read[:, hit[i]].mean() for i in (one, other))
            lag_s = (np.correlate(a, b, "full").argmax() - (len(b) - 1)) * READ_EVERY * STEP_S
            with np.errstate(invalid="ignore"):
                gap = travel_s[:, hit[one]] - travel_s[:, hit[other]] - lag_s
            misfit = misfit + np.where(np.isnan(gap), np.inf, gap**2)
    return _chances(-misfit, release.outfall)


def rank_by_travel_time(
    network: PlainNetwork, history: FlowHistory, sensors: NDArray[np.intp], release: TrueRelease
) -> tuple[float, float]:
    """Return the chances that the outfall is first, and among three, by the fit of travel times alone."""
    read = release.readings[release.detected_at // READ_EVERY]
    sensor = int(sensors[read.argmax()])
    found = trace_upstream(mean_network(network, history), sensor, window_s=86_400)
    fit = np.full(network.n_nodes, -np.inf)
    fit[found.node] = found.likelihood
    fit[sensor] = max(fit.max(), 0.0)
    return _chances(fit[network.outfalls], release.outfall)


def _chances(fit: Floats, outfall: int) -> tuple[float, float]:
    """Return the chances of an outfall to be first, and among three, where equal ones come in any order."""
    if not np.isfinite(fit[outfall]):
        return 0.0, 0.0
    better, equal = int((fit > fit[outfall]).sum()), int((fit == fit[outfall]).sum())
    first, three = (min(max(n_best - better, 0) / equal, 1.0) for n_best in (1, 3))
    return first, three


if __name__ == "__main__":
    main()
