"""Checks that look beyond a value: their slow twins, and the reference library where it is right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from analytics.core import checks, context, pems
from analytics.core.pems import Diagnosis
from tests.support import naive_context as naive

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

N = 600


def history(seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times [s] with gaps, and values with spikes, stuck stretches, missing ones."""
    random = np.random.default_rng(seed)
    time_s = 1.7e9 + np.cumsum(random.choice([300.0, 300.0, 300.0, 3600.0], N))
    value = np.round(10 + np.cumsum(random.normal(0, 0.1, N)), 2)
    value[random.random(N) < 0.02] += 5
    value[200:240] = value[200]
    value[random.random(N) < 0.05] = np.nan
    return time_s, value


@pytest.mark.parametrize("seed", range(3))
def test_slow_twins(seed: int) -> None:
    time_s, value = history(seed)
    random = np.random.default_rng(seed)
    received_s = time_s + np.cumsum(random.random(N) * 60)
    stuck = np.where(np.arange(N) % 100 < 30, time_s[(np.arange(N) // 100) * 100], time_s)
    assert context.gap(time_s, fail_s=600).tolist() == naive.gap(time_s.tolist(), fail_s=600)
    found = context.stuck_clock(stuck, received_s, suspect_s=1_000)
    assert found.tolist() == naive.stuck_clock(stuck.tolist(), received_s.tolist(), suspect_s=1_000)
    limits = {"period_s": 3_600.0, "suspect": 0.1037, "fail": 0.0123}  # no value of a lattice
    attenuated = context.attenuated_signal(value, time_s, **limits)
    assert attenuated.tolist() == naive.attenuated_signal(value.tolist(), time_s.tolist(), **limits)
    low, high = random.normal(9, 1, (12, 24)), random.normal(11, 1, (12, 24))
    low[:, 3], high[:, 3] = np.nan, np.nan
    found = context.climatology(value, time_s, low=low, high=high)
    assert found.tolist() == naive.climatology(value.tolist(), time_s.tolist(), low.tolist(), high.tolist())
    z = random.normal(0, 2, (50, 6))
    z[random.random(z.shape) < 0.1] = np.nan
    of = np.array([[1, 2, 3], [0, 2, -1], [0, 1, 3], [4, 5, -1], [3, -1, -1], [0, 3, 4]])
    near = context.neighbour(z, of, suspect=2.5)
    assert near.tolist() == naive.neighbour(z.tolist(), of.tolist(), suspect=2.5, least=2)


@pytest.mark.parametrize("seed", range(3))
def test_flags_are_those_of_the_reference_library(seed: int) -> None:
    """It says nothing (2) of first and last values where ours does; there ours counts."""
    from ioos_qc import qartod  # noqa: PLC0415 - slow to load

    time_s, value = history(seed)
    moments = time_s.astype("datetime64[s]")
    whole = ~np.isnan(value)
    gross = qartod.gross_range_test(value, fail_span=(5, 15), suspect_span=(8, 12))
    ours = checks.gross_range(value, fail_low=5, fail_high=15, suspect_low=8, suspect_high=12)
    assert ours.tolist() == np.ma.filled(gross, 9).tolist()
    rate = qartod.rate_of_change_test(value[whole], moments[whole], threshold=1e-3, fail_threshold=1e-2)
    ours = checks.rate_of_change(value[whole], time_s[whole], suspect_per_s=1e-3, fail_per_s=1e-2)
    assert ours[1:].tolist() == rate[1:].tolist()
    spike = qartod.spike_test(value[whole], suspect_threshold=1, fail_threshold=3)
    assert checks.spike(value[whole], suspect=1, fail=3).tolist() == spike.tolist()
    theirs = qartod.attenuated_signal_test(
        value, moments, suspect_threshold=0.1037, fail_threshold=0.0123, test_period=3600, min_obs=1
    )
    ours = context.attenuated_signal(value, time_s, period_s=3_600, suspect=0.1037, fail=0.0123)
    assert ours.tolist() == np.ma.filled(theirs, 9).tolist()
    gaps = qartod.time_gap_test(moments, fail_span=0.5)
    assert context.gap(time_s, fail_s=1_800)[1:].tolist() == gaps[1:].tolist()


def test_where_the_reference_library_is_wrong_ours_is_right() -> None:
    """A limit of zero is a limit: the library takes it for none."""
    from ioos_qc import qartod  # noqa: PLC0415 - slow to load

    value = np.array([1.0, 1.0, 1.5, 1.0, 1.0])
    assert qartod.spike_test(value, suspect_threshold=0).tolist() == [2, 1, 1, 1, 2]
    assert checks.spike(value, suspect=0).tolist() == [2, 3, 3, 3, 2]


def test_a_flat_line_is_the_librarys_at_a_steady_pace() -> None:
    """The library counts readings; ours measures time, which is the same where the pace is steady."""
    from ioos_qc import qartod  # noqa: PLC0415 - slow to load

    time_s = 1.7e9 + 300.0 * np.arange(60)
    value = np.arange(60.0)
    value[20:40] = 20.0
    theirs = qartod.flat_line_test(
        value,
        time_s.astype("datetime64[s]"),
        suspect_threshold=1_800,
        fail_threshold=3_600,
        tolerance=0.001,
    )
    ours = checks.flat_line(value, time_s, tolerance=0.001, suspect_s=1_800, fail_s=3_600)
    assert ours.tolist() == theirs.tolist()


def test_limits_that_contradict_each_other_are_named() -> None:
    with pytest.raises(ValueError, match="fail 2 is above suspect 1"):
        context.attenuated_signal([1.0], [0.0], period_s=60, suspect=1, fail=2)
    with pytest.raises(ValueError, match=r"low has shape \(2, 2\)"):
        context.climatology([1.0], [0.0], low=np.zeros((2, 2)), high=np.zeros((12, 24)))


BATTERY: dict[str, Callable[..., NDArray[np.uint8]]] = {
    "gap": lambda _x, t: context.gap(t, fail_s=600),
    "stuck_clock": lambda _x, t: context.stuck_clock(t, t, suspect_s=600),
    "attenuated_signal": lambda x, t: context.attenuated_signal(x, t, period_s=900, suspect=0.1, fail=0.0),
    "climatology": lambda x, t: context.climatology(x, t, low=np.zeros((12, 24)), high=np.ones((12, 24))),
    "multi_variate": lambda x, _t: context.multi_variate(np.column_stack([x, x]), suspect=3, company=2)[:, 0],
    "neighbour": lambda x, _t: context.neighbour(
        np.column_stack([x, x, x]), np.array([[1, 2], [0, 2], [0, 1]]), suspect=3
    )[:, 0],
}
INPUTS = {
    "constant": np.full(50, 5.0),
    "all missing": np.full(50, np.nan),
    "one reading": np.array([5.0]),
    "none": np.empty(0),
    "huge": np.array([1e300, -1e300] * 10),
    "infinite": np.array([np.inf, -np.inf, 1.0] * 5),
}


def test_every_check_is_in_the_battery() -> None:
    public = {
        name for name, one in vars(context).items() if callable(one) and one.__module__ == context.__name__
    }
    assert {name for name in public if not name.startswith("_")} == set(BATTERY)


@pytest.mark.parametrize("check", BATTERY)
@pytest.mark.parametrize("kind", INPUTS)
def test_the_battery(check: str, kind: str) -> None:
    value = INPUTS[kind]
    time_s = 1.7e9 + 300.0 * np.arange(len(value))
    before = value.copy()
    with np.errstate(all="ignore"):
        found, again = (BATTERY[check](value, time_s) for _ in range(2))
    assert found.dtype == np.uint8
    assert found.shape == value.shape
    assert set(found.tolist()) <= {1, 2, 3, 4, 9}
    np.testing.assert_array_equal(found, again)
    np.testing.assert_array_equal(value, before)


def test_each_fault_of_a_traffic_detector_is_named() -> None:
    random = np.random.default_rng(1)
    kinds = list(Diagnosis)
    flow = random.integers(1, 15, (pems.SAMPLES, len(kinds))).astype(np.float64)
    occupancy = random.uniform(0.02, 0.3, flow.shape)
    occupancy[:, Diagnosis.NO_DATA] = np.nan
    occupancy[: pems.SAMPLES // 2, Diagnosis.INSUFFICIENT_DATA] = np.nan
    occupancy[: int(0.6 * pems.SAMPLES), Diagnosis.CARD_OFF] = 0
    occupancy[: int(0.3 * pems.SAMPLES), Diagnosis.HIGH_VALUE] = 0.9
    flow[: int(0.05 * pems.SAMPLES), Diagnosis.INTERMITTENT] = 0
    occupancy[500:1200, Diagnosis.CONSTANT] = 0.11
    assert [Diagnosis(one) for one in pems.diagnose(flow, occupancy)] == kinds
    with pytest.raises(ValueError, match="they must agree"):
        pems.diagnose(flow[:, :1], occupancy)
