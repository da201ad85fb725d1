"""Tests process heartbeats and the state derived from them, in every store."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from ingest_service.storage.contract.errors import StoreUnavailableError
from ingest_service.storage.contract.models import AnomalyQuery, DeadLetterQuery
from ingest_service.storage.health import process_messages
from ingest_service.storage.health.heartbeat_thread import (
    HeartbeatThread,
    ProgressRecorder,
    WorkStatus,
    sending_heartbeats,
)
from ingest_service.storage.health.processes import (
    RESTART_WINDOW_S,
    ROW_EXPIRY_S,
    SHOWN_RESTARTING_S,
    HealthLimits,
    HeartbeatReport,
    ProcessIdentity,
    ProcessInfo,
)
from ingest_service.storage.memory.store import MemoryStore
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.processes import wait_until
from tests.support.store_samples import anomaly

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest_service.storage.contract.store import Store
    from ingest_service.storage.health.processes import HeartbeatWriter

LIMITS = HealthLimits(absent_s=8, stuck_s=30, behind_s=20)
MAIN = ProcessIdentity(kind="ingest", instance="main", host="h", pid=7)
ENDED = {"reconnecting", "ended"}
OWNER = HeartbeatReport(role="owner", areas=["+"])


class HeartbeatBench:
    """A store whose heartbeats can be made older, and those that were begun."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.begun: list[HeartbeatWriter] = []
        if isinstance(store, PostgresStore):
            wait_until(self._is_old_enough, within_s=30, what="the start of the server explains no late beat")

    def beat(self, report: HeartbeatReport = OWNER, identity: ProcessIdentity = MAIN) -> HeartbeatWriter:
        heartbeat = self.store.heartbeat(identity, LIMITS)
        heartbeat.beat(report)
        self.begun.append(heartbeat)
        return heartbeat

    def age(self, *, beat_s: float = 0.0, started_s: float = 0.0) -> None:
        """Make every row older."""
        if isinstance(self.store, MemoryStore):
            for row in self.store.registry._rows.values():
                row.beat_s -= beat_s
                row.started_s -= started_s
            self.store.registry.resumed_s -= beat_s
            return
        assert isinstance(self.store, PostgresStore)
        with psycopg.connect(self.store._dsn) as connection:
            connection.execute(
                "UPDATE heartbeat SET beat = beat - %s * interval '1 second',"
                " started = started - %s * interval '1 second'",
                (beat_s, started_s),
            )
            connection.execute(
                "UPDATE heartbeat_gap SET resumed = resumed - %s * interval '1 second'", (beat_s,)
            )

    def end_gap(self) -> None:
        """Make the newest gap of heartbeats so old that it explains no late heartbeat."""
        if isinstance(self.store, MemoryStore):
            self.store.registry.resumed_s -= LIMITS.absent_s
            return
        assert isinstance(self.store, PostgresStore)
        with psycopg.connect(self.store._dsn) as connection:
            connection.execute(
                "UPDATE heartbeat_gap SET resumed = resumed - %s * interval '1 second'", (LIMITS.absent_s,)
            )

    def _is_old_enough(self) -> bool:
        """Whether the start of the server is too long ago to explain heartbeats that are made older."""
        assert isinstance(self.store, PostgresStore)
        with psycopg.connect(self.store._dsn) as connection:
            found = connection.execute(
                "SELECT now() - pg_postmaster_start_time() > %s * interval '1 second'", (LIMITS.absent_s,)
            ).fetchone()
        return found == (True,)

    def one(self, kind: str = "ingest") -> ProcessInfo:
        (found,) = [one for one in self.store.processes() if one.kind == kind]
        return found


@pytest.fixture
def bench(store: Store) -> Iterator[HeartbeatBench]:
    one = HeartbeatBench(store)
    yield one
    for heartbeat in one.begun:
        heartbeat.close()


