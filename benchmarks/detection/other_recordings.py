"""Loads NAB, GECCO 2018, SKAB, and METR-LA with injected incidents as families."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.detection import nab, recordings
from benchmarks.detection.labelled import DATA, NONE, LabelledSeries, resolution_of, spans

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

GECCO_QUANTITIES = {
    "Cl": "chlorine",
    "pH": "ph",
    "Redox": "redox",
    "Leit": "conductivity",
    "Trueb": "turbidity",
    "Cl_2": "chlorine_2",
}
SKAB_INTERVAL_S = 900.0  # a second of the loop is played as a quarter of an hour
MILE_KM = 1.609344
LOOP_INTERVAL_S = 300.0
INCIDENT_LOOPS, INCIDENTS_EACH, INCIDENT_SEED = 2, 2, 20  # on every second loop, two
FREE_KM_H = 80.0  # an incident begins in traffic faster than this
INCIDENT_SPEEDS = {"held to 70 %": 0.7, "held to 50 %": 0.5, "held to 30 %": 0.3}
INCIDENT_TICKS = (6, 12, 24)  # half an hour to two hours
INCIDENT_RAMP_TICKS = 2


def nab_category(category: str) -> list[LabelledSeries]:
    """Return the series of one category of the Numenta Anomaly Benchmark, with its windows as events."""
    found = []
    for one in nab.corpus(DATA / "nab"):
        if one.name.startswith(f"{category}/"):
            time_s, first = np.unique(one.time_s, return_index=True)
            value = one.value[first]
            events = np.array([[one.time_s[low], one.time_s[high]] for low, high in one.windows]).reshape(
                -1, 2
            )
            found.append(
                LabelledSeries(
                    one.name, one.name, category, time_s, value, float(np.median(np.diff(time_s))),
                    resolution_of(value), events, np.full(len(events), "window"), NONE,
                )
            )  # fmt: skip
    return found


def gecco() -> list[LabelledSeries]:
    """Return the drinking water of the training half of GECCO 2018; its events are those of the site."""
    table = recordings.table(DATA / "gecco2018/train.csv.gz", ",")
    event = recordings.floats(table, "EVENT") > 0
    time_s = 60.0 * np.arange(len(event), dtype=np.float64)
    events = spans(time_s, event, 3_600.0)
    return [
        LabelledSeries(
            f"gecco/{quantity}", "gecco", quantity, time_s, value, 60.0, resolution_of(value), events,
            np.full(len(events), "event"), NONE,
        )
        for column, quantity in GECCO_QUANTITIES.items()
        for value in [recordings.floats(table, column)]
    ]  # fmt: skip


def skab() -> list[LabelledSeries]:
    """Return the signals of a water circulation loop, file by file; its events are those of the file."""
    found: list[LabelledSeries] = []
    for one in recordings.load_skab(DATA / "skab"):
        time_s = SKAB_INTERVAL_S * np.arange(len(one.value), dtype=np.float64)
        events = spans(time_s, one.event, 0.0)
        found.extend(
            LabelledSeries(
                f"{one.name}/{number}", one.name, f"signal_{number}", time_s, value, SKAB_INTERVAL_S,
                resolution_of(value), events, np.full(len(events), one.name.split("/", maxsplit=1)[0]), NONE,
            )
            for number, value in enumerate(one.value.T)
        )  # fmt: skip
    return found


def metrla() -> list[LabelledSeries]:
    """Return a week of speeds of 207 loops; incidents are injected into free traffic of every second loop.

    The week has real queues that nobody labelled: an alarm for one of them counts as false.
    """
    speed = np.loadtxt(DATA / "metrla/los_speed.csv", delimiter=",", skiprows=1).T * MILE_KM
    random = np.random.default_rng(INCIDENT_SEED)
    time_s = LOOP_INTERVAL_S * np.arange(speed.shape[1], dtype=np.float64)
    found = []
    for loop, value in enumerate(speed):
        events: list[tuple[float, float]] = []
        kinds: list[str] = []
        for _ in range(INCIDENTS_EACH if loop % INCIDENT_LOOPS == 0 else 0):
            length, kind = int(random.choice(INCIDENT_TICKS)), str(random.choice(list(INCIDENT_SPEEDS)))
            free = np.flatnonzero(value[288:-48] > FREE_KM_H) + 288
            taken = np.array([abs(free * LOOP_INTERVAL_S - begin) < 86_400 for begin, _ in events])
            free = free[~taken.any(axis=0)] if len(taken) else free
            if len(free):
                begin = int(random.choice(free))
                share = np.interp(np.arange(length), [0, INCIDENT_RAMP_TICKS], [1.0, INCIDENT_SPEEDS[kind]])
                value[begin : begin + length] *= share
                events.append((time_s[begin], time_s[begin + length - 1]))
                kinds.append(kind)
        found.append(
            LabelledSeries(
                f"loop {loop}", f"loop {loop}", "traffic_speed", time_s, value, LOOP_INTERVAL_S,
                resolution_of(value), np.array(events).reshape(-1, 2), np.array(kinds, np.str_), NONE,
            )
        )  # fmt: skip
    return found
