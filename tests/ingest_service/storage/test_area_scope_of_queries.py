"""Tests row-level security of snapshots, histories, adoptions, assessments, rollups and SensorThings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from analytics.service import reports
from analytics.service.monthly_assessment import assess
from analytics.service.reports.report_data import NothingAssessedError
from analytics.service.settings import Settings
from gateway.sensorthings import entity_properties
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.filter_terms import SeriesScope
from ingest_service.storage.contract.models import REVISION, AnomalyQuery
from ingest_service.storage.postgres.assessments import AssessmentQuery, Assessments
from ingest_service.storage.postgres.limit_changes import LimitChangeLog
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.observations import ObservationReader
from ingest_service.storage.postgres.query_api import QueryApi
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.neighbouring_town import HOME_AREA, OTHER_AREA, OTHER_TOWN, OTHER_TOWN_ANOMALY
from tests.support.store_samples import DIRECTORY, START_US, STEP_US, anomaly, readings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest_service.storage.postgres.query_api import Snapshot

SERIES = (1, 3)
"""At home, and abroad."""
MONTH = "2026-09"
END_US = START_US + 100 * STEP_US
TABLES = (
    "anomaly_history",
    "flag_revision_history",
    "adoption",
    "assessment",
    "rollup_15min",
    "rollup_1h",
    "rollup_1day",
)


@pytest.fixture(params=["timescale_dsn", "plain_dsn"])
def store(request: pytest.FixtureRequest) -> Iterator[PostgresStore]:
    """Two towns with readings, an anomaly, limits and assessments each."""
    dsn = request.getfixturevalue(request.param)
    migrate(dsn)
    store = PostgresStore.open(dsn)
    store.enrol(DIRECTORY)
    store.enrol(OTHER_TOWN)
    for series_id in SERIES:
        store.commit(Batch(fresh=readings(series_id, range(10))))
        revise(store, series_id, quality=3)
        LimitChangeLog(store).adopt(series_id, {"score_strong": 9.0}, who="them", note="")
    store.record_anomalies([anomaly(), anomaly(**OTHER_TOWN_ANOMALY)])
    store.refresh_rollups(limit=1000)
    assess(store, Settings())
    yield store
    store.close()


def revise(store: PostgresStore, series_id: int, *, quality: int) -> None:
    store.commit(Batch(revisions=np.array([(series_id, START_US, quality, 4)], REVISION)))


def change(store: PostgresStore) -> None:
    """Everything changes at both places, so that histories begin."""
    for series_id in SERIES:
        revise(store, series_id, quality=4)
        store.commit(Batch(fresh=readings(series_id, range(10, 20))))
    store.record_anomalies([anomaly(severity=3), anomaly(**OTHER_TOWN_ANOMALY, severity=3)])
    store.refresh_rollups(limit=1000)


def answers_at(store: PostgresStore, snapshot_or_now: Snapshot | None) -> dict[str, Any]:
    """What is answered by place, now or of old."""
    reader_at = QueryApi(store).reader_at(snapshot_or_now)
    found = [reader_at.readings(one, START_US, END_US, limit=1000) for one in SERIES]
    buckets = [reader_at.buckets(one, START_US / 1e6, END_US / 1e6, 3600) for one in SERIES]
    return {
        "anomalies": {one.site_id: one.severity for one in reader_at.anomalies(AnomalyQuery())},
        "readings": [len(rows) for rows in found],
        "first": [int(rows["quality"][0]) for rows in found if len(rows)],
        "buckets": [sum(one.count for one in some) for some in buckets],
    }


def test_answers_of_now_and_of_old_are_of_the_own_area_alone(store: PostgresStore) -> None:
    home = store.for_area(HOME_AREA)
    snapshot = QueryApi(home).reader_at().snapshot
    change(store)
    own = {"readings": [20, 0], "first": [4], "buckets": [20, 0]}
    assert answers_at(home, None) == {"anomalies": {"s1": 3}, **own}
    assert answers_at(home, snapshot) == {
        "anomalies": {"s1": 2},
        "readings": [10, 0],
        "first": [3],
        "buckets": [10, 0],
    }
    assert answers_at(store.for_area("*"), snapshot)["readings"] == [10, 10]
    assert next(QueryApi(home).all_anomalies(AnomalyQuery(), snapshot, rows=10))[0].site_id == "s1"
    blocks = QueryApi(home).all_readings(SERIES, START_US, END_US, snapshot)
    assert {int(one) for block in blocks for one in block["series_id"]} == {1}


def test_where_a_table_keeps_no_transactions_row_level_security_holds_too(store: PostgresStore) -> None:
    """The question by transaction fails there, and is asked again by receiving time, behind the same wall."""
    with store.transaction() as owner:
        owner.execute("ALTER TABLE reading RENAME TO stored")
        owner.execute("CREATE VIEW reading AS SELECT * FROM stored")
        owner.execute("CALL wall_views()")
        owner.execute("GRANT SELECT ON stored TO towntwin_gateway")
    home = store.for_area(HOME_AREA)
    snapshot = QueryApi(home).reader_at().snapshot
    for snapshot_or_now in (None, snapshot):
        reader_at = QueryApi(home).reader_at(snapshot_or_now)
        assert [len(reader_at.readings(one, START_US, END_US, limit=99)) for one in SERIES] == [10, 0]


def test_tables_and_histories_show_the_own_area_alone(store: PostgresStore) -> None:
    change(store)
    with store.transaction() as owner:
        all_areas = {one: owner.execute(f"SELECT count(*) FROM {one}").fetchone() for one in TABLES}
    for scope, expected in ((HOME_AREA, 0.5), ("*", 1.0), ("", 0.0)):
        with store.for_area(scope).transaction() as connection:
            for name in TABLES:
                ((visible,),) = connection.execute(f"SELECT count(*) FROM {name}").fetchall()
                ((present,),) = [all_areas[name] or (0,)]
                assert present > 0, name
                assert name == "assessment" or visible == present * expected, (scope, name)
                assert (visible > 0) == bool(expected), (scope, name)


def test_adoptions_and_assessments_of_the_own_area_alone(store: PostgresStore) -> None:
    home = store.for_area(HOME_AREA)
    assert [len(LimitChangeLog(home).of(one)) for one in SERIES] == [1, 0]
    assert LimitChangeLog(home).adopt(1, {"score_strong": 8.0}, who="me", note="")
    assert not LimitChangeLog(home).adopt(3, {"score_strong": 8.0}, who="me", note="")
    assert [len(LimitChangeLog(store).of(one)) for one in SERIES] == [2, 1]
    found = Assessments(home).found(AssessmentQuery())
    assert {one.area_id for one in found} == {HOME_AREA}
    assert {one.area_id for one in Assessments(store).found(AssessmentQuery())} == {HOME_AREA, OTHER_AREA}


def test_reports_of_the_own_area_alone(store: PostgresStore) -> None:
    home, all_areas = store.for_area(HOME_AREA), store.directory()
    page = reports.render_report(home, all_areas, HOME_AREA, MONTH, language="en", form="html")
    assert page == reports.render_report(store, all_areas, HOME_AREA, MONTH, language="en", form="html")
    with pytest.raises(NothingAssessedError):
        reports.render_report(home, all_areas, OTHER_AREA, MONTH, language="en", form="html")


def test_sensorthings_of_the_own_area_alone(store: PostgresStore) -> None:
    scope = SeriesScope(list(SERIES))
    for visible, expected in ((store.for_area(HOME_AREA), {1}), (store.for_area("*"), {1, 3})):
        reader = ObservationReader(
            visible, meanings=entity_properties.FLAG_MEANINGS, rules=entity_properties.RULE_NAMES
        )
        with reader.session():
            assert set(reader.extents(SERIES)) == expected
            assert reader.count(scope, None) == 10 * len(expected)
            assert {one.series_id for one in reader.page(scope, None, (), limit=100)} == expected


def test_what_came_meanwhile_is_of_the_own_area_alone(store: PostgresStore) -> None:
    rows = store.for_area(HOME_AREA).received(SERIES, START_US / 1e6, limit=100)
    assert set(rows["series_id"].tolist()) == {1}
    assert rows["received_us"].tolist() == sorted(rows["received_us"].tolist())
