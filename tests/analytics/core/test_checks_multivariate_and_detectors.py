"""Compares the multi-variate, neighbour and traffic-detector checks with slow reference implementations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from analytics.core import checks
from analytics.core.checks import THRESHOLDS_BY_ROAD_TYPE, DetectorDiagnosis, DiagnosticThresholds
from tests.support import slow_checks, slow_detector_diagnostics

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

N = 60
DAY = {"day_samples": 240, "mean_of": 5, "constant_n": 12}


def drawn(random: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    x = np.round(random.normal(0, 1, shape), 1)
    x[random.random(shape) < 0.05] += 5
    x[random.random(shape) < 0.15] = np.nan
    x[random.random(shape) < 0.02] = np.inf
    return x


@pytest.mark.parametrize("seed", range(30))
def test_multi_variate(seed: int) -> None:
    random = np.random.default_rng(seed)
    m = int(random.integers(1, 5))
    x, t = drawn(random, (m, N)), 1.7e9 + np.cumsum(random.integers(1, 4, N)).astype(float)
    x[:, 20:24] = np.nan
    x[1:, 24:26] = np.nan
    rates = random.uniform(0.5, 1.5, m).tolist()
    within_s, least_n = float(random.integers(0, 5)), int(random.integers(1, 3))
    found = checks.multi_variate(x, t, rate_per_s=rates, within_s=within_s, least_n=least_n)
    expected = slow_checks.multi_variate(
        x.tolist(), t.tolist(), rate_per_s=rates, within_s=within_s, least_n=least_n
    )
    assert found.tolist() == expected


def test_what_all_quantities_do_is_not_a_fault() -> None:
    x = np.ones((3, 9))
    x[:, 4:] = 9  # a storm
    x[1, 7] = 20  # a fault
    flags = checks.multi_variate(x, np.arange(9.0), rate_per_s=3)
    assert np.argwhere(flags == 3).tolist() == [[1, 7], [1, 8]]


@pytest.mark.parametrize("seed", range(30))
def test_neighbour(seed: int) -> None:
    random = np.random.default_rng(seed)
    m = int(random.integers(0, 5))
    x, others = drawn(random, (N,)), drawn(random, (m, N))
    t = 1.7e9 + np.cumsum(random.integers(1, 4, N)).astype(float)
    lag_s = random.integers(-3, 10, m).astype(float).tolist()
    limits = {"max_age_s": float(random.integers(0, 6)), "suspect": 1.05, "fail": 2.05}
    least_n = int(random.integers(1, 4))
    with np.errstate(all="raise"):
        found = checks.neighbour(x, t, others, lag_s=lag_s, least_n=least_n, **limits)
    expected = slow_checks.neighbour(
        x.tolist(), t.tolist(), others.tolist(), lag_s=lag_s, least_n=least_n, **limits
    )
    assert found.tolist() == expected


def test_one_broken_neighbour_of_three_is_no_evidence() -> None:
    wave = np.sin(np.arange(50) / 5)
    others = np.stack([wave, wave + 0.1, np.full(50, 1e300)])
    late = np.roll(wave, 4)
    late[30] += 1
    flags = checks.neighbour(late, np.arange(50.0), others, lag_s=4, max_age_s=0, fail=0.3)
    assert np.flatnonzero(flags == 4).tolist() == [30]
    assert (flags[:4] == 2).all()


def day(random: np.random.Generator, n: int = 240) -> tuple[Floats, Floats]:
    """A detector that is well: (n,) flow and occupancy."""
    flow = random.poisson(5, n).astype(float)
    return flow, np.where(flow > 0, np.clip(flow * 0.02 + random.normal(0, 0.003, n), 0.001, 1), 0)


def spoilt(fault: DetectorDiagnosis, flow: Floats, occupancy: Floats) -> None:
    """Make a good day one of some fault, in place."""
    both: tuple[Floats, ...] = (flow, occupancy)
    for x in both:
        if fault == DetectorDiagnosis.NO_DATA:
            x[:] = np.nan
        elif fault == DetectorDiagnosis.INSUFFICIENT_DATA:
            x[80:180] = np.nan
        elif fault == DetectorDiagnosis.CARD_OFF:
            x[:150] = 0
    if fault == DetectorDiagnosis.HIGH_VALUE:
        occupancy[:60] = 0.9
    elif fault == DetectorDiagnosis.INTERMITTENT:
        flow[np.flatnonzero(occupancy > 0)[:9]] = 0
    elif fault == DetectorDiagnosis.CONSTANT:
        occupancy[30:120] = 0.123


def test_every_fault_of_a_detector_is_named_all_detectors_at_once() -> None:
    random = np.random.default_rng(4)
    flow, occupancy = np.array([day(random) for _ in DetectorDiagnosis]).transpose(1, 0, 2)
    for row, fault in enumerate(DetectorDiagnosis):
        spoilt(fault, flow[row], occupancy[row])
    assert checks.diagnose_traffic_detectors(
        flow, occupancy, THRESHOLDS_BY_ROAD_TYPE["urban"], **DAY
    ).tolist() == list(DetectorDiagnosis)


@pytest.mark.parametrize("setting", THRESHOLDS_BY_ROAD_TYPE)
def test_diagnose(setting: str) -> None:
    random = np.random.default_rng(5)
    flow, occupancy = np.array([day(random) for _ in range(70)]).transpose(1, 0, 2)
    for row in range(70):
        for fault in random.choice(list(DetectorDiagnosis), 2, p=[0.4, 0.02, 0.02, *[0.14] * 4]):
            spoilt(fault, flow[row], occupancy[row])
        lost = random.random(240) < 0.1
        (flow if row % 2 else occupancy)[row, lost] = np.nan
        flow[row] *= random.choice([0, 1, 5])
    found = checks.diagnose_traffic_detectors(flow, occupancy, THRESHOLDS_BY_ROAD_TYPE[setting], **DAY)
    expected = [
        slow_detector_diagnostics.diagnose(q, o, THRESHOLDS_BY_ROAD_TYPE[setting], **DAY)
        for q, o in zip(flow.tolist(), occupancy.tolist(), strict=True)
    ]
    assert found.tolist() == expected
    assert len(set(expected)) > 3


@pytest.mark.parametrize(
    ("means", "diagnosis"), [(11, DetectorDiagnosis.GOOD), (12, DetectorDiagnosis.CONSTANT)]
)
def test_constant_needs_the_documented_number_of_means(means: int, diagnosis: DetectorDiagnosis) -> None:
    flow, occupancy = day(np.random.default_rng(7))
    occupancy[50 : 50 + means * DAY["mean_of"]] = 0.123
    assert checks.diagnose_traffic_detectors(
        [flow], [occupancy], THRESHOLDS_BY_ROAD_TYPE["urban"], **DAY
    ).tolist() == [diagnosis]


def test_thresholds_may_differ_by_detector() -> None:
    random = np.random.default_rng(6)
    flow, occupancy = np.array([day(random) for _ in range(3)]).transpose(1, 0, 2)
    for x in (flow, occupancy):
        x[:, :180] = 0
    each = (THRESHOLDS_BY_ROAD_TYPE[name] for name in ("urban", "rural", "low_volume"))
    together = DiagnosticThresholds(*(np.array(column) for column in zip(*each, strict=True)))
    found = checks.diagnose_traffic_detectors(flow, occupancy, together, **DAY)
    assert found.tolist() == [DetectorDiagnosis.CARD_OFF, DetectorDiagnosis.GOOD, DetectorDiagnosis.GOOD]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: checks.neighbour([1], [0], [[1]], max_age_s=-1), "max_age_s -1 is below 0"),
        (lambda: checks.neighbour([1], [0], [[1]], max_age_s=1, least_n=0), "least_n 0 is below 1"),
        (
            lambda: checks.neighbour([1], [0], [[1]], max_age_s=1, suspect=2, fail=1),
            "suspect 2 is above fail 1",
        ),
        (lambda: checks.multi_variate([[1]], [0], rate_per_s=1, within_s=-2), "within_s -2 is below 0"),
        (
            lambda: checks.diagnose_traffic_detectors([[1]], [[1, 2]], DiagnosticThresholds()),
            r"flow \(1, 1\) and occupancy \(1, 2\) must have one shape",
        ),
        (
            lambda: checks.diagnose_traffic_detectors([[1]], [[1]], DiagnosticThresholds(), constant_n=1),
            "constant_n 1 is below 2",
        ),
    ],
)
def test_what_cannot_be_is_named(call: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        call()
