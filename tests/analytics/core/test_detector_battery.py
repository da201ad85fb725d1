"""Runs a common battery of tests on every detector module of the core; a detector without an entry fails."""

from __future__ import annotations

import math
import pkgutil
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics import core
from analytics.core import (
    cause_patterns,
    event_shapes,
    feedback,
    oxygen_solubility,
    score_events,
    site_distances,
    site_score,
    tail_probability,
)
from analytics.core.judge import Judgement, judge
from analytics.core.parameters import DEFAULTS, Parameters
from analytics.core.state import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Results = dict[str, NDArray[np.generic]]

N = 700
HALF = 333
FLOOR = 0.02

# What judges nothing by itself, and why; the checks have a battery of their own (test_checks_battery.py).
HELPERS = {
    "checks": "a battery of its own",
    "evaluation": "measures detectors",
    "flags": "names",
    "judge": "all that its parts are: it is how they are called here",
    "parameters": "limits",
    "rounding": "the decimals of a converted unit; judges nothing",
    "numpy_judge": "how the judge calls its parts",
    "seasonal_limits": "reads limits by name; the check is in the battery of checks",
    "state": "what the judge remembers",
    "tick": "what the judge works on",
}
COMPILED = "compiled"  # held equal to the others by test_compiled.py


class DetectorCase(NamedTuple):
    """A detector as a function of values and times.

    Attributes
    ----------
    call : values (n,), times (n,) and the sensor's resolution -> what it says, by name
    finite : of that, what is never NaN or infinite, whatever comes
    invariant : of that, what another unit (scale and shift) does not change
    restored : the same, in two pieces with a checkpoint between them; None where there is no state

    """

    call: Callable[[Floats, Floats, float], Results]
    finite: tuple[str, ...] = ()
    invariant: tuple[str, ...] = ()
    restored: Callable[[Floats, Floats, float], Results] | None = None


def judge_case(*names: str) -> Callable[[Floats, Floats, float], Results]:
    """What the judge says, under these names."""

    def call(x: Floats, t: Floats, floor: float) -> Results:
        results = judge(State.empty(1), limits(floor), np.zeros(len(x), np.intp), t, x)
        return results_by_name(results, names)

    return call


def restored_case(*names: str) -> Callable[[Floats, Floats, float], Results]:
    """The same in two pieces: the state goes through its arrays, as through a checkpoint."""

    def call(x: Floats, t: Floats, floor: float) -> Results:
        state = State.empty(1)
        slots = np.zeros(len(x), np.intp)
        first = judge(state, limits(floor), slots[:HALF], t[:HALF], x[:HALF])
        kept = State.from_arrays({name: array.copy() for name, array in state.arrays().items()})
        last = judge(kept, limits(floor), slots[HALF:], t[HALF:], x[HALF:])
        if "start_s" in names:
            return results_by_name(last, names)
        parts = results_by_name(first, names), results_by_name(last, names)
        return {name: np.concatenate([part[name] for part in parts]) for name in names}

    return call


def limits(floor: float) -> Parameters:
    return Parameters.of(1, warm_up_s=6 * 3600.0, spread_floor=floor)


def results_by_name(results: Judgement, names: tuple[str, ...]) -> Results:
    return {name: getattr(results if hasattr(results, name) else results.events, name) for name in names}


def tail_results(x: Floats, t: Floats, floor: float) -> Results:  # noqa: ARG001
    known = tail_probability.TailSums(*np.zeros((4, 1)))
    distances = np.minimum(np.abs(np.nan_to_num(x)), 1e300)
    for one in distances:
        known = tail_probability.update_tail_sums(
            np.array([one]), known, np.ones(1), tail_probability.RESIDUAL
        )
    many = tail_probability.TailSums(*(np.broadcast_to(part, distances.shape) for part in known))
    count = np.full(distances.shape, float(len(distances)))
    return {"score": tail_probability.score(distances, many, count, tail_probability.RESIDUAL)}


def site_values(x: Floats) -> Floats:
    """One site with two quantities of one water."""
    return np.stack([x, np.roll(x, 1)], axis=1)[:, None, :]


def site_results(x: Floats, t: Floats, floor: float) -> Results:  # noqa: ARG001
    if len(x) < site_distances.MEDIAN_READINGS:
        return {}
    reference = site_distances.SiteReference.fit(site_values(x))
    found = site_distances.distances(
        site_distances.DistanceState.empty(reference.centre), reference, site_values(x)
    )
    return dict(found._asdict())


