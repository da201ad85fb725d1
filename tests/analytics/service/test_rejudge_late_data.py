"""Tests that late readings revise judgements, on record, to what readings in time would have given."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from distributed import Client, LocalCluster

from analytics.core.flags import Rule
from analytics.service.block_judging import ClusterJudge, LocalJudge
from analytics.service.rejudge_late_data import find_corrections, rejudge
from analytics.service.service_state import ServiceState
from analytics.service.settings import Settings
from analytics.service.time_slice import UNLIMITED
from ingest_service.storage.contract.errors import StoreUnavailableError
from ingest_service.storage.contract.models import AnomalyQuery, Channel, Directory, Series
from ingest_service.storage.memory.store import MemoryStore
from tests.support.processes import wait_until
from tests.support.river_pipeline import DIRECTORY, SectionPipeline, quiet_series

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ingest_service.storage.contract.store import Store

DAY = 288  # readings
SETTINGS = Settings()


@pytest.fixture
def river() -> SectionPipeline:
    return SectionPipeline(MemoryStore())


def in_order(time_s: NDArray[np.float64], value: NDArray[np.float64], **limits: float) -> SectionPipeline:
    """What it would be if nothing had come late."""
    river = SectionPipeline(MemoryStore(), **limits)
    river.send(time_s, value)
    return river


def mask_of(ticks: int, *chosen: int | slice) -> NDArray[np.bool_]:
    mask = np.zeros(ticks, bool)
    for one in chosen:
        mask[one] = True
    return mask


def test_a_late_spike_becomes_an_anomaly_with_the_cause_of_its_delay(river: SectionPipeline) -> None:
    time_s, value = quiet_series(6 * DAY)
    value[4 * DAY] = 11.0
    river.send_late(time_s, value, mask_of(len(value), 4 * DAY))
    assert river.anomalies() == []
    rejudge(river.store, SETTINGS)
    (found,) = river.anomalies()
    assert (found.detector, found.state, found.start_s, found.observed) == (
        "spike",
        "closed",
        time_s[4 * DAY],
        11.0,
    )
    (record,) = found.evidence["rejudged"]
    assert record["because"].startswith("1 late reading from ")
    assert record["was"] is None
    assert river.flags()[4 * DAY][1:] == (3, Rule.RATE_OF_CHANGE | Rule.RESIDUAL | Rule.SPIKE)
    assert river.compared_anomalies() == in_order(time_s, value).compared_anomalies()
    assert river.flags() == in_order(time_s, value).flags()
    assert river.store.health().rejudge_due == 0


def stuck_by_gaps(ticks: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """A sensor that looks stuck for fourteen hours, until what lay between its readings has come."""
    time_s, value = quiet_series(ticks)
    late = mask_of(ticks, slice(4 * DAY, 4 * DAY + 168, 2))
    value[4 * DAY : 4 * DAY + 168][1::2] = 7.5
    return time_s, value, late


def test_an_anomaly_that_late_readings_explain_is_withdrawn_with_the_reason(river: SectionPipeline) -> None:
    time_s, value, late = stuck_by_gaps(6 * DAY)
    river.send_late(time_s, value, late)
    (before,) = river.anomalies()
    assert (before.detector, before.state) == ("flat_line", "closed")
    rejudge(river.store, SETTINGS)
    (after,) = river.anomalies()
    assert (after.anomaly_id, after.start_s, after.state) == (before.anomaly_id, before.start_s, "withdrawn")
    assert after.revision > before.revision
    assert after.reason_en.startswith("withdrawn: judged again with 84 late readings from ")
    assert after.reason_en.endswith(f"nothing is unusual here; it was: {before.reason_en}")
    assert after.reason_zh.startswith("已撤销：补到84条迟到读数（")
    assert after.reason_zh.endswith(before.reason_zh)
    (record,) = after.evidence["rejudged"]
    assert datetime.fromisoformat(record["at"]).tzinfo is not None
    assert record["was"] == {"state": "closed", "end_s": before.end_s}
    assert {rules for _, _, rules in river.flags()[2 * DAY :]} == {0}
    assert river.flags() == in_order(time_s, value).flags()


def test_two_anomalies_that_were_one_become_one(river: SectionPipeline) -> None:
    time_s, value = quiet_series(6 * DAY)
    # The first part lasts ten readings, so that it may pause for forty.
    begin, between, end = 4 * DAY, slice(4 * DAY + 10, 4 * DAY + 70), 4 * DAY + 80
    late = mask_of(len(value), between)
    late[between][::2] = False
    value[begin:end][late[begin:end] | ~mask_of(end - begin, slice(10, 70))] += 0.5
    river.send_late(time_s, value, late)
    assert len(river.anomalies()) == 2
    rejudge(river.store, SETTINGS)
    whole, part = river.anomalies()
    assert (whole.state, part.state) == ("closed", "withdrawn")
    assert "part of the anomaly that begins at" in part.reason_en
    assert set(whole.evidence["rejudged"][0]["was"]) >= {"end_s", "n_readings"}
    assert river.compared_anomalies() == in_order(time_s, value).compared_anomalies()


def test_judging_again_once_more_changes_nothing(river: SectionPipeline) -> None:
    time_s, value, late = stuck_by_gaps(6 * DAY)
    value[5 * DAY] = 11.0
    late[5 * DAY] = True
    river.send_late(time_s, value, late)
    (due,) = river.store.late_readings_due(limit=1)
    (series,) = river.store.directory().series
    _, first = find_corrections(river.store, SETTINGS, due, series, now_s=0)
    assert len(first.anomalies) == 2
    rejudge(river.store, SETTINGS)
    revisions, again = find_corrections(river.store, SETTINGS, due, series, now_s=1)
    assert (len(revisions), again.anomalies, again.unfinished) == (0, [], False)


@pytest.mark.parametrize("seed", range(6))
def test_the_end_is_as_if_everything_had_come_in_order(river: SectionPipeline, seed: int) -> None:
    random = np.random.default_rng(seed)
    time_s, value = quiet_series(10 * DAY, seed=seed)
    for begin in random.integers(2 * DAY, 9 * DAY, 8):
        value[begin : begin + random.integers(1, 40)] += random.choice([-0.6, 0.4, 1.0])
    late = random.random(len(value)) < 0.05
    for begin in random.integers(DAY, 9 * DAY, 4):
        late[begin : begin + random.integers(10, 80)] = True
    late[-DAY:] = False
    river.send(time_s[~late], value[~late])
    whole = random.permutation(np.flatnonzero(late))
    for part in np.array_split(whole, 3):
        river.send(time_s[part], value[part])
        rejudge(river.store, Settings(rejudge_reach_days=100))
    assert river.compared_anomalies() == in_order(time_s, value).compared_anomalies()
    assert river.flags() == in_order(time_s, value).flags()


def test_a_spike_that_late_readings_stand_beside_is_revised_as_in_order() -> None:
    limits = {"spike_suspect": 0.3, "spike_fail": 0.6}
    time_s, value = quiet_series(6 * DAY)
    value[[4 * DAY, 4 * DAY + 50]] += 0.5
    river = SectionPipeline(MemoryStore(), **limits)
    river.send_late(time_s, value, mask_of(len(value), 4 * DAY, 4 * DAY + 49, 4 * DAY + 51))
    rejudge(river.store, SETTINGS)
    flags = {tick: rules for tick, (_, _, rules) in enumerate(river.flags()) if rules & Rule.SPIKE}
    assert set(flags) == {4 * DAY, 4 * DAY + 50}
    assert river.flags() == in_order(time_s, value, **limits).flags()


def test_an_event_that_goes_on_beyond_the_reach_is_judged_to_its_end(river: SectionPipeline) -> None:
    time_s, value = quiet_series(7 * DAY)
    value[4 * DAY : 4 * DAY + 200] += 0.6
    river.send_late(time_s, value, mask_of(len(value), slice(4 * DAY, 4 * DAY + 3)))
    rejudge(river.store, Settings(rejudge_reach_days=0.05))
    assert river.store.health().rejudge_due == 0
    assert river.anomalies("closed")[0].start_s == time_s[4 * DAY]
    assert river.anomalies("closed")[0].end_s == in_order(time_s, value).anomalies()[0].end_s


def test_what_live_judging_has_open_is_withdrawn_once_it_is_closed_and_not_before(
    river: SectionPipeline,
) -> None:
    time_s, value, late = stuck_by_gaps(6 * DAY)
    now = 4 * DAY + 168
    river.send_late(time_s[:now], value[:now], late[:now])
    soon = Settings(rejudge_again_s=0.001)
    (live,) = river.anomalies("open")
    rejudge(river.store, soon)
    assert river.anomalies() == [live]
    river.send(time_s[now:], value[now:])
    rejudge(river.store, soon)
    (withdrawn,) = river.anomalies()
    assert (withdrawn.anomaly_id, withdrawn.state) == (live.anomaly_id, "withdrawn")


def test_what_live_judging_has_open_stays_its_own_until_it_is_closed(river: SectionPipeline) -> None:
    time_s, value = quiet_series(6 * DAY)
    value[5 * DAY : 5 * DAY + 40] += 0.6
    value[4 * DAY] = 11.0
    late = mask_of(len(value), 4 * DAY, slice(5 * DAY, 5 * DAY + 6))
    now = 5 * DAY + 20
    river.send_late(time_s[:now], value[:now], late[:now])
    (live,) = river.anomalies("open")
    soon = Settings(rejudge_again_s=0.001)
    rejudge(river.store, soon)
    spike, still_live = river.anomalies()
    assert (spike.detector, still_live) == ("spike", live)
    assert river.store.health().rejudge_due == 1
    river.send(time_s[now:], value[now:])
    rejudge(river.store, soon)
    assert river.compared_anomalies() == in_order(time_s, value).compared_anomalies()
    assert [one.state for one in river.anomalies()] == ["closed", "closed", "withdrawn"]
    assert river.store.health().rejudge_due == 0


def test_what_only_late_readings_opened_is_followed_until_it_ends(river: SectionPipeline) -> None:
    time_s, value = quiet_series(6 * DAY)
    value[5 * DAY - 2] = 11.0
    late = mask_of(len(value), 5 * DAY - 2)
    river.send_late(time_s[: 5 * DAY], value[: 5 * DAY], late[: 5 * DAY])
    soon = Settings(rejudge_again_s=0.001)
    rejudge(river.store, soon)
    assert [one.state for one in river.anomalies()] == ["open"]
    assert river.store.health().rejudge_due == 1
    river.send(time_s[5 * DAY :], value[5 * DAY :])
    rejudge(river.store, soon)
    assert river.compared_anomalies() == in_order(time_s, value).compared_anomalies()
    (closed,) = river.anomalies()
    assert [set(one["was"] or ()) for one in closed.evidence["rejudged"]] == [
        set(),
        {"end_s", "state"},
    ]
    assert river.store.health().rejudge_due == 0


def test_what_the_warm_up_hides_stays_as_live_judging_saw_it(river: SectionPipeline) -> None:
    time_s, value = quiet_series(6 * DAY)
    value[5 * DAY] = 11.0
    river.send_late(time_s, value, mask_of(len(value), 5 * DAY - 6))
    (before,) = river.anomalies()
    flags = river.flags()
    rejudge(river.store, Settings(rejudge_days=0.25))
    assert river.anomalies() == [before]
    after = river.flags()
    assert after[5 * DAY - 6][1:] == (2, Rule.WARM_UP)
    assert [one for one in after if one not in flags] == [after[5 * DAY - 6]]


def test_a_series_that_cannot_be_judged_stops_no_other(
    river: SectionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    time_s, value = quiet_series(3 * DAY)
    river.send_late(time_s, value, mask_of(len(value), DAY))

    def defect(*_: object, **__: object) -> None:
        raise ValueError("a defect of the judge")

    monkeypatch.setattr("analytics.service.block_judging.core.judge", defect)
    rejudge(river.store, SETTINGS)
    assert river.store.late_readings_due(limit=10) == []
    assert river.store.health().rejudge_due == 1, "it is tried again later"


def test_while_the_store_is_away_nothing_changes(
    river: SectionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    time_s, value = quiet_series(3 * DAY)
    river.send_late(time_s, value, mask_of(len(value), DAY))

    def away(*_: object, **__: object) -> bool:
        raise StoreUnavailableError("away")

    monkeypatch.setattr(river.store, "store_corrections", away)
    with pytest.raises(StoreUnavailableError):
        rejudge(river.store, SETTINGS)
    assert len(river.store.late_readings_due(limit=10)) == 1


def sections_with_late_readings(sections: int) -> SectionPipeline:
    """Some sections, each with a spike among readings that come late."""
    store = MemoryStore()
    sites = [f"section-{number}" for number in range(sections)]
    site = DIRECTORY.sites[0]
    pipeline = SectionPipeline(store)
    store.enrol(
        Directory(
            sites=[msgspec.structs.replace(site, site_id=one) for one in sites],
            series=[Series(site_id=one, quantity="ph") for one in sites],
            channels=[Channel(device_id="wz-01", name=one, site_id=one, quantity="ph") for one in sites],
        )
    )
    for number, one in enumerate(sites):
        time_s, value = quiet_series(6 * DAY, seed=number)
        value[4 * DAY + number] = 11.0
        late = mask_of(len(value), slice(4 * DAY, 4 * DAY + 20))
        pipeline.send(time_s[~late], value[~late], one)
        pipeline.send(time_s[late], value[late], one)
    return pipeline


def everything_in(store: Store) -> str:
    """Return anomalies and readings with their flags as text: NaN equals NaN there."""
    series = sorted(one.series_id for one in store.directory().series)
    found = store.anomalies(AnomalyQuery(limit=1000))
    anomalies = sorted((one.series_id, one.start_s, one.state, one.reason_en) for one in found)
    return repr([anomalies, *(store.readings(one, 0, 4e9, limit=10**6).tolist() for one in series)])


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs=50
    ) as found:
        yield found


@contextmanager
def frozen_workers(cluster: LocalCluster) -> Iterator[list[int]]:
    """Freeze the processes of the workers while the context lasts."""
    with Client(cluster, set_as_default=False) as client:
        pids = [*client.run(os.getpid).values()]
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield pids
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def test_a_worker_that_is_killed_leaves_nothing_half_done(cluster: LocalCluster) -> None:
    """Both workers have a series when one of them is killed; the other one judges both."""
    here, there = sections_with_late_readings(5), sections_with_late_readings(5)
    before = everything_in(there.store)
    rejudge(here.store, SETTINGS)
    state = ServiceState()
    settings = Settings(rejudge_cluster=cluster.scheduler_address)
    with frozen_workers(cluster) as pids:
        turn = threading.Thread(target=rejudge, args=(there.store, settings, UNLIMITED, state))
        turn.start()
        assert cluster.scheduler is not None
        workers = cluster.scheduler.workers.values()
        wait_until(
            lambda: all(one.processing for one in workers), within_s=60, what="both workers have a series"
        )
        assert everything_in(there.store) == before != everything_in(here.store)
        os.kill(pids[0], signal.SIGKILL)
    turn.join()
    judge = state.judge_choice.judge(settings.rejudge_cluster)
    assert isinstance(judge, ClusterJudge), "the cluster is still in use"
    assert everything_in(there.store) == everything_in(here.store)
    assert there.store.health().rejudge_due == 0
    state.judge_choice.close()


def test_without_the_cluster_the_service_judges_itself(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No worker answers within the bound; in the next turn a new connection is tried later only."""
    here, there = sections_with_late_readings(3), sections_with_late_readings(3)
    rejudge(here.store, SETTINGS)
    monkeypatch.setattr("analytics.service.block_judging.RESULT_S", 0.2)
    state = ServiceState()
    settings = Settings(rejudge_cluster=cluster.scheduler_address, rejudge_series=2)
    with frozen_workers(cluster):
        rejudge(there.store, settings, UNLIMITED, state)
    assert there.store.health().rejudge_due == 1
    assert isinstance(state.judge_choice.judge(settings.rejudge_cluster), LocalJudge)
    rejudge(there.store, settings, UNLIMITED, state)
    assert everything_in(there.store) == everything_in(here.store)


