"""Traces releases in EPANET's example network Net3, a looped network of 92 junctions, back to their nodes.

``python -m benchmarks trace_net3 [--each 2] [--seed 1] [--demand-error 0] [--published] [--bound]``. Net3
and EPANET come with the package ``wntr``, which is not among the requirements: ``pip install wntr``. EPANET
computes the truth, flows and concentrations; the twin has its network, its flows (of demands that are off
by ``--demand-error`` in the truth), and its own transport, by parcels, tanks mixed
(`analytics.twin.compiled_plug_flow`). Each junction releases ``--each`` times: 0.5 to 10 kg in 0.5 to 4 h,
beginning in the first half of a day; four sensors are read every half hour with noise and a limit of
detection, for the whole day. Releases that no sensor detects twice are counted and left out.

The published study (L. Grbčić et al., Sensors 20(9) 2613, 2020) repeats one event 30 times: one node, from
14:20 to 20:20, 813.7 mg/L; of the 30 runs of its search the true node was first in 73 % and among six in
all, 8 min on 46 processors. ``--published`` has this event at each junction once, read without noise every
30 min; the four sensors are chosen here, the study's event does not name the node in its abstract.

``--bound`` has releases that the twin's own transport carries, traced with the likelihood of the sensors'
noise alone, summed over all times, durations and amounts with the probabilities they are drawn with: no
inference can have the true node first more often, for a model is never better known.

The response is computed once for all releases; the time of a trace is that of the response and of its own
inference. ``--each 1 --seed 101`` and ``102`` were used to choose `OPTIONS`. Prints a table, and last one
JSON line.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import logsumexp

from analytics.twin.compiled_plug_flow import PlugFlowHistory, plug_flow_response
from analytics.twin.source_inference import InferenceOptions, SensorReadings, infer_source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

STEP_S, PATTERN_S, FLOW_S, DAY_S = 300.0, 300, 60, 86_400  # of a release, of EPANET's flows, of the parcels
N_STEPS = round(DAY_S / STEP_S)
READ_S = 1800
HOURS, AMOUNT_KG = (0.5, 4.0), (0.5, 10.0)  # of releases, log-uniform
PUBLISHED_S, PUBLISHED_KG_M3 = (51_600, 73_200), 0.8137
PUMP_M3 = 1e-3
STAGNANT_M3_S = 1e-6  # what EPANET leaves in closed links
SENSORS = ("117", "143", "181", "213")
NOISE, NOISE_SHARE = 0.02, 0.05  # of a sensor [g/m³], and as a share of the reading
LIMIT = 3 * NOISE
SCORE_RANGE, MOST_KEPT = 25.0, 20_000  # of hypotheses that the bound is summed over
TIE = 1e-9  # relative difference of probabilities that are equal
OPTIONS = InferenceOptions(
    relative_error=0.2,
    timing_error_steps=1.0,
    duration_steps=(*range(6, 49), 54, 60, 66, 72),
    n_kept=16,
    error_scales=(1.0, 0.1),
)
PUBLISHED_OPTIONS = replace(OPTIONS, amount_spread=1e6)  # any concentration


class Hydraulics(NamedTuple):
    """The network with its flow over the day; junctions are the first nodes."""

    names: list[str]
    junctions: list[str]
    history: PlugFlowHistory


class Drawn(NamedTuple):
    """What releases of a bound are drawn from, log-uniform but for the time.

    Attributes
    ----------
    n_first : steps of a day in which a release may begin, from the first one on
    hours : shortest and longest release [h]
    amounts : least and greatest, [kg], or the concentration that a release holds [kg/m³]
    is_mass : whether it is a mass
    noise_share : of the sensors, beside `NOISE`

    """

    n_first: int
    hours: tuple[float, float]
    amounts: tuple[float, float]
    is_mass: bool
    noise_share: float


class Traced(NamedTuple):
    """Rank of the true node (0 is first), whether the 90 % set holds it and its size; processor time [s]."""

    rank: int
    in_set: bool
    set_size: int
    cpu_s: float


DRAWN = Drawn(DAY_S // 2 // PATTERN_S, HOURS, AMOUNT_KG, is_mass=True, noise_share=NOISE_SHARE)
PUBLISHED = Drawn(216, (0.5, 6.0), (0.01, 10.0), is_mass=False, noise_share=0.0)


def main() -> None:
    """Trace all releases and print the table and the JSON line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks trace_net3")
    parser.add_argument("benchmark", nargs="?")
    parser.add_argument("--each", type=int, default=2, help="releases of each junction")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--demand-error", type=float, default=0.0, help="of each junction, log-normal")
    parser.add_argument("--published", action="store_true", help="the event of the published study")
    parser.add_argument("--bound", action="store_true", help="releases and traces with exact transport")
    arguments = parser.parse_args()
    if find_spec("wntr") is None:
        sys.exit("this benchmark needs EPANET and its Net3 from the package wntr: pip install wntr")
    hydraulics = model_hydraulics()
    respond(hydraulics)  # compiles
    began = time.process_time()
    response = respond(hydraulics)
    if arguments.published:  # what is inferred is a concentration that the release holds
        response *= through_flow_m3_s(hydraulics.history, len(hydraulics.junctions)).astype(np.float32)
    response_s = time.process_time() - began
    rng = np.random.default_rng(arguments.seed)
    if arguments.bound:
        report_bound(response[0].astype(float), 0 if arguments.published else arguments.each, rng)
        return
    traced: list[Traced] = []
    n_undetected = 0
    with tempfile.TemporaryDirectory() as folder:
        for node in range(len(hydraulics.junctions)):
            for _ in range(1 if arguments.published else arguments.each):
                junction = hydraulics.junctions[node]
                if arguments.published:
                    read = observe_published(junction, Path(folder))
                else:
                    read = observe(junction, rng, arguments.demand_error, Path(folder))
                if (read >= LIMIT).sum() < 2:
                    n_undetected += 1
                else:
                    traced.append(trace(response, read, node, is_published=arguments.published))
    rank = np.array([one.rank for one in traced])
    result = {
        "releases": len(traced),
        "undetected": n_undetected,
        "top1": float((rank == 0).mean()),
        "top3": float((rank < 3).mean()),
        "top6": float((rank < 6).mean()),
        "in_set": float(np.mean([one.in_set for one in traced])),
        "set_size": float(np.mean([one.set_size for one in traced])),
        "cpu_s": response_s + float(np.mean([one.cpu_s for one in traced])),
    }
    print(f"{'first':>8}{'in 3':>8}{'in 6':>8}{'in 90 % set':>13}{'its size':>10}{'s each':>8}")
    print(
        f"{result['top1']:8.1%}{result['top3']:8.1%}{result['top6']:8.1%}{result['in_set']:13.1%}"
        f"{result['set_size']:10.1f}{result['cpu_s']:8.2f}"
    )
    print(json.dumps({name: round(value, 4) for name, value in result.items()}))


