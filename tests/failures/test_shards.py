"""Tests that readings are stored once and judged alike however often a shard's owner changes."""

from __future__ import annotations

import math
import os
import random
import signal
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from edge.wire import senml
from edge.wire.topics import Topic, TopicKind
from ingest_service.pipeline.batch_processor import BatchProcessor
from ingest_service.pipeline.message import Message
from ingest_service.pipeline.settings import Settings
from ingest_service.storage.contract.models import (
    AnomalyQuery,
    Area,
    Channel,
    Device,
    Directory,
    Series,
    Site,
)
from ingest_service.storage.memory.store import MemoryStore
from ingest_service.storage.postgres import shard_lease
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.named_queries import QUERIES
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.network_fault_rig import (
    WITHIN_S,
    NetworkFaultRig,
    TickDriver,
    superuser_connection,
    wait_for_log,
)
from tests.support.processes import running_processes, wait_until
from tests.support.store_samples import DIRECTORY, assert_same

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ingest_service.storage.contract.store import Store
    from tests.support.processes import PlatformProcess
    from tests.support.throwaway_servers import MosquittoServer

pytestmark = pytest.mark.timeout(120)
TICKS, TOGETHER = 1200, 4  # a message has four readings
STEP_S = 300.0
TAKEN_OVER_S = 10.0
OTHER = Directory(
    areas=[Area(area_id="330483-d2", parent="330483", level="town", en="Other", zh="乡")],
    sites=[
        Site(site_id="s2", area_id="330483-d2", kind="river_section", en="S", zh="断面", lon=120.6, lat=30.7)
    ],
    devices=[Device(device_id="d3", area_id="330483-d2")],
    series=[Series(site_id="s2", quantity="ph"), Series(site_id="s2", quantity="turbidity")],
    channels=[
        Channel(device_id="d3", name="ph", site_id="s2", quantity="ph"),
        Channel(device_id="d3", name="turb", site_id="s2", quantity="turbidity"),
    ],
)
SECOND = "towntwin_second"
LOCK_HOLDERS = (
    "FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND granted"
    " AND datname = current_database() AND application_name = 'towntwin'"
)


class FaultySeries(TickDriver):
    """Four days of a river with noise, spikes and a shift."""

    def __init__(self) -> None:
        start_s = float(int(time.time() / STEP_S) * STEP_S - 2 * TICKS * STEP_S)
        super().__init__(start_s, TICKS, step_s=STEP_S, together=TOGETHER)

    def ph(self, tick: int) -> float:
        """The same at every call."""
        day = 0.1 * math.sin(2 * math.pi * tick * STEP_S / 86_400)
        trouble = 1.5 * (tick % 250 == 249) + 0.6 * (600 < tick < 660)
        return round(7.5 + day + trouble + random.Random(tick).gauss(0, 0.02), 4)


@contextmanager
def owner_and_standby(
    rig: NetworkFaultRig, *, standbys: int = 1, checkpoint_s: str = "0.001"
) -> Iterator[list[PlatformProcess]]:
    """Processes of one shard, the owner and others told apart by database user.

    Every checkpoint leaves its mark. Only the owner reaches the database over the bad network.
    """
    with superuser_connection(rig.dsn) as connection:
        connection.execute(f"DROP ROLE IF EXISTS {SECOND}")
        connection.execute(f"CREATE ROLE {SECOND} SUPERUSER LOGIN PASSWORD '{SECOND}'")
        connection.execute(
            "CREATE TABLE mark (n bigserial, who text, epoch bigint);"
            "CREATE FUNCTION mark() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            "  INSERT INTO mark (who, epoch) SELECT session_user, epoch FROM shard; RETURN NULL; END $$;"
            "CREATE TRIGGER mark AFTER INSERT OR UPDATE ON detector_state"
            " FOR EACH STATEMENT EXECUTE FUNCTION mark()"
        )
    usual = {"TOWNTWIN_INGEST_CHECKPOINT_S": checkpoint_s, "TOWNTWIN_STORAGE_ANSWER_TIMEOUT_S": "2"}
    dsn = make_conninfo(rig.dsn, user=SECOND, password=SECOND)
    owner = rig.ingest("owner", **usual)
    others = [rig.ingest(f"standby{number}", TOWNTWIN_DSN=dsn, **usual) for number in range(standbys)]
    with running_processes(owner):
        wait_for_log(owner, "subscribed")
        with running_processes(*others):
            for one in others:
                wait_for_log(one, "standing_by")
            yield [owner, *others]
    with superuser_connection(rig.dsn) as connection:
        connection.execute(f"DROP ROLE {SECOND}")


