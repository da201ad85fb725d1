"""Tests repeated and late readings and wrong clocks, through the pipeline into a real database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import psycopg
import pytest

from analytics.core.flags import Flag, Rule
from edge.wire import status
from edge.wire.receipts import Receipt
from edge.wire.status import StatusMessage
from ingest_service.pipeline import metrics
from ingest_service.pipeline.batch_processor import BatchProcessor
from ingest_service.pipeline.message import Message
from ingest_service.pipeline.settings import Settings
from ingest_service.pipeline.shard_judge import ShardJudge
from ingest_service.storage.contract.models import AnomalyQuery, DeadLetterQuery
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.mqtt_test_device import pack
from tests.support.store_samples import DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

NOW_S = 1_790_000_000.0
STEP_S = 60.0
DATA = "towntwin/v1/330483-d1/d1/data"
HOURS_S = 7200.0


class DatabasePipeline:
    """A device at some moment, and the pipeline that takes what it sends."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        migrate(dsn)
        self.store = PostgresStore.open(dsn)
        self.store.enrol(DIRECTORY)
        self.now_s = NOW_S
        self.open()

    def open(self) -> None:
        """Start the pipeline; again after a kill."""
        self.pipeline = BatchProcessor(
            self.store, Settings(), wait=lambda _: pytest.fail("waited"), clock=lambda: self.now_s
        )
        self.pipeline.open()

    def readings(self, measured_s: list[float], *, first: int = 1, name: str = "ph") -> list[Message]:
        """A message a reading, received now."""
        unit = {"ph": "pH", "turb": "NTU"}[name]
        return [
            Message(
                DATA,
                pack(name, unit, {at_s: 7 + at_s % 600 / 2000}),
                self.now_s,
                properties=(("epoch", "e"), ("number", str(number))),
            )
            for number, at_s in enumerate(measured_s, start=first)
        ]

    def status_from_clock(self, clock_s: float) -> Message:
        """A status, received now, from a device whose clock shows that."""
        status_message = StatusMessage(online=True, time_s=clock_s)
        return Message(DATA.replace("/data", "/status"), status.encode_status(status_message), self.now_s)

    def stored(self, series_id: int = 1) -> NDArray[np.void]:
        """What is stored of a series."""
        return self.store.readings(series_id, 0, 4e9, limit=10**6)


@pytest.fixture
def database_pipeline(timescale_dsn: str) -> Iterator[DatabasePipeline]:
    one = DatabasePipeline(timescale_dsn)
    yield one
    one.store.close()


def test_repeats_change_nothing_and_get_their_receipts(database_pipeline: DatabasePipeline) -> None:
    sent = database_pipeline.readings([NOW_S - 3600 + number for number in range(1000)])
    assert database_pipeline.pipeline.ingest(sent)
    before = (
        repr(database_pipeline.stored().tolist()),
        database_pipeline.store.latest(),
        database_pipeline.store.health(),
    )
    repeated = metrics.READINGS.labels("repeated")
    counted = repeated._value.get()
    kept: list[Message] = []
    assert database_pipeline.pipeline.ingest(sent[300:] + sent[:500], lambda batch, _: kept.extend(batch))
    assert (
        repr(database_pipeline.stored().tolist()),
        database_pipeline.store.latest(),
        database_pipeline.store.health(),
    ) == before
    assert repeated._value.get() - counted == 1200
    ((receipt,),) = database_pipeline.pipeline.receipts(kept).values()
    assert receipt == Receipt(epoch="e", kept=[(1, 1000)])


def test_late_readings_are_stored_flagged_and_wait_to_be_judged_again(
    database_pipeline: DatabasePipeline,
) -> None:
    steady = [NOW_S - 36_000 + number * STEP_S for number in range(600)]
    missed = steady[100:130]
    assert database_pipeline.pipeline.ingest(database_pipeline.readings(steady[:100] + steady[130:]))
    assert database_pipeline.pipeline.ingest(database_pipeline.readings(steady, name="turb"))
    judged, latest = database_pipeline.stored(), database_pipeline.store.latest()
    assert database_pipeline.store.health().rejudge_due == 0
    assert database_pipeline.pipeline.ingest(database_pipeline.readings(missed))
    rows = database_pipeline.stored()
    late = np.isin(rows["time_us"], [round(at_s * 1e6) for at_s in missed])
    assert late.sum() == 30
    assert set(rows["quality"][late].tolist()) == {Flag.NOT_EVALUATED}
    assert set(rows["rules"][late].tolist()) == {Rule.LATE}
    assert repr(rows[~late].tolist()) == repr(judged.tolist()), "what was judged stays as it was"
    assert database_pipeline.store.latest() == latest
    assert database_pipeline.store.health().rejudge_due == 1, "one series of two"
    with psycopg.connect(database_pipeline.dsn) as connection:
        (since,) = connection.execute("SELECT extract(epoch FROM since) FROM rejudge_due").fetchone() or (0,)
    assert float(since) == missed[0]

    database_pipeline.open()
    assert database_pipeline.pipeline.ingest(database_pipeline.readings([NOW_S - STEP_S / 2]))
    newest = database_pipeline.stored()[-1]
    assert newest["rules"] & Rule.LATE == 0, "after a restart as well, what is in order is not late"
    assert database_pipeline.pipeline.ingest(database_pipeline.readings(missed))
    assert len(database_pipeline.stored()) == 601


