"""Compares the transport of the twin with SWMM 5 on a looped network of canals.

``python -m benchmarks transport_swmm``. SWMM comes with the package ``pyswmm``, which is not among the
requirements: ``pip install pyswmm``. A canal splits in two arms that are joined by a cross canal and meet
again. SWMM's dynamic wave gives discharges and volumes until they are steady, and then carries a pulse of an
hour; the twin takes both from it and carries the same pulse. SWMM mixes each conduit as a whole, the twin's
cells are as long. Compared at the last place before the end of every canal: mass, mean time of passage, its
spread, and the greatest concentration. Prints a table, and last one JSON line.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.twin.channel_grid import divide_reaches
from analytics.twin.water_transport import FlowField, TransportModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CONDUIT_M, PER_CANAL, SLOPE = 100.0, 10, 2e-4
# Beginning, end and width [m]; the arm by C is the narrower one at its end, so that C-D flows to D.
CANALS = (
    ("A", "B", 6.0),
    ("B", "C", 6.0),
    ("B", "D", 4.0),
    ("C", "D", 4.0),
    ("C", "E", 3.0),
    ("D", "E", 8.0),
    ("E", "Z", 6.0),
)
LEVEL = {"A": 3, "B": 2.5, "C": 2, "D": 1.8, "E": 1, "Z": 0}  # places along the slope, in canals
INFLOW_M3_S, CONCENTRATION = 3.0, 10.0  # [g/m³] during the pulse
WARM_UP_H, PULSE_H, HOURS, REPORT_S = 12, 1, 48, 60
DISPERSION_M2_S = 0.0


class SwmmRun(NamedTuple):
    """What SWMM gives: (n_conduits,) ends, discharge and volume; (n_times, n_conduits) concentration."""

    names: list[str]
    tail: NDArray[np.intp]
    head: NDArray[np.intp]
    n_nodes: int
    discharge_m3_s: Floats
    volume_m3: Floats
    concentration: Floats


class Passage(NamedTuple):
    """Of a pulse at a place: mass [kg], mean time and its spread [h], greatest concentration [g/m³]."""

    mass_kg: float
    mean_h: float
    spread_h: float
    peak: float


def main() -> None:
    """Run both, print the passages and the JSON line."""
    if find_spec("pyswmm") is None:
        sys.exit("this benchmark needs SWMM 5 from the package pyswmm: pip install pyswmm")
    with tempfile.TemporaryDirectory() as folder:
        swmm = run_swmm(Path(folder))
    twin = run_twin(swmm)
    print(f"{'canal':8}{'':6}{'mass [kg]':>11}{'mean [h]':>10}{'spread [h]':>12}{'peak [g/m³]':>13}")
    differences = []
    for begin, end, _ in CANALS:
        at = swmm.names.index(f"{begin}{end}{PER_CANAL - 2}")
        ours = passage(twin[:, at], swmm.discharge_m3_s[at])
        theirs = passage(swmm.concentration[:, at : at + 2].mean(axis=1), swmm.discharge_m3_s[at])
        for name, one in (("SWMM", theirs), ("twin", ours)):
            columns = f"{one.mass_kg:11.2f}{one.mean_h:10.3f}{one.spread_h:12.3f}{one.peak:13.3f}"
            print(f"{begin}-{end:6}{name:6}{columns}")
        differences.append([a / b - 1 for a, b in zip(ours, theirs, strict=True)])
    result = {"at_the_outfall": differences[-1], "greatest": np.abs(differences).max(axis=0).tolist()}
    for place, values in result.items():
        print(f"difference {place}: " + ", ".join(f"{one:.1%}" for one in values))
    print(json.dumps({place: [round(float(one), 4) for one in values] for place, values in result.items()}))


def inputs() -> tuple[str, list[str], list[str], list[tuple[str, str]]]:
    """Return the file for SWMM, its conduits and nodes, and the ends of the conduits."""
    level: dict[str, float] = {}
    ends: list[tuple[str, str]] = []
    names: list[str] = []
    widths: list[float] = []
    for begin, end, width_m in CANALS:
        chain = [begin, *(f"{begin}{end}n{one}" for one in range(1, PER_CANAL)), end]
        for number, name in enumerate(chain):
            level[name] = LEVEL[begin] + (LEVEL[end] - LEVEL[begin]) * number / PER_CANAL
        names += [f"{begin}{end}{one}" for one in range(PER_CANAL)]
        widths += PER_CANAL * [width_m]
        ends += list(itertools.pairwise(chain))
    drop_m = SLOPE * CONDUIT_M * PER_CANAL
    nodes = sorted(set(level) - {"Z"})
    end_s = WARM_UP_H + PULSE_H
    sections = {
        "OPTIONS": [
            "FLOW_UNITS CMS",
            "FLOW_ROUTING DYNWAVE",
            "START_DATE 01/01/2026",
            "START_TIME 00:00:00",
            f"END_DATE 01/{1 + HOURS // 24:02d}/2026",
            "END_TIME 00:00:00",
            "REPORT_START_DATE 01/01/2026",
            "REPORT_START_TIME 00:00:00",
            "ROUTING_STEP 5",
            f"REPORT_STEP 00:{REPORT_S // 60:02d}:00",
            "INERTIAL_DAMPING NONE",
            "ALLOW_PONDING NO",
        ],
        "JUNCTIONS": [f"{one} {drop_m * level[one]:.4f} 10 1.5 0 0" for one in nodes],
        "OUTFALLS": ["Z 0 FIXED 1.2 NO"],
        "CONDUITS": [
            f"{name} {tail} {head} {CONDUIT_M:g} 0.03 0 0 0 0"
            for name, (tail, head) in zip(names, ends, strict=True)
        ],
        "XSECTIONS": [
            f"{one} RECT_OPEN 10 {width_m:g} 0 0 1" for one, width_m in zip(names, widths, strict=True)
        ],
        "POLLUTANTS": ["P MG/L 0 0 0 0 NO * 0 0 0"],
        "INFLOWS": [f'A FLOW "" FLOW 1 1 {INFLOW_M3_S:g}', "A P pulse CONCEN 1 1 0"],
        "TIMESERIES": [
            "pulse 0 0",
            f"pulse {WARM_UP_H}:00 0",
            f"pulse {WARM_UP_H}:01 {CONCENTRATION:g}",
            f"pulse {end_s}:00 {CONCENTRATION:g}",
            f"pulse {end_s}:01 0",
            f"pulse {HOURS}:00 0",
        ],
        "REPORT": ["NODES ALL", "LINKS ALL"],
    }
    text = "\n\n".join("\n".join([f"[{name}]", *rows]) for name, rows in sections.items())
    return text + "\n", names, [*nodes, "Z"], ends


def run_swmm(folder: Path) -> SwmmRun:
    """Return the steady flow before the pulse, and the concentrations of all conduits from then on."""
    from pyswmm import Output, Simulation  # type: ignore[import-not-found]  # noqa: PLC0415 - not a requirement
    from swmm.toolkit.shared_enum import LinkAttribute  # type: ignore[import-not-found]  # noqa: PLC0415

    text, names, nodes, ends = inputs()
    path = folder / "loops.inp"
    path.write_text(text, "ascii")
    with Simulation(str(path)) as simulation:
        simulation.execute()
    with Output(str(path.with_suffix(".out"))) as output:
        flow, volume, concentration = (
            np.stack(
                [np.array(list(output.link_series(one, attribute).values())) for one in names], axis=1
            ).astype(np.float64)
            for attribute in (
                LinkAttribute.FLOW_RATE,
                LinkAttribute.FLOW_VOLUME,
                LinkAttribute.POLLUT_CONC_0,
            )
        )
    before = WARM_UP_H * 3600 // REPORT_S - 1
    tail, head = (np.array([nodes.index(one[side]) for one in ends], np.intp) for side in (0, 1))
    return SwmmRun(names, tail, head, len(nodes), flow[before], volume[before], concentration[before:])


def run_twin(swmm: SwmmRun) -> Floats:
    """Return the concentrations at the ends of the conduits, (n_times, n_conduits) [g/m³]."""
    grid = divide_reaches(
        swmm.n_nodes,
        swmm.tail,
        swmm.head,
        length_m=np.full(len(swmm.tail), CONDUIT_M),
        area_m2=swmm.volume_m3 / CONDUIT_M,
        cell_m=CONDUIT_M,
    )
    flow = FlowField.steady(grid, swmm.discharge_m3_s)
    step = TransportModel(grid).step(flow, float(REPORT_S), dispersion_m2_s=DISPERSION_M2_S, stages=2)
    entry = int(np.setdiff1d(swmm.tail, swmm.head)[0])
    mass, source = np.zeros(grid.n_cells), np.zeros(grid.n_cells)
    found = np.zeros((len(swmm.concentration), len(swmm.tail)))
    for number in range(1, len(found)):
        source[entry] = INFLOW_M3_S * CONCENTRATION if number <= PULSE_H * 3600 // REPORT_S else 0.0
        mass = step.forward(mass, source)
        found[number] = (mass / grid.volume_m3)[swmm.head]
    return found


def passage(concentration: Floats, discharge_m3_s: float) -> Passage:
    """Return the passage of a pulse from concentrations at equal times, (n_times,) [g/m³]."""
    hours = np.arange(len(concentration)) * REPORT_S / 3600
    total = concentration.sum()
    mean = float(hours @ concentration / total)
    spread = float(np.sqrt((hours - mean) ** 2 @ concentration / total))
    mass_kg = float(total * REPORT_S * abs(discharge_m3_s) / 1000)
    return Passage(mass_kg, mean, spread, float(concentration.max()))


if __name__ == "__main__":
    main()
