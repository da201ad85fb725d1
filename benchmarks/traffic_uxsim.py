"""Compares the road traffic of the twin with UXsim on Sioux Falls.

``python -m benchmarks traffic_uxsim FOLDER``. UXsim is not among the requirements: ``pip install uxsim``.
The folder has ``siouxfalls_links.csv`` and ``siouxfalls_demand_short.csv`` of UXsim's repository
(``tests/dat``), and is not part of this one. UXsim's vehicles have destinations and choose routes; the twin
takes the demand of each first link and the shares of the movements, in periods of five minutes, from them.
Compared: trips ended, vehicle hours on links and outside, vehicles that entered each link, and which links
are congested (below half of the free speed). Merge priorities are those of the file in both; the twin's are
scaled to the mean capacity, against which vehicles from outside count. Prints a table, and last one JSON
line.
"""

from __future__ import annotations

import argparse
import csv
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
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DURATION_S, PERIOD_S, STEP_S = 9000.0, 300.0, 10.0
REACTION_S = 1.0  # of UXsim's drivers: waves travel at 1 / (reaction time x jam density)


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


def main() -> None:
    """Run both and print the comparison."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks traffic_uxsim")
    parser.add_argument("benchmark", nargs="?")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--platoon", type=int, default=5, help="vehicles that UXsim moves together")
    arguments = parser.parse_args()
    folder, platoon = arguments.folder, arguments.platoon
    if find_spec("uxsim") is None:
        sys.exit("this benchmark needs UXsim: pip install uxsim")
    links, demand = (read_rows(folder / f"siouxfalls_{name}.csv") for name in ("links", "demand_short"))
    began = time.process_time()
    trips = run_uxsim(links, demand, platoon)
    uxsim_s = time.process_time() - began
    theirs = totals_of_trips(links, trips, platoon)
    traffic = road_traffic(links, trips, platoon)
    began = time.process_time()
    run = simulate(traffic, DURATION_S, step_s=STEP_S, report_s=PERIOD_S)
    twin_s = time.process_time() - began
    entered = run.entered[-1]
    hours = run.vehicle_hours
    speed = np.divide(run.length_m * entered, 3600 * hours, out=run.free_speed_m_s.copy(), where=hours > 0)
    inside = float((run.entered[-1] - run.left[-1]).sum() + run.waiting[-1].sum())
    demanded = platoon * len(trips)
    ours = Totals(
        demanded - inside, float(hours.sum()), run.waiting_hours, entered, speed / run.free_speed_m_s
    )
    print(f"{'':24}{'UXsim':>10}{'twin':>10}{'difference':>12}")
    result: dict[str, float] = {"uxsim_s": round(uxsim_s, 2), "twin_s": round(twin_s, 2)}
    for name in ("ended", "link_hours", "outside_hours"):
        a, b = getattr(theirs, name), getattr(ours, name)
        print(f"{name.replace('_', ' '):24}{a:10.0f}{b:10.0f}{b / a - 1:12.1%}")
        result[name] = round(b / a - 1, 4)
    a, b = theirs.link_hours + theirs.outside_hours, ours.link_hours + ours.outside_hours
    print(f"{'all vehicle hours':24}{a:10.0f}{b:10.0f}{b / a - 1:12.1%}")
    slow = [one.relative_speed < 0.5 for one in (theirs, ours)]
    result |= {
        "vehicle_hours": round(b / a - 1, 4),
        "entered_of_links": round(
            float(np.abs(ours.entered - theirs.entered).sum() / theirs.entered.sum()), 4
        ),
        "congested_both": int((slow[0] & slow[1]).sum()),
        "congested_uxsim": int(slow[0].sum()),
        "congested_twin": int(slow[1].sum()),
    }
    print(
        f"vehicles entering links differ by {result['entered_of_links']:.1%}; congested links: "
        f"{result['congested_uxsim']} in UXsim, {result['congested_twin']} in the twin, "
        f"{result['congested_both']} in both; {uxsim_s:.1f} and {twin_s:.2f} s"
    )
    print(json.dumps(result))


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def run_uxsim(links: list[dict[str, str]], demand: list[dict[str, str]], platoon: int) -> list[Trip]:
    """Return the trips of UXsim's platoons."""
    from uxsim import World  # type: ignore[import-not-found]  # noqa: PLC0415 - only where it is installed

    world: Any = World(
        name="",
        deltan=platoon,
        reaction_time=REACTION_S,
        tmax=DURATION_S,
        print_mode=0,
        save_mode=0,
        show_mode=0,
        random_seed=0,
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
    for row in demand:
        world.adddemand(row["orig"], row["dest"], float(row["start_t"]), float(row["end_t"]), float(row["q"]))
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
    """Return the roads of the twin with demand and shares of the trips."""
    n_links, n_periods = len(links), round(DURATION_S / PERIOD_S)
    tail, head = (np.array([int(row[end]) - 1 for row in links], np.intp) for end in ("start", "end"))
    length_m, free, jam = (np.array([float(row[one]) for row in links]) for one in ("length", "u", "kappa"))
    moves = [(a, b) for a in range(n_links) for b in range(n_links) if head[a] == tail[b]]
    index = {move: at for at, move in enumerate(moves)}
    counts, out = np.zeros((n_periods, len(moves))), np.zeros((n_periods, n_links))
    demand = np.zeros((n_periods, n_links))
    for trip in trips:
        if not trip.links:
            continue
        demand[int(trip.departure_s // PERIOD_S), trip.links[0]] += platoon
        for at, link in enumerate(trip.links):
            left_s = trip.entered_s[at + 1] if at + 1 < len(trip.links) else trip.ended_s
            period = min(int(min(left_s, DURATION_S) // PERIOD_S), n_periods - 1)
            if left_s < np.inf:
                out[period, link] += 1
            if at + 1 < len(trip.links):
                counts[period, index[link, trip.links[at + 1]]] += 1
    from_link, to_link = (np.array([move[side] for move in moves], np.intp) for side in (0, 1))
    mean = counts.sum(axis=0) / np.maximum(out.sum(axis=0)[from_link], 1)
    shares = np.where(out[:, from_link] > 0, counts / np.maximum(out[:, from_link], 1), mean)
    diagram = FundamentalDiagram(free, 1 / (REACTION_S * jam), jam)
    priority = np.array([float(row["merge_priority"]) for row in links])
    return RoadTraffic(
        tail=tail,
        head=head,
        length_m=length_m,
        lanes=np.ones(n_links),
        diagram=diagram,
        from_link=from_link,
        to_link=to_link,
        shares=shares,
        demand_per_s=demand / PERIOD_S,
        period_s=PERIOD_S,
        green_share=np.ones(n_links),
        priority_per_s=priority * diagram.capacity_per_s.mean() / priority.mean(),
    )


if __name__ == "__main__":
    main()
