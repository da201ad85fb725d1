"""Times one step of water transport and of traffic at growing sizes, beside plain SciPy and NumPy.

``python -m benchmarks twin [--nodes 500 5000 50000] [--seconds 5]``. Water: lattices of
canals, two cells a reach, with a flow that changes in every step, so that the matrix is assembled and solved
anew. The limit is the same backward Euler step written down plainly: a ``scipy.sparse`` matrix and
``spsolve``; both must give the same masses. Traffic: two-way streets on the same lattices, with demand that
makes queues spill back; the mean of an hour's compiled steps from the empty network on. The limit is a NumPy
sweep: the reads, minima and sums of a link transmission step without what happens at junctions.

Beside other programs on the same networks, where they are installed (``pip install pyswmm uxsim``): SWMM 5
routes an hour of dynamic wave with a pollutant through the canals on one thread; it computes the flow, too,
which the twin is given, in steps of 30 s, the twin's are of 600 s. UXsim moves 10 minutes of the streets'
vehicles in platoons of five, its default, by its C++ engine, the search of routes included.

Times are processor time of this process, the least of the repeated steps, on one core. Prints a table with
the growth (time per node as a multiple of that of the size before), and last one JSON line.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.linalg import spsolve

from analytics.twin.channel_grid import ChannelGrid, divide_reaches
from analytics.twin.fundamental_diagram import FundamentalDiagram
from analytics.twin.link_transmission import Simulation
from analytics.twin.road_traffic import RoadTraffic
from analytics.twin.water_transport import FlowField, TransportModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Indices = NDArray[np.intp]

SIZES = (500, 5_000, 50_000)
REACH_M, CELL_M, AREA_M2, DISPERSION_M2_S, WATER_STEP_S = 600.0, 300.0, 20.0, 10.0, 600.0
AGREEMENT = 1e-9  # of the masses of both ways, relative to the greatest
FREE_SPEED_M_S, CAPACITY_PER_S, WAVE_SPEED_M_S, TRAFFIC_STEP_S = 14.0, 0.5, 5.0, 10.0
BLOCK_M = 400.0
DEMAND_PER_S = 0.12  # of each link: queues spill back within a quarter of an hour
TRAFFIC_STEPS = 360
SWMM_SIZES, UXSIM_SIZES = (500, 5_000), (500,)  # UXsim searches all routes of 5,000 nodes for minutes
UXSIM_DEMAND_PER_S, UXSIM_S, PLATOON = 0.01, 600.0, 5
SWMM_STEP_S, SWMM_HOURS, SWMM_WIDTH_M, SWMM_SLOPE, SWMM_INFLOW_M3_S = 30, 1, 10.0, 2e-4, 1.0
ENDS_TRIP = 0.2  # share of a link's vehicles


class StepTimes(NamedTuple):
    """Processor times of one step at one size [s]."""

    n_nodes: int
    twin_s: float
    limit_s: float


def main() -> None:
    """Time all sizes, print the table and the JSON line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks twin")
    parser.add_argument("benchmark", nargs="?")
    parser.add_argument("--nodes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--seconds", type=float, default=5.0, help="of repeated steps, for each row")
    arguments = parser.parse_args()
    result: dict[str, object] = {}
    for name, measure in (("water", time_water), ("traffic", time_traffic)):
        rows = [measure(n_nodes, arguments.seconds) for n_nodes in arguments.nodes]
        print_rows(name, rows)
        result[name] = [row._asdict() for row in rows]
    if find_spec("pyswmm"):
        result["swmm"] = [compare_with_swmm(n_nodes) for n_nodes in SWMM_SIZES]
    if find_spec("uxsim"):
        result["uxsim"] = [compare_with_uxsim(n_nodes) for n_nodes in UXSIM_SIZES]
    print(json.dumps(result))


def print_rows(name: str, rows: list[StepTimes]) -> None:
    """Print times, ratios, and the growth from one size to the next."""
    print(f"{name:8}{'nodes':>8}{'step [ms]':>12}{'limit [ms]':>12}{'step / limit':>14}{'growth':>8}")
    for at, row in enumerate(rows):
        growth = ""
        if at:
            last = rows[at - 1]
            growth = f"{row.twin_s / last.twin_s / (row.n_nodes / last.n_nodes):.2f}"
        print(
            f"{'':8}{row.n_nodes:8}{1000 * row.twin_s:12.2f}{1000 * row.limit_s:12.2f}"
            f"{row.twin_s / row.limit_s:14.2f}{growth:>8}"
        )


