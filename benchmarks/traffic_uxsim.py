"""Compares the road traffic of the twin with UXsim on Sioux Falls.

``python -m benchmarks traffic_uxsim FOLDER [--platoon 1] [--seeds 5]``. UXsim is not among the requirements:
``pip install uxsim``. The folder has ``siouxfalls_links.csv`` and ``siouxfalls_demand_short.csv`` of UXsim's
repository (``dat``), and is not part of this one; of the demand the first row of each pair is taken.

UXsim runs once with its route choice. A vehicle that waits at the end of a link chooses its next link anew in
each step there, so that queues are not first in, first out. It runs again for each seed with the routes of
that run, each vehicle's fixed: what is left to chance is who goes first at merges. In UXsim vehicles from
outside wait in one queue at their node, and enter before those on the road; here that is a link of its own
for each node, with a priority above all others. For each seed the twin takes its demand and the shares of
the movements, in periods of a minute, from that seed's vehicles, and merge priorities from the file.

Compared with each seed, median and range: trips ended, vehicle hours on links and outside; and which links
are congested (below half of the free speed). The differences between UXsim's own seeds are the yardstick.
Prints a table, and last one JSON line.
"""

from __future__ import annotations

import argparse
import csv
import gc
import json
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analytics.twin.fundamental_diagram import FundamentalDiagram
from analytics.twin.link_transmission import simulate
from analytics.twin.road_traffic import RoadTraffic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from analytics.twin.link_transmission import TrafficRun

    Floats = NDArray[np.float64]

DURATION_S, REPORT_S, STEP_S = 9000.0, 300.0, 5.0
PERIOD_S = 60.0  # of shares and demand; the queues of movements are as long as minutes
REACTION_S = 1.0  # of UXsim's drivers: waves travel at 1 / (reaction time x jam density)
CONGESTED = 0.5  # of the free speed
# links of vehicles from outside: short, without a bound, and served before all others
OUTSIDE_M, OUTSIDE_M_S, OUTSIDE_JAM_PER_M, OUTSIDE_PRIORITY_PER_S = 100.0, 100.0, 1000.0, 1000.0


class Trip(NamedTuple):
    """A platoon: departure [s], links in order, when it entered each, and ended or inf [s]."""

    departure_s: float
    links: list[int]
    entered_s: list[float]
    ended_s: float


class Totals(NamedTuple):
    """Of a simulation; link values are (n_links,)."""

    ended: float
    link_hours: float
    outside_hours: float
    entered: Floats
    relative_speed: Floats

    @property
    def all_hours(self) -> float:
        """Vehicle hours on links and outside."""
        return self.link_hours + self.outside_hours


def main() -> None:
    """Run both and print the comparison."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks traffic_uxsim")
    parser.add_argument("benchmark", nargs="?")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--platoon", type=int, default=1, help="vehicles that UXsim moves together")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    if find_spec("uxsim") is None:
        sys.exit("this benchmark needs UXsim: pip install uxsim")
    links, demand = (
        read_rows(arguments.folder / f"siouxfalls_{one}.csv") for one in ("links", "demand_short")
    )
    platoon, n_links = arguments.platoon, len(links)
    choosing = run_uxsim(links, platoon, demand=demand)
    began = time.process_time()
    fixed = [run_uxsim(links, platoon, routes=choosing, seed=seed) for seed in range(arguments.seeds)]
    uxsim_s = (time.process_time() - began) / arguments.seeds
    traffics = [road_traffic(links, trips, platoon) for trips in fixed]
    simulate(traffics[0], REPORT_S, step_s=STEP_S, report_s=REPORT_S)  # loads what is compiled
    began = time.process_time()
    runs = [simulate(one, DURATION_S, step_s=STEP_S, report_s=REPORT_S) for one in traffics]
    twin_s = (time.process_time() - began) / arguments.seeds
    twins = [
        totals_of_run(run, n_links, platoon * len(trips)) for run, trips in zip(runs, fixed, strict=True)
    ]
    seeds = [totals_of_trips(links, trips, platoon) for trips in fixed]
    first = totals_of_trips(links, choosing, platoon)
    result = compare_totals(first, seeds, twins) | compare_congestion(links, seeds, twins)
    result |= {"uxsim_s": round(uxsim_s, 2), "twin_s": round(twin_s, 3)}
    print(f"processor time: UXsim {uxsim_s:.1f} s a seed, twin {twin_s:.3f} s")
    print(json.dumps(result))


def totals_of_run(run: TrafficRun, n_links: int, vehicles: int) -> Totals:
    """Return the totals of the twin's run; the links after ``n_links`` are those from outside."""
    inside = float((run.entered[-1] - run.left[-1]).sum() + run.waiting[-1].sum())
    entered, hours = run.entered[-1], run.vehicle_hours
    metres = run.length_m * entered
    speed = np.divide(metres, 3600 * hours, out=run.free_speed_m_s.copy(), where=hours > 0)
    passing_hours = float(entered[n_links:].sum()) * OUTSIDE_M / OUTSIDE_M_S / 3600
    return Totals(
        vehicles - inside,
        float(hours[:n_links].sum()),
        run.waiting_hours + float(hours[n_links:].sum()) - passing_hours,
        entered[:n_links],
        (speed / run.free_speed_m_s)[:n_links],
    )


