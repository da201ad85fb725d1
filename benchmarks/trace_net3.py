"""Traces releases in EPANET's Net3, a drinking-water network of 92 junctions, back to their nodes.

``python -m benchmarks trace_net3 [--each 2] [--seed 1] [--demand-error 0]``. Net3 and EPANET come with the
package ``wntr``, which is not among the requirements: ``pip install wntr``. EPANET computes the truth, flows
and concentrations; the twin has its network, its flows (of demands that are off by ``--demand-error`` in the
truth), and its own transport. Each junction releases ``--each`` times: 0.5 to 10 kg in 0.5 to 4 h, beginning
in the first half of a day; four sensors are read every half hour with noise and a limit of detection, for the
whole day. Releases that no sensor detects twice are counted and left out. A tank has its initial volume,
mixed; its changes are left out.

The setting is that of L. Grbčić et al., Sensors 20(9) 2613, 2020 (92 nodes; of 30 runs the true node was
first in 73 % and among six in all, 8 min on 46 processors); the four sensors, amounts
and times are chosen here, not taken from it. The response is computed once for all releases; the time
of a trace is that of the response and of its own inference.
Prints a table, and last one JSON line.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analytics.twin.channel_grid import divide_reaches
from analytics.twin.source_inference import InferenceOptions, SensorReadings, infer_source
from analytics.twin.water_response import FlowHistory, draw_variants, response_ensemble

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

STEP_S, PATTERN_S, READ_EVERY, DAY_S = 600.0, 300, 3, 86_400
N_STEPS = round(DAY_S / STEP_S)
CELL_M, DISPERSION_M2_S = 50.0, 0.1
POCKET_M, MIXING_M2_S = 10.0, 1e4  # a tank is a short reach that mixes at once
PUMP_M, PUMP_AREA_M2 = 10.0, 0.1
SENSORS = ("117", "143", "181", "213")
NOISE, NOISE_SHARE = 0.02, 0.05  # of a sensor [g/m³], and as a share of the reading
LIMIT = 3 * NOISE
N_VARIANTS = 4
VELOCITY_SPREAD, REACH_SPREAD, DISPERSION_SPREAD = 0.05, 0.05, 0.5
OPTIONS = InferenceOptions(duration_steps=(3, 6, 12, 24))


class Hydraulics(NamedTuple):
    """The network with its flow over the day; junctions are the first nodes."""

    names: list[str]
    junctions: list[str]
    history: FlowHistory


class Traced(NamedTuple):
    """Rank of the true node (0 is first), whether the 90 % set holds it and its size; processor time [s]."""

    rank: int
    in_set: bool
    set_size: int
    cpu_s: float


def main() -> None:
    """Trace all releases and print the table and the JSON line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks trace_net3")
    parser.add_argument("benchmark", nargs="?")
    parser.add_argument("--each", type=int, default=2, help="releases of each junction")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--demand-error", type=float, default=0.0, help="of each junction, log-normal")
    parser.add_argument("--variants", type=int, default=N_VARIANTS)
    arguments = parser.parse_args()
    if find_spec("wntr") is None:
        sys.exit("this benchmark needs EPANET and its Net3 from the package wntr: pip install wntr")
    hydraulics = model_hydraulics()
    respond(hydraulics, 1)  # compiles
    began = time.process_time()
    response = respond(hydraulics, arguments.variants)
    response_s = time.process_time() - began
    rng = np.random.default_rng(arguments.seed)
    traced: list[Traced] = []
    n_undetected = 0
    with tempfile.TemporaryDirectory() as folder:
        for node in range(len(hydraulics.junctions)):
            for _ in range(arguments.each):
                read = observe(hydraulics.junctions[node], rng, arguments.demand_error, Path(folder))
                if (read >= LIMIT).sum() < 2:
                    n_undetected += 1
                else:
                    traced.append(trace(response, read, node))
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
    """Return the network of the twin with EPANET's flows: pipes, pumps, and a pocket for each tank."""
    network = load_net3()
    with tempfile.TemporaryDirectory() as folder:
        flow = run_epanet(network, Path(folder)).link["flowrate"]
    names = [*network.junction_name_list, *network.tank_name_list, *network.reservoir_name_list]
    number = {name: at for at, name in enumerate(names)}
    reaches: list[tuple[int, int, float, float]] = []
    columns, dispersion = [], []
    for name, link in network.links():
        is_pipe = name in network.pipe_name_list
        area_m2 = np.pi / 4 * link.diameter**2 if is_pipe else PUMP_AREA_M2
        length_m = link.length if is_pipe else PUMP_M
        reaches.append((number[link.start_node_name], number[link.end_node_name], length_m, area_m2))
        columns.append(flow[name].to_numpy())
        dispersion.append(DISPERSION_M2_S)
    n_nodes = len(names)
    for name, tank in network.tanks():
        volume_m3 = np.pi / 4 * tank.diameter**2 * tank.init_level
        reaches.append((number[name], n_nodes, POCKET_M, volume_m3 / POCKET_M))
        columns.append(np.zeros(len(flow)))
        dispersion.append(MIXING_M2_S)
        n_nodes += 1
    tail, head, length_m, area_m2 = (np.array(column) for column in zip(*reaches, strict=True))
    grid = divide_reaches(n_nodes, tail, head, length_m=length_m, area_m2=area_m2, cell_m=CELL_M)
    per_step = round(STEP_S / PATTERN_S)
    discharge = np.stack(columns, axis=1)[: N_STEPS * per_step]
    discharge = discharge.reshape(N_STEPS, per_step, -1).mean(axis=1)
    history = FlowHistory(grid, STEP_S, discharge[:, grid.reach], np.array(dispersion)[grid.reach])
    return Hydraulics(names, network.junction_name_list, history)


