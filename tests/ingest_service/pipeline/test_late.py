"""Repeats, late readings and wrong clocks, through the pipeline into a real database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import psycopg
import pytest

from analytics.core.flags import Flag, Rule
from edge.wire import status
from edge.wire.receipts import Receipt
from edge.wire.status import Status
from ingest_service.pipeline import metrics
from ingest_service.pipeline.message import Message
from ingest_service.pipeline.pipeline import Pipeline
from ingest_service.pipeline.settings import Settings
from ingest_service.storage.migrate import migrate
from ingest_service.storage.model import LetterQuery
from ingest_service.storage.postgres import PostgresStore
from tests.support.device import pack
from tests.support.kept import DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

NOW_S = 1_790_000_000.0
STEP_S = 60.0
DATA = "towntwin/v1/330483-d1/d1/data"
HOURS_S = 7200.0


class Field:
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
        self.pipeline = Pipeline(
            self.store, Settings(), wait=lambda _: pytest.fail("waited"), clock=lambda: self.now_s
        )
        self.pipeline.open()

    def readings(self, measured_s: list[float], *, first: int = 1, name: str = "ph") -> list[Message]:
        """A message a reading, received now."""
        unit = {"ph": "pH", "turb": "NTU"}[name]
        return [
            Message(
                DATA,
                pack(name, unit, {at_s: 7 + at_s % 600 / 1000}),
                self.now_s,
                properties=(("epoch", "e"), ("number", str(number))),
            )
            for number, at_s in enumerate(measured_s, start=first)
        ]

    def says(self, clock_s: float) -> Message:
        """A status, received now, from a device whose clock shows that."""
        said = Status(online=True, time_s=clock_s)
        return Message(DATA.replace("/data", "/status"), status.encode(said), self.now_s)

    def stored(self, series_id: int = 1) -> NDArray[np.void]:
        """What is stored of a series."""
        return self.store.readings(series_id, 0, 4e9, limit=10**6)


@pytest.fixture
def field(timescale_dsn: str) -> Iterator[Field]:
    one = Field(timescale_dsn)
    yield one
    one.store.close()


def test_repeats_change_nothing_and_get_their_receipts(field: Field) -> None:
    sent = field.readings([NOW_S - 3600 + number for number in range(1000)])
    assert field.pipeline.take(sent)
    before = repr(field.stored().tolist()), field.store.latest(), field.store.health()
    repeated = metrics.READINGS.labels("repeated")
    counted = repeated._value.get()
    kept: list[Message] = []
    assert field.pipeline.take(sent[300:] + sent[:500], lambda batch, _: kept.extend(batch))
    assert (repr(field.stored().tolist()), field.store.latest(), field.store.health()) == before
    assert repeated._value.get() - counted == 1200
    ((receipt,),) = field.pipeline.receipts(kept).values()
    assert receipt == Receipt(epoch="e", kept=[(1, 1000)])


def test_late_readings_are_stored_flagged_and_wait_to_be_judged_again(field: Field) -> None:
    steady = [NOW_S - 36_000 + number * STEP_S for number in range(600)]
    missed = steady[100:130]
    assert field.pipeline.take(field.readings(steady[:100] + steady[130:]))
    assert field.pipeline.take(field.readings(steady, name="turb"))
    judged, latest = field.stored(), field.store.latest()
    assert field.store.health().rejudge_due == 0
    assert field.pipeline.take(field.readings(missed))
    rows = field.stored()
    late = np.isin(rows["time_us"], [round(at_s * 1e6) for at_s in missed])
    assert late.sum() == 30
    assert set(rows["quality"][late].tolist()) == {Flag.NOT_EVALUATED}
    assert set(rows["rules"][late].tolist()) == {Rule.LATE}
    assert repr(rows[~late].tolist()) == repr(judged.tolist()), "what was judged stays as it was"
    assert field.store.latest() == latest
    assert field.store.health().rejudge_due == 1, "one series of two"
    with psycopg.connect(field.dsn) as connection:
        (since,) = connection.execute("SELECT extract(epoch FROM since) FROM rejudge_due").fetchone() or (0,)
    assert float(since) == missed[0]

    field.open()
    assert field.pipeline.take(field.readings([NOW_S - STEP_S / 2]))
    newest = field.stored()[-1]
    assert newest["rules"] & Rule.LATE == 0, "after a restart as well, what is in order is not late"
    assert field.pipeline.take(field.readings(missed))
    assert len(field.stored()) == 601


def test_a_clock_that_is_hours_behind_is_recognised_flagged_and_known_to_be_mended(field: Field) -> None:
    field.pipeline.take([field.says(NOW_S), *field.readings([NOW_S - 10])])
    assert field.store.statuses()[0].clock_offset_s == pytest.approx(0)
    field.now_s += 60
    field.pipeline.take([field.says(field.now_s - HOURS_S)])
    assert field.store.statuses()[0].clock_offset_s == pytest.approx(0), "a message under way looks the same"
    field.now_s += 60
    field.pipeline.take([field.says(field.now_s - HOURS_S), *field.readings([field.now_s - HOURS_S])])
    assert field.store.statuses()[0].clock_offset_s == pytest.approx(-HOURS_S)
    latest = field.store.latest()

    field.open()  # what was known outlives a restart
    for _ in range(5):
        field.now_s += 60
        field.pipeline.take(field.readings([field.now_s - HOURS_S]))
    wrong = field.stored()[:-1]
    assert set(wrong["rules"].tolist()) == {Rule.CLOCK}
    assert set(wrong["quality"].tolist()) == {Flag.SUSPECT}
    assert len(wrong) == 6
    assert field.store.latest() == latest
    assert field.store.health().rejudge_due == 0, "nothing is judged by a time that is wrong"

    field.now_s += 60
    field.pipeline.take([field.says(field.now_s), *field.readings([field.now_s])])
    assert field.store.statuses()[0].clock_offset_s == pytest.approx(0)
    newest = field.stored()[-1]
    assert newest["time_us"] == round(field.now_s * 1e6)
    assert newest["rules"] & (Rule.CLOCK | Rule.LATE) == 0
    assert field.store.latest()[0].time_s == field.now_s


def test_a_clock_that_is_hours_ahead_can_not_turn_latest_forward(field: Field) -> None:
    field.pipeline.take([field.says(NOW_S + HOURS_S), *field.readings([NOW_S + HOURS_S])])
    assert field.store.statuses()[0].clock_offset_s == pytest.approx(HOURS_S)
    assert metrics.CLOCKS_WRONG._value.get() == 1
    (letter,) = field.store.dead_letters(LetterQuery())
    assert letter.reason == "clock"
    assert "by its status it is +7200 s off" in letter.detail
    field.now_s += 60
    field.pipeline.take([field.says(field.now_s), *field.readings([field.now_s - 1])])
    assert metrics.CLOCKS_WRONG._value.get() == 0
    assert [one.time_s for one in field.store.latest()] == [field.now_s - 1]


def test_a_status_from_the_dead_letters_tells_no_time(field: Field) -> None:
    """It was right when it was sent; nobody knows what the clock shows now."""
    old = field.says(NOW_S + HOURS_S)
    field.pipeline.take([Message(old.topic, old.payload, old.received_s, letter_id=1)])
    assert field.store.statuses()[0].clock_offset_s is None


def test_a_reading_that_clashes_with_one_of_a_wrong_clock_is_a_letter(field: Field) -> None:
    """The judge takes it for new, the database knows better: it may not be lost."""
    field.pipeline.take([field.says(NOW_S + HOURS_S)])
    ahead = Pipeline(field.store, Settings(future_s=1e5), wait=lambda _: True, clock=lambda: field.now_s)
    ahead.open()
    wrong = Message(DATA, pack("ph", "pH", {NOW_S + 600: 9.9}), NOW_S)
    assert ahead.take([wrong])
    assert field.stored()["rules"].tolist() == [Rule.CLOCK]
    field.now_s += 1200
    right = Message(DATA, pack("ph", "pH", {NOW_S + 600: 7.5}), field.now_s)
    assert ahead.take([field.says(field.now_s), right, *field.readings([NOW_S + 660])])
    assert field.stored()["value"].tolist()[0] == 9.9
    assert len(field.stored()) == 2
    (letter,) = field.store.dead_letters(LetterQuery())
    assert (letter.reason, letter.payload) == ("conflict", right.payload)
