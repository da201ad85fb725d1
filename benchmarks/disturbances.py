"""Counts how many anomalies one labelled event raises, on every water family of labelled series.

``python -m benchmarks disturbances``. Data: TOWNTWIN_DATA. The judge runs with default settings. An anomaly
belongs to the labelled events of its series that it overlaps; one of several events is counted once for each
of them, divided by their number. Beside it: the share of the events found with more than one anomaly, and
the median time between two anomalies of one event in reporting intervals, which is what an event's gap has to
bridge. Where the labels are those of a whole site, anomalies of its series at the same time are one, as the
service joins them in the site's event. Last, one JSON line.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.detection import families, product

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchmarks.detection.labelled import Family

    Floats = NDArray[np.float64]

AIM = 1.2


class EventCounts(NamedTuple):
    """Counts of a family: events found, anomalies in events, events with several, gaps [intervals]."""

    found: int
    anomalies: float
    several: int
    gaps: list[float]


def main() -> None:
    """Judge every family and print its anomalies per event found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks disturbances")
    parser.add_argument("benchmark", nargs="?")
    parser.parse_args()
    print(f"{'family':24}{'found':>8}{'anomalies':>12}{'per event':>12}{'several':>10}{'gap':>8}")
    summary = {}
    for name in families.WATER:
        family = families.load(name)
        counts = count_events(family)
        per_event = counts.anomalies / max(counts.found, 1)
        gap = float(np.median(counts.gaps)) if counts.gaps else float("nan")
        mark = "" if per_event <= AIM else " *"
        print(
            f"{family.name:24}{counts.found:8}{counts.anomalies:12.1f}{per_event:12.2f}"
            f"{counts.several:10}{gap:8.0f}{mark}"
        )
        summary[family.name] = round(per_event, 3)
    print(json.dumps(summary))


def count_events(family: Family) -> EventCounts:
    """Count the anomalies of a family's series that overlap each labelled event."""
    found, several, anomalies = 0, 0, 0.0
    gaps: list[float] = []
    for unit, numbers in family.units():
        events = unit.events
        alarms = [product.anomalies(family.series[number]) for number in numbers]
        spans = _joined(
            *(np.concatenate([getattr(one, name) for one in alarms]) for name in ("start_s", "end_s"))
        )
        counts = (spans[None, :, 0] <= events[:, 1:]) & (spans[None, :, 1] >= events[:, :1])
        gaps += _gaps_between(spans, counts, unit.interval_s)
        shared = np.maximum(counts.sum(axis=0), 1)
        found += int(counts.any(axis=1).sum())
        several += int((counts.sum(axis=1) > 1).sum())
        anomalies += float((counts / shared).sum())
    return EventCounts(found, anomalies, several, gaps)


def _joined(start_s: Floats, end_s: Floats) -> Floats:
    """Return start and end (n, 2) of the anomalies, those at the same time joined."""
    if not len(start_s):
        return np.empty((0, 2))
    order = np.argsort(start_s, kind="stable")
    start_s, end_s = start_s[order], np.maximum.accumulate(end_s[order])
    begins = np.flatnonzero(np.append(True, start_s[1:] > end_s[:-1]))
    return np.column_stack([start_s[begins], end_s[np.append(begins[1:], len(start_s)) - 1]])


def _gaps_between(spans: Floats, overlaps: NDArray[np.bool_], interval_s: float) -> list[float]:
    """Return the times between consecutive anomalies of each event [reporting intervals]."""
    found: list[float] = []
    for row in overlaps:
        found += ((spans[row][1:, 0] - spans[row][:-1, 1]) / interval_s).tolist()
    return found


if __name__ == "__main__":
    main()