def epochs(rig: NetworkFaultRig) -> list[int]:
    """The epochs that saw a commit, in order; fails if two owners' commits were mixed."""
    with superuser_connection(rig.dsn) as connection:
        marks = connection.execute("SELECT epoch, who FROM mark ORDER BY n").fetchall()
    assert marks == sorted(marks, key=lambda mark: mark[0]), "a commit of an epoch that was over"
    owners = sorted(set(marks))
    assert len(owners) == len({epoch for epoch, _ in owners}), "two owners in one epoch"
    return [epoch for epoch, _ in owners]


def end_lock_holder(rig: NetworkFaultRig) -> int:
    """End the connection that owns the shard; how many there were."""
    with superuser_connection(rig.dsn) as connection:
        return connection.execute(f"SELECT pg_terminate_backend(pid) {LOCK_HOLDERS}").rowcount


@pytest.fixture
def rig(timescale_dsn: str, mosquitto: MosquittoServer, tmp_path: Path) -> Iterator[NetworkFaultRig]:
    with NetworkFaultRig(tmp_path, timescale_dsn, mosquitto, ticks=FaultySeries()) as one:
        yield one


def test_a_standby_takes_over_and_the_judge_goes_on(
    rig: NetworkFaultRig,
) -> None:
    with owner_and_standby(rig, standbys=2, checkpoint_s="0.3") as (owner, *others):
        rig.publish(kept=0.3)
        owner.kill()
        wait_until(lambda: bool(started(others)), within_s=TAKEN_OVER_S, what="one of them takes over")
        rig.wait_for(0.6)
        (second,) = started(others)
        second.kill()
        (third,) = (one for one in others if one is not second)
        wait_until(lambda: third in started(others), within_s=TAKEN_OVER_S, what="the other takes over")
        rig.finish()
        assert third.stop() == 0
    rig.ledger()
    assert len(epochs(rig)) == 3
    store = uninterrupted(rig.ticks)
    for series, channel in ((1, "ph"), (2, "turb")):
        found, expected = rig.rows(channel), readings(store, series)
        found["received_us"] = expected["received_us"] = 0
        assert_same(found, expected)
    assert np.isfinite(rig.rows("ph")["expected"]).any()
    assert len(set(rig.rows("ph")["rules"].tolist())) > 2, "there was something to judge"
    assert anomalies(rig.store) == anomalies(store) != []


def started(processes: list[PlatformProcess]) -> list[PlatformProcess]:
    """Those that own the shard, or did."""
    return [one for one in processes if "ingest_started" in one.log.read_text()]


def uninterrupted(ticks: TickDriver) -> Store:
    """The same readings through one pipeline, in batches of another size."""
    store = MemoryStore()
    store.enrol(DIRECTORY)
    pipeline = BatchProcessor(store, Settings(), wait=lambda _: True)
    pipeline.open()
    topic = str(Topic(area="330483-d1", device="d1", kind=TopicKind.DATA))
    messages = [Message(topic, senml.encode_json(pack.records), time.time()) for pack in ticks.packs()]
    for at in range(0, len(messages), 37):
        assert pipeline.ingest(messages[at : at + 37])
    return store


def readings(store: Store, series: int) -> Any:
    return store.readings(series, 0, 4e9, limit=10**6)


def anomalies(store: Store) -> list[tuple[Any, ...]]:
    """All that they say, but for when and in what order it was written."""
    names = "subject start_s detector end_s peak_s score severity state observed expected spread n_readings"
    found = store.anomalies(AnomalyQuery(limit=1000))
    return sorted(
        (tuple(getattr(one, name) for name in names.split()) for one in found),
        key=lambda reported: reported[:3],
    )