def test_a_clock_that_is_hours_behind_is_recognised_flagged_and_known_to_be_mended(
    database_pipeline: DatabasePipeline,
) -> None:
    database_pipeline.pipeline.ingest(
        [database_pipeline.status_from_clock(NOW_S), *database_pipeline.readings([NOW_S - 10])]
    )
    assert database_pipeline.store.statuses()[0].clock_offset_s == pytest.approx(0)
    database_pipeline.now_s += 60
    database_pipeline.pipeline.ingest(
        [database_pipeline.status_from_clock(database_pipeline.now_s - HOURS_S)]
    )
    assert database_pipeline.store.statuses()[0].clock_offset_s == pytest.approx(0), (
        "a message under way looks the same"
    )
    database_pipeline.now_s += 60
    database_pipeline.pipeline.ingest(
        [
            database_pipeline.status_from_clock(database_pipeline.now_s - HOURS_S),
            *database_pipeline.readings([database_pipeline.now_s - HOURS_S]),
        ]
    )
    assert database_pipeline.store.statuses()[0].clock_offset_s == pytest.approx(-HOURS_S)
    latest = database_pipeline.store.latest()

    database_pipeline.open()  # what was known outlives a restart
    for _ in range(5):
        database_pipeline.now_s += 60
        database_pipeline.pipeline.ingest(database_pipeline.readings([database_pipeline.now_s - HOURS_S]))
    wrong = database_pipeline.stored()[:-1]
    assert set(wrong["rules"].tolist()) == {Rule.CLOCK}
    assert set(wrong["quality"].tolist()) == {Flag.SUSPECT}
    assert len(wrong) == 6
    assert database_pipeline.store.latest() == latest
    assert database_pipeline.store.health().rejudge_due == 0, "nothing is judged by a time that is wrong"

    database_pipeline.now_s += 60
    database_pipeline.pipeline.ingest(
        [
            database_pipeline.status_from_clock(database_pipeline.now_s),
            *database_pipeline.readings([database_pipeline.now_s]),
        ]
    )
    assert database_pipeline.store.statuses()[0].clock_offset_s == pytest.approx(0)
    newest = database_pipeline.stored()[-1]
    assert newest["time_us"] == round(database_pipeline.now_s * 1e6)
    assert newest["rules"] & (Rule.CLOCK | Rule.LATE) == 0
    assert database_pipeline.store.latest()[0].time_s == database_pipeline.now_s


def test_a_clock_that_is_hours_ahead_can_not_turn_latest_forward(database_pipeline: DatabasePipeline) -> None:
    database_pipeline.pipeline.ingest(
        [database_pipeline.status_from_clock(NOW_S + HOURS_S), *database_pipeline.readings([NOW_S + HOURS_S])]
    )
    assert database_pipeline.store.statuses()[0].clock_offset_s == pytest.approx(HOURS_S)
    assert metrics.WRONG_CLOCKS._value.get() == 1
    (letter,) = database_pipeline.store.dead_letters(DeadLetterQuery())
    assert letter.reason == "clock"
    assert "by its status it is +7200 s off" in letter.detail
    database_pipeline.now_s += 60
    database_pipeline.pipeline.ingest(
        [
            database_pipeline.status_from_clock(database_pipeline.now_s),
            *database_pipeline.readings([database_pipeline.now_s - 1]),
        ]
    )
    assert metrics.WRONG_CLOCKS._value.get() == 0
    assert [one.time_s for one in database_pipeline.store.latest()] == [database_pipeline.now_s - 1]