def least_time(work: Callable[[], object], seconds: float) -> float:
    """Return the least processor time of repeated calls, one at least [s]."""
    least, began = np.inf, time.process_time()
    while least == np.inf or time.process_time() - began < seconds:
        start = time.process_time()
        work()
        least = min(least, time.process_time() - start)
    return float(least)


def lattice(n_nodes: int) -> tuple[int, Indices, Indices]:
    """Return the nodes of a lattice of about ``n_nodes``, and the ends of its reaches."""
    columns = max(round(n_nodes**0.5), 2)
    rows = max(round(n_nodes / columns), 2)
    node = np.arange(rows * columns).reshape(rows, columns)
    tail = np.concatenate([node[:, :-1].ravel(), node[:-1].ravel()])
    head = np.concatenate([node[:, 1:].ravel(), node[1:].ravel()])
    return rows * columns, tail, head


def canals(n_nodes: int) -> tuple[ChannelGrid, FlowField, Floats]:
    """Return the cells of a lattice, a flow and masses."""
    rng = np.random.default_rng(0)
    n, tail, head = lattice(n_nodes)
    sizes = {"length_m": np.full(len(tail), REACH_M), "area_m2": np.full(len(tail), AREA_M2)}
    grid = divide_reaches(n, tail, head, **sizes, cell_m=CELL_M)
    flow = FlowField.steady(grid, rng.normal(0, 2, len(tail))[grid.reach])
    return grid, flow, rng.uniform(0, 1e5, grid.n_cells)


def water_step(grid: ChannelGrid, flow: FlowField, mass: Floats) -> Callable[[], Floats]:
    """Return a step whose flow is new, by the twin."""
    model = TransportModel(grid)

    def step() -> Floats:
        operator = model.step(flow, WATER_STEP_S, dispersion_m2_s=DISPERSION_M2_S, stages=1)
        return operator.forward(mass)

    return step


def time_water(n_nodes: int, seconds: float) -> StepTimes:
    """Return the times of a step whose flow is new, by the twin and by a plain solve."""
    grid, flow, mass = canals(n_nodes)
    step = water_step(grid, flow, mass)

    def plain() -> Floats:
        return plain_step(grid, flow, mass)

    gap = np.abs(step() - plain()).max() / mass.max()
    assert gap < AGREEMENT, f"masses of both steps differ by {gap:.2g}"
    return StepTimes(grid.n_nodes, least_time(step, seconds), least_time(plain, seconds))


def plain_step(grid: ChannelGrid, flow: FlowField, mass: Floats) -> Floats:
    """Return the masses after a backward Euler step, by a matrix of SciPy and its plain solve."""
    discharge, n = flow.face_m3_s, grid.n_cells
    exchange = grid.area_m2 * DISPERSION_M2_S / grid.distance_m
    kappa = discharge / 2 / np.tanh(discharge / 2 / exchange)
    from_tail, from_head = kappa + discharge / 2, kappa - discharge / 2
    cells = np.arange(n)
    entries = (from_tail, -from_tail, -from_head, from_head, flow.outflow_m3_s)
    rows = (grid.tail, grid.head, grid.tail, grid.head, cells)
    columns = (grid.tail, grid.tail, grid.head, grid.head, cells)
    exchanged = coo_array(
        (WATER_STEP_S * np.concatenate(entries), (np.concatenate(rows), np.concatenate(columns))), (n, n)
    )
    stored = coo_array((grid.volume_m3, (cells, cells)), (n, n))
    masses: Floats = grid.volume_m3 * spsolve((exchanged + stored).tocsc(), mass)
    return masses