TABLE: list[tuple[str, dict[str, Any], dict[str, float], bool, str, str, bool]] = [
    # what, report, made older, ended, state, why, works
    ("works", {}, {}, False, "alive", "", True),
    ("stands by", {"role": "standby"}, {}, False, "alive", "", True),
    ("starts", {"role": "starting"}, {}, False, "restarting", "starting", False),
    ("a beat is late", {}, {"beat_s": 7}, False, "alive", "", True),
    ("beats no more", {}, {"beat_s": 9}, False, "stuck", "silent", False),
    ("lost its connection just now", {}, {"beat_s": 1}, True, "unknown", "reconnecting", False),
    ("ended just now", {}, {"beat_s": 4}, True, "restarting", "ended", False),
    ("ended for good", {}, {"beat_s": 9}, True, "absent", "gone", False),
    ("its loop hangs", {"moved_age_s": 31.0}, {}, False, "stuck", "still", False),
    (
        "its loop hung, and then its beats",
        {"moved_age_s": 25.0},
        {"beat_s": 6},
        False,
        "stuck",
        "still",
        False,
    ),
    ("its loop takes a while", {"moved_age_s": 29.0}, {}, False, "alive", "", True),
    (
        "its judge is compiled",
        {"fault": "compiling", "moved_age_s": 99.0},
        {},
        False,
        "restarting",
        "compiling",
        False,
    ),
    ("no broker", {"fault": "broker"}, {}, False, "stuck", "broker", False),
    ("no broker, and hangs", {"fault": "broker", "moved_age_s": 99.0}, {}, False, "stuck", "broker", False),
    ("a database that takes nothing", {"fault": "database"}, {}, False, "stuck", "database", False),
    ("a backlog", {"backlog_age_s": 21.0}, {}, False, "behind", "backlog", False),
    ("a short backlog", {"backlog_age_s": 19.0}, {}, False, "alive", "", True),
]


def test_states_by_table(bench: HeartbeatBench) -> None:
    for what, report, older, ended, *expected in TABLE:
        heartbeat = bench.beat(HeartbeatReport(**({"role": "owner", "areas": ["+"]} | report)))
        if ended:
            heartbeat.close()
            wait_until(lambda: bench.one().why != "", within_s=30, what="the lock is gone")
        bench.age(**older)
        found = bench.one()
        assert [found.state, found.why, found.works] == expected, what
        assert process_messages.process_message(found).en.startswith("ingest main")
        assert process_messages.process_message(found).zh.startswith("接收服务 main")
        heartbeat.end()


def test_what_never_came_is_absent(store: Store) -> None:
    assert [(one.kind, one.state, one.why, one.works) for one in store.processes()] == [
        ("ingest", "absent", "never", False),
        ("service", "absent", "never", False),
    ]


def test_a_report_comes_back_with_its_ages(bench: HeartbeatBench) -> None:
    report = HeartbeatReport(
        role="owner", areas=["a", "b"], moved_age_s=3, success_age_s=2, backlog_age_s=1, detail="x"
    )
    bench.beat(report)
    bench.age(beat_s=4, started_s=50)
    found = bench.one()
    assert (found.host, found.pid, found.role, found.areas, found.detail) == (
        "h",
        7,
        "owner",
        ["a", "b"],
        "x",
    )
    assert found.beat_age_s == pytest.approx(4, abs=1)
    assert found.moved_age_s == pytest.approx(7, abs=1)
    assert found.success_age_s == pytest.approx(6, abs=1)
    assert found.backlog_age_s == 1
    assert found.started_s == pytest.approx(time.time() - 50, abs=5)


def test_a_process_that_ends_as_requested_leaves_no_row(bench: HeartbeatBench) -> None:
    bench.beat(identity=ProcessIdentity(kind="gateway", instance="g")).end()
    assert [one.kind for one in bench.store.processes()] == ["ingest", "service"]


def test_restarts_are_counted_and_forgiven(bench: HeartbeatBench) -> None:
    for restarts in range(3):
        last = bench.beat()
        assert bench.one().restarts == restarts
        last.close()
        wait_until(lambda: bench.one().why in ENDED, within_s=30, what="the lock is gone")
    last = bench.beat()
    assert (bench.one().state, bench.one().why, bench.one().works) == ("restarting", "again", True)
    bench.age(started_s=SHOWN_RESTARTING_S + 1)
    assert (bench.one().state, bench.one().restarts) == ("alive", 3)
    bench.age(started_s=RESTART_WINDOW_S)
    last.beat(OWNER)
    assert bench.one().restarts == 0
    last.close()
    wait_until(lambda: bench.one().why in ENDED, within_s=30, what="the lock is gone")
    bench.age(beat_s=RESTART_WINDOW_S + 1)
    bench.beat()
    assert bench.one().restarts == 0, "that was long ago"


def test_one_that_is_gone_is_shown_until_another_takes_its_place(bench: HeartbeatBench) -> None:
    bench.beat().close()
    wait_until(lambda: bench.one().why in ENDED, within_s=30, what="the lock is gone")
    bench.age(beat_s=100)
    bench.beat(identity=ProcessIdentity(kind="ingest", instance="other", host="h", pid=8))
    assert [one.why for one in bench.store.processes() if one.instance == "main"] == ["unreported"]
    bench.end_gap()
    instances = [one for one in bench.store.processes() if one.kind == "ingest"]
    assert [(one.instance, one.state) for one in instances] == [("main", "absent"), ("other", "alive")]
    bench.beat(identity=ProcessIdentity(kind="ingest", instance="main", host="another", pid=8))
    instances = [one for one in bench.store.processes() if one.kind == "ingest"]
    assert [(one.host, one.state) for one in instances] == [("another", "alive"), ("h", "alive")]


