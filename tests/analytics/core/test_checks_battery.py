"""Runs a common battery of tests on every quality check of the package; a check without an entry fails."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest

from analytics.core import checks
from analytics.core.checks import ClimatologyLimits, DetectorDiagnosis, DiagnosticThresholds, SeasonalLimits
from analytics.core.flags import Flag

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Call = Callable[[Floats, Floats], NDArray[np.uint8]]

N = 50
YEAR = ClimatologyLimits.of([SeasonalLimits(suspect_high=50, fail_high=100)])


class CheckCase(NamedTuple):
    """A check of values and times, and the flag that it gives to certain values.

    Attributes
    ----------
    constant : to the last of many values of 5
    single : to one value of 5
    missing : to NaN

    """

    call: Call
    constant: int = Flag.PASS
    single: int = Flag.PASS
    missing: int = Flag.MISSING


def _neighbour(x: Floats, t: Floats) -> NDArray[np.uint8]:
    return checks.neighbour(x, t, np.stack([x, x + 1]), lag_s=[60, 0], max_age_s=120, suspect=2, fail=4)


CASES = {
    "attenuated_signal": CheckCase(
        lambda x, t: checks.attenuated_signal(x, t, period_s=600, suspect=1, fail=0.1),
        Flag.FAIL,
        Flag.NOT_EVALUATED,
    ),
    "climatology": CheckCase(lambda x, t: checks.climatology(x, t, YEAR, offset_s=28_800)),
    "diagnose_traffic_detectors": CheckCase(  # each value a detector of one sample
        lambda x, t: checks.diagnose_traffic_detectors(  # noqa: ARG005
            x[:, None], x[:, None], DiagnosticThresholds(high_occupancy=0.2), day_samples=1
        ),
        DetectorDiagnosis.HIGH_VALUE,
        DetectorDiagnosis.HIGH_VALUE,
        DetectorDiagnosis.NO_DATA,
    ),
    "flat_line_flags": CheckCase(
        lambda x, _: checks.flat_line_flags(x, 1.0, 2.0), Flag.FAIL, Flag.FAIL, Flag.PASS
    ),
    "flat_line": CheckCase(
        lambda x, t: checks.flat_line(x, t, tolerance=0, suspect_s=300, fail_s=600), Flag.FAIL
    ),
    "flat_window": CheckCase(
        lambda x, t: checks.flat_window(x, t, tolerance=0, suspect_s=300, fail_s=600), Flag.FAIL
    ),
    "gap": CheckCase(lambda x, t: checks.gap(x, t, suspect_s=300, fail_s=600), single=Flag.NOT_EVALUATED),
    "gap_flags": CheckCase(lambda x, t: checks.gap_flags(x, 10.0, 20.0), missing=Flag.PASS),  # noqa: ARG005
    "gross_range": CheckCase(lambda x, t: checks.gross_range(x, suspect_high=50, fail_high=100)),  # noqa: ARG005
    "multi_variate": CheckCase(
        lambda x, t: checks.multi_variate(np.stack([x, x[::-1]]), t, rate_per_s=0.01, within_s=60)[0],
        single=Flag.NOT_EVALUATED,
    ),
    "neighbour": CheckCase(_neighbour, single=Flag.NOT_EVALUATED),
    "rate_of_change_flags": CheckCase(
        lambda x, t: checks.rate_of_change_flags(x, t, 1.0, 2.0), missing=Flag.PASS
    ),
    "rate_of_change": CheckCase(
        lambda x, t: checks.rate_of_change(x, t, suspect_per_s=1, fail_per_s=2), single=Flag.NOT_EVALUATED
    ),
    "spike": CheckCase(
        lambda x, t: checks.spike(x, suspect=2, fail=4),  # noqa: ARG005
        Flag.NOT_EVALUATED,
        Flag.NOT_EVALUATED,
    ),
    "spike_flags": CheckCase(lambda x, t: checks.spike_flags(x, x, x, 2.0, 4.0), missing=Flag.PASS),  # noqa: ARG005
    "stuck_clock": CheckCase(lambda x, t: checks.stuck_clock(x, t, suspect_s=300, fail_s=600), Flag.FAIL),
}
NO_CHECKS = {
    "extend_flat_run": "moves a state on and flags nothing",
    "month_and_hour": "calendar of a time; climatology has its cases",
}

HUGE = [1e300, -1e300, 1.7e308, -1.7e308, 0.0] * 10
INFINITE = [np.inf, -np.inf, 1.0, np.nan, np.inf, np.inf, 5.0, 5.0, -np.inf, 1e300] * 5
INPUTS = {
    "constant": [5.0] * N,
    "missing": [np.nan] * N,
    "one": [5.0],
    "empty": [],
    "huge": HUGE,
    "infinite": INFINITE,
    "usual": np.random.default_rng(1).normal(5, 3, N).round(1).tolist(),
}


def arrays(values: list[float]) -> tuple[Floats, Floats]:
    return np.array(values, np.float64), 1.7e9 + 60.0 * np.arange(len(values), dtype=np.float64)


def test_every_public_function_of_the_package_is_in_the_battery() -> None:
    assert {name for name in checks.__all__ if inspect.isfunction(getattr(checks, name))} == (
        CASES.keys() | NO_CHECKS.keys()
    )


def test_every_check_has_its_cases() -> None:
    helpers = {"limits", "windows"}
    found = set()
    for module in pkgutil.iter_modules(checks.__path__):
        if module.name not in helpers:
            inside = importlib.import_module(f"{checks.__name__}.{module.name}")
            found |= {
                name
                for name, one in vars(inside).items()
                if inspect.isfunction(one) and one.__module__ == inside.__name__ and name[0] != "_"
            }
    assert found - {"cyclic_range"} == CASES.keys() | NO_CHECKS.keys()  # it reads a name, and is not exported


@pytest.mark.parametrize("given", INPUTS)
@pytest.mark.parametrize("name", CASES)
def test_any_input_is_flagged_without_a_warning(name: str, given: str) -> None:
    x, t = arrays(INPUTS[given])
    before = x.copy(), t.copy()
    with np.errstate(all="raise", under="ignore"):
        flags = CASES[name].call(x, t)
        again = CASES[name].call(x, t)
    assert flags.shape == x.shape
    assert flags.dtype == np.uint8
    assert set(flags.tolist()) <= {
        int(flag) for flag in (DetectorDiagnosis if name == "diagnose_traffic_detectors" else Flag)
    }
    np.testing.assert_array_equal(flags, again)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(t, before[1])


@pytest.mark.parametrize("name", CASES)
def test_what_constant_single_and_missing_values_get(name: str) -> None:
    case = CASES[name]
    assert case.call(*arrays(INPUTS["constant"]))[-1] == case.constant
    assert case.call(*arrays([5.0])).tolist() == [case.single]
    assert case.call(*arrays(INPUTS["missing"])).tolist() == [case.missing] * N


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.missing == Flag.MISSING])
def test_missing_is_flagged_where_it_is_and_nowhere_else(name: str) -> None:
    x, t = arrays(INPUTS["infinite"])
    np.testing.assert_array_equal(CASES[name].call(x, t) == Flag.MISSING, np.isnan(x))


@pytest.mark.parametrize("name", CASES)
def test_order_of_time_is_not_trusted(name: str) -> None:
    x, t = arrays(INPUTS["usual"])
    for wrong in (t[::-1].copy(), np.zeros_like(t)):
        assert CASES[name].call(x, wrong).shape == x.shape
