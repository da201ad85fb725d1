"""Tests the detection of site anomalies over several series, on a real TimescaleDB, with planted faults."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from analytics.quality import anomaly_text, cause_text
from analytics.service import process, site_anomalies, site_anomaly_builder, site_scoring
from analytics.service.network_neighbours import NeighbouringSite
from analytics.service.service_state import ServiceState, SiteJudgingState
from analytics.service.settings import Settings
from deploy import demo
from edge.simulator import FaultKind, PlannedFault
from ingest_service.storage.contract.models import Anomaly, AnomalyQuery
from ingest_service.storage.memory.store import MemoryStore
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.demo_store import fill_with_demo
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest_service.storage.contract.store import Store
    from tests.support.throwaway_servers import NamedServer, PostgresServer

HOUR_S, DAY_S = 3600.0, 86_400.0
PRESENT_S = 1_764_061_200.0  # 17:00 in Jiaxing
SETTINGS = Settings()
ANY_NUMBER = 1_000
SEED_OF_HEAVY_RAIN = 117  # of 48 mm in the nine days before the present
NAMES = {
    FaultKind.SLUG: {"cause/sewage"},
    FaultKind.DISCHARGE: {"cause/sewage"},
    FaultKind.DRIFT: {"cause/sensor_fouling"},
    FaultKind.STUCK: {"cause/sensor_stuck"},
    FaultKind.INCIDENT: {"cause/incident_downstream", "cause/incident_upstream"},
}
SITES_OF_FAULTS = ("330402-d1-r01", "330421-d1-r04", "330402-d1-r04", "330483-d1-r04")
SITE_WITHOUT_FAULT = "330483-d1-r02"
REPORT_DELAY_S = 3 * HOUR_S  # a shape takes two hours to be recognised, and an event some time to arrive


def judge_all_sites(
    store: Store, settings: Settings = SETTINGS, judging_state: SiteJudgingState | None = None
) -> list[Anomaly]:
    """What is recorded of the sites, after judging what the store holds."""
    until = site_scoring.complete_until(
        store.directory(), store.latest(), time.time(), settings.silence_grace_s
    )
    found = site_anomalies.find_site_anomalies(
        store, settings, judging_state or SiteJudgingState(), until, models=ANY_NUMBER
    )
    assert found is not None
    store.record_anomalies(found)
    return store.anomalies(AnomalyQuery(detectors=site_anomaly_builder.DETECTORS, limit=1000))


def planted_fault(
    kind: FaultKind, size: float, quantity: str, *, site_id: str, hours: float = 5
) -> PlannedFault:
    """A fault of the last hours at one site."""
    return PlannedFault(
        fault_id=f"{kind}-{quantity}",
        kind=kind,
        site_ids=(site_id,),
        quantities=(quantity,),
        start_s=-hours * HOUR_S,
        end_s=DAY_S,
        size=size,
        find_within_s=REPORT_DELAY_S,
        en="planted",
        zh="设定",
    )


class JudgedDemo(NamedTuple):
    """Three days of the demo, judged by the rounds of the task.

    Attributes
    ----------
    store : with the readings and the recorded anomalies
    judging_state : of the task after its last round
    found_at_once : anomalies after the first round
    rounds : number of the rounds after the first one
    found : anomalies after the last round

    """

    store: PostgresStore
    judging_state: SiteJudgingState
    found_at_once: list[Anomaly]
    rounds: int
    found: list[Anomaly]


@pytest.fixture(scope="module")
def demo_judged(timescale_server: PostgresServer | NamedServer) -> Iterator[JudgedDemo]:
    """Provide the demo as the task judges it."""
    with fresh_database(timescale_server) as dsn:
        migrate(dsn)
        opened = PostgresStore.open(dsn)
        fill_with_demo(opened, days=3, until_s=PRESENT_S)
        query = AnomalyQuery(detectors=site_anomaly_builder.DETECTORS, limit=1000)
        settings, state = Settings(several_every_s=0), ServiceState()
        site_anomalies.judge_sites(opened, settings, service_state=state)
        found_at_once, rounds = opened.anomalies(query), 0
        while not state.site_judging.judged_s.keys() >= state.site_judging.newest_ticks.keys():
            site_anomalies.judge_sites(opened, settings, service_state=state)
            rounds += 1
            assert rounds <= 20
        yield JudgedDemo(opened, state.site_judging, found_at_once, rounds, opened.anomalies(query))
        opened.close()


def test_the_task_waits_for_a_backlog_and_learns_a_few_models_at_a_time(demo_judged: JudgedDemo) -> None:
    assert demo_judged.found_at_once == [], "it has moved on by days since it was last seen"
    assert demo_judged.rounds > 1, "the models of all areas are more than one round learns"
    assert site_anomalies.judge_sites in process.TASKS


def test_each_planted_cause_of_the_demo_is_named_and_nothing_else_is(demo_judged: JudgedDemo) -> None:
    found = demo_judged.found
    past = [fault for fault in demo.plan() if fault.start_s + REPORT_DELAY_S < 0]
    unnamed = [
        fault.fault_id
        for fault in past
        if fault.kind in NAMES
        and not any(
            one.site_id in fault.site_ids and one.detector in NAMES[fault.kind] and overlaps(one, fault)
            for one in found
        )
    ]
    assert unnamed == []
    unplanted = [
        (one.site_id, one.detector, one.reason_en)
        for one in found
        if not any(one.site_id in fault.site_ids and overlaps(one, fault) for fault in past)
        and one.site_id != "330421-d1-r05"  # the discharge of its town's outfall passes here, hours later
    ]
    assert unplanted == []
    assert len(found) <= 20, "one event at a site is one anomaly"


def overlaps(one: Anomaly, fault: PlannedFault) -> bool:
    """Whether an anomaly begins while a fault works, or what it let out is on its way."""
    later_s = 20 * HOUR_S if fault.kind in {FaultKind.SLUG, FaultKind.DISCHARGE} else HOUR_S
    begins_s = one.start_s - PRESENT_S
    return fault.start_s - HOUR_S <= begins_s <= fault.end_s + later_s


def test_a_site_anomaly_has_its_evidence_and_links_to_the_anomalies_of_its_series(
    demo_judged: JudgedDemo,
) -> None:
    store, found = demo_judged.store, demo_judged.found
    known = {one.anomaly_id: one for one in store.anomalies(AnomalyQuery(limit=1000))}
    for one in found:
        assert one.subject == f"site/{one.site_id}/several"
        shares = [quantity["share"] for quantity in one.evidence["quantities"]]
        assert sum(shares) == pytest.approx(1, abs=0.01)
        assert shares == sorted(shares, reverse=True)
        assert all(known[part].site_id == one.site_id for part in one.evidence["of"])
        assert one.reason_zh
    linked = [one for one in found if one.evidence["of"]]
    assert len(linked) >= 0.8 * len(found)
    assert all(
        known[part].detector in anomaly_text.DETECTOR_NAMES.values()
        for one in found
        for part in one.evidence["of"]
    )
    slug = next(one for one in found if one.site_id == "330402-d1-r01")
    assert slug.detector == "cause/sewage"
    (above, *_) = slug.evidence["neighbours"]
    assert (above["site_id"], above["way"]) == ("330483-d1-r05", "upstream")
    assert "it passed a neighbouring town about 3.6 h before" in slug.reason_en, (
        "another town's site has no name here"
    )
    drift = next(one for one in found if one.site_id == "330421-d1-r04")
    assert drift.evidence["neighbours"] == []
    assert drift.evidence["qartod_neighbour"] >= 3, "its neighbours have nothing of it"
    assert "its neighbours show nothing of it" in drift.reason_en


def test_another_process_without_state_returns_the_same(demo_judged: JudgedDemo) -> None:
    store, judging_state, first = demo_judged.store, demo_judged.judging_state, demo_judged.found
    assert judge_all_sites(store, judging_state=judging_state) == first, (
        "and nothing changes, so no revision does"
    )
    assert judge_all_sites(store) == first


def test_weeks_without_a_fault_name_no_cause_but_rain_that_fell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        site_scoring, "BLOCK_TICKS", site_anomalies.MAX_EVENT_TICKS
    )  # fewer models, and older ones
    store = MemoryStore()
    fill_with_demo(store, days=15, until_s=PRESENT_S, plan=[], seed=SEED_OF_HEAVY_RAIN)
    areas = sorted({one.area_id for one in store.directory().sites})
    judging_state = SiteJudgingState()
    for days in range(6, -1, -3):
        until = dict.fromkeys(areas, round(PRESENT_S - days * DAY_S) // 300)
        found = site_anomalies.find_site_anomalies(store, SETTINGS, judging_state, until, models=ANY_NUMBER)
        assert found is not None
        store.record_anomalies(found)
    reported = store.anomalies(AnomalyQuery(detectors=site_anomaly_builder.DETECTORS, limit=1000))
    rain = [one for one in reported if one.detector == "cause/rain_turbidity"]
    assert len({one.site_id for one in rain}) > 3, "12 mm of rain fell"
    assert all(one.evidence["rain_mm"] > 1 for one in rain)
    others = [(one.site_id, one.detector, one.reason_en) for one in reported if one not in rain]
    assert [one for one in others if one[1] != site_anomaly_builder.DETECTOR] == [], "in 9 days at 40 sites"
    assert len(others) <= 2
    assert len(rain) <= 12, "most sites have one event of rain at most"


PLANS_BY_CAUSE = {
    "calibration_jump": [planted_fault(FaultKind.SPIKE, 0.6, "ph", site_id=SITES_OF_FAULTS[0])],
    "sensor_fouling": [
        planted_fault(FaultKind.DRIFT, 200.0, "turbidity", site_id=SITES_OF_FAULTS[1], hours=14)
    ],
    "air_exposure": [
        planted_fault(FaultKind.SPIKE, -5_000.0, "conductivity", site_id=SITES_OF_FAULTS[2]),
        planted_fault(FaultKind.SPIKE, 6.0, "water_temperature", site_id=SITES_OF_FAULTS[2]),
    ],
    "sensor_stuck": [planted_fault(FaultKind.STUCK, 0.0, "conductivity", site_id=SITES_OF_FAULTS[3])],
}
"""Faults of sensors by the cause that is to be named, each at another site."""
FALSE = Anomaly(
    site_id=SITE_WITHOUT_FAULT,
    subject=f"site/{SITE_WITHOUT_FAULT}/several",
    detector="cause/sewage",
    version="1",
    score=9.0,
    start_s=PRESENT_S - HOUR_S,
    peak_s=PRESENT_S - HOUR_S,
    severity=2,
    n_readings=3,
    state="open",
    reason_en="it seemed",
    reason_zh="似乎",
)


@pytest.fixture(scope="module")
def found_by_site() -> dict[str, Anomaly]:
    """Anomalies of towns in which only sensors fail, by site; a false one was recorded before."""
    store = MemoryStore()
    plan = [fault for faults in PLANS_BY_CAUSE.values() for fault in faults]
    fill_with_demo(store, days=3, until_s=PRESENT_S, plan=plan)
    store.record_anomalies([FALSE])
    found = judge_all_sites(store, Settings(several_reach_h=6))
    assert sorted(one.site_id for one in found) == sorted([*SITES_OF_FAULTS, SITE_WITHOUT_FAULT])
    return {one.site_id: one for one in found}


@pytest.mark.parametrize("name", PLANS_BY_CAUSE)
def test_faults_of_a_sensor_are_distinguished(name: str, found_by_site: dict[str, Anomaly]) -> None:
    found = found_by_site[PLANS_BY_CAUSE[name][0].site_ids[0]]
    assert found.detector == f"cause/{name}", found.reason_en
    assert found.severity <= 2, "a sensor that fails is no alarm"
    assert found.evidence["cause"]["strength"] >= 2


def test_an_event_that_is_none_any_more_is_withdrawn(found_by_site: dict[str, Anomaly]) -> None:
    one = found_by_site[SITE_WITHOUT_FAULT]
    assert one.state == "withdrawn"
    assert one.reason_en.endswith("it was: it seemed")


def test_every_cause_has_its_words_in_both_languages() -> None:
    assert (
        cause_text.CAUSE_TEXTS_EN.keys()
        == cause_text.CAUSE_TEXTS_ZH.keys()
        == site_anomaly_builder.DETECTOR_OF_CAUSE.keys()
    )


def test_a_reason_names_no_site_of_another_area() -> None:
    """Whoever reads it may be bound to one of the areas: names go no further than they may see."""
    directory = demo.directory()
    here, beside = [one for one in directory.sites if one.area_id == directory.sites[0].area_id][:2]
    abroad = next(one for one in directory.sites if one.area_id != here.area_id)
    nobody: Any = None
    builder = site_anomaly_builder._AnomalyBuilder(directory, nobody, {}, nobody, nobody, [], nobody)
    near = [
        site_anomaly_builder.NeighbourEvidence(
            NeighbouringSite(one.site_id, HOUR_S, "river"), "upstream", HOUR_S, "ph", 9.0
        )
        for one in (abroad, beside)
    ]
    departed = [cause_text.DepartedQuantity("ph", -9.0)]
    for first, name_en, name_zh in (
        (near[0], "a neighbouring town", "邻镇"),
        (near[1], beside.en, beside.zh),
    ):
        passed = builder._named_neighbours(here.site_id, [first])
        english, chinese = cause_text.cause_sentences("sewage", departed, passed, alone=False)
        assert (name_en in english, name_zh in chinese) == (True, True)
        assert abroad.en not in english
        assert abroad.zh not in chinese
