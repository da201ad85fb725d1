"""Tests that each process's database role has the privileges that it needs, and no others."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from analytics.service.monthly_assessment import assess
from analytics.service.settings import Settings
from ingest_service.storage.contract.batch import Batch, Checkpoint
from ingest_service.storage.contract.errors import StoreRefusedError
from ingest_service.storage.contract.models import (
    REVISION,
    AnomalyQuery,
    DeadLetter,
    DeadLetterQuery,
    DeviceStatus,
)
from ingest_service.storage.health.processes import HealthLimits, HeartbeatReport, ProcessIdentity
from ingest_service.storage.postgres.api_keys import ApiKeyStore
from ingest_service.storage.postgres.assessments import AssessmentQuery, Assessments
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.store_samples import DIRECTORY, LATE, START_US, anomaly, readings

if TYPE_CHECKING:
    from collections.abc import Iterator

import numpy as np

LETTER = DeadLetter(received_s=1.0, topic="t", payload=b"?", reason="channel", detail="not enrolled")
EVERYTHING = Batch(
    fresh=readings(1, range(5, 9)),
    doubtful=readings(1, range(3), rules=LATE, quality=2),
    revisions=np.array([(1, START_US, 4, 4)], REVISION),
    anomalies=[anomaly()],
    dead_letters=[LETTER],
    statuses=[DeviceStatus(device_id="d1", received_s=5.0, status={"online": True})],
    checkpoint=Checkpoint("main", 1, b"abc"),
)


@contextmanager
def working_as(role: str, dsn: str) -> Iterator[PostgresStore]:
    """A store that is opened by somebody who has a room's role and no other right."""
    user = f"tests_{role}"
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute(f"DROP ROLE IF EXISTS {user}")
        owner.execute(f"CREATE ROLE {user} LOGIN IN ROLE towntwin_{role}")
        try:
            store = PostgresStore.open(make_conninfo(dsn, user=user), wait_s=10)
            yield store
            store.close()
        finally:
            owner.execute(f"DROP OWNED BY {user} CASCADE")
            owner.execute(f"DROP ROLE {user}")


@pytest.fixture
def dsn(timescale_dsn: str) -> str:
    migrate(timescale_dsn)
    store = PostgresStore.open(timescale_dsn)
    store.enrol(DIRECTORY)
    store.commit(EVERYTHING)
    store.close()
    return timescale_dsn


def test_ingest_commits_replays_and_owns_its_shard(dsn: str) -> None:
    with working_as("ingest", dsn) as store, store.shard("main") as lease:
        assert lease is not None
        assert store.directory().series
        assert store.statuses()
        assert store.checkpoint("main")
        assert sum(len(block) for block in store.readings_committed_after({1: 0})) == 4
        assert store.commit(EVERYTHING).repeated == 7
        (letter,) = store.dead_letters(DeadLetterQuery(limit=1))
        store.commit(Batch(replayed=[letter.letter_id], epoch=lease.epoch))
        assert store.dead_letters_to_replay(["+"], limit=1, limit_bytes=1) == []
        assert lease.held()
        with pytest.raises(StoreRefusedError, match="42501"):
            store.refresh_rollups(limit=1)


def test_the_service_rolls_up_and_records(dsn: str) -> None:
    with working_as("analytics", dsn) as store:
        assert store.activity()
        assert store.refresh_rollups(limit=100)
        store.record_anomalies([anomaly(score=3.0)])
        assert store.latest()
        with store.shard("service") as lease:
            assert lease is not None
        assess(store, Settings())
        assert Assessments(store).found(AssessmentQuery(kinds=["water_class"]))
        with pytest.raises(StoreRefusedError, match="42501"):
            store.commit(Batch(fresh=readings(2, range(3))))


def test_the_gateway_reads_everything_and_works_dead_letters(dsn: str) -> None:
    with working_as("gateway", dsn) as whole_directory:
        store = whole_directory.for_area("*")
        assert store.health().rejudge_due == 1
        assert store.directory().sites
        assert store.statuses()
        assert store.activity()
        assert store.latest()
        assert len(store.readings(1, 0, 4e9, limit=10)) == 7
        assert store.buckets(1, START_US / 1e6, START_US / 1e6 + 7200, 3600)
        assert store.anomalies(AnomalyQuery())
        assert store.anomalies_changed(0, limit=10)
        assert store.request_replay(DeadLetterQuery(reason="channel")) == 1
        assert store.purge_dead_letters(DeadLetterQuery(reason="channel")) == 1
        assert Assessments(store).found(AssessmentQuery()) == []
        assert ApiKeyStore(whole_directory).secret
        with pytest.raises(StoreRefusedError, match="42501"):
            store.commit(Batch(fresh=readings(2, range(3))))
        with pytest.raises(StoreRefusedError, match="42501"):
            store.record_anomalies([anomaly()])


def test_the_process_for_the_access_of_devices_reports_its_state(dsn: str) -> None:
    identity = ProcessIdentity(kind="access", instance="mosquitto")
    with working_as("access", dsn) as store:
        heartbeat = store.heartbeat(identity, HealthLimits())
        heartbeat.beat(HeartbeatReport(role="owner"))
        with closing(PostgresStore.open(dsn)) as whole:
            (shown,) = [one for one in whole.processes() if one.kind == "access"]
        assert (shown.state, shown.works) == ("alive", True)
        heartbeat.end()