def site_restored(x: Floats, t: Floats, floor: float) -> Results:  # noqa: ARG001
    values = site_values(x)
    reference = site_distances.SiteReference.fit(values)
    state = site_distances.DistanceState.empty(reference.centre)
    first = site_distances.distances(state, reference, values[:HALF])
    kept = site_distances.DistanceState(
        state.level.copy(), state.last.copy(), state.recent_mahalanobis.copy()
    )
    last = site_distances.distances(kept, reference, values[HALF:])
    return {name: np.concatenate([getattr(first, name), getattr(last, name)]) for name in first._fields}


def site_score_results(x: Floats, t: Floats, floor: float) -> Results:  # noqa: ARG001
    z = site_values(x)
    model = site_score.SiteModel.fit(z)
    if model is None:
        return {}
    return dict(site_score.score_sites(model, z, np.zeros(z.shape, np.bool_))._asdict())


def score_event_results(x: Floats, t: Floats, floor: float) -> Results:  # noqa: ARG001
    return dict(score_events.find_score_events(x[:, None], weak=5, strong=8, close=2.3, gap=6)._asdict())


def site_signals(x: Floats) -> event_shapes.SiteSignals:
    values = site_values(x)
    flat, nothing = np.zeros(values.shape, np.bool_), np.zeros(values.shape[:2])
    signed = np.clip(np.nan_to_num(values), -site_score.MAX_PART_SCORE, site_score.MAX_PART_SCORE)
    departure = np.where(np.isfinite(values), values, np.nan)
    return event_shapes.SiteSignals(signed, departure, values, values + 1, flat, nothing, nothing)


def event_features(x: Floats) -> cause_patterns.EventFeatures:
    neighbour = event_shapes.LaggedSite(0, 3)
    events = [event_shapes.EventWindow(0, 0, end, (neighbour,), (neighbour,)) for end in range(0, len(x), 50)]
    return event_shapes.event_features(site_signals(x), events)


def shape_results(x: Floats, t: Floats, floor: float) -> Results:  # noqa: ARG001
    return dict(event_features(x)._asdict())


def cause_results(x: Floats, t: Floats, floor: float) -> Results:  # noqa: ARG001
    return dict(
        cause_patterns.name_causes(event_features(x), [cause_patterns.NH3, cause_patterns.DO])._asdict()
    )