def test_a_status_from_the_dead_letters_has_no_clock_offset(database_pipeline: DatabasePipeline) -> None:
    """It was right when it was sent; nobody knows what the clock shows now."""
    old = database_pipeline.status_from_clock(NOW_S + HOURS_S)
    database_pipeline.pipeline.ingest([Message(old.topic, old.payload, old.received_s, letter_id=1)])
    assert database_pipeline.store.statuses()[0].clock_offset_s is None


def test_repeats_of_readings_of_a_wrong_clock_are_in_the_state_after_a_restart(
    database_pipeline: DatabasePipeline,
) -> None:
    """The state before the restart has them, so that of the replay has to have them, too."""
    times = [NOW_S - 600 + 60 * one for one in range(10)]
    database_pipeline.pipeline.ingest([database_pipeline.status_from_clock(NOW_S + HOURS_S)])
    database_pipeline.pipeline.ingest(database_pipeline.readings(times[3:6], first=4))
    assert set(database_pipeline.stored()["rules"].tolist()) == {Rule.CLOCK}
    assert database_pipeline.store.latest()[0].rules == Rule.CLOCK
    database_pipeline.now_s += 60
    database_pipeline.pipeline.ingest([database_pipeline.status_from_clock(database_pipeline.now_s)])
    database_pipeline.pipeline.ingest(database_pipeline.readings(times[3:6], first=4))
    assert not np.any(database_pipeline.stored()["rules"] & (Rule.CLOCK | Rule.LATE))
    assert database_pipeline.store.latest()[0].rules & Rule.CLOCK == 0
    database_pipeline.pipeline.ingest(database_pipeline.readings(times[6:], first=7))
    interrupted = database_pipeline.pipeline._judge.checkpoint("main")
    clean = ShardJudge(database_pipeline.store.directory())
    for block in database_pipeline.store.readings_committed_after({1: 0, 2: 0}):
        clean._replay(block)
    assert clean.checkpoint("main").payload == interrupted.payload


def test_a_reading_that_clashes_with_one_of_a_wrong_clock_is_a_dead_letter(
    database_pipeline: DatabasePipeline,
) -> None:
    """The judge takes it for new, the database knows better: it may not be lost."""
    database_pipeline.pipeline.ingest([database_pipeline.status_from_clock(NOW_S + HOURS_S)])
    ahead = BatchProcessor(
        database_pipeline.store,
        Settings(future_s=1e5),
        wait=lambda _: True,
        clock=lambda: database_pipeline.now_s,
    )
    ahead.open()
    wrong = Message(DATA, pack("ph", "pH", {NOW_S + 600: 9.9}), NOW_S)
    assert ahead.ingest([wrong])
    assert database_pipeline.stored()["rules"].tolist() == [Rule.CLOCK]
    database_pipeline.now_s += 1200
    right = Message(DATA, pack("ph", "pH", {NOW_S + 600: 7.5}), database_pipeline.now_s)
    assert ahead.ingest(
        [
            database_pipeline.status_from_clock(database_pipeline.now_s),
            right,
            *database_pipeline.readings([NOW_S + 660]),
        ]
    )
    assert database_pipeline.stored()["value"].tolist()[0] == 9.9
    assert len(database_pipeline.stored()) == 2
    (letter,) = database_pipeline.store.dead_letters(DeadLetterQuery())
    assert (letter.reason, letter.payload) == ("conflict", right.payload)


def test_a_flag_that_the_device_gives_is_stored_and_its_reading_is_not_judged(
    database_pipeline: DatabasePipeline,
) -> None:
    times = [NOW_S - 3600 + STEP_S * number for number in range(40)]
    assert database_pipeline.pipeline.ingest(database_pipeline.readings(times))
    in_maintenance = [
        msgspec.structs.replace(
            message,
            payload=pack("ph", "pH", {NOW_S - 600 + 60 * number: 0.5}),
            properties=(("quality", "4"),),
        )
        for number, message in enumerate(database_pipeline.readings([NOW_S] * 5))
    ]
    unknown = msgspec.structs.replace(
        in_maintenance[0], payload=pack("ph", "pH", {NOW_S: 7.1}), properties=(("quality", "seven"),)
    )
    assert database_pipeline.pipeline.ingest([*in_maintenance, unknown])
    rows = database_pipeline.stored()[-6:]
    assert rows["quality"][:5].tolist() == [Flag.FAIL] * 5
    assert rows["rules"][:5].tolist() == [Rule.DEVICE] * 5
    assert rows["rules"][5] & Rule.DEVICE == 0
    assert database_pipeline.store.anomalies(AnomalyQuery(limit=10)) == []
