"""Injects sensor faults of nine kinds and three sizes into stretches of recorded series without labels.

A size is a duration, or in units of the series' own short-term variability, the robust spread of the values
around the median of their day. Every stretch is 30 days long; the faults lie in its last 22, a week apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.detection.labelled import DAY_S, NONE, LabelledSeries, overlaps, resolution_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

STRETCH_DAYS, FIRST_FAULT_DAY, FAULT_EVERY_DAYS = 30, 8, 7
MARGIN_S = DAY_S  # around labels
LARGEST_GAP_S = DAY_S
STRETCHES_A_SERIES = 2
SEED = 20
SIZES = (2.0, 5.0, 15.0)
HOURS = (12.0, 36.0, 96.0)
SHIFT_HOURS = (1.0, 3.0, 6.0)
NOISE_SHARE = 0.3  # of the size of other faults


class Target(NamedTuple):
    """Where a fault goes: the values ``(n,)``, its first row, its size level (0 to 2), the series' spread."""

    value: Floats
    begin: int
    level: int
    spread: float
    interval_s: float
    random: np.random.Generator

    def size(self) -> float:
        """Return the size in units of the value."""
        return SIZES[self.level] * self.spread

    def offset(self) -> float:
        """Return the size up or down."""
        return float(self.random.choice((-1, 1))) * self.size()

    def readings(self, duration_s: float) -> int:
        """Return the number of readings in a time [s]."""
        return round(duration_s / self.interval_s)


class Injected(NamedTuple):
    """Values after a fault ``(n,)``, and first and last row of the event."""

    value: Floats
    first: int
    last: int


def injected_stretches(recorded: Sequence[LabelledSeries]) -> list[LabelledSeries]:
    """Return stretches of recorded series without labels, each with three faults; kinds take turns."""
    random = np.random.default_rng(SEED)
    plan = [(name, level) for level in range(len(SIZES)) for name in FAULTS]
    found, turn = [], 0
    for recording in clean_stretches(recorded):
        value, events, kinds = recording.value.copy(), [], []
        spread = variability(recording)
        per_day = round(DAY_S / recording.interval_s)
        for day in range(FIRST_FAULT_DAY, STRETCH_DAYS - FAULT_EVERY_DAYS + 1, FAULT_EVERY_DAYS):
            begin = day * per_day + int(random.integers(2 * per_day))
            name, level = plan[turn % len(plan)]
            turn += 1
            if begin + 5 * per_day < len(value):
                fault = FAULTS[name](Target(value, begin, level, spread, recording.interval_s, random))
                value = fault.value
                events.append((recording.time_s[fault.first], recording.time_s[fault.last]))
                kinds.append(f"{name} {('small', 'medium', 'large')[level]}")
        found.append(
            recording._replace(
                value=value,
                events=np.array(events).reshape(-1, 2),
                kinds=np.array(kinds, np.str_),
                neutral=NONE,
            )
        )
    return found


def clean_stretches(recorded: Sequence[LabelledSeries]) -> list[LabelledSeries]:
    """Return stretches of 30 days, a day or more from any label, without gaps of a day or more."""
    found = []
    for one in recorded:
        known = np.isfinite(one.value)
        time_s, value = one.time_s[known], one.value[known]
        labels = np.concatenate([one.events, one.neutral])
        begin, taken = 0, 0
        while taken < STRETCHES_A_SERIES and begin < len(time_s):
            end_s = time_s[begin] + STRETCH_DAYS * DAY_S
            end = int(np.searchsorted(time_s, end_s))
            if end >= len(time_s):
                break
            span = np.array([[time_s[begin] - MARGIN_S, end_s + MARGIN_S]])
            met = labels[overlaps(labels, span)]
            gaps = np.flatnonzero(np.diff(time_s[begin:end]) >= LARGEST_GAP_S)
            if len(met):
                begin = int(np.searchsorted(time_s, met[:, 1].max() + MARGIN_S, side="right"))
            elif len(gaps):
                begin += int(gaps[-1]) + 1
            else:
                found.append(
                    one._replace(
                        name=f"{one.name} {taken}", site=f"{one.site} {taken}", time_s=time_s[begin:end],
                        value=value[begin:end], resolution=resolution_of(value[begin:end]), events=NONE,
                        kinds=np.empty(0, np.str_), neutral=NONE,
                    )
                )  # fmt: skip
                begin, taken = end, taken + 1
    return found


def variability(series: LabelledSeries) -> float:
    """Return the robust spread of the values around the median of the day around them."""
    per_day = round(DAY_S / series.interval_s)
    days = series.value[: len(series.value) // per_day * per_day].reshape(-1, per_day)
    around = np.abs(days - np.median(days, axis=1, keepdims=True))
    return max(1.4826 * float(np.median(around)), 2 * series.resolution)


def _spike(target: Target) -> Injected:
    return _added(target, 1, target.offset())


def _burst(target: Target) -> Injected:
    length = int(target.random.integers(4, 13))
    return _added(target, length, target.size() * target.random.standard_normal(length))


def _step(target: Target) -> Injected:
    return _added(target, target.readings(2 * DAY_S), target.offset())


def _drift(target: Target) -> Injected:
    length = target.readings(4 * DAY_S)
    fault = _added(target, length, np.linspace(0, target.offset(), length))
    return fault._replace(last=fault.last + 1)  # the return to the truth belongs to it


def _stuck(target: Target) -> Injected:
    changed, length = target.value.copy(), target.readings(HOURS[target.level] * 3_600)
    changed[target.begin : target.begin + length] = target.value[target.begin]
    return Injected(changed, target.begin, target.begin + length)


def _noise(target: Target) -> Injected:
    length = target.readings(DAY_S)
    return _added(target, length, NOISE_SHARE * target.size() * target.random.standard_normal(length))


def _gap_and_return(target: Target) -> Injected:
    half_day = target.readings(DAY_S / 2)
    decay = np.exp(-np.arange(half_day) / (half_day / 3))
    back = target._replace(begin=target.begin + half_day)
    fault = _added(back, half_day, target.offset() * decay)
    fault.value[target.begin : back.begin] = np.nan
    return fault


def _clock_shift(target: Target) -> Injected:
    changed, begin, length = target.value.copy(), target.begin, target.readings(2 * DAY_S)
    late = max(target.readings(SHIFT_HOURS[target.level] * 3_600), 1)
    changed[begin : begin + length] = target.value[begin - late : begin + length - late]
    return Injected(changed, begin, begin + length)


def _calibration(target: Target) -> Injected:
    fault = _added(target, len(target.value) - target.begin, target.offset())
    return fault._replace(last=target.begin + target.readings(DAY_S / 4))


def _added(target: Target, length: int, added: Floats | float) -> Injected:
    changed = target.value.copy()
    changed[target.begin : target.begin + length] += added
    return Injected(changed, target.begin, target.begin + length - 1)


FAULTS: dict[str, Callable[[Target], Injected]] = {
    "spike": _spike,
    "burst": _burst,
    "step": _step,
    "drift": _drift,
    "stuck": _stuck,
    "noise": _noise,
    "gap and return": _gap_and_return,
    "clock shift": _clock_shift,
    "calibration": _calibration,
}
"""A fault by its kind; each leaves the values that it is given as they are."""
