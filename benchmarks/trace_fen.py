"""Traces the spill into the Fen River of January 2017, rebuilt from its published figures, back to its place.

``python -m benchmarks trace_fen [--repeats 20] [--seed 1]``. Crude benzene, 4,320 kg at once, 16 km above
the section that sampled the water; cross-section 25 m², mean velocity 2,880 m/h; candidates 1 to 25 km above
it (Y. Zhu, H. Cao, Z. Gao, Z. Chen, Research Square rs-2461346, 2023, table 1 and section 3.1). The samples
are not published as numbers: here they are the analytic solution with a dispersion that is assumed
(`DISPERSION_M2_S`), every `SAMPLE_STEPS` steps from 120 min after the release on, with noise.

Candidates are a kilometre apart. One section, or two (the second 5 km below, which is assumed, too); velocity
and dispersion given, as published studies take them, or off by 20 and 50 %. Beside the posterior: travel time
alone (`analytics.twin.upstream_trace`), and the lag between both sections compared with travel times. Equal
candidates count by the chance that the true one comes first. Prints a table, and last one JSON line.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.twin.channel_grid import divide_reaches
from analytics.twin.network import FlowNetwork
from analytics.twin.source_inference import InferenceOptions, SensorReadings, infer_source
from analytics.twin.upstream_trace import trace_upstream
from analytics.twin.water_response import FlowHistory, ModelVariant, draw_variants, response_ensemble

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

AMOUNT_G, DISTANCE_M, RELEASED_S, AREA_M2, SPEED_M_S = 4.32e6, 16_000.0, 7200.0, 25.0, 2880 / 3600
DISPERSION_M2_S = 30.0  # assumed
N_CANDIDATES, SPACING_M, BELOW_M = 25, 1000.0, 5000.0
STEP_S, SAMPLE_STEPS, N_STEPS, CELL_M = 150.0, 12, 384, 20.0
RELEASE_STEP = 96  # of the model's first step; the release is followed for 12 h
NOISE, NOISE_SHARE = 0.05, 0.05  # [g/m³], and as a share of the sample
N_VARIANTS = 32
UNKNOWN = InferenceOptions(duration_steps=(1, 4, 12))
GIVEN = InferenceOptions(relative_error=0.03, timing_error_steps=0.2, weight=1.0, duration_steps=(1, 4, 12))


class Placed(NamedTuple):
    """How one trace placed the spill: chances to be first, lengths in km, shares, processor time [s]."""

    first: float
    gap_km: float
    in_set: bool
    set_size: int
    amount_share: float
    time_gap_min: float
    cpu_s: float


def main() -> None:
    """Trace the spill with one and two sections, model known and unknown, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks trace_fen")
    parser.add_argument("benchmark", nargs="?")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    result: dict[str, float] = {"repeats": arguments.repeats}
    print(f"{'':24}{'first':>7}{'gap km':>8}{'in set':>8}{'size':>6}{'amount':>8}{'min late':>9}{'s':>6}")
    for is_known in (True, False):
        for n_sections in (1, 2):
            rng = np.random.default_rng(arguments.seed)
            traced = [trace_once(rng, n_sections, is_known=is_known) for _ in range(arguments.repeats)]
            columns = [np.asarray(column, float) for column in zip(*traced, strict=True)]
            first, _, in_set, size, _, _, cpu_s = (float(column.mean()) for column in columns)
            gap_km, amount, late = (float(np.median(columns[at])) for at in (1, 4, 5))
            name = f"{'given' if is_known else 'unknown'}_{n_sections}"
            print(
                f"{name:24}{first:7.0%}{gap_km:8.1f}{in_set:8.0%}{size:6.1f}"
                f"{amount:8.2f}{late:9.0f}{cpu_s:6.2f}"
            )
            result |= {f"{name}_first": first, f"{name}_gap_km": gap_km, f"{name}_in_set": in_set}
            result |= {f"{name}_set_size": size, f"{name}_amount": amount, f"{name}_cpu_s": cpu_s}
    result |= {"travel_time_only_first": first_by_travel_time(), "lag_first": first_by_lag()}
    print(f"travel time only {result['travel_time_only_first']:.0%}, lag {result['lag_first']:.0%} first")
    print(json.dumps({name: round(value, 4) for name, value in result.items()}))


def river(speed_m_s: float) -> tuple[FlowHistory, FlowNetwork]:
    """Return the river: the nodes are the candidates, farthest first, the sections, and the end."""
    length_m = np.array([SPACING_M] * N_CANDIDATES + [BELOW_M, BELOW_M])
    tail = np.arange(len(length_m))
    area_m2 = np.full(len(tail), AREA_M2 * SPEED_M_S / speed_m_s)
    grid = divide_reaches(len(tail) + 1, tail, tail + 1, length_m=length_m, area_m2=area_m2, cell_m=CELL_M)
    flow = np.full((N_STEPS, len(grid.tail)), AREA_M2 * SPEED_M_S)
    network = FlowNetwork(len(tail) + 1, tail, tail + 1, length_m, np.full(len(tail), speed_m_s))
    half = 0.5 * speed_m_s * CELL_M  # the cells add to dispersion: D becomes half / tanh(half / D)
    return FlowHistory(grid, STEP_S, flow, half / np.arctanh(half / DISPERSION_M2_S)), network


