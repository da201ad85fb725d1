"""Tests that the pipeline loses nothing: it waits for the store, splits refused batches, and restarts."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from structlog.testing import capture_logs

from analytics.core import judge as core
from edge.wire import receipts, senml
from edge.wire.receipts import SpoolPosition
from edge.wire.senml import Record
from ingest_service.pipeline.batch_processor import BatchProcessor
from ingest_service.pipeline.commit_queue import CommitQueue
from ingest_service.pipeline.message import Message
from ingest_service.pipeline.settings import Settings
from ingest_service.pipeline.shard_judge import ShardJudge
from ingest_service.storage.contract.batch import Batch, Checkpoint
from ingest_service.storage.contract.errors import StoreRefusedError, StoreUnavailableError
from ingest_service.storage.contract.models import (
    AnomalyQuery,
    Area,
    Channel,
    DeadLetterQuery,
    Device,
    Directory,
    Series,
    Site,
)
from ingest_service.storage.memory.store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ingest_service.storage.contract.batch import Committed
    from ingest_service.storage.contract.models import DeadLetter

START_S = 1_790_000_000.0
STEP_S = 300.0
AREA = "330483-d1"
TOPIC = f"towntwin/v1/{AREA}/wz-01/data"
QUANTITIES = ("ph", "dissolved_oxygen", "conductivity")
WIRE = {"ph": ("pH", 1.0), "dissolved_oxygen": ("kg/m3", 1e-3), "conductivity": ("S/m", 1e-4)}


def directory() -> Directory:
    return Directory(
        areas=[Area(area_id=AREA, level="town", en="A", zh="甲")],
        sites=[
            Site(site_id="s1", area_id=AREA, kind="river_section", en="S", zh="断面", lon=120.5, lat=30.7)
        ],
        devices=[Device(device_id="wz-01", area_id=AREA)],
        series=[Series(site_id="s1", quantity=one) for one in QUANTITIES],
        channels=[Channel(device_id="wz-01", name=one, site_id="s1", quantity=one) for one in QUANTITIES],
    )


def history(ticks: int, *, seed: int = 1) -> list[list[Record]]:
    """Packs of a quiet river with one clear spike, one stuck stretch and one shift."""
    random = np.random.default_rng(seed)
    day = 2 * np.pi * np.arange(ticks) * STEP_S / 86_400
    values = {
        "ph": 7.5 + 0.1 * np.sin(day) + random.normal(0, 0.02, ticks),
        "dissolved_oxygen": 7 + np.sin(day) + random.normal(0, 0.1, ticks),
        "conductivity": 500 + 20 * np.sin(day) + random.normal(0, 3, ticks),
    }
    values["ph"][ticks * 3 // 4] = 11
    values["dissolved_oxygen"][ticks * 4 // 5 :] = 5.0
    values["conductivity"][ticks * 5 // 6 :] += 200
    return [
        [
            Record(
                name=name,
                time_s=START_S + tick * STEP_S,
                value=float(values[name][tick]) * WIRE[name][1],
                unit=WIRE[name][0],
            )
            for name in QUANTITIES
        ]
        for tick in range(ticks)
    ]


def messages(packs: Sequence[Sequence[Record]]) -> list[Message]:
    return [
        Message(
            TOPIC,
            senml.encode_json(pack),
            START_S + 1e7,
            properties=(("epoch", "e"), ("number", str(number))),
        )
        for number, pack in enumerate(packs, start=1)
    ]


class WaitCounter:
    """Waits that take no time, and end after some."""

    def __init__(self, most: int = 1000) -> None:
        self.waited: list[float] = []
        self._most = most

    def __call__(self, wait_s: float) -> bool:
        self.waited.append(wait_s)
        return len(self.waited) >= self._most


def open_processor(
    store: MemoryStore, *, checkpoint_s: float = 5.0, wait_counter: WaitCounter | None = None
) -> BatchProcessor:
    ticking = itertools.count(START_S + 1e7)
    pipeline = BatchProcessor(
        store,
        Settings(checkpoint_s=checkpoint_s, replay_days=1000),
        wait=wait_counter or WaitCounter(),
        clock=lambda: float(next(ticking)),
    )
    pipeline.open()
    return pipeline


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.enrol(directory())
    return store


def stored(store: MemoryStore) -> dict[int, list[tuple[object, ...]]]:
    """Every reading as it was stored, without when it was received, by series."""
    columns = ["time_us", "value", "expected", "spread", "quality", "rules"]
    return {
        one.series_id: [
            tuple(repr(cell) for cell in row)
            for row in store.readings(one.series_id, 0, 4e9, limit=10**6)[columns].tolist()
        ]
        for one in store.directory().series
    }


def stored_anomalies(store: MemoryStore) -> list[tuple[object, ...]]:
    anomalies = store.anomalies(AnomalyQuery(limit=1000))
    return sorted(
        (one.subject, one.start_s, one.end_s, one.detector, one.score, one.reason_en) for one in anomalies
    )


def batches_of(all_messages: list[Message], sizes: Iterator[int]) -> Iterator[list[Message]]:
    at = 0
    while at < len(all_messages):
        size = next(sizes)
        yield all_messages[at : at + size]
        at += size


def test_what_was_taken_is_stored_and_judged(store: MemoryStore) -> None:
    pipeline = open_processor(store)
    assert pipeline.ingest(messages(history(2000)))
    assert {series: len(rows) for series, rows in stored(store).items()} == {1: 2000, 2: 2000, 3: 2000}
    detectors = {(one.series_id, one.detector) for one in store.anomalies(AnomalyQuery(limit=1000))}
    assert (2, "flat_line") in detectors
    assert {series for series, _ in detectors} == {1, 2, 3}
    for one in store.anomalies(AnomalyQuery(limit=1000)):
        assert one.reason_en
        assert one.reason_zh
        assert one.evidence["limits"]


def test_a_checkpoint_is_due_earlier_where_many_readings_arrive(store: MemoryStore) -> None:
    """A restart replays what was committed since: at most 32 readings of each of the three series."""
    pipeline = open_processor(store, checkpoint_s=1e9)
    packs = messages(history(60))
    ends = (10, 20, 30, 45, 60)
    found = []
    for first, end in itertools.pairwise((0, *ends)):
        assert pipeline.ingest(packs[first:end])
        checkpoint = store.checkpoint("main")
        assert checkpoint is not None
        found.append(checkpoint.payload)
    changed = [one != before for before, one in itertools.pairwise(found)]
    assert changed == [False, False, True, False], "the first batch, and after 35 readings of each series"


@pytest.mark.parametrize("checkpoint_s", [0.5, 7.0, 1e9])
def test_restarts_change_nothing(store: MemoryStore, checkpoint_s: float) -> None:
    """State is the last checkpoint plus what was committed since (design section 4)."""
    all_messages = messages(history(1500))
    straight = MemoryStore()
    straight.enrol(directory())
    open_processor(straight).ingest(all_messages)

    sizes = itertools.cycle([1, 40, 7, 160])
    for number, batch in enumerate(batches_of(all_messages, sizes)):
        if number % 3 == 0:
            pipeline = open_processor(store, checkpoint_s=checkpoint_s)
        assert pipeline.ingest(batch)
    assert stored(store) == stored(straight)
    assert stored_anomalies(store) == stored_anomalies(straight)


def test_repeats_change_nothing(store: MemoryStore) -> None:
    all_messages = messages(history(300))
    pipeline = open_processor(store)
    pipeline.ingest(all_messages)
    before = stored(store), stored_anomalies(store)
    pipeline.ingest(all_messages[100:])
    pipeline.ingest(all_messages[:50] + all_messages[:50])
    assert (stored(store), stored_anomalies(store)) == before


def test_late_readings_are_stored_flagged_and_never_turn_latest_back(store: MemoryStore) -> None:
    packs = history(300)
    pipeline = open_processor(store)
    pipeline.ingest(messages(packs[:100] + packs[101:]))
    latest = store.latest()
    pipeline.ingest(messages([packs[100]]))
    assert store.latest() == latest
    row = store.readings(1, START_S + 100 * STEP_S, START_S + 100 * STEP_S + 1, limit=1)[0]
    assert (int(row["quality"]), int(row["rules"])) == (2, 64)


def test_a_store_that_is_away_is_waited_for(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = store.commit
    failures = iter(range(7))

    def flaky(batch: Batch) -> Committed:
        if next(failures, None) is not None:
            raise StoreUnavailableError("gone")
        return kept(batch)

    monkeypatch.setattr(store, "commit", flaky)
    wait_counter = WaitCounter()
    assert open_processor(store, wait_counter=wait_counter).ingest(messages(history(10)))
    all_messages = np.array([0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])
    assert (np.array(wait_counter.waited) >= all_messages / 2).all()
    assert (np.array(wait_counter.waited) <= all_messages).all()
    assert len(set(wait_counter.waited)) == 7, "waits are cut at random"
    assert len(stored(store)[1]) == 10


def test_stopped_while_the_store_is_away_nothing_is_claimed(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = open_processor(store, wait_counter=WaitCounter(most=2))

    def away(_batch: Batch) -> Committed:
        raise StoreUnavailableError("gone")

    monkeypatch.setattr(store, "commit", away)
    assert not pipeline.ingest(messages(history(10)))


def test_one_poisoned_message_does_not_sink_its_neighbours(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = store.commit

    def picky(batch: Batch) -> Committed:
        if 66.5 in batch.fresh["value"]:
            raise StoreRefusedError("not this one")
        return kept(batch)

    packs = history(200)
    packs[77] = [Record(name="ph", time_s=START_S + 77 * STEP_S, value=66.5, unit="pH")]
    poisoned = messages(packs)
    monkeypatch.setattr(store, "commit", picky)
    assert open_processor(store).ingest(poisoned)
    assert {series: len(rows) for series, rows in stored(store).items()} == {1: 199, 2: 199, 3: 199}
    (letter,) = store.dead_letters(DeadLetterQuery())
    assert (letter.reason, letter.payload) == ("store", poisoned[77].payload)

    clean = MemoryStore()
    clean.enrol(directory())
    open_processor(clean).ingest(messages(packs[:77] + packs[78:]))
    assert stored(store) == stored(clean), "a refused message must leave no trace in the judge's state"


def test_if_judging_fails_the_readings_are_stored_all_the_same(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = open_processor(store)

    def broken(*_arguments: object) -> None:
        raise FloatingPointError("a defect of the core")

    monkeypatch.setattr("ingest_service.pipeline.shard_judge.core.judge", broken)
    assert pipeline.ingest(messages(history(20)))
    rows = store.readings(1, 0, 4e9, limit=100)
    assert set(rows["quality"].tolist()) == {2}
    assert set(rows["rules"].tolist()) == {128}


def test_a_newly_enrolled_channel_is_taken_without_a_restart(store: MemoryStore) -> None:
    pipeline = open_processor(store)
    message_without_position = Message(
        TOPIC.replace("wz-01", "wz-02"), senml.encode_json(history(1)[0]), START_S + 1e7
    )
    pipeline.ingest([message_without_position])
    assert [letter.reason for letter in store.dead_letters(DeadLetterQuery())] == ["device"]
    store.enrol(
        Directory(
            devices=[Device(device_id="wz-02", area_id=AREA)],
            channels=[Channel(device_id="wz-02", name="ph", site_id="s1", quantity="ph")],
        )
    )
    pipeline.ingest([message_without_position])
    assert len(stored(store)[1]) == 1


def test_receipts_name_what_is_kept(store: MemoryStore) -> None:
    (found,) = open_processor(store).receipts(messages(history(3))).values()
    assert found == receipts.receipts_for(
        [SpoolPosition("e", 1), SpoolPosition("e", 2), SpoolPosition("e", 3)]
    )


def test_a_message_that_can_not_be_used_looked_like_success_on_the_device(store: MemoryStore) -> None:
    """PUBACK and receipt were the same as for a good one: the receipt names the number and why."""
    sent = messages(history(3))
    wrong = senml.encode_json([Record(name="pH", time_s=START_S, value=7.0)])
    sent[1] = msgspec.structs.replace(sent[1], payload=wrong)
    plain = Message(TOPIC, wrong, START_S)  # of a client without a spool
    message_without_position = msgspec.structs.replace(sent[2], topic=TOPIC.replace("wz-01", "wz-9"))
    answered: dict[str, list[receipts.Receipt]] = {}
    pipeline = open_processor(store)

    def kept(batch: Sequence[Message], dead: Sequence[DeadLetter]) -> None:
        for topic, found in pipeline.receipts(batch, dead).items():
            answered.setdefault(topic.device, []).extend(found)

    assert pipeline.ingest([*sent, plain, message_without_position], kept)
    (of_spool, of_plain), (of_stranger,) = answered["wz-01"], answered["wz-9"]
    assert (of_spool.epoch, of_spool.kept) == ("e", [(1, 3)])
    ((number, reason, detail),) = [msgspec.structs.astuple(one) for one in of_spool.refused]
    assert (number, reason) == (2, "channel")
    assert "ph" in detail, "the names that there are"
    assert (of_plain.epoch, of_plain.kept, of_plain.refused[0].reason) == ("", [], "channel")
    assert (of_stranger.kept, of_stranger.refused[0].reason) == ([(3, 3)], "device")


def test_a_receipt_that_refuses_thousands_is_bounded_and_counts_them() -> None:
    refusals = [(SpoolPosition("e", number), "unit", "x" * 5000) for number in range(10_000)]
    (receipt,) = receipts.receipts_for([place for place, *_ in refusals], refusals)
    assert (receipt.kept, receipt.more) == ([(0, 9999)], 10_000 - receipts.MAX_REFUSALS)
    assert len(receipts.encode_receipt(receipt)) < 25_000
    assert receipts.decode_receipt(receipts.encode_receipt(receipt)) == receipt
    assert (
        receipts.encode_receipt(receipts.Receipt(epoch="e", kept=[(1, 2)])) == b'{"epoch":"e","kept":[[1,2]]}'
    )


@pytest.mark.parametrize("where", ["judge", "encode", "commit"])
def test_an_unforeseen_error_in_judge_encode_or_commit_isolates_the_one_message(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    store.enrol(directory())
    pipeline = BatchProcessor(store, Settings(), wait=lambda _: False, clock=lambda: START_S)
    pipeline.open()
    batch = [
        Message(
            TOPIC,
            senml.encode_json(pack),
            START_S + STEP_S * 100,
            properties=(("epoch", "e"), ("number", str(i))),
        )
        for i, pack in enumerate(history(9))
    ]
    poison_us = round(history(9)[4][0].time_s * 1e6)
    judge, commit = ShardJudge.judge, MemoryStore.commit

    def judged(self: ShardJudge, decoded: Any) -> Any:
        if (np.rint(decoded.time_s * 1e6) == poison_us).any():
            raise ZeroDivisionError("unforeseen")
        return judge(self, decoded)

    def committed(self: MemoryStore, sent: Batch) -> Committed:
        if (sent.fresh["time_us"] == poison_us).any():
            raise ZeroDivisionError("unforeseen")
        return commit(self, sent)

    def encoded(_: MemoryStore, sent: Batch) -> Batch:
        if (sent.fresh["time_us"] == poison_us).any():
            raise ZeroDivisionError("unforeseen")
        return sent

    if where == "judge":
        monkeypatch.setattr(ShardJudge, "judge", judged)
    elif where == "encode":
        monkeypatch.setattr(MemoryStore, "encode", encoded)
    else:
        monkeypatch.setattr(MemoryStore, "commit", committed)
    kept: list[Message] = []
    with capture_logs(), CommitQueue(pipeline, lambda batch, _: kept.extend(batch)) as commit_queue:
        assert commit_queue.ingest(batch[:3])
        assert commit_queue.ingest(batch[3:])
        assert commit_queue.flush()
    assert sorted(one.properties for one in kept) == sorted(one.properties for one in batch), (
        "all acknowledged"
    )
    (dead,) = store.dead_letters(DeadLetterQuery())
    assert (dead.reason, dead.payload, dead.properties["number"]) == ("defect", batch[4].payload, "4")
    assert "ZeroDivisionError" in dead.detail
    assert store.health().readings == sum(map(len, history(9))) - len(history(9)[4])


def test_figures_that_fail_after_commit_prevent_no_acknowledgement(monkeypatch: pytest.MonkeyPatch) -> None:
    def count(*_: object, **__: object) -> None:
        raise ZeroDivisionError("unforeseen")

    monkeypatch.setattr("ingest_service.pipeline.batch_metrics.count_batch", count)
    store = MemoryStore()
    store.enrol(directory())
    pipeline = BatchProcessor(store, Settings(), wait=lambda _: False, clock=lambda: START_S)
    pipeline.open()
    kept: list[Message] = []
    with capture_logs() as logged:
        assert pipeline.ingest(
            [Message(TOPIC, senml.encode_json(history(1)[0]), START_S)], lambda batch, _: kept.extend(batch)
        )
    assert len(kept) == 1
    assert [one["where"] for one in logged if one["event"] == "defect"] == ["figures"]


def test_a_dead_letter_that_the_store_refuses_is_tried_again_and_never_acknowledged_unkept() -> None:
    class Refusing(MemoryStore):
        def commit(self, batch: Batch) -> Committed:
            if batch.dead_letters and (len(wait_counter) < 2 or batch.dead_letters[0].properties):
                raise StoreRefusedError("no letters today")
            return super().commit(batch)

    def wait(wait_s: float) -> bool:
        wait_counter.append(wait_s)
        return False

    wait_counter: list[float] = []
    store = Refusing()
    store.enrol(directory())
    pipeline = BatchProcessor(store, Settings(), wait=wait, clock=lambda: START_S)
    pipeline.open()
    kept: list[Message] = []
    with capture_logs():
        assert pipeline.ingest(
            [Message(TOPIC, b"hello", START_S, properties=(("epoch", "e"),))],
            lambda batch, _: kept.extend(batch),
        )
    assert (len(kept), len(wait_counter)) == (1, 2)
    (dead,) = store.dead_letters(DeadLetterQuery())
    assert dead.payload == b"hello"


@pytest.mark.parametrize("payload", [b"", b"PK", b"no archive", b"\x93NUMPY"])
def test_a_checkpoint_that_is_none_stops_no_start(payload: bytes) -> None:
    store = MemoryStore()
    store.enrol(directory())
    store.commit(Batch(checkpoint=Checkpoint("main", int(core.VERSION), payload)))
    pipeline = BatchProcessor(store, Settings(), wait=lambda _: False, clock=lambda: START_S)
    pipeline.open()
    assert pipeline.ingest([Message(TOPIC, senml.encode_json(history(1)[0]), START_S)])