def feedback_results(x: Floats, t: Floats, floor: float) -> Results:  # noqa: ARG001
    by = [
        feedback.shift_of_verdicts(int(one), int(one) // 2)
        for one in np.clip(np.nan_to_num(np.abs(x)), 0, 1e9)
    ]
    limits = dict(DEFAULTS) | {"novelty_least": 0.3, "step_deviations": 10.0}
    moved = [list(feedback.shifted_limits(limits, one).values()) for one in by]
    return {"shift": np.array(by), "moved": np.array(moved)}


CASES = {
    "baseline": DetectorCase(judge_case("expected", "spread"), (), (), restored_case("expected", "spread")),
    "rarity": DetectorCase(judge_case("score"), (), (), restored_case("score")),
    "novelty": DetectorCase(judge_case("novelty"), (), ("novelty",), restored_case("novelty")),
    "events": DetectorCase(
        judge_case("start_s", "score", "n_readings"),
        (),
        ("start_s", "n_readings"),
        restored_case("start_s", "n_readings"),
    ),
    "tail_probability": DetectorCase(tail_results, ("score",)),
    "site_distances": DetectorCase(
        site_results,
        ("deviation", "reference", "mahalanobis", "shares"),
        ("deviation", "reference", "mahalanobis", "shares", "off"),
        site_restored,
    ),
    "site_score": DetectorCase(site_score_results, ("signed", "site", "shares")),
    "score_events": DetectorCase(score_event_results, ("begin", "end", "peak")),
    "event_shapes": DetectorCase(shape_results, ("mean", "rise", "stays", "upstream", "downstream")),
    "cause_patterns": DetectorCase(cause_results, ("pattern", "strength", "quantity")),
    "oxygen_solubility": DetectorCase(lambda x, t, floor: {"mg_l": oxygen_solubility.oxygen_saturation(x)}),  # noqa: ARG005
    "feedback": DetectorCase(feedback_results, ("shift", "moved")),
}
USUAL = np.random.default_rng(1).normal(5, 1, N).cumsum() / 20 + np.random.default_rng(2).normal(0, 1, N)
STEPPED = np.where(np.arange(N) > 600, USUAL + 40, USUAL)
INPUTS: dict[str, list[float]] = {
    "constant": [5.0] * N,
    "missing": [np.nan] * N,
    "one": [5.0],
    "empty": [],
    "huge": [1e300, -1e300, 1.7e308, -1.7e308, 0.0, 3.0, 1.0] * (N // 7),
    "infinite": [np.inf, -np.inf, 1.0, np.nan, np.inf, np.inf, 5.0, 5.0, -np.inf, 1e300] * (N // 10),
    "usual": USUAL.tolist(),
    "stepped": STEPPED.tolist(),
}


def arrays(values: list[float]) -> tuple[Floats, Floats]:
    return np.array(values, np.float64), 1.7e9 + 300.0 * np.arange(len(values), dtype=np.float64)


def floats(values: NDArray[np.generic]) -> Floats:
    return values.astype(np.float64)


def test_every_module_of_the_core_is_in_the_battery() -> None:
    found = {one.name for one in pkgutil.iter_modules(core.__path__) if not one.name.startswith(COMPILED)}
    assert found == CASES.keys() | HELPERS.keys()


@pytest.mark.parametrize("which", INPUTS)
@pytest.mark.parametrize("name", CASES)
def test_any_input_gives_an_answer_the_same_twice_and_is_left_alone(name: str, which: str) -> None:
    x, t = arrays(INPUTS[which])
    before = x.copy()
    results, again = (CASES[name].call(x, t, FLOOR) for _ in range(2))
    np.testing.assert_array_equal(x, before)
    for what, values in results.items():
        np.testing.assert_array_equal(values, again[what], err_msg=what)
    for what in CASES[name].finite:
        assert np.isfinite(floats(results.get(what, np.zeros(1)))).all(), what


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(width=64) | st.just(math.nan), max_size=220))
@pytest.mark.parametrize("name", CASES)
def test_no_floats_break_it(name: str, values: list[float]) -> None:
    x, t = arrays(values)
    results = CASES[name].call(x, t, FLOOR)
    for what in CASES[name].finite:
        assert np.isfinite(floats(results.get(what, np.zeros(1)))).all(), what


@pytest.mark.parametrize(("scale", "add"), [(1024.0, 0.0), (1.0, -512.0), (0.0625, 4.0)])
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.invariant])
def test_another_unit_changes_nothing(name: str, scale: float, add: float) -> None:
    for which in ("usual", "stepped"):
        x, t = arrays(INPUTS[which])
        results = CASES[name].call(x, t, FLOOR)
        other = CASES[name].call(x * scale + add, t, FLOOR * abs(scale))
        for what in CASES[name].invariant:
            np.testing.assert_allclose(floats(other[what]), floats(results[what]), rtol=2e-3, atol=2e-3)


def test_the_baseline_moves_with_the_unit() -> None:
    x, t = arrays(INPUTS["usual"])
    results = CASES["baseline"].call(x, t, FLOOR)
    other = CASES["baseline"].call(x * 8 + 100, t, FLOOR * 8)
    np.testing.assert_allclose(floats(results["expected"]) * 8 + 100, floats(other["expected"]), rtol=1e-3)
    np.testing.assert_allclose(floats(results["spread"]) * 8, floats(other["spread"]), rtol=1e-3)


@pytest.mark.parametrize("which", ["usual", "stepped", "infinite"])
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.restored])
def test_from_a_checkpoint_as_without_one(name: str, which: str) -> None:
    x, t = arrays(INPUTS[which])
    case = CASES[name]
    assert case.restored is not None
    results, again = case.call(x, t, FLOOR), case.restored(x, t, FLOOR)
    for what, values in again.items():
        whole = results[what][-len(values) :] if len(values) else values
        np.testing.assert_array_equal(values, whole, err_msg=what)


def test_constant_and_missing_values_raise_no_alarm() -> None:
    for which in ("constant", "missing"):
        x, t = arrays(INPUTS[which])
        assert len(CASES["events"].call(x, t, FLOOR)["start_s"]) == 0
        assert floats(CASES["site_score"].call(x, t, FLOOR).get("site", np.zeros(1))).max() < 3
        assert (CASES["cause_patterns"].call(x * 0, t, FLOOR)["pattern"] == -1).all()
