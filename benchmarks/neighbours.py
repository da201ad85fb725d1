"""Runs the neighbour check (QARTOD test 12) on recorded speeds of 207 loops in Los Angeles; plots one loop.

``python -m benchmarks neighbours [--picture docs/pictures/neighbours.png]``. Data: TOWNTWIN_DATA. A loop is
compared with the median of those close to it (adjacency above `CLOSE`), without lag. The data have no labels.
Last, one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analytics.core import checks
from analytics.core.flags import Flag

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DATA = Path(os.environ.get("TOWNTWIN_DATA", Path(__file__).parents[2] / "shared/data"))
TO_KM_H = 1.609344
CLOSE = 0.7
TICK_S = 300.0
DAY = 288
SUSPECT, FAIL = 40.0, 60.0  # km/h


def main() -> None:
    """Check all loops, print the shares of flags, and draw the loop with the most fails."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks neighbours")
    parser.add_argument("benchmark", nargs="?")
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    folder = DATA / "metrla"
    speed = np.loadtxt(folder / "los_speed.csv", delimiter=",", skiprows=1).T * TO_KM_H
    close = np.loadtxt(folder / "los_adj.csv", delimiter=",") > CLOSE
    np.fill_diagonal(close, val=False)
    time_s = TICK_S * np.arange(speed.shape[1])
    flags = np.full(speed.shape, Flag.NOT_EVALUATED, np.uint8)
    for loop in np.flatnonzero(close.sum(axis=1) >= 2):
        flags[loop] = checks.neighbour(
            speed[loop], time_s, speed[close[loop]], max_age_s=0, suspect=SUSPECT, fail=FAIL
        )
    judged = flags != Flag.NOT_EVALUATED
    shares = {flag.name: float((flags[judged] == flag).mean()) for flag in (Flag.SUSPECT, Flag.FAIL)}
    failing = (flags == Flag.FAIL).sum(axis=1)
    worst = int(failing.argmax())
    loops = int(judged.any(axis=1).sum())
    print(f"{loops} of {len(speed)} loops have two close ones or more; {int(judged.sum())} readings judged")
    print(f"suspect {shares['SUSPECT']:.4f}, fail {shares['FAIL']:.4f}")
    print(f"most fails: {int(failing[worst])} of one loop")
    if arguments.picture:
        _draw(arguments.picture, speed, close[worst], flags, worst)
    print(json.dumps({"loops": loops, "suspect": shares["SUSPECT"], "fail": shares["FAIL"]}))


def _draw(path: Path, speed: Floats, close: NDArray[np.bool_], flags: NDArray[np.uint8], loop: int) -> None:
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    by_day = (flags[loop] == Flag.FAIL).reshape(-1, DAY).sum(axis=1)
    day = slice(int(by_day.argmax()) * DAY, (int(by_day.argmax()) + 1) * DAY)
    hours = np.arange(DAY) / 12
    figure = Figure(figsize=(10, 3.5), dpi=80, layout="constrained")
    axes = figure.subplots()
    axes.plot(
        hours,
        np.median(speed[close][:, day], axis=0),
        color="#9ecae1",
        label="median of the loops close to it",
    )
    axes.plot(hours, speed[loop, day], color="#1f4e79", linewidth=0.9, label="the loop")
    for flag, color in ((Flag.SUSPECT, "#f28e2b"), (Flag.FAIL, "#c0392b")):
        is_so = flags[loop, day] == flag
        label = f"flag {flag}: {flag.name.lower()}"
        axes.plot(hours[is_so], speed[loop, day][is_so], ".", color=color, label=label)
    axes.set(xlabel="hour of the day", ylabel="speed [km/h]", xlim=(0, 24))
    axes.legend(loc="lower left", fontsize=7, ncols=4, frameon=False)
    axes.grid(visible=True, alpha=0.3)
    figure.savefig(path, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    main()