def load_net3() -> Any:
    """Return wntr's Net3 over a day, its patterns in steps of ``PATTERN_S``."""
    import wntr  # type: ignore[import-not-found]  # noqa: PLC0415 - only where it is installed

    network = wntr.network.WaterNetworkModel("Net3")
    times = network.options.time
    repeats = round(times.pattern_timestep / PATTERN_S)
    for _, pattern in network.patterns():
        pattern.multipliers = np.repeat(pattern.multipliers, repeats)
    times.pattern_timestep = times.hydraulic_timestep = PATTERN_S
    times.report_timestep, times.quality_timestep, times.duration = PATTERN_S, 60, DAY_S
    network.options.quality.parameter = "CHEMICAL"
    return network


def run_epanet(network: Any, folder: Path) -> Any:
    """Return the results of EPANET."""
    import wntr  # noqa: PLC0415 - see above

    return wntr.sim.EpanetSimulator(network).run_sim(file_prefix=str(folder / "run"))


def model_hydraulics() -> Hydraulics:
    """Return the network of the twin with EPANET's flows: pipes, pumps, and tanks with their levels."""
    network = load_net3()
    with tempfile.TemporaryDirectory() as folder:
        found = run_epanet(network, Path(folder))
    flow, head_m = found.link["flowrate"], found.node["head"]
    names = [*network.junction_name_list, *network.tank_name_list, *network.reservoir_name_list]
    number = {name: at for at, name in enumerate(names)}
    links = [link for _, link in network.links()]
    volume_m3 = [
        np.pi / 4 * link.diameter**2 * link.length if link.name in network.pipe_name_list else PUMP_M3
        for link in links
    ]
    per_step = PATTERN_S // FLOW_S
    discharge = np.stack([flow[link.name].to_numpy(np.float64) for link in links], axis=1)[:-1]
    discharge[np.abs(discharge) < STAGNANT_M3_S] = 0.0
    storage_m3 = np.zeros((per_step * len(discharge), len(names)))
    for name, tank in network.tanks():
        held_m3 = np.pi / 4 * tank.diameter**2 * (head_m[name].to_numpy(np.float64) - tank.elevation)
        at = np.arange(len(storage_m3)) / per_step
        storage_m3[:, number[name]] = np.interp(at, np.arange(len(held_m3)), held_m3)
    history = PlugFlowHistory(
        np.array([number[link.start_node_name] for link in links]),
        np.array([number[link.end_node_name] for link in links]),
        np.array(volume_m3),
        float(FLOW_S),
        np.repeat(discharge, per_step, axis=0),
        storage_m3,
    )
    return Hydraulics(names, network.junction_name_list, history)


