"""Tests the short form of the kill ledger, and that its count finds readings that are lost, altered or dead.

`make ledger` runs the long form.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psycopg
import pytest

from benchmarks.ledger import checks, command
from benchmarks.ledger.chain import AREA, DEVICES, AgentProcess
from benchmarks.ledger.counting_agent import PACK_READINGS, records, spool_settings
from benchmarks.ledger.fault_run import RunOptions
from benchmarks.ledger.platform import directory
from benchmarks.ledger.replay import compare_with_replay
from edge.agent.spool import Spool, SpoolEntry
from edge.wire import senml
from ingest_service.pipeline.batch_processor import BatchProcessor
from ingest_service.pipeline.message import Message
from ingest_service.pipeline.settings import Settings
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support import not_tested
from tests.support.throwaway_servers import NamedServer, PostgresServer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import StartMosquitto

FAULTS, READINGS, LONGEST_S, PACK_INTERVAL_S = 20, 20_000, 1.0, 0.1
START_S = 1_790_000_000
TOPIC = f"towntwin/v1/{AREA}/{DEVICES[0]}/data"


@pytest.mark.timeout(300)
def test_twenty_faults_lose_and_double_nothing(
    timescale_server: PostgresServer | NamedServer, start_mosquitto: StartMosquitto, tmp_path: Path
) -> None:
    if not isinstance(timescale_server, PostgresServer):
        not_tested.skip("the kill ledger: TOWNTWIN_TEST_DSN names a database, and that is not killed")
    done = command.run(
        timescale_server,
        start_mosquitto(persistence=True),
        tmp_path,
        RunOptions(26, READINGS, FAULTS, LONGEST_S, PACK_INTERVAL_S),
    )
    assert done.counts.faults == []
    assert done.counts.taken == done.counts.stored == READINGS
    assert len(done.faults.caused) + len(done.faults.without_effect) == FAULTS
    assert len(done.faults.without_effect) <= 3


def test_the_count_finds_readings_that_are_lost_altered_or_dead(timescale_dsn: str, tmp_path: Path) -> None:
    migrate(timescale_dsn)
    store = PostgresStore.open(timescale_dsn)
    series_id = next(one.series_id for one in store.enrol(directory()).series if one.site_id == DEVICES[0])
    pipeline = BatchProcessor(store, Settings(), wait=lambda _: True)
    pipeline.open()
    spool = Spool.open(tmp_path / "spool", spool_settings())
    packs = [
        senml.encode_json(records(first, START_S)) for first in range(0, 3 * PACK_READINGS, PACK_READINGS)
    ]
    spool.put([SpoolEntry(one, PACK_READINGS) for one in packs])
    spool.forget(spool.epoch, [(1, 2)])
    spool.close()
    assert pipeline.ingest([Message(TOPIC, one, time.time()) for one in packs[:2]])
    agent = AgentProcess(tmp_path, DEVICES[0], "", START_S, 0, 0.0)
    with psycopg.connect(timescale_dsn, autocommit=True) as connection:
        expected = {"taken": 150, "stored": 100, "lost": 0, "altered": 0, "waiting": 50}
        assert count(connection, agent) == expected
        assert compare_with_replay(store) == (100, 0, 0)
        assert checks.count_uploads(connection, 5, START_S) == (5, 0, 0), "none of them is stored"
        connection.execute('UPDATE reading SET quality = 4 WHERE "time" = to_timestamp(%s)', [START_S + 5])
        assert compare_with_replay(store).flags_different == 1
        connection.execute('DELETE FROM reading WHERE "time" < to_timestamp(%s)', [START_S + 15])
        connection.execute('UPDATE reading SET value = 1 WHERE "time" = to_timestamp(%s)', [START_S + 20])
        connection.execute(
            "INSERT INTO reading SELECT \"time\" + interval '1 s', received, value, series_id, expected,"
            ' spread, quality, rules FROM reading WHERE series_id = %s AND "time" = to_timestamp(%s)',
            [series_id, START_S + 25],
        )
        assert count(connection, agent) == expected | {"stored": 98, "lost": 3, "altered": 2}
        connection.execute(
            "INSERT INTO dead_letter (received, topic, payload, content_type, reason, detail)"
            " VALUES (now(), %s, %s, 'application/senml+json', 'store', '')",
            [TOPIC, packs[0]],
        )
        assert count(connection, agent)["lost"] == 0
    store.close()


def count(connection: psycopg.Connection[tuple[object, ...]], agent: AgentProcess) -> dict[str, int]:
    taken, stored, lost, _, altered, _, waiting = checks.count_device(connection, agent)
    return {"taken": taken, "stored": stored, "lost": lost, "altered": altered, "waiting": waiting}