def test_a_lock_that_is_lost_never_makes_two_owners(rig: NetworkFaultRig) -> None:
    with owner_and_standby(rig) as (owner, standby):
        rig.publish(kept=0.1)
        wait_until(
            lambda: bool(end_lock_holder(rig)) and "ingest_started" in standby.log.read_text(),
            within_s=WITHIN_S,
            what="the standby takes over",
        )
        wait_for_log(owner, "shard_lost")
        rig.finish()
        assert owner.stop() == 0
        assert standby.stop() == 0
    rig.ledger()
    assert len(epochs(rig)) > 1


def test_an_owner_that_wakes_up_late_is_fenced_off(rig: NetworkFaultRig) -> None:
    """It was frozen with batches on their way, which reach the database when the shard is another's."""
    with owner_and_standby(rig) as (owner, standby):
        rig.publish(kept=0.1)
        rig.database_network.stall()
        time.sleep(0.5)
        os.kill(owner.process.pid, signal.SIGSTOP)
        assert end_lock_holder(rig) == 1
        wait_for_log(standby, "ingest_started")
        rig.wait_for(0.3)
        os.kill(owner.process.pid, signal.SIGCONT)
        rig.database_network.restore()
        wait_for_log(owner, "shard_lost")
        rig.finish()
        assert owner.stop() == 0
        assert standby.stop() == 0
    rig.ledger()
    assert len(epochs(rig)) == 2


def test_an_owner_that_is_frozen_in_a_copy_holds_up_no_standby(timescale_dsn: str) -> None:
    """Its session waits for data of the COPY: no time-out of the server ends it, and it locks the epoch."""
    migrate(timescale_dsn)
    store = PostgresStore.open(timescale_dsn)
    with store.shard("main") as before:
        assert before is not None
    with (
        closing(store),
        closing(psycopg.connect(timescale_dsn)) as frozen_owner,
        frozen_owner.cursor() as cursor,
    ):
        shard_lease.check_epoch(cursor, before.epoch)
        copying = cursor.copy(QUERIES["copy_readings"])
        copying.__enter__()
        began_s = time.monotonic()
        with store.shard("main") as lease:
            assert lease is not None
            assert lease.epoch.number == before.epoch.number + 1
        assert time.monotonic() - began_s < TAKEN_OVER_S
        with pytest.raises(psycopg.OperationalError):
            copying.__exit__(None, None, None)


def test_the_lease_is_verified_after_a_restart_of_the_database(
    rig: NetworkFaultRig, timescale_server: Any
) -> None:
    def owners() -> int:
        with superuser_connection(rig.dsn) as connection:
            return connection.execute(f"SELECT pid {LOCK_HOLDERS}").rowcount

    with owner_and_standby(rig) as (owner, standby):
        rig.publish(kept=0.1)
        timescale_server.stop()
        timescale_server.start()
        wait_until(lambda: owners() == 1, within_s=WITHIN_S, what="the lock is held again")
        rig.finish()
        assert owners() == 1
        assert owner.stop() == 0
        assert standby.stop() == 0
    rig.ledger()
    epochs(rig)


def test_two_shards_serve_two_towns_side_by_side(
    timescale_dsn: str, mosquitto: MosquittoServer, tmp_path: Path
) -> None:
    """Each takes its own towns; one of them killed, the other goes on."""
    with (
        NetworkFaultRig(tmp_path / "north", timescale_dsn, mosquitto) as north,
        NetworkFaultRig(tmp_path / "south", timescale_dsn, mosquitto, device="d3", directory=OTHER) as south,
    ):
        shards = [
            rig.ingest(TOWNTWIN_INGEST_SHARD=name, TOWNTWIN_INGEST_AREAS=area)
            for rig, name, area in ((north, "north", "330483-d1"), (south, "south", "330483-d2"))
        ]
        with running_processes(*shards):
            south.publish(kept=0)
            north.publish(kept=0.1)
            shards[0].kill()
            south.finish()
            assert north.receipted() < len(north.published), "nobody else takes what is the north's"
            shards[0].start()
            north.finish()
            assert [one.stop() for one in shards] == [0, 0]
        north.ledger()
        south.ledger()
        with superuser_connection(timescale_dsn) as connection:
            found = connection.execute("SELECT shard, epoch FROM shard ORDER BY shard").fetchall()
        assert found == [("north", 2), ("south", 1)]
