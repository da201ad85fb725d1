"""The scorer of the detection benchmark counts events and false alarms by its stated rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.detection import Alarms, evaluate, scoring
from benchmarks.detection.baselines import BASELINES
from benchmarks.detection.injection import clean_stretches
from benchmarks.detection.labelled import MONTH_S, NONE, Family, LabelledSeries
from benchmarks.detection.rivers import uncoded_edits
from benchmarks.detection.volume import vus_pr

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

INTERVAL_S = 900.0
READINGS = round(MONTH_S / INTERVAL_S) + 1  # exactly a series-month from first to last


def one_series(
    events: list[tuple[int, int]], neutral: list[tuple[int, int]] | None = None, name: str = "s"
) -> LabelledSeries:
    """Return a month of a series; events and neutral stretches are given by first and last reading."""
    time_s = INTERVAL_S * np.arange(READINGS, dtype=np.float64)
    spans = np.array(events).reshape(-1, 2) * INTERVAL_S
    excused = np.array(neutral).reshape(-1, 2) * INTERVAL_S if neutral else NONE
    kinds = np.full(len(spans), "k")
    return LabelledSeries(name, name, "ph", time_s, time_s, INTERVAL_S, 0.01, spans, kinds, excused)


def scores_at(**readings: float) -> Floats:
    """Return scores of a month with some readings set, none elsewhere: ``r100=5.0``."""
    score = np.full(READINGS, np.nan)
    for name, value in readings.items():
        score[int(name[1:])] = value
    return score


def counts(series: LabelledSeries, scores: Floats | Alarms, threshold: float) -> tuple[float, float]:
    """Return recall and false alarms a series-month by the sweep; the working point must be the same."""
    family = Family("f", [series], is_water=True)
    curve = scoring.sweep(family, [scores])
    at = int(np.flatnonzero(curve.threshold >= threshold)[-1])
    point = scoring.working_point(family, [scores], threshold)
    assert (point.recall, point.false) == pytest.approx((curve.recall[at], curve.false[at]))
    return float(curve.recall[at]), float(curve.false[at])


def test_an_alarm_in_an_event_finds_it_and_one_outside_is_false() -> None:
    series = one_series([(100, 110), (500, 500)])
    assert counts(series, scores_at(r105=3.0, r900=2.0), 1.0) == (0.5, 1.0)
    assert counts(series, scores_at(r100=3.0, r500=2.0), 1.0) == (1.0, 0.0)


def test_alarms_within_an_hour_are_one_and_beyond_it_two() -> None:
    assert counts(one_series([(100, 110)]), scores_at(r900=3.0, r904=2.0), 1.0) == (0.0, 1.0)
    assert counts(one_series([(100, 110)]), scores_at(r900=3.0, r905=2.0), 1.0) == (0.0, 2.0)


def test_two_false_alarms_that_a_third_bridges_become_one() -> None:
    scores = scores_at(r900=3.0, r908=3.0, r904=2.0)
    assert counts(one_series([(100, 110)]), scores, 2.5) == (0.0, 2.0)
    assert counts(one_series([(100, 110)]), scores, 1.0) == (0.0, 1.0)


def test_a_false_alarm_joined_to_a_true_one_is_no_longer_false() -> None:
    series = one_series([(100, 110)])
    assert counts(series, scores_at(r113=3.0, r110=2.0), 2.5) == (0.0, 1.0)
    assert counts(series, scores_at(r113=3.0, r110=2.0), 1.0) == (1.0, 0.0)


def test_an_alarm_on_both_sides_of_an_event_covers_it() -> None:
    assert counts(one_series([(100, 100)]), scores_at(r99=3.0, r101=3.0), 1.0) == (1.0, 0.0)


def test_an_alarm_in_a_neutral_stretch_counts_neither_way() -> None:
    series = one_series([(100, 110)], neutral=[(300, 400)])
    assert counts(series, scores_at(r350=3.0), 1.0) == (0.0, 0.0)
    assert counts(series, scores_at(r402=3.0, r399=2.0), 1.0) == (0.0, 0.0)


def test_an_alarm_with_a_length_is_one_alarm() -> None:
    alarms = Alarms(
        np.array([200.0, 800.0]) * INTERVAL_S, np.array([300.0, 800.0]) * INTERVAL_S, np.array([2.0, 1.0])
    )
    assert counts(one_series([(250, 260), (301, 310)]), alarms, 0.5) == (0.5, 1.0)


def test_the_working_point_lies_before_the_budget_is_first_exceeded() -> None:
    scores = scores_at(r900=5.0, r1000=4.0, r105=3.0, r1100=2.0, r500=1.5)
    family = Family("f", [one_series([(100, 110), (500, 500)])], is_water=True)
    curve = scoring.sweep(family, [scores])
    assert [curve.recall_at(budget) for budget in (0.5, 1.0, 2.0, 3.0)] == [0.0, 0.0, 0.5, 1.0]
    assert curve.threshold_at(2.0) == pytest.approx(3.0)
    assert curve.threshold_at(0.5) == np.inf


def test_alarms_of_all_series_of_a_site_are_one_if_its_labels_are_those_of_the_site() -> None:
    both = [one_series([(100, 110)], name=name)._replace(site="site") for name in "ab"]
    scores = {"a": scores_at(r900=3.0), "b": scores_at(r902=3.0, r105=2.0)}
    by_series = evaluate(scores, Family("f", both, is_water=True))
    by_site = evaluate(scores, Family("f", both, is_water=True, labels_of_sites=True))
    assert (by_series.at[2.0].recall, by_series.at[2.0].false) == (
        0.5,
        1.0,
    )  # two alarms in two series-months
    assert (by_site.at[2.0].recall, by_site.at[2.0].false) == (1.0, 0.5)


def test_the_delay_counts_from_the_event_with_the_lateness_of_the_detector() -> None:
    family = Family("f", [one_series([(100, 110)])], is_water=True)
    scores = [scores_at(r103=3.0)]
    assert scoring.working_point(family, scores, 1.0).delay_s == pytest.approx(3 * INTERVAL_S)
    assert scoring.working_point(family, scores, 1.0, late_readings=2).delay_s == pytest.approx(
        5 * INTERVAL_S
    )


def test_scores_of_another_length_are_refused() -> None:
    family = Family("f", [one_series([(100, 110)])], is_water=True)
    with pytest.raises(ValueError, match="s: 3 scores for 2881 readings"):
        scoring.sweep(family, [np.zeros(3)])


def test_vus_pr_is_one_for_the_labels_themselves_and_the_share_of_labels_for_a_constant() -> None:
    first, last = np.array([100, 400]), np.array([119, 429])
    label = np.zeros(1000)
    label[100:120] = label[400:430] = 1.0
    assert vus_pr(first, last, label, 0) == pytest.approx(1.0)
    assert vus_pr(first, last, np.zeros(1000), 0) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("baseline", "published"),
    [("step", (0.342, 0.368, 0.447, 0.500)), ("Huber EWMA", (0.211, 0.211, 0.211, 0.237))],
)
def test_the_baselines_find_what_is_known_of_them(
    recorded: Path, monkeypatch: pytest.MonkeyPatch, baseline: str, published: tuple[float, ...]
) -> None:
    from benchmarks.detection import families, rivers  # noqa: PLC0415

    monkeypatch.setattr(rivers, "DATA", recorded)
    families.load.cache_clear()
    family = families.load("blacksmith")
    assert family.n_events == 38
    found = evaluate({one.name: BASELINES[baseline](one) for one in family.series}, family)
    event = 1 / family.n_events
    assert [found.at[budget].recall for budget in scoring.BUDGETS] == pytest.approx(
        published, abs=event + 1e-3
    )


def test_values_that_a_technician_changed_without_a_code_are_neutral_and_no_time_of_the_series() -> None:
    """A drift between two calibrations is corrected more and more; a level by a constant."""
    n, nan = 400, np.nan
    time_s: Floats = INTERVAL_S * np.arange(n, dtype=np.float64)
    value, coded = np.full(n, 7.0), np.zeros(n, np.bool_)
    corrected = value.copy()
    corrected[100:150] += 0.001 * np.arange(1, 51)
    corrected[200], value[250], corrected[251], value[300] = nan, nan, 7.0, nan
    corrected[300] = nan  # missing and left so
    value[350], coded[350] = 9.0, True  # a label
    edits = uncoded_edits(time_s, value, corrected, coded)
    assert (edits / INTERVAL_S).tolist() == [[100, 149], [200, 200], [250, 250]]
    series = one_series([(500, 510)])._replace(neutral=edits)
    lasted_s = MONTH_S - 49 * INTERVAL_S
    assert Family("f", [series], is_water=True).months == pytest.approx(lasted_s / MONTH_S)


def test_no_clean_stretch_has_a_value_that_a_technician_changed() -> None:
    days = 100
    time_s: Floats = INTERVAL_S * np.arange(days * 96, dtype=np.float64)
    value = np.sin(time_s)
    corrected = value.copy()
    corrected[40 * 96 : 41 * 96] += 0.01
    edits = uncoded_edits(time_s, value, corrected, np.zeros(len(value), np.bool_))
    recorded = one_series([])._replace(time_s=time_s, value=value, neutral=edits)
    begins = [float(one.time_s[0]) / 86_400 for one in clean_stretches([recorded])]
    assert begins == [0.0, pytest.approx(42.0, abs=0.02)]