def observe(junction: str, rng: np.random.Generator, demand_error: float, folder: Path) -> Floats:
    """Return what the sensors read of one release, (n_readings, n_sensors) [g/m³]."""
    network = load_net3()
    if demand_error:
        for _, one in network.junctions():
            for demand in one.demand_timeseries_list:
                demand.base_value *= float(np.exp(demand_error * rng.standard_normal()))
    duration = max(round(np.exp(rng.uniform(np.log(0.5), np.log(4))) * 3600 / PATTERN_S), 1)
    first = int(rng.integers(DAY_S // 2 // PATTERN_S))
    amount_kg = float(np.exp(rng.uniform(np.log(0.5), np.log(10))))
    course = np.zeros(DAY_S // PATTERN_S + 1)
    course[first : first + duration] = 1.0
    network.add_pattern("release", course.tolist())
    network.add_source("release", junction, "MASS", amount_kg / (duration * PATTERN_S), "release")
    quality = run_epanet(network, folder).node["quality"]
    every = round(READ_EVERY * STEP_S / PATTERN_S)
    exact = 1000.0 * quality[list(SENSORS)].to_numpy(np.float64)[every::every]
    noise = rng.standard_normal(exact.shape)
    read: Floats = exact + np.hypot(NOISE, NOISE_SHARE * exact) * noise
    return read


def respond(hydraulics: Hydraulics, n_variants: int) -> NDArray[np.float32]:
    """Return the response of all readings of a day, (n_variants, n_readings, n_junctions, n_steps)."""
    history = hydraulics.history
    cells = np.array([hydraulics.names.index(name) for name in SENSORS])
    steps = np.arange(READ_EVERY - 1, N_STEPS, READ_EVERY)
    variants = draw_variants(
        n_variants,
        int(history.grid.reach.max()) + 1,
        np.random.default_rng(7),
        velocity_spread=VELOCITY_SPREAD,
        reach_spread=REACH_SPREAD,
        dispersion_spread=DISPERSION_SPREAD,
    )
    return response_ensemble(
        history,
        variants,
        sensor=np.tile(cells, len(steps)),
        step=np.repeat(steps, len(cells)),
        candidates=np.arange(len(hydraulics.junctions)),
    )


def trace(response: NDArray[np.float32], read: Floats, node: int) -> Traced:
    """Return how the posterior over all junctions ranks the true one."""
    began = time.process_time()
    value = read.ravel()
    noise = np.hypot(NOISE, NOISE_SHARE * np.maximum(value, 0))
    readings = SensorReadings(np.maximum(value, LIMIT), value >= LIMIT, noise)
    posterior = infer_source(response, readings, dt_s=STEP_S, options=OPTIONS)
    credible = posterior.credible_set()
    rank = int((posterior.probability > posterior.probability[node]).sum())
    return Traced(rank, node in credible, len(credible), time.process_time() - began)


if __name__ == "__main__":
    main()
