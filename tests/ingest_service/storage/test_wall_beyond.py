"""The wall around answers of old, histories, adoptions, assessments, reports, rollups and SensorThings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from analytics.service import reports
from analytics.service.assessing import assess
from analytics.service.reports.source import NothingError
from analytics.service.settings import Settings
from gateway.sta import describe
from ingest_service.storage.adoptions import Adoptions
from ingest_service.storage.answers import Answers, Question
from ingest_service.storage.assessments import AssessmentQuery, Assessments
from ingest_service.storage.batch import Batch
from ingest_service.storage.migrate import migrate
from ingest_service.storage.model import REVISION
from ingest_service.storage.postgres import PostgresStore
from ingest_service.storage.sensorthings import SensorThings
from ingest_service.storage.terms import Scope
from tests.support.kept import DIRECTORY, START_US, STEP_US, anomaly, readings
from tests.support.neighbours import ABROAD, FOREIGN, HOME, OTHER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest_service.storage.answers import Moment

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
    store.enrol(OTHER)
    for series_id in SERIES:
        store.commit(Batch(fresh=readings(series_id, range(10))))
        revise(store, series_id, quality=3)
        Adoptions(store).adopt(series_id, {"score_strong": 9.0}, who="them", note="")
    store.record([anomaly(), anomaly(**FOREIGN)])
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
    store.record([anomaly(severity=3), anomaly(**FOREIGN, severity=3)])
    store.refresh_rollups(limit=1000)


def answered(store: PostgresStore, again: Moment | None) -> dict[str, Any]:
    """What is answered by place, now or of old."""
    then = Answers(store).then(again)
    found = [then.readings(one, START_US, END_US, limit=1000) for one in SERIES]
    buckets = [then.buckets(one, START_US / 1e6, END_US / 1e6, 3600) for one in SERIES]
    return {
        "anomalies": {one.site_id: one.severity for one in then.anomalies(Question())},
        "readings": [len(rows) for rows in found],
        "first": [int(rows["quality"][0]) for rows in found if len(rows)],
        "buckets": [sum(one.count for one in some) for some in buckets],
    }


def test_answers_of_now_and_of_old_are_of_the_own_area_alone(store: PostgresStore) -> None:
    home = store.seen_from(HOME)
    moment = Answers(home).then().moment
    change(store)
    own = {"readings": [20, 0], "first": [4], "buckets": [20, 0]}
    assert answered(home, None) == {"anomalies": {"s1": 3}, **own}
    assert answered(home, moment) == {
        "anomalies": {"s1": 2},
        "readings": [10, 0],
        "first": [3],
        "buckets": [10, 0],
    }
    assert answered(store.seen_from("*"), moment)["readings"] == [10, 10]
    assert next(Answers(home).all_anomalies(Question(), moment, rows=10))[0].site_id == "s1"
    blocks = Answers(home).all_readings(SERIES, START_US, END_US, moment)
    assert {int(one) for block in blocks for one in block["series_id"]} == {1}


def test_where_a_table_keeps_no_transactions_the_wall_stands_too(store: PostgresStore) -> None:
    """The question by transaction fails there, and is asked again by receiving time, behind the same wall."""
    with store.transaction() as owner:
        owner.execute("ALTER TABLE reading RENAME TO stored")
        owner.execute("CREATE VIEW reading AS SELECT * FROM stored")
        owner.execute("CALL wall_views()")
        owner.execute("GRANT SELECT ON stored TO towntwin_gateway")
    home = store.seen_from(HOME)
    moment = Answers(home).then().moment
    for again in (None, moment):
        then = Answers(home).then(again)
        assert [len(then.readings(one, START_US, END_US, limit=99)) for one in SERIES] == [10, 0]


def test_tables_and_histories_show_the_own_area_alone(store: PostgresStore) -> None:
    change(store)
    with store.transaction() as owner:
        whole = {one: owner.execute(f"SELECT count(*) FROM {one}").fetchone() for one in TABLES}
    for scope, expected in ((HOME, 0.5), ("*", 1.0), ("", 0.0)):
        with store.seen_from(scope).transaction() as connection:
            for name in TABLES:
                ((seen,),) = connection.execute(f"SELECT count(*) FROM {name}").fetchall()
                ((there,),) = [whole[name] or (0,)]
                assert there > 0, name
                assert name == "assessment" or seen == there * expected, (scope, name)
                assert (seen > 0) == bool(expected), (scope, name)


def test_adoptions_and_assessments_of_the_own_area_alone(store: PostgresStore) -> None:
    home = store.seen_from(HOME)
    assert [len(Adoptions(home).of(one)) for one in SERIES] == [1, 0]
    assert Adoptions(home).adopt(1, {"score_strong": 8.0}, who="me", note="")
    assert not Adoptions(home).adopt(3, {"score_strong": 8.0}, who="me", note="")
    assert [len(Adoptions(store).of(one)) for one in SERIES] == [2, 1]
    found = Assessments(home).found(AssessmentQuery())
    assert {one.area_id for one in found} == {HOME}
    assert {one.area_id for one in Assessments(store).found(AssessmentQuery())} == {HOME, ABROAD}


def test_reports_of_the_own_area_alone(store: PostgresStore) -> None:
    home, whole = store.seen_from(HOME), store.directory()
    page = reports.make(home, whole, HOME, MONTH, language="en", form="html")
    assert page == reports.make(store, whole, HOME, MONTH, language="en", form="html")
    with pytest.raises(NothingError):
        reports.make(home, whole, ABROAD, MONTH, language="en", form="html")


def test_sensorthings_of_the_own_area_alone(store: PostgresStore) -> None:
    scope = Scope(list(SERIES))
    for seen, expected in ((store.seen_from(HOME), {1}), (store.seen_from("*"), {1, 3})):
        reader = SensorThings(seen, meanings=describe.MEANINGS, rules=describe.RULES)
        with reader.session():
            assert set(reader.extents(SERIES)) == expected
            assert reader.count(scope, None) == 10 * len(expected)
            assert {one.series_id for one in reader.page(scope, None, (), limit=100)} == expected


def test_what_came_meanwhile_is_of_the_own_area_alone(store: PostgresStore) -> None:
    rows = store.seen_from(HOME).received(SERIES, START_US / 1e6, limit=100)
    assert set(rows["series_id"].tolist()) == {1}
    assert rows["received_us"].tolist() == sorted(rows["received_us"].tolist())