def streets(n_nodes: int, demand_per_s: float = DEMAND_PER_S) -> RoadTraffic:
    """Return two-way streets on a lattice; vehicles go on to all streets but back, in equal shares."""
    _, one, other = lattice(n_nodes)
    tail, head = np.concatenate([one, other]), np.concatenate([other, one])
    n_links = len(tail)
    order = np.argsort(tail, kind="stable")
    count = np.bincount(tail, minlength=head.max() + 1)
    begins = np.cumsum(count) - count
    from_link = np.repeat(np.arange(n_links), count[head])
    first = np.cumsum(count[head]) - count[head]
    to_link = order[begins[head[from_link]] + np.arange(len(from_link)) - first[from_link]]
    onward = head[to_link] != tail[from_link]
    from_link, to_link = from_link[onward], to_link[onward]
    shares = (1 - ENDS_TRIP) / np.bincount(from_link, minlength=n_links)[from_link]

    def each(value: float) -> Floats:
        return np.full(n_links, value)

    diagram = FundamentalDiagram.of_capacity(each(FREE_SPEED_M_S), each(CAPACITY_PER_S), each(WAVE_SPEED_M_S))
    demand = np.random.default_rng(0).uniform(0, 2 * demand_per_s, n_links)
    return RoadTraffic(
        tail=tail,
        head=head,
        length_m=each(BLOCK_M),
        lanes=each(1.0),
        diagram=diagram,
        from_link=from_link,
        to_link=to_link,
        shares=shares[None],
        demand_per_s=demand[None],
        period_s=3600.0,
        green_share=each(1.0),
    )


def time_traffic(n_nodes: int, seconds: float) -> StepTimes:
    """Return the times of a step in congested traffic, by the twin and by a sweep without junctions."""
    traffic = streets(n_nodes)
    hour = traffic_hour(traffic, TRAFFIC_STEPS)
    assert hour()[3, 1].sum() > 0, "no queue spills back: the demand is too small for this benchmark"
    twin_s = least_time(hour, seconds) / TRAFFIC_STEPS
    return StepTimes(traffic.n_nodes, twin_s, least_time(plain_sweep(traffic), seconds))


def traffic_hour(traffic: RoadTraffic, n_steps: int) -> Callable[[], Floats]:
    """Return what runs the twin's compiled steps from the empty network on, and returns their report."""

    def run() -> Floats:
        reports = np.zeros((4, 2, traffic.n_links))
        Simulation(traffic, TRAFFIC_STEP_S).run_compiled(1, n_steps, reports)
        return reports

    return run


def plain_sweep(traffic: RoadTraffic) -> Callable[[], object]:
    """Return a sweep over the links: delayed counts, what can be sent and received, sums over movements."""
    n_links = traffic.n_links
    capacity = traffic.diagram.capacity_per_s * TRAFFIC_STEP_S
    storage = traffic.diagram.jam_density_per_m * traffic.length_m
    history = np.zeros((2, 12, n_links))
    entered, left, shares = np.zeros(n_links), np.zeros(n_links), traffic.shares[0]
    demand = traffic.demand_per_s[0] * TRAFFIC_STEP_S
    later, links = np.full(n_links, 3), np.arange(n_links)

    def sweep() -> None:
        sending = np.minimum(history[0, later, links] - left, capacity)
        receiving = np.minimum(history[1, later, links] + storage - entered, capacity)
        inflow = np.bincount(traffic.to_link, sending[traffic.from_link] * shares, n_links) + demand
        history[0, 0] = entered + np.minimum(inflow, receiving)
        history[1, 0] = left + sending

    return sweep


