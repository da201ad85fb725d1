"""Tests that a town's feed has every change once, in parts, by the rights of ingest's role alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from edge.wire import federation
from ingest_service.federation.block_reader import BlockReader
from ingest_service.federation.policy import Policy
from ingest_service.federation.settings import Settings
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.postgres.federated_rows import FederatedRows
from ingest_service.storage.postgres.federation_feed import FederationFeed
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.ingest_service.storage.test_database_roles import working_as
from tests.support.federated_towns import (
    BOX,
    COUNTY_DIRECTORY,
    TOWN,
    columns,
    definitions,
    forwarded_anomaly,
    sender,
)
from tests.support.processes import run_command
from tests.support.store_samples import DIRECTORY, LATE, readings

if TYPE_CHECKING:
    from ingest_service.federation.block import Block

POLICY = Policy(area=TOWN, device=BOX, history_days=36_500, leave_out_quantities=["turbidity"])


def times_in(block: Block) -> list[int]:
    messages = [federation.decode_message(one.payload) for one in block.entries]
    return [
        time_us
        for message in messages
        if isinstance(message, federation.ForwardedReadings)
        for series in message.series
        for time_us in series.time_us
    ]


def test_every_reading_is_forwarded_once_in_parts(timescale_dsn: str) -> None:
    migrate(timescale_dsn)
    owner = PostgresStore.open(timescale_dsn)
    owner.enrol(DIRECTORY)
    owner.commit(Batch(fresh=readings(1, range(30))))
    owner.commit(Batch(fresh=readings(2, range(30))))
    owner.close()
    with working_as("ingest", timescale_dsn) as store:
        feed = FederationFeed(store)
        assert (feed.start(36_500.0), feed.start(36_500.0)) == (True, False)
        reader = BlockReader(store, feed, POLICY, Settings(block_readings=7, backlog_readings_per_s=0), 1)
        assert feed.waiting()[0] == 2
        forwarded: list[int] = []
        while (block := reader.next_block()) is not None:
            forwarded += times_in(block)
            feed.confirm(block.done, block.shortened, block.position, None)
        assert forwarded == readings(1, range(30))["time_us"].tolist()
        assert feed.waiting()[0] == 0

        store.commit(Batch(doubtful=readings(1, range(40, 44), rules=LATE)))
        store.commit(Batch(doubtful=readings(1, range(44, 46), rules=LATE)))
        assert len(feed.due(10, live=True)) == 2
        with psycopg.connect(timescale_dsn) as connection:
            connection.execute(
                "UPDATE federation_due SET noted = noted - interval '1 h', until = until + interval '5 min'"
            )
        feed.merge()
        assert (feed.due(10, live=True), len(feed.due(10, live=False))) == ([], 1)
        block = reader.next_block()
        assert block is not None
        assert times_in(block) == readings(1, range(40, 46))["time_us"].tolist()

        assert run_command("federate", "end", "--dsn", timescale_dsn).returncode == 0
        store.commit(Batch(doubtful=readings(1, range(50, 52), rules=LATE)))
        assert feed.waiting()[0] == 0
        assert feed.start(36_500.0)


def test_the_role_of_ingest_stores_what_towns_forward(timescale_dsn: str) -> None:
    migrate(timescale_dsn)
    owner = PostgresStore.open(timescale_dsn)
    owner.enrol(COUNTY_DIRECTORY)
    owner.close()
    with working_as("ingest", timescale_dsn) as store:
        rows = FederatedRows(store)
        rows.store_definitions(sender(), definitions())
        assert rows.store_readings(sender(2), [columns(readings(1, range(5)))]).new == 5
        assert rows.store_readings(sender(3), [columns(readings(1, range(5), quality=3))]).revised == 5
        assert rows.store_anomalies(sender(4), [forwarded_anomaly()]) == 1