def test_workers_with_another_version_of_the_judge_judge_nothing(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = sections_with_late_readings(1), sections_with_late_readings(1)
    rejudge(here.store, SETTINGS)
    monkeypatch.setattr("analytics.core.judge.VERSION", "0")  # of this process, not of the workers
    state = ServiceState()
    rejudge(there.store, Settings(rejudge_cluster=cluster.scheduler_address), UNLIMITED, state)
    assert everything_in(there.store) == everything_in(here.store)
    assert isinstance(state.judge_choice.judge(cluster.scheduler_address), LocalJudge)


def test_a_scheduler_that_ends_between_two_turns_delays_no_series(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its client closes itself, and refuses each block afterwards."""
    monkeypatch.setattr("analytics.service.block_judging.CONNECT_S", 0.5)
    there, state = sections_with_late_readings(1), ServiceState()
    with LocalCluster(
        n_workers=1, host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs=50
    ) as found:
        settings = Settings(rejudge_cluster=found.scheduler_address)
        judge = state.judge_choice.judge(settings.rejudge_cluster)
    assert isinstance(judge, ClusterJudge)
    wait_until(lambda: judge._client.status == "closed", within_s=60, what="the client closes itself")
    rejudge(there.store, settings, UNLIMITED, state)
    assert there.store.health().rejudge_due == 0
    assert isinstance(state.judge_choice.judge(settings.rejudge_cluster), LocalJudge)