def compare_with_swmm(n_nodes: int) -> dict[str, float]:
    """Time an hour of the canals by SWMM and by the twin; print and return both [s]."""
    from pyswmm import Simulation as Swmm  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415

    grid, flow, mass = canals(n_nodes)
    twin_s = SWMM_HOURS * 3600 / WATER_STEP_S * least_time(water_step(grid, flow, mass), 1.0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "canals.inp"
        path.write_text(swmm_input(n_nodes), "ascii")
        with Swmm(str(path)) as simulation:
            began = time.process_time()
            for _ in simulation:
                pass
            swmm_s = time.process_time() - began
    print(
        f"an hour of {grid.n_nodes} nodes of canals: twin {twin_s:.3f} s, SWMM {swmm_s:.2f} s "
        f"({swmm_s / twin_s:.0f} times)"
    )
    return {"nodes": grid.n_nodes, "twin_s": twin_s, "swmm_s": swmm_s}


def swmm_input(n_nodes: int) -> str:
    """Return the canals as a file for SWMM: inflow at the first node, and an outfall behind the last one."""
    n, tail, head = lattice(n_nodes)
    columns = max(round(n_nodes**0.5), 2)
    row, column = np.divmod(np.arange(n), columns)
    level_m = SWMM_SLOPE * REACH_M * (columns + n // columns - row - column)
    sections = {
        "OPTIONS": [
            "FLOW_UNITS CMS",
            "FLOW_ROUTING DYNWAVE",
            "START_DATE 01/01/2026",
            "START_TIME 00:00:00",
            "END_DATE 01/01/2026",
            f"END_TIME {SWMM_HOURS:02d}:00:00",
            f"ROUTING_STEP {SWMM_STEP_S}",
            "VARIABLE_STEP 0",
            "REPORT_STEP 01:00:00",
            "THREADS 1",
        ],
        "JUNCTIONS": [f"n{at} {level_m[at]:.4f} 20 2 0 0" for at in range(n)],
        "OUTFALLS": [f"out {level_m[-1] - SWMM_SLOPE * REACH_M:.4f} FREE NO"],
        "CONDUITS": [
            f"c{at} n{one} n{other} {REACH_M:g} 0.03 0 0 0 0"
            for at, (one, other) in enumerate(zip(tail, head, strict=True))
        ]
        + [f"last n{n - 1} out {REACH_M:g} 0.03 0 0 0 0"],
        "XSECTIONS": [
            f"{one} RECT_OPEN 20 {SWMM_WIDTH_M:g} 0 0 1"
            for one in [*(f"c{at}" for at in range(len(tail))), "last"]
        ],
        "POLLUTANTS": ["P MG/L 0 0 0 0 NO * 0 0 0"],
        "INFLOWS": [f'n0 FLOW "" FLOW 1 1 {SWMM_INFLOW_M3_S:g}', 'n0 P "" CONCEN 1 1 10'],
    }
    return "\n\n".join("\n".join([f"[{name}]", *rows]) for name, rows in sections.items()) + "\n"


def compare_with_uxsim(n_nodes: int) -> dict[str, float]:
    """Time ten minutes of the same streets by UXsim and by the twin; print and return both [s]."""
    from uxsim import World  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415 - only where it is installed

    traffic = streets(n_nodes, UXSIM_DEMAND_PER_S)
    vehicles = float(traffic.demand_per_s.sum() * UXSIM_S)
    run = traffic_hour(traffic, round(UXSIM_S / TRAFFIC_STEP_S))
    run()
    twin_s = least_time(run, 1.0)
    world = World(
        name="", deltan=PLATOON, tmax=UXSIM_S, print_mode=0, save_mode=0, show_mode=0, random_seed=0, cpp=True
    )
    nodes = [world.addNode(str(one), 0, 0) for one in range(traffic.n_nodes)]
    jam = float(traffic.diagram.jam_density_per_m[0])
    for link, (tail, head) in enumerate(zip(traffic.tail, traffic.head, strict=True)):
        world.addLink(
            str(link), nodes[tail], nodes[head], BLOCK_M, free_flow_speed=FREE_SPEED_M_S, jam_density=jam
        )
    rng = np.random.default_rng(0)
    for _ in range(round(vehicles / PLATOON)):
        origin, target = rng.choice(traffic.n_nodes, 2, replace=False)
        world.addVehicle(nodes[origin], nodes[target], float(rng.uniform(0, UXSIM_S)))
    began = time.process_time()
    world.exec_simulation()
    uxsim_s = time.process_time() - began
    print(
        f"ten minutes of {traffic.n_nodes} nodes, {traffic.n_links} links and {vehicles:.0f} vehicles: "
        f"twin {twin_s:.3f} s, UXsim {uxsim_s:.2f} s ({uxsim_s / twin_s:.0f} times)"
    )
    return {"nodes": traffic.n_nodes, "vehicles": vehicles, "twin_s": twin_s, "uxsim_s": uxsim_s}


if __name__ == "__main__":
    main()
