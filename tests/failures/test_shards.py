"""A shard has one owner at a time; whoever takes over goes on as if nothing had happened."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ingest_service.storage.model import Area, Channel, Device, Directory, Series, Site
from tests.support.kept import DIRECTORY
from tests.support.processes import running, wait_until
from tests.support.rig import WITHIN_S, Rig, Ticks, superuser, wait_for_log
from tests.support.services import fresh_database

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.services import MosquittoServer

pytestmark = pytest.mark.timeout(180)
TICKS, STEP_S = 1200, 300.0  # four days, so that the judge knows what to expect
JUDGED = ("time_us", "value", "expected", "spread", "quality", "rules")
TAKES_OVER_WITHIN_S = 10.0

ANOTHER_TOWN = Directory(
    areas=[*DIRECTORY.areas[:2], Area(area_id="330483-d2", parent="330483", level="town", en="T", zh="镇")],
    sites=[
        Site(site_id="s2", area_id="330483-d2", kind="river_section", en="S", zh="断面", lon=120.6, lat=30.8)
    ],
    devices=[Device(device_id="e1", area_id="330483-d2")],
    series=[Series(site_id="s2", quantity="ph"), Series(site_id="s2", quantity="turbidity")],
    channels=[
        Channel(device_id="e1", name="ph", site_id="s2", quantity="ph"),
        Channel(device_id="e1", name="turb", site_id="s2", quantity="turbidity"),
    ],
)


def days() -> Ticks:
    return Ticks(float(int(time.time()) - 2 * TICKS * int(STEP_S)), TICKS, step_s=STEP_S)


def test_a_standby_takes_over_and_the_judge_goes_on(
    timescale_server: Any, mosquitto: MosquittoServer, tmp_path: Path
) -> None:
    """Twice the owner is killed; flags, expected values and spreads are those of an undisturbed run."""
    ticks = days()
    with (
        fresh_database(timescale_server) as dsn,
        Rig(tmp_path / "calm", dsn, mosquitto, ticks=ticks) as calm,
        running(calm.ingest()),
    ):
        calm.publish()
        calm.finish()
        wanted = {channel: calm.rows(channel)[list(JUDGED)] for channel in ("ph", "turb")}
    assert np.isfinite(wanted["ph"]["expected"]).any()
    with fresh_database(timescale_server) as dsn, Rig(tmp_path / "wild", dsn, mosquitto, ticks=ticks) as wild:
        first, second = wild.ingest("first"), wild.ingest("second")
        with running(first):
            wild.publish()
            with running(second):
                wait_for_log(second, "standing_by")
                first.kill()
                wait_until(
                    lambda: "ingest_started" in second.log.read_text(),
                    within_s=TAKES_OVER_WITHIN_S,
                    what="the standby takes over",
                )
                wild.wait_for(0.6)
                first.start()
                second.kill()
                wait_for_log(first, "ingest_started", times=2)
                wild.finish()
                assert first.stop() == 0
        wild.ledger()
        for channel, rows in wanted.items():
            found = wild.rows(channel)[list(JUDGED)]
            assert [repr(row) for row in found.tolist()] == [repr(row) for row in rows.tolist()]


def test_a_lock_that_is_lost_never_makes_two_owners(
    timescale_dsn: str, mosquitto: MosquittoServer, tmp_path: Path
) -> None:
    """The server ends the session that holds the lock; whoever is owner then, nothing is lost or doubled."""
    with Rig(tmp_path, timescale_dsn, mosquitto) as rig:
        one, other = rig.ingest("one"), rig.ingest("other")
        with running(one):
            rig.publish()
            with running(other), superuser(rig.dsn) as connection:
                wait_for_log(other, "standing_by")
                ended = connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
                    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                ).rowcount
                assert ended == 1
                rig.finish()
                owners = connection.execute(
                    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
                    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                ).fetchone()
                assert owners in {(0,), (1,)}
                assert one.stop() == 0
                assert other.stop() == 0
        rig.ledger()


def test_two_shards_serve_two_towns_side_by_side(
    timescale_dsn: str, mosquitto: MosquittoServer, tmp_path: Path
) -> None:
    with (
        Rig(tmp_path / "one", timescale_dsn, mosquitto, ticks=500) as one,
        Rig(
            tmp_path / "two", timescale_dsn, mosquitto, ticks=500, device="e1", directory=ANOTHER_TOWN
        ) as two,
    ):
        first = one.ingest(TOWNTWIN_INGEST_SHARD="one", TOWNTWIN_INGEST_AREAS="330483-d1")
        second = two.ingest(TOWNTWIN_INGEST_SHARD="two", TOWNTWIN_INGEST_AREAS="330483-d2")
        with running(first, second):
            one.publish(kept=0)
            two.publish(kept=0)
            one.finish()
            two.finish()
            assert first.stop() == 0
            assert second.stop() == 0
        one.ledger()
        two.ledger()
        assert "standing_by" not in first.log.read_text() + second.log.read_text()


def test_the_lease_is_verified_after_a_restart_of_the_database(
    timescale_dsn: str, timescale_server: Any, mosquitto: MosquittoServer, tmp_path: Path
) -> None:
    with Rig(tmp_path, timescale_dsn, mosquitto) as rig:
        ingest = rig.ingest()
        with running(ingest):
            rig.publish()
            timescale_server.stop()
            timescale_server.start()
            rig.finish()
            held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"

            def is_held() -> bool:
                with superuser(rig.dsn) as connection:
                    return connection.execute(held).fetchone() != (0,)

            wait_until(is_held, within_s=WITHIN_S, what="the lock is held again")
            assert ingest.stop() == 0
        rig.ledger()