def draw_release(rng: np.random.Generator) -> tuple[int, int, float]:
    """Return first step and number of steps of ``PATTERN_S`` of a release, and its amount [kg]."""
    duration = max(round(np.exp(rng.uniform(*np.log(HOURS))) * 3600 / PATTERN_S), 1)
    first = int(rng.integers(DAY_S // 2 // PATTERN_S))
    return first, duration, float(np.exp(rng.uniform(*np.log(AMOUNT_KG))))


def observe(junction: str, rng: np.random.Generator, demand_error: float, folder: Path) -> Floats:
    """Return what the sensors read of one release, (n_readings, n_sensors) [g/m³]."""
    network = load_net3()
    if demand_error:
        for _, one in network.junctions():
            for demand in one.demand_timeseries_list:
                demand.base_value *= float(np.exp(demand_error * rng.standard_normal()))
    first, duration, amount_kg = draw_release(rng)
    course = np.zeros(DAY_S // PATTERN_S + 1)
    course[first : first + duration] = 1.0
    network.add_pattern("release", course.tolist())
    network.add_source("release", junction, "MASS", amount_kg / (duration * PATTERN_S), "release")
    quality = run_epanet(network, folder).node["quality"]
    every = READ_S // PATTERN_S
    exact = 1000.0 * quality[list(SENSORS)].to_numpy(np.float64)[every::every]
    noise = rng.standard_normal(exact.shape)
    read: Floats = exact + np.hypot(NOISE, NOISE_SHARE * exact) * noise
    return read


def observe_published(junction: str, folder: Path) -> Floats:
    """Return the readings of the published event at a junction, (n_readings, n_sensors) [g/m³]."""
    network = load_net3()
    course = np.zeros(DAY_S // PATTERN_S + 1)
    course[PUBLISHED_S[0] // PATTERN_S : PUBLISHED_S[1] // PATTERN_S] = 1.0
    network.add_pattern("release", course.tolist())
    network.add_source("release", junction, "SETPOINT", PUBLISHED_KG_M3, "release")
    every = READ_S // PATTERN_S
    quality = run_epanet(network, folder).node["quality"][list(SENSORS)]
    read: Floats = 1000.0 * quality.to_numpy(np.float64)[every::every]
    return read


def respond(hydraulics: Hydraulics) -> NDArray[np.float32]:
    """Return the response of all readings of a day, (1, n_readings, n_junctions, n_steps)."""
    nodes = np.array([hydraulics.names.index(name) for name in SENSORS])
    steps = np.arange(READ_S // FLOW_S - 1, DAY_S // FLOW_S, READ_S // FLOW_S)
    return plug_flow_response(
        hydraulics.history,
        np.ones(len(hydraulics.history.tail)),
        sensor=np.tile(nodes, len(steps)),
        step=np.repeat(steps, len(nodes)),
        candidates=np.arange(len(hydraulics.junctions)),
        steps_per_release=round(STEP_S) // FLOW_S,
    )[None]


def through_flow_m3_s(history: PlugFlowHistory, n_junctions: int) -> Floats:
    """Return the mean discharge through each junction in each step of a release, (n_junctions, n_steps)."""
    n_steps, n_nodes = history.storage_m3.shape
    passed = np.zeros((2, n_steps, n_nodes))  # brought to and taken from each node
    for link, (tail, head) in enumerate(zip(history.tail, history.head, strict=True)):
        forward, back = np.maximum(history.flow_m3_s[:, link], 0), np.maximum(-history.flow_m3_s[:, link], 0)
        passed[0, :, head] += forward
        passed[1, :, tail] += forward
        passed[0, :, tail] += back
        passed[1, :, head] += back
    through = passed.max(axis=0)[:, :n_junctions]
    mean: Floats = through.reshape(N_STEPS, -1, n_junctions).mean(axis=1).T
    return mean


def trace(response: NDArray[np.float32], read: Floats, node: int, *, is_published: bool) -> Traced:
    """Return how the posterior over all junctions ranks the true one."""
    began = time.process_time()
    value, options = read.ravel(), PUBLISHED_OPTIONS if is_published else OPTIONS
    noise = np.hypot(NOISE, 0.0 if is_published else NOISE_SHARE * np.maximum(value, 0))
    readings = SensorReadings(value, np.ones(len(value), np.bool_), noise)
    posterior = infer_source(response, readings, dt_s=STEP_S, options=options)
    credible = posterior.credible_set()
    rank = int((posterior.probability > posterior.probability[node]).sum())
    return Traced(rank, node in credible, len(credible), time.process_time() - began)


def report_bound(response: Floats, each: int, rng: np.random.Generator) -> None:
    """Trace releases with exact transport and likelihood, and print how often the true node is first.

    ``each`` : releases of each junction; 0 for the published event, once and without noise
    """
    summed = np.concatenate([np.zeros((*response.shape[:2], 1)), response.cumsum(axis=2)], axis=2)
    ranks, highest = [], []
    for node in np.repeat(np.arange(response.shape[1]), max(each, 1)):
        if each:
            first, duration, amount_kg = draw_release(rng)
            rate = 1000 * amount_kg / (duration * STEP_S)
        else:
            first, last = (one // PATTERN_S for one in PUBLISHED_S)
            duration, rate = last - first, 1000 * PUBLISHED_KG_M3
        exact = rate * (summed[:, node, first + duration] - summed[:, node, first])
        read = exact.copy()
        if each:
            read += np.hypot(NOISE, NOISE_SHARE * exact) * rng.standard_normal(exact.shape)
        if (read >= LIMIT).sum() >= 2:
            probability = exact_posterior(summed, read, DRAWN if each else PUBLISHED)
            ranks.append(int((probability > probability[node] * (1 + TIE)).sum()))
            highest.append(float(probability.max()))
    rank = np.array(ranks)
    shares = {f"top{n}": float((rank < n).mean()) for n in (1, 3, 6)}
    result = {"releases": len(rank), **shares, "expected_top1": float(np.mean(highest))}
    print(json.dumps({name: round(value, 4) for name, value in result.items()}))


def exact_posterior(summed: Floats, read: Floats, drawn: Drawn) -> Floats:
    """Return the probability of each junction given readings without any error of the model.

    ``summed`` : (n_readings, n_junctions, n_steps + 1), the response summed over the steps before
    """
    n_junctions, n_first, share = summed.shape[1], drawn.n_first, drawn.noise_share
    precision = 1 / (NOISE**2 + (share * np.maximum(read, 0)) ** 2)
    least, most = (round(one * 3600 / PATTERN_S) for one in drawn.hours)
    edges = np.log((np.arange(least, most + 2) - 0.5) * PATTERN_S / 3600).clip(*np.log(drawn.hours))
    durations = np.arange(least, most + 1)
    score, squares, product = np.full((3, len(durations), n_junctions, n_first), -np.inf)
    for at, duration in enumerate(durations):
        kernel = summed[:, :, duration : duration + n_first] - summed[:, :, :n_first]
        product[at] = np.einsum("o,ocs->cs", precision * read, kernel)
        squares[at] = np.einsum("o,ocs->cs", precision, np.square(kernel, out=kernel))
        rate = product[at] / np.maximum(squares[at], 1e-300)
        score[at] = 0.5 * np.where(rate > 0, rate * product[at], -np.inf)
    kept = np.flatnonzero(score.ravel() > score.max() - SCORE_RANGE)
    kept = kept[np.argsort(-score.ravel()[kept])][:MOST_KEPT]
    at, node, first = np.unravel_index(kept, score.shape)
    rate = product.ravel()[kept] / squares.ravel()[kept]
    width = np.minimum(1 / (np.sqrt(squares.ravel()[kept]) * rate), 1.0)  # of the logarithm of the amount
    kernel = (summed[:, node, first + durations[at]] - summed[:, node, first]).T
    by_amount = []
    for factor in np.linspace(-4, 4, 17):
        rates = rate * np.exp(factor * width)
        predicted = rates[:, None] * kernel
        variance = NOISE**2 + (share * predicted) ** 2
        log_likelihood = -0.5 * ((read - predicted) ** 2 / variance + np.log(variance)).sum(axis=1)
        amount = rates * (durations[at] * STEP_S if drawn.is_mass else 1.0) / 1000
        is_possible = (amount >= drawn.amounts[0]) & (amount <= drawn.amounts[1])
        by_amount.append(np.where(is_possible, log_likelihood, -np.inf))
    evidence = logsumexp(by_amount, axis=0) + np.log(width * np.diff(edges)[at])
    probability = np.bincount(node, np.exp(evidence - evidence.max()), n_junctions)
    return probability / probability.sum()


if __name__ == "__main__":
    main()
