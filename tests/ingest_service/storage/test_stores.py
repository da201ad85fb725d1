"""Tests that the memory store, plain PostgreSQL and TimescaleDB fulfil the same contract."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from ingest_service.storage.contract import paging
from ingest_service.storage.contract.batch import Batch, Checkpoint
from ingest_service.storage.contract.errors import ShardLostError, StoreRefusedError
from ingest_service.storage.contract.models import (
    REVISION,
    AnomalyQuery,
    Area,
    DeadLetter,
    DeadLetterQuery,
    DeviceStatus,
    Directory,
)
from ingest_service.storage.contract.network_changes import NetworkChange
from ingest_service.storage.memory.store import MemoryStore

if TYPE_CHECKING:
    from ingest_service.storage.contract.store import Store

from tests.support.neighbouring_town import HOME_AREA, OTHER_AREA, OTHER_TOWN, OTHER_TOWN_ANOMALY
from tests.support.store_samples import (
    DIRECTORY,
    LATE,
    START_US,
    STEP_US,
    anomaly,
    assert_same,
    readings,
    stored,
)


def test_enrolment_comes_back_with_ids_and_is_idempotent(store: Store) -> None:
    known = store.directory()
    assert [(one.series_id, one.quantity, one.limits) for one in known.series] == [
        (1, "ph", {"fail_high": 13.0}),
        (2, "turbidity", {}),
    ]
    assert [(one.name, one.series_id) for one in known.channels] == [("ph", 1), ("turb", 2)]
    assert known.links[0].coordinates == [(120.4, 30.6), (120.5, 30.7)]
    assert store.enrol(DIRECTORY) == known
    changed = store.enrol(Directory(sites=[msgspec.structs.replace(DIRECTORY.sites[0], en="Other")]))
    assert changed.version == known.version + 1 == store.directory_version()
    assert changed.sites[0].en == "Other"
    assert changed.series == known.series


def test_what_is_committed_comes_back_as_it_was(store: Store) -> None:
    rows = np.concatenate([readings(1, range(10)), readings(2, range(5))])
    done = store.commit(Batch(fresh=rows))
    assert (done.fresh, done.late, done.repeated) == (15, 0, 0)
    assert_same(stored(store), readings(1, range(10)))
    assert_same(store.readings(1, START_US / 1e6, START_US / 1e6 + 900, limit=2), rows[:2])


def test_an_encoded_batch_can_be_committed_again(store: Store) -> None:
    """As after a connection that was lost between COMMIT and its answer."""
    batch = store.encode(Batch(fresh=readings(1, range(10)), dead_letters=[sample_dead_letter(1)]))
    assert store.commit(batch).fresh == 10
    again = store.commit(batch)
    assert (again.fresh, again.repeated, len(again.conflicts)) == (0, 10, 0)
    store.commit(store.encode(Batch(fresh=readings(1, range(10, 12)))))
    assert_same(stored(store), readings(1, range(12)))


def test_repeats_change_nothing(store: Store) -> None:
    store.commit(Batch(fresh=readings(1, range(10))))
    same = readings(1, range(10))
    done = store.commit(Batch(doubtful=np.concatenate([same, same])))
    assert (done.fresh, done.late, done.repeated, len(done.conflicts)) == (0, 0, 20, 0)
    assert_same(stored(store), readings(1, range(10)))
    assert store.latest()[0].value == 9.25


def test_another_value_for_the_same_time_is_no_repeat_and_is_given_back(store: Store) -> None:
    store.commit(Batch(fresh=readings(1, range(10))))
    other = readings(1, range(8, 12), add=1000.0)
    done = store.commit(Batch(doubtful=other))
    assert (done.fresh, done.repeated) == (2, 0)
    assert sorted(done.conflicts["value"].tolist()) == sorted(other["value"][:2].tolist())
    assert_same(stored(store)[:10], readings(1, range(10)))


def test_fresh_rows_that_are_repeats_after_all_are_met_with_care(store: Store) -> None:
    store.commit(Batch(fresh=readings(1, range(10))))
    done = store.commit(Batch(fresh=readings(1, range(5, 15))))
    assert (done.fresh, done.repeated) == (5, 5)
    assert_same(stored(store), readings(1, range(15)))


def test_latest_is_what_is_stored_where_two_values_come_for_one_time(store: Store) -> None:
    twice = np.concatenate([readings(1, range(3)), readings(1, range(2, 3), add=50.0)])
    twice["received_us"][-1] += 1
    done = store.commit(Batch(doubtful=twice))
    assert (done.fresh, len(done.conflicts)) == (3, 1)
    assert store.latest()[0].value == stored(store)["value"][-1] == 2.25


def test_dead_letters_replayed_stay_while_another_value_is_in_their_way(store: Store) -> None:
    store.commit(
        Batch(fresh=readings(1, range(3)), dead_letters=[sample_dead_letter(1), sample_dead_letter(2)])
    )
    ids = [one.letter_id for one in store.dead_letters(DeadLetterQuery())]
    store.request_replay(DeadLetterQuery(ids=ids))
    store.commit(Batch(doubtful=readings(1, range(1), add=1.0), replayed=ids))
    assert [one.letter_id for one in store.dead_letters(DeadLetterQuery())] == ids
    store.commit(Batch(doubtful=readings(1, range(1)), replayed=ids))
    assert store.dead_letters(DeadLetterQuery()) == []


def test_late_readings_are_distinguished_from_repeats_and_never_turn_latest_back(store: Store) -> None:
    store.commit(Batch(fresh=readings(1, range(5, 10))))
    late = readings(1, range(3, 7), rules=LATE, quality=2)
    done = store.commit(Batch(doubtful=late))
    assert (done.fresh, done.late, done.repeated) == (0, 2, 2)
    assert stored(store)["rules"].tolist() == [LATE, LATE, 0, 0, 0, 0, 0]
    (latest,) = store.latest()
    assert latest.time_s == (START_US + 9 * STEP_US) / 1e6
    (block,) = store.readings_committed_after({1: START_US + 5 * STEP_US})
    assert block["time_us"].tolist() == [START_US + tick * STEP_US for tick in range(6, 10)]
    assert sum(len(one) for one in store.readings_committed_after({1: 0})) == 5, (
        "late ones were not judged in order"
    )


def test_latest_by_series_and_by_when_it_was_received(store: Store) -> None:
    store.commit(Batch(fresh=np.concatenate([readings(1, range(3)), readings(2, range(6))])))
    assert [one.series_id for one in store.latest()] == [1, 2]
    assert [one.series_id for one in store.latest([2])] == [2]
    newest = store.latest([1])[0]
    assert newest.expected is None
    assert store.latest([2])[0].expected == 7.5
    assert [one.series_id for one in store.latest(received_after_s=newest.received_s)] == [2]


def test_a_revised_flag_is_shown_and_the_reading_stays(store: Store) -> None:
    store.commit(Batch(fresh=readings(1, range(3))))
    revision = np.array([(1, START_US + STEP_US, 4, 4), (1, START_US + 2 * STEP_US, 3, 4)], REVISION)
    store.commit(Batch(revisions=revision))
    assert stored(store)["quality"].tolist() == [1, 4, 3]
    assert stored(store)["rules"].tolist() == [0, 4, 4]
    assert store.latest()[0].quality == 3
    assert stored(store)["value"].tolist() == [0.25, 1.25, 2.25]


def test_buckets_are_the_same_before_and_after_the_rollup_and_with_late_data(store: Store) -> None:
    hour_s = START_US / 1e6 // 3600 * 3600
    requested = (1, hour_s, hour_s + 12 * 3600, 3600)
    store.commit(Batch(fresh=readings(1, range(0, 100, 2))))
    before = store.buckets(*requested)
    assert sum(one.count for one in before) == 50
    while store.refresh_rollups(limit=3):
        pass
    assert store.buckets(*requested) == pytest.approx(before) or store.buckets(*requested) == before
    bad = readings(1, range(1, 100, 2), rules=LATE, quality=2, add=50.0)
    bad["quality"][::2] = 4
    store.commit(Batch(doubtful=bad))
    stale = store.buckets(*requested)
    assert sum(one.count for one in stale) == 100, "a rollup that is out of date is not read"
    while store.refresh_rollups(limit=1000):
        pass
    for new, old in zip(store.buckets(*requested), stale, strict=True):
        assert (new.time_s, new.count, new.good, new.min, new.max) == (
            old.time_s,
            old.count,
            old.good,
            old.min,
            old.max,
        )
        assert new.mean == pytest.approx(old.mean)
    assert sum(one.good for one in stale) == 75
    assert store.health().rollups_due == 0


def test_a_day_is_a_local_day(store: Store) -> None:
    store.commit(Batch(fresh=readings(1, range(600))))
    for one in store.buckets(1, START_US / 1e6, START_US / 1e6 + 3 * 86_400, 86_400):
        assert (one.time_s + 8 * 3600) % 86_400 == 0


def test_dead_letters_statuses_and_checkpoints_are_kept(store: Store) -> None:
    letter = DeadLetter(
        received_s=1.5,
        topic="t",
        payload=b"\x00\xff",
        properties={"epoch": "e"},
        reason="payload",
        detail="not SenML",
    )
    status = DeviceStatus(device_id="d1", received_s=5.0, status={"online": True, "spool_depth": 3})
    store.commit(
        Batch(dead_letters=[letter] * 3, statuses=[status], checkpoint=Checkpoint("main", 1, b"abc"))
    )
    store.commit(Batch(statuses=[msgspec.structs.replace(status, received_s=6.0, status={"online": False})]))
    newest, *rest = store.dead_letters(DeadLetterQuery(limit=2))
    assert msgspec.structs.replace(newest, letter_id=0) == msgspec.structs.replace(letter, size_bytes=2)
    light = store.dead_letters(DeadLetterQuery(limit=1, whole=False))
    assert light == [msgspec.structs.replace(newest, payload=b"")]
    assert store.dead_letters(DeadLetterQuery(before_id=newest.letter_id))[0].letter_id == rest[0].letter_id
    assert [one.status for one in store.statuses()] == [{"online": False}]
    assert store.checkpoint("main") == Checkpoint("main", 1, b"abc")
    assert store.checkpoint("other") is None
    assert store.health().dead_letters == 3


def test_health_of_areas_counts_their_rows(store: Store) -> None:
    store.enrol(OTHER_TOWN)
    letters = [
        DeadLetter(received_s=5.0, topic=f"towntwin/v1/{area}/d/data", payload=b"x", reason="unit", detail="")
        for area in (HOME_AREA, OTHER_AREA, "nowhere")
    ]
    store.commit(Batch(fresh=readings(1, range(5)), anomalies=[anomaly()], dead_letters=letters))
    store.commit(Batch(fresh=readings(3, range(7)), anomalies=[anomaly(**OTHER_TOWN_ANOMALY)]))
    found = {
        area: (one.readings, one.open_anomalies, one.dead_letters)
        for area, areas in {"all": None, HOME_AREA: [HOME_AREA], OTHER_AREA: [OTHER_AREA], "none": []}.items()
        for one in [store.health(areas)]
    }
    assert found == {"all": (12, 2, 3), HOME_AREA: (5, 1, 1), OTHER_AREA: (7, 1, 1), "none": (0, 0, 0)}


def test_activity_has_the_time_of_each_device_s_last_message(store: Store) -> None:
    store.commit(Batch(fresh=readings(2, range(4))))
    (one,) = store.activity()
    assert (one.device_id, one.interval_s, one.measured_s) == ("d1", 300.0, (START_US + 3 * STEP_US) / 1e6)


def test_a_shard_has_one_owner(store: Store) -> None:
    with store.shard("main") as first, store.shard("main") as second, store.shard("other") as third:
        assert (first is not None, second, third is not None) == (True, None, True)
    for _ in range(20):  # each hand-over waits for the release, not for the end of the server's session
        with store.shard("main") as again:
            assert again


def test_a_standby_that_waits_owns_the_shard_at_once_when_it_is_released(store: Store) -> None:
    with ExitStack() as owner:
        assert owner.enter_context(store.shard("main"))
        with store.shard("main", wait_s=0.1) as second:
            assert second is None
        release = threading.Timer(0.3, owner.close)
        release.start()
        began_s = time.monotonic()
        with store.shard("main", wait_s=20.0) as second:
            assert second is not None
            assert second.epoch.number == 2
        assert 0.2 < time.monotonic() - began_s < 10.0
        release.join()


def test_an_owner_of_the_past_commits_nothing(store: Store) -> None:
    with store.shard("main") as first:
        assert first is not None
        assert first.held()
        store.commit(Batch(fresh=readings(1, range(3)), epoch=first.epoch))
    with store.shard("main") as second:
        assert second is not None
        assert second.epoch.number == first.epoch.number + 1
        assert not first.held()
        with pytest.raises(ShardLostError, match="epoch 1 is over"):
            store.commit(Batch(fresh=readings(1, range(3, 6)), epoch=first.epoch))
        store.commit(Batch(fresh=readings(1, range(3, 4)), epoch=second.epoch))
    assert len(stored(store)) == 4


def sample_dead_letter(number: int, **changes: Any) -> DeadLetter:
    known = DeadLetter(
        received_s=float(number),
        topic=f"towntwin/v1/a{number % 2}/d{number}/data",
        payload=b"?",
        properties={"epoch": "e", "number": str(number)},
        reason="channel",
        detail="not enrolled",
    )
    return msgspec.structs.replace(known, **changes)


def to_replay(store: Store, area: str = "+", *, limit: int = 10, limit_bytes: int = 1000) -> list[float]:
    requested = store.dead_letters_to_replay([area], limit=limit, limit_bytes=limit_bytes)
    assert all(one.payload == b"?" for one in requested)
    return [one.received_s for one in requested]


def test_dead_letters_are_listed_replayed_and_purged(store: Store) -> None:
    store.commit(
        Batch(
            dead_letters=[sample_dead_letter(number) for number in range(1, 6)]
            + [sample_dead_letter(9, reason="time")]
        )
    )
    store.commit(Batch(dead_letters=[sample_dead_letter(1)]))
    everything = store.dead_letters(DeadLetterQuery())
    assert [one.received_s for one in everything] == [9, 5, 4, 3, 2, 1], (
        "a second delivery is no second letter"
    )
    ids = {one.received_s: one.letter_id for one in everything}
    assert [one.reason for one in store.dead_letters(DeadLetterQuery(device="d9"))] == ["time"]
    assert [one.received_s for one in store.dead_letters(DeadLetterQuery(reason="channel", limit=2))] == [
        5,
        4,
    ]

    assert to_replay(store) == []
    assert store.request_replay(DeadLetterQuery(ids=[ids[2], ids[3], ids[4]])) == 3
    assert to_replay(store, "a0") == [2, 4]
    assert to_replay(store, limit=2) == [2, 3]
    assert to_replay(store, limit_bytes=2) == [2, 3]
    assert to_replay(store, limit_bytes=0) == [2], "one at least"
    replayed_in_vain = sample_dead_letter(3, letter_id=ids[3], reason="unit", detail="still wrong")
    store.commit(Batch(dead_letters=[replayed_in_vain], replayed=[ids[2], ids[4]]))
    assert to_replay(store) == []
    (again,) = store.dead_letters(DeadLetterQuery(reason="unit"))
    assert (again.letter_id, again.replays, again.state, again.detail) == (
        ids[3],
        1,
        "waiting",
        "still wrong",
    )

    assert store.purge_dead_letters(DeadLetterQuery(received_before_s=4.0)) == 2
    assert [one.received_s for one in store.dead_letters(DeadLetterQuery())] == [9, 5]


def test_the_offset_of_a_clock_stays_until_it_is_known_anew(store: Store) -> None:
    last_statuses = DeviceStatus(
        device_id="d1", received_s=5.0, status={"online": True}, clock_offset_s=-7200.0
    )
    store.commit(Batch(statuses=[last_statuses]))
    store.commit(
        Batch(statuses=[msgspec.structs.replace(last_statuses, received_s=6.0, clock_offset_s=None)])
    )
    assert [one.clock_offset_s for one in store.statuses()] == [-7200.0]


def test_series_with_late_readings_wait_to_be_judged_again(store: Store) -> None:
    store.commit(Batch(fresh=readings(1, range(5, 10))))
    store.commit(Batch(doubtful=readings(1, range(5), rules=LATE, quality=2)))
    store.commit(Batch(doubtful=readings(2, range(5), rules=512, quality=3)))
    assert store.health().rejudge_due == 1


def test_all_or_nothing(store: Store) -> None:
    if isinstance(store, MemoryStore):
        return
    with pytest.raises(StoreRefusedError):
        store.commit(Batch(fresh=readings(1, range(3)), anomalies=[anomaly(site_id="nowhere")]))
    assert len(stored(store)) == 0
    assert store.latest() == []


def test_a_retained_message_makes_one_dead_letter_however_often_it_comes(store: Store) -> None:
    live = DeadLetter(received_s=1.0, topic="a/b", payload=b"bad", reason="payload", detail="-")
    again = msgspec.structs.replace(live, retained=True)
    other = msgspec.structs.replace(again, payload=b"other")
    for dead_letters in ([live], [again], [again, again], [other], [other, again]):
        store.commit(Batch(dead_letters=dead_letters))
    assert sorted((one.payload, one.retained) for one in store.dead_letters(DeadLetterQuery())) == [
        (b"bad", False),
        (b"other", True),
    ]
    store.commit(Batch(dead_letters=[live]))
    assert store.health().dead_letters == 3, "what is not retained was sent once more"


def test_since_when_a_device_is_known_stays(store: Store) -> None:
    since = store.enrol(DIRECTORY).enrolled_s
    assert since.keys() == {"d1", "d2"}
    assert store.enrol(DIRECTORY).enrolled_s == since


def test_all_anomalies_are_read_page_by_page(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "PAGE_ROWS", 3)
    store.enrol(DIRECTORY)
    starts = [START_US / 1e6 + day for day in (0, 0, 0, 0, 1, 2, 2, 3)]  # pages end within equal starts
    store.record_anomalies(
        [anomaly(subject=f"series/{number}", start_s=start) for number, start in enumerate(starts)]
    )
    read = paging.all_anomalies(store, AnomalyQuery(limit=1))
    assert [one.start_s for one in read] == sorted(starts, reverse=True)
    assert {one.subject for one in read} == {f"series/{number}" for number in range(len(starts))}
    assert paging.all_anomalies(store, AnomalyQuery(site_ids=["nowhere"])) == []


def test_a_circle_of_parents_is_refused_over_several_steps_and_changes_nothing(store: Store) -> None:
    def area(area_id: str, parent: str | None) -> Area:
        return Area(area_id=area_id, parent=parent, level="town", en="A", zh="区")

    store.enrol(Directory(areas=[area("a", None), area("b", "a"), area("c", "b")]))
    before = store.directory()
    for changed in ([area("a", "c"), area("d", None)], [area("d", "d")]):
        with pytest.raises(StoreRefusedError, match="has parents that lead back to it"):
            store.enrol(Directory(areas=changed))
        with pytest.raises(StoreRefusedError, match="has parents that lead back to it"):
            store.change_network(NetworkChange(areas=changed))
    assert store.directory() == before
    turned = [area("c", None), area("b", "c"), area("a", "b")]
    assert {one.area_id: one.parent for one in store.enrol(Directory(areas=turned)).areas}["a"] == "b"