def test_rows_expire(bench: HeartbeatBench) -> None:
    if isinstance(bench.store, MemoryStore):
        return  # it lives no day
    gone = ProcessIdentity(kind="gateway", instance="g", host="gone")
    bench.beat(identity=gone).close()
    bench.age(beat_s=ROW_EXPIRY_S + 1)
    bench.beat()
    assert [one.kind for one in bench.store.processes()] == ["ingest", "service"]


def test_a_beat_goes_on_where_the_connection_broke_or_the_row_went(bench: HeartbeatBench) -> None:
    heartbeat = bench.beat()
    if isinstance(bench.store, PostgresStore):
        with psycopg.connect(bench.store._dsn, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'towntwin heartbeat' AND datname = current_database()"
            )
            with pytest.raises(StoreUnavailableError):
                heartbeat.beat(OWNER)
            heartbeat.beat(OWNER)
            assert bench.one().state == "alive"
            connection.execute("DELETE FROM heartbeat")
    heartbeat.beat(OWNER)
    assert bench.one().state == "alive"


def test_a_loop_that_hangs_shows_though_its_thread_beats_on(store: Store) -> None:
    with sending_heartbeats(store, MAIN, HealthLimits(stuck_s=0.5), every_s=0.1) as progress:
        progress.role, progress.areas = "owner", ["+"]

        def state() -> str:
            return next(one.why for one in store.processes() if one.kind == "ingest")

        def moves() -> bool:
            progress.loop_advanced()
            return state() == ""

        wait_until(moves, within_s=30, what="it works")
        wait_until(lambda: state() == "still", within_s=30, what="it is stuck")
        wait_until(moves, within_s=30, what="it works again")
        progress.read_work_status = lambda: WorkStatus("judge", "", 0.0)
        wait_until(lambda: state() == "judge", within_s=30, what="its fault shows")
        progress.waiting_for("database")
        wait_until(lambda: state() == "database", within_s=30, what="what it waits for shows")
    assert state() == "never", "it ended as it was asked to"


def test_an_exception_leaves_the_row(store: Store) -> None:
    def ends() -> None:
        with sending_heartbeats(store, MAIN, LIMITS, every_s=0.05) as progress:
            progress.role = "owner"
            wait_until(lambda: bool(_ingest(store)), within_s=30, what="it beats")
            raise KeyError

    with pytest.raises(KeyError):
        ends()
    wait_until(lambda: set(_ingest(store)) <= ENDED, within_s=30, what="it ended unasked")


def _ingest(store: Store) -> list[str]:
    return [one.why for one in store.processes() if one.kind == "ingest" and one.why != "never"]


class BrokenHeartbeatWriter:
    """A heartbeat that fails for a reason nobody thought of, and then for one that is known."""

    def __init__(self) -> None:
        self.errors: list[Exception] = [
            RuntimeError("x"),
            StoreUnavailableError("y"),
            StoreUnavailableError("z"),
        ]
        self.done = threading.Event()

    def beat(self, report: HeartbeatReport) -> None:
        assert report.role == "starting"
        if self.errors:
            raise self.errors.pop(0)
        self.done.set()

    def end(self) -> None: ...

    def close(self) -> None: ...


def test_no_error_ends_the_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    broken, shown = BrokenHeartbeatWriter(), []
    heartbeat_thread = HeartbeatThread(broken, ProgressRecorder(), every_s=0.001)
    one_beat = heartbeat_thread._write_heartbeat

    def noted() -> None:
        one_beat()
        shown.append(heartbeat_thread.database)

    monkeypatch.setattr(heartbeat_thread, "_write_heartbeat", noted)
    heartbeat_thread.start()
    assert broken.done.wait(30)
    heartbeat_thread.stop(delete_row=True)
    assert shown[:4] == ["writable", "writable", "away", "writable"], (
        "two refused writes in a row, and then one that was taken"
    )


def test_more_anomalies_and_dead_letters_than_a_page_are_counted(store: Store) -> None:
    store.record_anomalies([anomaly(start_s=1e9 + n, subject=f"series/{n}") for n in range(205)])
    assert store.count_anomalies(AnomalyQuery(states=["open"])) == store.health().open_anomalies
    assert store.count_anomalies(AnomalyQuery(states=["open", "closed"])) == 205
    assert store.count_anomalies(AnomalyQuery(site_ids=["elsewhere"])) == 0
    assert store.count_dead_letters(DeadLetterQuery()) == 0