def compare_totals(first: Totals, seeds: list[Totals], twins: list[Totals]) -> dict[str, float | list[float]]:
    """Print the totals; return median, least and greatest difference of the twin, and the seeds' ranges."""
    columns = ("routes chosen", "fixed: median", "least", "greatest", "twin: median", "difference", "range")
    print(" " * 20 + "".join(f"{one:>14}" for one in columns))
    result: dict[str, float | list[float]] = {}
    for name in ("ended", "link_hours", "outside_hours", "all_hours"):
        values, ours = (np.array([getattr(one, name) for one in kind]) for kind in (seeds, twins))
        difference = ours / values - 1
        shares = [float(np.median(difference)), float(difference.min()), float(difference.max())]
        print(
            f"{name.replace('_', ' '):20}{getattr(first, name):14.0f}{np.median(values):14.0f}"
            f"{values.min():14.0f}{values.max():14.0f}{np.median(ours):14.0f}{shares[0]:14.1%}"
            f"  {shares[1]:.1%} to {shares[2]:.1%}"
        )
        result[name] = [round(one, 4) for one in shares]
        result[f"{name}_range"] = round(float((values.max() - values.min()) / np.median(values)), 4)
    apart = [
        np.abs(ours.entered - one.entered).sum() / one.entered.sum()
        for one, ours in zip(seeds, twins, strict=True)
    ]
    result["entered_of_links"] = round(float(np.median(apart)), 4)
    print(f"vehicles entering links differ by {np.median(apart):.1%}")
    return result


def compare_congestion(
    links: list[dict[str, str]], seeds: list[Totals], twins: list[Totals]
) -> dict[str, int | list[int]]:
    """Print which links are congested in the seeds and in the twin; return their numbers in each seed."""
    slow, ours = (np.array([one.relative_speed < CONGESTED for one in kind]) for kind in (seeds, twins))
    most, most_ours = (one.mean(axis=0) > 0.5 for one in (slow, ours))
    apart = (slow != most).sum(axis=1)
    for at in np.flatnonzero(slow.any(axis=0) | ours.any(axis=0)):
        ratios, own = ([one.relative_speed[at] for one in kind] for kind in (seeds, twins))
        print(
            f"  {links[at]['name']:8}congested in {slow[:, at].mean():4.0%} of the seeds, "
            f"{ours[:, at].mean():4.0%} of the twin's; ratio to the free speed {np.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}), "
            f"twin {np.median(own):.2f} ({min(own):.2f} to {max(own):.2f})"
        )
    print(
        f"congested links: {most.sum()} in most seeds, {most_ours.sum()} in most of the twin's, "
        f"{(most & most_ours).sum()} in both; a seed and most seeds differ in {apart.min()} to {apart.max()}"
    )
    return {
        "congested_uxsim": slow.sum(axis=1).tolist(),
        "congested_twin": ours.sum(axis=1).tolist(),
        "congested_both": (slow & ours).sum(axis=1).tolist(),
        "seeds_differ_at_most": int(apart.max()),
    }


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def run_uxsim(
    links: list[dict[str, str]],
    platoon: int,
    *,
    demand: Sequence[dict[str, str]] = (),
    routes: Sequence[Trip] = (),
    seed: int = 0,
) -> list[Trip]:
    """Return the trips of UXsim's platoons: of a demand that chooses its routes, or of trips on theirs."""
    from uxsim import World  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415 - only where it is installed

    gc.collect()  # the world before, whose objects refer to one another: gigabytes with platoons of one
    world: Any = World(
        name="",
        deltan=platoon,
        reaction_time=REACTION_S,
        tmax=DURATION_S,
        print_mode=0,
        save_mode=0,
        show_mode=0,
        random_seed=seed,
        cpp=True,
    )
    for name in sorted({row[end] for row in links for end in ("start", "end")}, key=int):
        world.addNode(name, 0, 0)
    for row in links:
        world.addLink(
            row["name"],
            row["start"],
            row["end"],
            float(row["length"]),
            free_flow_speed=float(row["u"]),
            jam_density=float(row["kappa"]),
            merge_priority=float(row["merge_priority"]),
        )
    first_rows = {(row["orig"], row["dest"]): row for row in reversed(demand)}
    for row in reversed(first_rows.values()):
        world.adddemand(row["orig"], row["dest"], float(row["start_t"]), float(row["end_t"]), float(row["q"]))
    for trip in routes:
        if trip.links:  # one that did not end is on its way to where its last link ends
            begin, end = links[trip.links[0]]["start"], links[trip.links[-1]]["end"]
            vehicle = world.addVehicle(begin, end, trip.departure_s)
            vehicle.enforce_route([links[one]["name"] for one in trip.links])
    world.exec_simulation()
    number = {row["name"]: at for at, row in enumerate(links)}
    trips = []
    for vehicle in world.VEHICLES.values():
        (departure_s, _), *passed = vehicle.log_t_link
        has_ended = bool(passed) and isinstance(passed[-1][1], str)
        used = passed[:-1] if has_ended else passed
        ended_s = float(passed[-1][0]) if has_ended else np.inf
        trips.append(
            Trip(
                float(departure_s),
                [number[one.name] for _, one in used],
                [float(t) for t, _ in used],
                ended_s,
            )
        )
    return trips


