"""Tests that the service's memory and time are bounded for readings of any time from 1970 to 2100."""

from __future__ import annotations

import dataclasses
import threading
import tracemalloc
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics.core import judge as core
from analytics.core.parameters import Parameters
from analytics.core.state import State
from analytics.service import item_backoff, process, site_anomalies, site_scoring
from analytics.service.rejudge_late_data import rejudge
from analytics.service.service_state import ServiceState
from analytics.service.settings import Settings
from analytics.service.time_slice import TimeSlice
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import READING, Area, Device, Directory, Series, Site
from ingest_service.storage.memory.store import MemoryStore
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.store_samples import LATE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ingest_service.storage.contract.store import Store

YEAR_S = 365.25 * 86_400
FROM_S, TO_S = 0.0, 130 * YEAR_S
MOST_BYTES = 300e6
TOWNS, SITES = ("a-1", "b-1", "c-1"), 4
QUANTITIES = ("ph", "water_temperature", "dissolved_oxygen", "turbidity", "conductivity")
EAGER = Settings(
    period_s=0.1,
    task_s=10.0,
    several_every_s=0.0,
    several_history_days=2.0,
    assess_every_s=0.001,
    tidy_s=0.001,
    keep_1min_days=30.0,
    rollup_readings=5_000,
    rejudge_readings=1_000,
)
DIRECTORY = Directory(
    areas=[Area(area_id=town, level="town", en=town, zh=town) for town in TOWNS],
    sites=[
        Site(site_id=f"{town}-{at}", area_id=town, kind="river_section", en="S", zh="断面", lon=120, lat=30)
        for town in TOWNS
        for at in range(SITES)
    ],
    devices=[Device(device_id=f"{town}-d", area_id=town) for town in TOWNS],
    series=[
        Series(site_id=f"{town}-{at}", quantity=quantity, interval_s=300)
        for town in TOWNS
        for at in range(SITES)
        for quantity in QUANTITIES
    ],
)


