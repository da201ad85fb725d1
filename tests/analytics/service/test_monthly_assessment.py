"""Tests monthly assessments on a real TimescaleDB: computed once, and again only where their data changed."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import psycopg
import pytest

from analytics.service import process, reports
from analytics.service.monthly_assessment import assess, bring_up_to_date, index_weights
from analytics.service.monthly_assessment import month_data as months
from analytics.service.reports import translations
from analytics.service.settings import Settings
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.incidents import HistoryEntry, Incident, IncidentAnomaly, IncidentUpdate
from ingest_service.storage.contract.models import AnomalyQuery, Channel, Device, Directory, Series, Site
from ingest_service.storage.contract.network_changes import NetworkChange
from ingest_service.storage.contract.notifications import Deadline, DeadlinePhase
from ingest_service.storage.memory.store import MemoryStore
from ingest_service.storage.postgres.assessments import Assessment, AssessmentQuery, Assessments
from ingest_service.storage.postgres.incidents import Incidents
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.notifications import NotificationStore
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.demo_store import fill_with_demo
from tests.support.store_samples import readings
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ZONE = ZoneInfo("Asia/Shanghai")
UNTIL_S = datetime(2026, 11, 2, 12, tzinfo=ZONE).timestamp()
SETTINGS = Settings(assess_every_s=1e-9)
LAKE = Directory(
    sites=[
        Site(
            site_id="lake", area_id="330483-d1", kind="lake_section", en="Lake", zh="湖", lon=120.6, lat=30.6,
            target_class=3,
        )
    ],
    devices=[Device(device_id="lake", area_id="330483-d1")],
    series=[Series(site_id="lake", quantity=name) for name in ("total_phosphorus", "chlorophyll_a")],
    channels=[
        Channel(device_id="lake", name=name, site_id="lake", quantity=name)
        for name in ("total_phosphorus", "chlorophyll_a")
    ],
)  # fmt: skip


@pytest.fixture(scope="module")
def filled(timescale_server: object) -> Iterator[tuple[str, PostgresStore]]:
    """Three demo days over the end of October, assessed once."""
    with fresh_database(timescale_server) as dsn:  # type: ignore[arg-type]
        migrate(dsn)
        store = PostgresStore.open(dsn)
        fill_with_demo(store, days=3.0, until_s=UNTIL_S)
        assess(store, SETTINGS)
        yield dsn, store
        store.close()


@pytest.fixture
def store(filled: tuple[str, PostgresStore]) -> PostgresStore:
    return filled[1]


def stored_assessments(store: PostgresStore, *kinds: str, month: str | None = None) -> list[Assessment]:
    query = AssessmentQuery(kinds=list(kinds) or None, from_month=month, to_month=month)
    return Assessments(store).found(query)


def test_every_section_has_its_class_and_its_items(store: PostgresStore) -> None:
    sections = stored_assessments(store, "water_class", month="2026-11")
    assert len(sections) == 15
    for one in sections:
        assert one.class_ is not None
        assert (one.target, one.met, one.items_of) == (3, one.class_ <= 3, 21)
        assert one.items == len(one.detail["items"])
        assert 3 <= one.items <= 5
        assert "total_nitrogen" not in one.detail["items"] | one.detail["reference"]
        assert one.class_ == max(item["class"] for item in one.detail["items"].values())
        assert all(one.detail["items"][name]["class"] == one.class_ for name in one.detail["worst"])
    assert [one.month for one in stored_assessments(store)] == sorted(
        (one.month for one in stored_assessments(store)), reverse=True
    )


def test_the_mean_of_a_month_is_that_of_its_good_readings_by_the_towns_clock(store: PostgresStore) -> None:
    known = store.directory()
    site = "330483-d1-r04"
    (series,) = [one for one in known.series if (one.site_id, one.quantity) == (site, "ammonia_nitrogen")]
    for month in ("2026-10", "2026-11"):
        from_s, to_s = months.month_bounds(month, ZONE)
        rows = store.readings(series.series_id, from_s, to_s, limit=100_000)
        good = rows["value"][rows["quality"] <= 2]
        (one,) = [one for one in stored_assessments(store, "water_class", month=month) if one.site_id == site]
        item = one.detail["items"]["ammonia_nitrogen"]
        assert item["mean"] == pytest.approx(good.mean(), rel=1e-5)
        assert item["readings"] == len(good) > 100


def test_links_towns_and_the_index(store: PostgresStore) -> None:
    links = [one for one in stored_assessments(store, "congestion", month="2026-11") if one.link_id]
    assert len(links) > 20
    for one in links:
        assert one.value is not None
        assert one.class_ in range(1, 6)
        assert sum(one.detail["hours_by_level"]) == one.detail["hours"] >= 24
        assert one.detail["delay_vehicle_h"] >= 0
    towns = {one.area_id: one for one in stored_assessments(store, "index", month="2026-11")}
    assert sorted(towns) == ["330402-d1", "330421-d1", "330483-d1"]
    assert sorted(one.class_ or 0 for one in towns.values()) == [1, 2, 3]
    best = min(towns.values(), key=lambda one: one.class_ or 0)
    assert best.value == max(one.value or 0 for one in towns.values())
    for one in towns.values():
        parts = one.detail["parts"]
        weighed = sum(part["weight"] * part["score"] for part in parts if part["score"] is not None)
        assert one.value == pytest.approx(
            100 * weighed / sum(part["weight"] for part in parts if part["score"] is not None), rel=1e-5
        )
    for one in stored_assessments(store, "water_status", month="2026-11"):
        assert (one.detail["sections"], one.detail["with_target"], one.detail["ranked"]) == (5, 5, 3)
        assert sum(one.detail["classes"]) == 5


def test_capture_is_counted_from_the_first_reading_on(store: PostgresStore) -> None:
    sites = {one.site_id: one for one in stored_assessments(store, "capture", month="2026-10") if one.site_id}
    assert all(0.3 <= (one.value or 0) <= 1 for one in sites.values())
    assert sorted(one.value or 0 for one in sites.values())[len(sites) // 2] > 0.95
    silent = [
        one for one in stored_assessments(store, "capture", month="2026-11") if one.site_id == "330402-d1-r05"
    ]
    assert (silent[0].value or 0) < 0.95, "this device falls silent in the demo"


def test_response_counts_the_months_own_anomalies(store: PostgresStore) -> None:
    for month in ("2026-10", "2026-11"):
        from_s, to_s = months.month_bounds(month, ZONE)
        began = [one for one in store.anomalies(AnomalyQuery(limit=10_000)) if from_s <= one.start_s < to_s]
        towns = stored_assessments(store, "response", month=month)
        assert sum(one.detail["anomalies"] for one in towns) == len(began)
        assert sum(one.detail["is_open"] for one in towns) == sum(one.state == "open" for one in began)
        detectors = {name for one in towns for name in one.detail["by_detector"]}
        assert detectors == {one.detector for one in began}
    assert began, "things go wrong in November"


def test_a_month_is_made_anew_only_where_its_data_changed(filled: tuple[str, PostgresStore]) -> None:
    dsn, store = filled
    own = index_weights.read_index_rules(None)
    before = stored_assessments(store)
    for month in ("2026-10", "2026-11"):
        assert not bring_up_to_date(store, month, own, newest_s=UNTIL_S)
    with psycopg.connect(dsn) as connection:  # the same data, computed from nothing: the same assessments
        connection.execute("UPDATE assessed_month SET fingerprint = ''")
    link = next(one for one in store.directory().links if one.network == "road")
    november_s = months.month_bounds("2026-11", ZONE)[0]
    store.change_network(NetworkChange(ended_links=[link.link_id], valid_from_s=november_s))
    assert bring_up_to_date(store, "2026-10", own, newest_s=UNTIL_S)
    assert stored_assessments(store) == before, (
        "not even the time of computing moved, or the network of October"
    )
    assert any(one.link_id == link.link_id for one in stored_assessments(store, month="2026-10"))
    store.change_network(NetworkChange(links=[link]))
    assert bring_up_to_date(store, "2026-10", own, newest_s=UNTIL_S), "a month is made anew after a change"

    known = store.directory()
    (series,) = [
        one for one in known.series if (one.site_id, one.quantity) == ("330483-d1-r01", "ammonia_nitrogen")
    ]
    worse = readings(series.series_id, range(300))
    worse["value"] = 30.0
    worse["time_us"] = (np.arange(300) + 1) * 1_000_000 + round(months.month_bounds("2026-11", ZONE)[0] * 1e6)
    store.commit(Batch(doubtful=worse))
    process.roll_up(store, Settings())
    assert not bring_up_to_date(store, "2026-10", own, newest_s=UNTIL_S), "October has the data that it had"
    assess(store, SETTINGS)
    changed = {one.subject for one in stored_assessments(store, month="2026-11")} & {
        one.subject for one in stored_assessments(store, month="2026-11") if one not in before
    }
    assert {"site/330483-d1-r01", "area/330483-d1"} <= changed
    assert not any(one.startswith("link/") for one in changed)
    (one,) = [
        one
        for one in stored_assessments(store, "water_class", month="2026-11")
        if one.site_id == "330483-d1-r01"
    ]
    assert (one.class_, one.met) == (6, False)
    assert one.detail["main"][0] == "ammonia_nitrogen"
    assert one.detail["items"]["ammonia_nitrogen"]["exceeds"] > 1


def test_a_lake_with_one_sample_has_its_own_limits_and_a_trophic_state(
    filled: tuple[str, PostgresStore],
) -> None:
    _, store = filled
    known = store.enrol(LAKE)
    ids = {one.quantity: one.series_id for one in known.series if one.site_id == "lake"}
    for name, value in (("total_phosphorus", 0.05), ("chlorophyll_a", 20.0)):
        sample = readings(ids[name], range(1))
        sample["value"] = value
        sample["time_us"] = round((UNTIL_S - 3600) * 1e6)
        store.commit(Batch(fresh=sample))
    process.roll_up(store, Settings())
    assess(store, SETTINGS)
    (lake,) = [
        one for one in stored_assessments(store, "water_class", month="2026-11") if one.site_id == "lake"
    ]
    assert (lake.class_, lake.items, lake.met) == (3, 1, True), "exactly on the limit of class III"
    assert lake.detail["items"]["total_phosphorus"]["readings"] == 1
    (state,) = stored_assessments(store, "trophic_state", month="2026-11")
    assert (state.class_, state.items, state.items_of) == (3, 2, 5)
    page = reports.render_report(store, known, "330483-d1", "2026-11", language="en", form="html").decode()
    assert "lightly eutrophic" in page
    assert re.search(r"ammonia nitrogen \(\d+\.\d\d\)", page), (
        "what was worse than V is named with its multiple"
    )
    assert "worse than V" in page
    assert "Sites without any reading" not in page


def test_what_was_not_measured_is_reported(filled: tuple[str, PostgresStore]) -> None:
    _, store = filled
    bare = Site(
        site_id="bare", area_id="330402-d1", kind="river_section", en="Bare", zh="空", lon=120.7, lat=30.7,
        target_class=3,
    )  # fmt: skip
    known = store.enrol(Directory(sites=[bare], series=[Series(site_id="bare", quantity="ph")]))
    assess(store, SETTINGS)
    (one,) = [
        one for one in stored_assessments(store, "water_class", month="2026-11") if one.site_id == "bare"
    ]
    assert (one.class_, one.met, one.items, one.value) == (None, None, 0, None)
    (town,) = [
        one
        for one in stored_assessments(store, "water_status", month="2026-11")
        if one.area_id == "330402-d1"
    ]
    assert (town.detail["sections"], town.detail["assessed"], town.detail["with_target"]) == (6, 5, 5)
    for language, says in (
        ("en", "Sections without any assessed item: Bare."),
        ("zh", "无参评项目的断面：空。"),
    ):
        page = reports.render_report(
            store,
            known,
            "330402",
            "2026-11",
            language=language,  # type: ignore[arg-type]
            form="html",
        ).decode()
        assert says in page


def test_rounds_wait_for_each_other_and_a_store_in_memory_has_no_assessments(
    filled: tuple[str, PostgresStore], tmp_path: Path
) -> None:
    _, store = filled
    assess(MemoryStore(), SETTINGS)
    kept = Assessments(store)
    assess(store, msgspec.structs.replace(SETTINGS, assess_every_s=3600.0, index_file=tmp_path / "not read"))
    ago_s = kept.seconds_since_check()
    assert ago_s is not None
    assert ago_s < 600


def test_the_steps_of_an_incident_are_responses_and_its_times_are_in_the_report(
    store: PostgresStore,
) -> None:
    from_s, _ = months.month_bounds("2026-11", ZONE)
    found = store.anomalies(AnomalyQuery(limit=1000))
    anomaly = next(one for one in found if from_s < one.start_s < UNTIL_S - 7200)
    area = anomaly.site_id.rpartition("-")[0]
    opened_s = anomaly.start_s + 300
    incident = Incident(
        area_id=area, area_ids=[area], main_site_id=anomaly.site_id, kind="water", cause="water_departure",
        priority=1, severity=3, started_s=anomaly.start_s, last_s=anomaly.start_s, opened_s=opened_s,
        acknowledged_s=opened_s + 420, dispatched_s=opened_s + 900, closed_s=UNTIL_S + 1e6, annunciations=1,
    )  # fmt: skip
    member = IncidentAnomaly(
        anomaly_id=anomaly.anomaly_id, incident_id=None, site_id=anomaly.site_id, role="opened",
        reason="first", reason_en="it opened the incident", reason_zh="首个异常", state="open",
        anomaly_revision=anomaly.revision, start_s=anomaly.start_s, severity=3,
        series_id=anomaly.series_id, detector=anomaly.detector,
    )  # fmt: skip
    sounded = HistoryEntry(
        machine="alarm",
        event="open",
        to_state="unacknowledged",
        who="service",
        at_s=opened_s,
        from_state=None,
    )
    Incidents(store).apply([IncidentUpdate(incident=incident, entries=[sounded], members=[member])])
    (incident_id,) = {one.incident_id for one in Incidents(store).memberships([anomaly.anomaly_id]).values()}
    assert incident_id is not None
    # Acknowledged in time, dispatched late, not yet handled while there is time.
    phases: list[tuple[DeadlinePhase, float, float]] = [
        ("acknowledge", opened_s + 600, opened_s + 420),
        ("dispatch", opened_s + 600, opened_s + 900),
        ("handle", UNTIL_S + 3600, UNTIL_S + 60),
    ]
    NotificationStore(store).record(
        [],
        [
            Deadline(incident_id=incident_id, area_id=area, phase=phase, due_s=due_s, met_s=met_s)
            for phase, due_s, met_s in phases
        ],
    )
    assess(store, SETTINGS)
    (town,) = [one for one in stored_assessments(store, "response", month="2026-11") if one.area_id == area]
    assert town.detail["answered"] == 1
    assert town.detail["median_answer_h"] == pytest.approx((300 + 420) / 3600, rel=1e-3)
    handled = town.detail["incidents"]
    assert (handled["incidents"], handled["is_open"]) == (1, 1), (
        "what happened after the data is not known yet"
    )
    assert handled["deadlines"] == {"judged": 2, "in_time": 0.5}
    assert handled["by_phase"]["acknowledge"]["in_time"] == 1
    assert handled["by_phase"]["handle"] == {"judged": 0, "in_time": None}
    assert handled["median_acknowledge_h"] == pytest.approx(420 / 3600, rel=1e-3)
    (index,) = [one for one in stored_assessments(store, "index", month="2026-11") if one.area_id == area]
    assert {one["part"]: one["score"] for one in index.detail["parts"]}["incidents"] == 0.5
    rows = {
        "en": ["1 (urgent)", "1", "1", "7.0", "15.0", "–", "–"],
        "zh": ["1（紧急）", "1", "1", "7.0", "15.0"],
    }
    for language in translations.LANGUAGES:
        page = reports.render_report(
            store, store.directory(), area, "2026-11", language=language, form="html"
        ).decode()
        cells = re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", page)
        assert rows[language][0] in cells, page
        at = cells.index(rows[language][0])
        assert cells[at : at + 5] == rows[language][:5]
        kept = "50.0 %" if language == "en" else "50.0%"
        at = cells.index(translations.translate("deadlines_judged", language)) - 1
        assert cells[at + 9 : at + 12] == ["2", kept, kept.replace("50", "100")], cells[at : at + 16]


def test_a_report_beside_newer_readings_shows_that_it_is_stale_until_the_service_assesses_again(
    filled: tuple[str, PostgresStore],
) -> None:
    dsn, store = filled
    known, kept = store.directory(), Assessments(store)
    notices = {"en": ("As of 2026-11-02 12:00", "Stale: "), "zh": ("截至2026-11-02 12:00", "数据未更新")}
    usual = Settings(assess_every_s=3600.0)

    def page(language: translations.Language, area: str = "330402") -> str:
        return reports.render_report(store, known, area, "2026-11", language=language, form="html").decode()

    def measured(after_s: float) -> None:
        (series,) = [
            one
            for one in known.series
            if (one.site_id, one.quantity) == ("330402-d1-r01", "ammonia_nitrogen")
        ]
        newer = readings(series.series_id, range(1))
        newer["time_us"] = round((UNTIL_S + after_s) * 1e6)
        store.commit(Batch(fresh=newer))
        process.roll_up(store, Settings())
        with psycopg.connect(dsn) as connection:  # as if the last look was a minute ago
            connection.execute("UPDATE assessed_month SET checked = now() - interval '1 minute'")
        assess(store, usual)

    assess(store, SETTINGS)
    measured(3_000.0)
    assert kept.assessed_until("2026-11") == UNTIL_S, "within the hour the usual time between looks holds"
    assert notices["en"][1] not in page("en")

    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE latest SET time = to_timestamp(%s) WHERE time = to_timestamp(%s)",
            (UNTIL_S + 3_700.0, UNTIL_S + 3_000.0))  # fmt: skip
    for language in translations.LANGUAGES:
        stale = page(language)
        assert [one for one in notices[language] if one not in stale] == []
    assert notices["en"][1] not in page("en", "330421"), "nothing newer was measured there"

    measured(7_200.0)
    assert kept.assessed_until("2026-11") == UNTIL_S + 7_200.0
    newest = page("zh")
    assert ("截至2026-11-02 14:00" in newest, notices["zh"][1] in newest) == (True, False)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "missing required field"),
        ("response_wanted_h = 0\nweights = {}", ">"),
        ("response_wanted_h = 1\nweights = { water = 1.0 }", "no part 'water'"),
        ("response_wanted_h = 1\nweights = { roads = 0.0 }", "every weight is 0"),
        ("response_wanted_h = 1\nweights = { roads = -1.0 }", ">= 0"),
        ("= 3", "can't be used"),
    ],
)
def test_wrong_weights_are_reported(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "weights.toml"
    path.write_text(text)
    with pytest.raises(index_weights.IndexRulesError, match=says):
        index_weights.read_index_rules(path)


def test_months_turn_by_the_towns_clock() -> None:
    first_s, last_s = months.month_bounds("2026-12", ZONE)
    assert datetime.fromtimestamp(first_s, ZONE).isoformat() == "2026-12-01T00:00:00+08:00"
    assert (months.month_at(last_s, ZONE), months.month_at(last_s - 1, ZONE)) == ("2027-01", "2026-12")
    assert last_s - first_s == 31 * 86_400