def sample(n_sections: int) -> tuple[NDArray[np.intp], Floats]:
    """Return the steps at whose ends samples are taken, and what they hold, (n_steps, n_sections)."""
    begin = RELEASE_STEP + round(RELEASED_S / STEP_S)
    steps = np.arange(begin, N_STEPS, SAMPLE_STEPS)
    since_s = (steps + 1 - RELEASE_STEP)[:, None] * STEP_S
    at_m = DISTANCE_M + BELOW_M * np.arange(n_sections)
    spread = 4 * DISPERSION_M2_S * since_s
    exact = np.exp(-((at_m - SPEED_M_S * since_s) ** 2) / spread) / np.sqrt(np.pi * spread)
    return steps, AMOUNT_G / AREA_M2 * exact


def trace_once(rng: np.random.Generator, n_sections: int, *, is_known: bool) -> Placed:
    """Trace the spill once, with a model that is right or off, and compare."""
    off = 1.0 if is_known else float(np.exp(0.2 * rng.standard_normal()))
    history, network = river(SPEED_M_S * off)
    wide = 1.0 if is_known else float(np.exp(0.5 * rng.standard_normal()))
    n_reaches = len(network.tail)
    variants = [ModelVariant(np.ones(n_reaches), wide)]
    if not is_known:
        drawn = draw_variants(N_VARIANTS, n_reaches, np.random.default_rng(7))
        variants = [ModelVariant(one.velocity_factor, one.dispersion_factor * wide) for one in drawn]
    steps, exact = sample(n_sections)
    value = (exact + np.hypot(NOISE, NOISE_SHARE * exact) * rng.standard_normal(exact.shape)).ravel()
    noise = np.hypot(NOISE, NOISE_SHARE * np.maximum(value, 0))
    readings = SensorReadings(value, np.ones(len(value), np.bool_), noise)
    began = time.process_time()
    response = response_ensemble(
        history,
        variants,
        sensor=np.tile(N_CANDIDATES + np.arange(n_sections), len(steps)),
        step=np.repeat(steps, n_sections),
        candidates=np.arange(N_CANDIDATES),
    )
    posterior = infer_source(response, readings, dt_s=STEP_S, options=GIVEN if is_known else UNKNOWN)
    cpu_s = time.process_time() - began
    distance_km = (N_CANDIDATES - np.arange(N_CANDIDATES)) * SPACING_M / 1000
    true = int(np.flatnonzero(distance_km == DISTANCE_M / 1000)[0])
    best, credible = int(posterior.probability.argmax()), posterior.credible_set()
    return Placed(
        float(best == true),
        abs(float(distance_km[best] - distance_km[true])),
        true in credible,
        len(credible),
        float(posterior.amount_g[best, 1]) / AMOUNT_G,
        abs(float(posterior.first_step[best, 1]) - RELEASE_STEP) * STEP_S / 60,
        cpu_s,
    )


def first_by_travel_time() -> float:
    """Return the chance that travel time alone has the true place first, with the window of the model."""
    found = trace_upstream(river(SPEED_M_S)[1], N_CANDIDATES, window_s=N_STEPS * STEP_S)
    return _chance(dict(zip(found.node.tolist(), found.likelihood.tolist(), strict=True)))


def first_by_lag() -> float:
    """Return the chance that the lag between both sections has the true place first."""
    network = river(SPEED_M_S)[1]
    course = sample(2)[1]
    a, b = (column - column.mean() for column in course.T)
    lag_s = (np.correlate(b, a, "full").argmax() - (len(a) - 1)) * SAMPLE_STEPS * STEP_S
    to_first, to_second = (
        {int(node): float(travel) for node, travel in zip(found.node, found.travel_s, strict=True)}
        for found in (
            trace_upstream(network, N_CANDIDATES + at, window_s=N_STEPS * STEP_S) for at in range(2)
        )
    )
    return _chance({node: -abs(to_second[node] - to_first[node] - lag_s) for node in to_first})


def _chance(fit: dict[int, float]) -> float:
    """Return the chance that the true place is first where equal ones come in any order."""
    true = N_CANDIDATES - round(DISTANCE_M / SPACING_M)
    best = max(fit.values())
    equal = [node for node, one in fit.items() if one >= best - 1e-9 * max(abs(best), 1.0)]
    return 1 / len(equal) if true in equal else 0.0


if __name__ == "__main__":
    main()
