"""Slow reference implementation of the traffic-detector diagnostics, one detector and sample at a time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analytics.core.checks import DiagnosticThresholds


def diagnose(
    flow: list[float],
    occupancy: list[float],
    thresholds: DiagnosticThresholds,
    *,
    day_samples: int,
    mean_of: int,
    constant_n: int,
) -> int:
    """Return the code of the first diagnostic test that a detector fails."""
    p = {name: float(value) for name, value in thresholds._asdict().items()}
    samples = [(q, o) for q, o in zip(flow, occupancy, strict=True) if not (math.isnan(q) and math.isnan(o))]
    n = len(samples)
    if n == 0:
        return 2
    if n <= p["least"] * day_samples:
        return 3
    shares = (
        (4, "zero_occupancy", sum(o == 0 for _, o in samples)),
        (4, "zero_flow", sum(q == 0 for q, _ in samples)),
        (5, "high_occupancy", sum(o > p["occupancy"] for _, o in samples)),
        (5, "high_flow", sum(q > p["flow"] for q, _ in samples)),
        (6, "zero_flow_occupied", sum(q == 0 and o > 0 for q, o in samples)),
        (6, "zero_occupancy_flowing", sum(o == 0 and q > 0 for q, o in samples)),
    )
    for code, name, count in shares:
        if count / n >= p[name]:
            return code
    return 7 if _stands_still(occupancy, p["constant"], mean_of, constant_n) else 1


def _stands_still(occupancy: list[float], constant: float, mean_of: int, constant_n: int) -> bool:
    means = []
    for begin in range(0, len(occupancy) - mean_of + 1, mean_of):
        present = [o for o in occupancy[begin : begin + mean_of] if not math.isnan(o)]
        means.append(sum(present) / len(present) if present else math.nan)
    for begin in range(len(means) - constant_n + 1):
        window = means[begin : begin + constant_n]
        steps = sum(abs(window[i] - window[i - 1]) for i in range(1, len(window)))
        if all(mean > 0 for mean in window) and steps < constant:
            return True
    return False