def totals_of_trips(links: list[dict[str, str]], trips: list[Trip], platoon: int) -> Totals:
    """Return the totals of UXsim's trips."""
    entered, seconds, metres = (np.zeros(len(links)) for _ in range(3))
    outside_s, ended = 0.0, 0
    for trip in trips:
        first_s = trip.entered_s[0] if trip.links else DURATION_S
        outside_s += min(first_s, DURATION_S) - trip.departure_s
        ended += trip.ended_s <= DURATION_S
        after_s = [*trip.entered_s[1:], min(trip.ended_s, DURATION_S)]
        for link, begin_s, end_s in zip(trip.links, trip.entered_s, after_s, strict=True):
            entered[link] += 1
            seconds[link] += end_s - begin_s
            metres[link] += float(links[link]["length"])
    free = np.array([float(row["u"]) for row in links])
    speed = np.divide(metres, seconds, out=free.copy(), where=seconds > 0)
    return Totals(
        platoon * ended,
        platoon * float(seconds.sum()) / 3600,
        platoon * outside_s / 3600,
        platoon * entered,
        speed / free,
    )


def road_traffic(links: list[dict[str, str]], trips: list[Trip], platoon: int) -> RoadTraffic:
    """Return the twin's roads, and after them a link into each node, with the trips' demand and shares."""
    n_periods = round(DURATION_S / PERIOD_S)
    tail, head = (np.array([int(row[end]) - 1 for row in links], np.intp) for end in ("start", "end"))
    n_roads, n_nodes = len(links), int(tail.max()) + 1
    n_links, nodes = n_roads + n_nodes, np.arange(n_nodes)
    tail, head = np.concatenate([tail, n_nodes + nodes]), np.concatenate([head, nodes])
    moves = [(a, b) for a in range(n_links) for b in range(n_roads) if head[a] == tail[b]]
    index = {move: at for at, move in enumerate(moves)}
    counts, out = np.zeros((n_periods, len(moves))), np.zeros((n_periods, n_links))
    demand = np.zeros((n_periods, n_links))
    for trip in trips:
        if not trip.links:
            continue
        outside = n_roads + int(tail[trip.links[0]])
        demand[int(trip.departure_s // PERIOD_S), outside] += platoon
        used = [outside, *trip.links]
        for at, left_s in enumerate([*trip.entered_s, trip.ended_s]):
            if left_s < np.inf:
                period = min(int(left_s // PERIOD_S), n_periods - 1)
                out[period, used[at]] += 1
                if at + 1 < len(used):
                    counts[period, index[used[at], used[at + 1]]] += 1
    from_link, to_link = (np.array([move[side] for move in moves], np.intp) for side in (0, 1))
    mean = counts.sum(axis=0) / np.maximum(out.sum(axis=0)[from_link], 1)
    shares = np.where(out[:, from_link] > 0, counts / np.maximum(out[:, from_link], 1), mean)
    length_m, free, jam, priority = (
        np.array([float(row[one]) for row in links]) for one in ("length", "u", "kappa", "merge_priority")
    )
    road = FundamentalDiagram(free, 1 / (REACTION_S * jam), jam)
    priority *= road.capacity_per_s.mean() / priority.mean()

    def with_outside(values: Floats, outside: float) -> Floats:
        return np.concatenate([values, np.full(n_nodes, outside)])

    return RoadTraffic(
        tail=tail,
        head=head,
        length_m=with_outside(length_m, OUTSIDE_M),
        lanes=np.ones(n_links),
        diagram=FundamentalDiagram(
            with_outside(free, OUTSIDE_M_S),
            with_outside(road.wave_speed_m_s, OUTSIDE_M_S),
            with_outside(jam, OUTSIDE_JAM_PER_M),
        ),
        from_link=from_link,
        to_link=to_link,
        shares=shares,
        demand_per_s=demand / PERIOD_S,
        period_s=PERIOD_S,
        green_share=np.ones(n_links),
        priority_per_s=with_outside(priority, OUTSIDE_PRIORITY_PER_S),
    )


if __name__ == "__main__":
    main()