@pytest.fixture(autouse=True)
def _plain_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracebacks without the variables, which take longer to show than these tests."""
    plain = structlog.wrap_logger(
        structlog.PrintLogger(), processors=[structlog.processors.KeyValueRenderer()]
    )
    monkeypatch.setattr(item_backoff, "log", plain)


@pytest.fixture
def store(plain_dsn: str) -> Iterator[PostgresStore]:
    migrate(plain_dsn)
    opened = PostgresStore.open(plain_dsn)
    opened.enrol(DIRECTORY)
    yield opened
    opened.close()


def readings(series_id: int, times_s: NDArray[np.floating[Any]], value: float = 7.0) -> NDArray[np.void]:
    """READING rows near a value, as if they were received a second later."""
    made = np.zeros(len(times_s), READING)
    made["series_id"] = series_id
    made["time_us"] = np.round(times_s).astype(np.int64) * 1_000_000
    made["received_us"] = made["time_us"] + 1_000_000
    made["value"] = value + np.arange(len(made)) % 7 / 100
    made["expected"], made["spread"], made["quality"] = value, 0.1, 1
    return made


def commit_late(store: Store, rows: NDArray[np.void]) -> None:
    """Readings that came after later ones of their series, if any are stored."""
    rows["rules"], rows["quality"] = LATE, 2
    store.commit(Batch(doubtful=rows))


def run_rounds(store: Store, chosen: Settings, n: int, state: ServiceState) -> None:
    """What the process does in some rounds."""
    stop = threading.Event()
    for _ in range(n):
        for task in process.TASKS:
            process._run_task(task, store, chosen, TimeSlice(stop, chosen.task_s), state)


def failed_items_by_task(state: ServiceState) -> dict[str, set[str]]:
    """The items that failed, by task."""
    names = ("tasks", "look_for_silence", "rejudge", "roll_up", "judge_sites", "sites", "assess", "tidy")
    return {name: found for name in names if (found := state.backoff(name).failed_items())}


STRETCHES = st.lists(
    st.tuples(
        st.integers(0, len(DIRECTORY.series) - 1),
        st.floats(FROM_S, TO_S - 30 * 86_400),
        st.integers(1, 60),
        st.sampled_from([1.0, 300.0, 3600.0, YEAR_S / 12]),
    ),
    min_size=1,
    max_size=12,
)


@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(time_ranges=STRETCHES)
def test_readings_from_1970_to_2100_make_no_task_allocate_without_bound_or_fail(
    store: PostgresStore, time_ranges: list[tuple[int, float, int, float]]
) -> None:
    core.warm_up()
    known = store.directory()
    for at, begin_s, n, step_s in time_ranges:
        times_s = begin_s + np.arange(n) * step_s
        commit_late(store, readings(known.series[at].series_id, times_s[times_s < TO_S]))
    state = ServiceState()
    tracemalloc.start()
    try:
        run_rounds(store, EAGER, 6, state)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MOST_BYTES, "the parent version asked for 10 GB"
    assert failed_items_by_task(state) == {}
    assert state.site_judging.until, "some area was judged"


def test_a_series_whose_newest_reading_is_years_old_does_not_hold_the_others_up() -> None:
    store, state = MemoryStore(), ServiceState()
    store.enrol(DIRECTORY)
    now_s = 1_790_000_000.0
    for one in store.directory().series:
        old = one.site_id.startswith("a-1")
        end_s = now_s - 11 * YEAR_S if old else now_s
        store.commit(Batch(fresh=readings(one.series_id, end_s - np.arange(600)[::-1] * 300.0)))
    until = site_scoring.complete_until(store.directory(), store.latest(), now_s, 5.0)
    apart = site_anomalies.cluster_areas(store.directory(), EAGER, until)
    assert [sorted(one) for one in apart] == [["b-1", "c-1"], ["a-1"]]
    for _ in range(8):
        site_anomalies.judge_sites(store, EAGER, service_state=state)
    judging_state = state.site_judging
    assert judging_state.until == until
    blocks = {at for _, at in judging_state.models.by_block}
    assert max(blocks) - min(blocks) > 10 * YEAR_S / 300, "each where its readings are"
    assert len(judging_state.models.by_block) < 40, "and nowhere else"


def test_too_many_sites_for_one_array_are_judged_in_parts() -> None:
    known = MemoryStore().enrol(DIRECTORY)
    small = msgspec.structs.replace(EAGER, several_cells=50_000)
    apart = site_anomalies.cluster_areas(known, small, dict.fromkeys(TOWNS, 1_000_000))
    assert [list(one) for one in apart] == [["a-1"], ["b-1"], ["c-1"]]


def test_one_areas_replay_does_not_keep_the_others_from_being_judged() -> None:
    store, state = MemoryStore(), ServiceState()
    store.enrol(DIRECTORY)
    now_s = 1_790_000_000.0
    for step in range(3):
        for one in store.directory().series:
            ahead_s = step * (86_400.0 if one.site_id.startswith("a-1") else 300.0)
            times_s = now_s + ahead_s + np.arange(2 if step else 400) * 300.0 - 400 * 300
            rows = readings(one.series_id, times_s)
            newest = {latest.series_id: latest.time_s for latest in store.latest()}
            store.commit(Batch(fresh=rows[rows["time_us"] / 1e6 > newest.get(one.series_id, 0)]))
        site_anomalies.judge_sites(store, EAGER, service_state=state)
        site_anomalies.judge_sites(store, EAGER, service_state=state)
    assert "a-1" in state.site_judging.newest_ticks
    assert {"b-1", "c-1"} <= state.site_judging.until.keys()


def test_a_site_whose_readings_cannot_be_judged_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    store, state = MemoryStore(), ServiceState()
    store.enrol(DIRECTORY)
    for one in store.directory().series:
        times_s = 1_790_000_000.0 + np.arange(600) * 300.0
        store.commit(Batch(fresh=readings(one.series_id, times_s)))
    (broken, *_) = [one.series_id for one in store.directory().series if one.site_id == "b-1-2"]
    read = store.readings

    def faulty(series_id: int, *bounds: Any, **more: Any) -> NDArray[np.void]:
        if series_id == broken:
            raise ValueError("a defect that only this series meets")
        return read(series_id, *bounds, **more)

    monkeypatch.setattr(store, "readings", faulty)
    for _ in range(10):
        site_anomalies.judge_sites(store, EAGER, service_state=state)
    assert state.backoff("sites").failed_items() == {"b-1-2"}
    judging_state = state.site_judging
    assert judging_state.until.keys() == {"a-1", "b-1", "c-1"}, "b-1 without its faulty site"
    assert judging_state.models.by_block
    monkeypatch.setattr(store, "readings", read)
    state.backoff("sites").retry_now("b-1-2")  # its time has come
    judging_state.until.clear()
    for _ in range(8):
        site_anomalies.judge_sites(store, EAGER, service_state=state)
    assert state.backoff("sites").failed_items() == set()
    assert judging_state.until.keys() == {"a-1", "b-1", "c-1"}


def test_a_century_of_late_readings_is_judged_again_in_pieces() -> None:
    store = MemoryStore()
    store.enrol(DIRECTORY)
    (series_id, *_) = [one.series_id for one in store.directory().series]
    times_s = 86_400.0 + np.arange(20_000) * (TO_S / 20_001)
    store.commit(Batch(fresh=readings(series_id, times_s[-1:])))
    commit_late(store, readings(series_id, times_s[:-1]))
    (late,) = store.late_readings_due(limit=10)
    since_s = [late.since_s]
    while due := store.late_readings_due(limit=10):
        assert len(since_s) < 100
        rejudge(store, EAGER)
        since_s += [one.since_s for one in due if one.since_s != since_s[-1]]
    assert len(since_s) > 20, "a piece is some hundred readings of 20,000"
    assert since_s == sorted(since_s)
    health = store.health()
    assert health.rejudge_due <= health.open_anomalies, "an event that is open is judged again after its end"
    rows = store.readings(series_id, 0, 5e9, limit=10**6)
    assert not (rows["rules"] & LATE).any(), "all were judged"


@pytest.mark.parametrize("piece", [7, 1000])
def test_the_core_judges_in_pieces_as_it_judges_whole(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(4)
    n, n_series = 3000, 3
    value = random.normal(7, 0.05, n * n_series)
    value[::97] += 3
    value[500:560] += 2
    block = (
        np.repeat(np.arange(n_series), n).astype(np.intp),
        np.tile(np.arange(n) * 300.0, n_series),
        value,
    )
    parameters = Parameters.of(n_series, spread_floor=0.05, fail_high=14.0)
    in_one_piece = core.judge(State.empty(n_series), parameters, *block)
    monkeypatch.setattr(core, "COMPILED_BLOCK_READINGS", piece)
    parts = core.judge(State.empty(n_series), parameters, *block)
    assert len(in_one_piece.events.series) > 10
    for name in ("quality", "rules", "expected", "score", "revised_time_s", "revised_rules"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(in_one_piece, name), err_msg=name)
    for field in dataclasses.fields(in_one_piece.events):
        one, other = (getattr(judgement.events, field.name) for judgement in (parts, in_one_piece))
        np.testing.assert_array_equal(one, other, err_msg=field.name)


def test_commits_faster_than_a_refresh_starve_no_other_task(monkeypatch: pytest.MonkeyPatch) -> None:
    store, stop, done = MemoryStore(), threading.Event(), []
    monkeypatch.setattr(store, "refresh_rollups", lambda **_: 1)

    def other(*_: Any) -> None:
        done.append("its turn")
        stop.set()

    monkeypatch.setattr(process, "TASKS", (process.roll_up, other))
    with store.shard("analytics") as lease:
        assert lease is not None
        process._run_rounds(store, Settings(task_s=0.1), lease, stop)
    assert done == ["its turn"]


def test_a_stop_ends_a_task_that_has_more_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    store, stop, calls = MemoryStore(), threading.Event(), []

    def refresh(**_: Any) -> int:
        calls.append(1)
        if len(calls) == 3:
            stop.set()
        return 1

    monkeypatch.setattr(store, "refresh_rollups", refresh)
    process.roll_up(store, Settings(), TimeSlice(stop, 3600.0))
    assert len(calls) == 3


def test_readings_that_cannot_be_summed_keep_no_other_series_from_being_rolled_up(
    store: PostgresStore,
) -> None:
    ids = [one.series_id for one in store.directory().series]
    times_s = 1_790_000_000.0 + np.arange(2) * 10.0
    overflowing = readings(ids[0], times_s)
    overflowing["value"] = 1.7e308  # two of them are more than a double holds
    store.commit(Batch(fresh=overflowing))
    for series_id in ids[1:]:
        store.commit(Batch(fresh=readings(series_id, times_s)))
    stop, state = threading.Event(), ServiceState()
    for _ in range(20):
        process.roll_up(store, EAGER, TimeSlice(stop, 2.0), state)
        if store.health().rollups_due == 0:
            break
    assert store.health().rollups_due == 0, "they count, and no sum has them"
    assert [one.count for one in store.buckets(ids[1], 1.79e9 - 3600, 1.79e9 + 3600, 3600)] == [2]
    bucket_counts = [one.count for one in store.buckets(ids[0], 1.79e9 - 1, 1.79e9 + 5, 1)]
    assert sum(bucket_counts) == 1, "and of that one the readings answer"


def test_an_item_that_fails_waits_twice_as_long_each_time_and_is_forgiven() -> None:
    now_s = [0.0]
    some = item_backoff.ItemBackoff("a task", clock=lambda: now_s[0])
    waits: list[float] = []
    for _ in range(12):
        with some.isolate("x"):
            raise ValueError("a defect")
        (_, due_s) = some._failed["x"]
        waits.append(due_s - now_s[0])
        assert some.is_deferred("x")
        now_s[0] = due_s
        assert not some.is_deferred("x")
    assert waits[:4] == [10, 20, 40, 80]
    assert waits[-1] == 3600
    with some.isolate("x"):
        pass
    assert some.failed_items() == set()
