"""Tests the priority matrix as data, and the alarm performance against hand-counted cases."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.incidents.performance import alarm_performance, find_floods, period_counts, sliding_peak
from analytics.incidents.priority_matrix import (
    PlaceOfIncident,
    PriorityMatrixError,
    default_matrix,
    parse_matrix,
    read_matrix,
)
from ingest_service.storage.contract.incidents import Incident, IncidentHistory

HOWTO = Path(__file__).parents[3] / "docs/howto/write-a-priority-matrix.md"
SMALL = re.search(r"```toml\n(.*?)```", HOWTO.read_text("utf-8"), re.DOTALL)


def place(kind: str = "water", cause: str = "sewage", severity: int = 2, **more: object) -> PlaceOfIncident:
    values = {"site_ids": ["s"], "site_kinds": ["river_section"], "target_class": None} | more
    return PlaceOfIncident(kind, cause, severity, **values)  # type: ignore[arg-type]


def test_the_matrix_of_the_howto_page_gives_what_the_page_promises(tmp_path: Path) -> None:
    assert SMALL is not None
    file = tmp_path / "matrix.toml"
    file.write_text(SMALL[1], "utf-8")
    matrix = read_matrix(str(file))
    assert matrix.priority_of(place(site_ids=["wz-01"])) == (1, "severe", "immediate")
    assert matrix.priority_of(place(cause="storm")) == (4, "moderate", "routine")
    assert matrix.priority_of(place(site_ids=["a", "b", "c"])).consequence == "severe"
    assert read_matrix(None) is default_matrix()


def test_the_built_in_matrix_puts_outages_and_sewage_first_and_sensors_last() -> None:
    matrix = default_matrix()
    assert matrix.priority_of(place("platform", "ingest_down")).priority == 1
    assert matrix.priority_of(place()).priority == 1
    assert matrix.priority_of(place("device", "chattering", 3)).priority == 4
    assert matrix.priority_of(place(cause="water_departure", target_class=2)).consequence == "severe"


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("severe = [1, 2]", "severe = [1, 5]", "severe needs 2 numbers from 1 to 4"),
        ("moderate = [3, 4]", "", "one row for each of severe, moderate"),
        ('is = "immediate"', 'is = "now"', "urgency: there is no 'now'"),
        ('[[urgency]]\nis = "routine"', "", "urgency: the last rule must have no condition"),
        ("min_sites", "min_site", "unknown field `min_site`"),
        ("[priorities]", "[priorities", "can't be read"),
    ],
)
def test_a_wrong_matrix_is_refused_in_a_sentence(before: str, after: str, sentence: str) -> None:
    assert SMALL is not None
    assert before in SMALL[1]
    with pytest.raises(PriorityMatrixError, match=re.escape(sentence)):
        parse_matrix(SMALL[1].replace(before, after))


def incident(incident_id: int, **fields: object) -> Incident:
    values = {
        "incident_id": incident_id,
        "area_id": "a",
        "area_ids": ["a"],
        "main_site_id": f"s{incident_id}",
        "kind": "water",
        "cause": "sewage",
        "priority": 2,
        "started_s": 0.0,
        "last_s": 0.0,
        "opened_s": 0.0,
        "annunciations": 1,
    } | fields
    return Incident(**values)  # type: ignore[arg-type]


def sounded(incident_id: int, at_s: float) -> IncidentHistory:
    return IncidentHistory(
        history_id=1,
        incident_id=incident_id,
        revision=1,
        machine="alarm",
        event="annunciate",
        from_state="normal",
        to_state="unacknowledged",
        who="service",
        at_s=at_s,
    )


def test_figures_are_those_counted_by_hand() -> None:
    incidents = [
        incident(1, acknowledged_s=60.0, closed_s=600.0, state="closed"),
        incident(2, priority=4, active=True, started_s=0.0),
    ]
    history = [sounded(1, float(at)) for at in range(0, 24, 2)] + [sounded(2, 1000.0)]
    measured = alarm_performance(incidents, history, from_s=0.0, to_s=2 * 86_400.0)
    assert (measured.annunciations, measured.peak_10min, measured.per_operator_day) == (13, 12.0, 6.5)
    assert [(one.from_s, one.to_s, one.annunciations) for one in measured.floods] == [(0.0, 600.0, 12)]
    assert measured.periods_above_10 == pytest.approx(1 / 288)
    assert (measured.chattering, measured.stale, measured.standing) == (1, 1, 1)
    assert (measured.acknowledge_s, measured.close_s) == ((60.0, 60.0), (600.0, 600.0))
    assert measured.priorities == {
        "1": 0.0,
        "2": pytest.approx(12 / 13),
        "3": 0.0,
        "4": pytest.approx(1 / 13),
    }
    assert [(one.site_id, one.annunciations) for one in measured.top] == [("s1", 12), ("s2", 1)]
    halved = alarm_performance(incidents, history, from_s=0.0, to_s=2 * 86_400.0, operators=2)
    assert (halved.peak_10min, halved.floods) == (6.0, [])


@given(st.lists(st.integers(0, 7199), max_size=80))
def test_periods_and_peaks_agree_with_a_count_one_by_one(seconds: list[int]) -> None:
    times_s = np.sort(np.array(seconds, np.float64))
    counts = period_counts(times_s, 0.0, 7200.0)
    assert counts.tolist() == [sum(600 * k <= one < 600 * (k + 1) for one in seconds) for k in range(12)]
    assert sliding_peak(times_s) == max((sum(a <= b < a + 600 for b in seconds) for a in seconds), default=0)
    floods = find_floods(counts.astype(np.float64), counts, 0.0)
    assert all(a.to_s <= b.from_s for a, b in itertools.pairwise(floods))
