"""Compares the reasons of the judge's anomalies with the types of labelled events.

The reason of an event that is found is that of the anomaly with the largest score among those that overlap
it, as its sentence names it: a shift is a drift if it is gradual, else a lasting step if it has a step.
Impossible values have the reason in which their sentence ends, if it has one.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from analytics.core.flags import Rule
from analytics.quality.anomaly_records import course_of_event
from benchmarks.detection import product

if TYPE_CHECKING:
    from collections.abc import Mapping

    from analytics.core.events import Events
    from analytics.quality.anomaly_text import Course
    from benchmarks.detection.labelled import Family

FAMILIES = ("oddwater", "injected", "simulated")
"""Families of series whose labels have a type."""
REASONS_OF_TYPE: dict[str, tuple[str, ...]] = {
    "spike": ("spike",),
    "burst": ("spike", "noise"),
    "shift": ("step", "lasting step", "moved away"),
    "drift": ("drift",),
    "stuck": ("stuck",),
    "noise": ("noise",),
    "calibration": ("step", "lasting step", "moved away"),
}
"""Reasons that are true of a type."""
TYPE_OF_KIND = {
    "large spike": "spike",
    "small spike": "spike",
    "spike cluster": "burst",
    "burst": "burst",
    "constant offset": "shift",
    "shift": "shift",
    "step": "shift",
    "drift": "drift",
    "low variability": "stuck",
    "stuck": "stuck",
    "high variability": "noise",
    "noise": "noise",
    "spike": "spike",
    "calibration": "calibration",
}
"""Type of a label's kind without its size; labels of other kinds have none."""
_REASON_OF_RULE = {
    Rule.GROSS_RANGE: "impossible",
    Rule.FLAT_LINE: "stuck",
    Rule.ATTENUATED: "stuck",
    Rule.SPIKE: "spike",
    Rule.RATE_OF_CHANGE: "step",
    Rule.NOISE: "noise",
    Rule.GAP: "missing",
    Rule.RESIDUAL: "unexpected",
    Rule.NOVELTY: "unexpected",
}
SIZES = (" small", " medium", " large")


def reason_of(rule: Rule, course: Course) -> str:
    """Return the reason that the sentence of an anomaly gives (`analytics.quality.anomaly_text`)."""
    if rule == Rule.GROSS_RANGE and course.of_impossible:
        rule = course.of_impossible
    if rule != Rule.SHIFT:
        return _REASON_OF_RULE[rule]
    if course.is_gradual:
        return "drift"
    return "lasting step" if course.has_step else "moved away"


def count_reasons(family: Family) -> dict[str, Counter[str]]:
    """Return the number of found events of each type by their reason."""
    found: dict[str, Counter[str]] = {}
    for one in family.series:
        events = product.judged(one).events
        for (start_s, end_s), kind in zip(one.events, one.kinds, strict=True):
            type_ = TYPE_OF_KIND.get(_without_size(str(kind)))
            best = _best_overlapping(events, start_s, end_s)
            if type_ is not None and best is not None:
                reason = reason_of(Rule(int(events.rule[best])), course_of_event(events, best))
                found.setdefault(type_, Counter())[reason] += 1
    return found


def share_true(found: Mapping[str, Counter[str]]) -> tuple[int, int]:
    """Return the number of found events whose reason is true of their type, and of all found ones."""
    true = sum(counts[reason] for type_, counts in found.items() for reason in REASONS_OF_TYPE[type_])
    return true, sum(counts.total() for counts in found.values())


def print_reasons(chosen: list[Family]) -> None:
    """Print a table of types by reasons over the families with types, and the share that is true."""
    total: dict[str, Counter[str]] = {}
    for family in (one for one in chosen if one.name in FAMILIES):
        found = count_reasons(family)
        true, n = share_true(found)
        print(f"\n{family.name}: {true} of {n} events of a type that are found have a reason of that type")
        for type_, counts in found.items():
            total.setdefault(type_, Counter()).update(counts)
    reasons = (
        "spike",
        "step",
        "lasting step",
        "moved away",
        "drift",
        "stuck",
        "noise",
        "unexpected",
        "impossible",
        "missing",
    )
    print(f"{'':14}" + "".join(f"{reason:>14}" for reason in reasons) + f"{'true':>10}")
    for type_, counts in total.items():
        true, n = share_true({type_: counts})
        print(f"{type_:14}" + "".join(f"{counts[reason]:14}" for reason in reasons) + f"{true:6} of {n}")
    true, n = share_true(total)
    print(f"{true} of {n}, {true / max(n, 1):.2f}")


def _best_overlapping(events: Events, start_s: float, end_s: float) -> int | None:
    ends = np.where(np.isnan(events.end_s), np.inf, events.end_s)
    met = np.flatnonzero((events.start_s <= end_s) & (ends >= start_s))
    return int(met[np.argmax(events.score[met])]) if len(met) else None


def _without_size(kind: str) -> str:
    for size in SIZES:
        kind = kind.removesuffix(size)
    return kind
