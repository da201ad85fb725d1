"""Tests that an event of a site is the same one however often the service runs, and across restarts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest

from analytics.service import site_anomalies, site_anomaly_builder, site_event_identity
from analytics.service.reading_grid import TICK_S, TICKS_PER_H
from analytics.service.service_state import SiteJudgingState
from analytics.service.settings import Settings
from ingest_service.storage.contract.models import AnomalyQuery
from tests.support.synthetic_sonde import AREA, BEGIN_S, DAY_S, HOUR_S, sonde_store

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from ingest_service.storage.contract.models import Anomaly
    from ingest_service.storage.memory.store import MemoryStore

    Floats = NDArray[np.float64]

SETTINGS = Settings(several_history_days=5.0)
ANY_NUMBER = 1_000
FIRST_DAY, STUCK_FROM_DAY, STUCK_UNTIL_DAY, LAST_DAY = 5, 6.3, 10.8, 12  # longer than is judged again
ROUNDS_PER_PROCESS = 9  # then another process without any state goes on


class SiteEventFields(NamedTuple):
    """What identifies an event, and its cause."""

    site_id: str
    start_h: float
    end_h: float | None
    detector: str
    state: str


def stuck(since_s: Floats, value: Floats) -> Floats:
    """Repeat the first value of some days."""
    is_stuck = (since_s >= STUCK_FROM_DAY * DAY_S) & (since_s < STUCK_UNTIL_DAY * DAY_S)
    return np.where(is_stuck, value[is_stuck.argmax()], value)


def sewage(since_s: Floats, value: Floats) -> Floats:
    """Add a pulse of some hours on the sixth day, and another two days later."""
    pulses = [np.exp(-0.5 * ((since_s / HOUR_S - at_h) / 1.5) ** 2) for at_h in (124.0, 171.0)]
    return np.asarray(value + 120.0 * np.sum(pulses, axis=0))


def less_oxygen(since_s: Floats, value: Floats) -> Floats:
    """Take oxygen away by the same pulses."""
    return np.asarray(value - 0.03 * (sewage(since_s, value) - value))


def river() -> MemoryStore:
    """Return a store with a stuck sensor at one site and water that arrives twice at the other."""
    return sonde_store(
        {
            ("s1", "ph"): stuck,
            ("s2", "conductivity"): sewage,
            ("s2", "dissolved_oxygen"): less_oxygen,
        },
        days=LAST_DAY,
        sites=("s1", "s2"),
    )


def judge_rounds(store: MemoryStore, ticks: Iterable[int]) -> list[Anomaly]:
    """Judge the sites at some ticks, with a process that is replaced now and then; return what is stored."""
    state = SiteJudgingState()
    for number, tick in enumerate(ticks):
        if number % ROUNDS_PER_PROCESS == ROUNDS_PER_PROCESS - 1:
            state = SiteJudgingState(models=state.models)  # the models are those that another would fit
        found = site_anomalies.find_site_anomalies(store, SETTINGS, state, {AREA: tick}, models=ANY_NUMBER)
        assert found is not None
        store.record_anomalies(found)
    query = AnomalyQuery(detectors=site_anomaly_builder.DETECTORS, limit=ANY_NUMBER)
    return sorted(store.anomalies(query), key=lambda one: (one.site_id, one.start_s))


def described(anomalies: Iterable[Anomaly]) -> list[SiteEventFields]:
    """Return what must not depend on the rounds, of anomalies that are not withdrawn."""
    return [
        SiteEventFields(
            one.site_id,
            (one.start_s - BEGIN_S) / HOUR_S,
            None if one.end_s is None else (one.end_s - BEGIN_S) / HOUR_S,
            one.detector,
            one.state,
        )
        for one in anomalies
        if one.state != "withdrawn"
    ]


def rounds(every_h: float, from_day: float = FIRST_DAY, until_day: float = LAST_DAY) -> list[int]:
    """Return the ticks of rounds at a regular interval, and of one at the end."""
    first, last = (round((BEGIN_S + day * DAY_S) / TICK_S) for day in (from_day, until_day))
    return [*range(first, last, round(every_h * TICKS_PER_H)), last]


@pytest.fixture(scope="module")
def daily() -> list[SiteEventFields]:
    """Events of the river as found by a round a day."""
    return described(judge_rounds(river(), rounds(24)))


def test_days_of_a_stuck_sensor_are_one_event(daily: list[SiteEventFields]) -> None:
    (event,) = [one for one in daily if one.site_id == "s1"]
    assert event.detector == "cause/sensor_stuck"
    assert event.state == "closed"
    assert event.start_h <= STUCK_FROM_DAY * 24 + 6
    assert event.end_h is not None
    assert STUCK_UNTIL_DAY * 24 - 2 <= event.end_h <= STUCK_UNTIL_DAY * 24 + 24
    assert len([one for one in daily if one.site_id == "s2"]) == 2


ROUNDS = {
    "1 h": [*rounds(24, 5, 6), *rounds(1, 6.2, 8), *rounds(24, 8, 10), *rounds(1, 10.5, 11), *rounds(24, 11)],
    "10 min, then 6 h": [*rounds(24, 5, 6.2), *rounds(1 / 6, 6.3, 6.9), *rounds(6, 7)],
}
"""Ticks of the rounds; frequent ones where events begin and end."""


@pytest.mark.parametrize("ticks", ROUNDS.values(), ids=ROUNDS.keys())
def test_rounds_at_other_intervals_find_the_same_events(
    daily: list[SiteEventFields], ticks: list[int]
) -> None:
    found = judge_rounds(river(), ticks)
    assert described(found) == daily
    assert [one for one in found if one.state == "withdrawn"] == []


def test_a_coarse_series_has_gaps_in_its_own_intervals() -> None:
    store = sonde_store({}, days=1, interval_s=4 * HOUR_S)
    gaps = site_event_identity.SiteGaps.of(store.directory())
    assert gaps.of_site("s1") == 24 * TICKS_PER_H
