"""Tests that a batch of more bytes than the sockets hold is committed."""

from __future__ import annotations

import socket
from contextlib import closing

from ingest_service.storage.contract.batch import Batch, Checkpoint
from ingest_service.storage.postgres import write_batch
from ingest_service.storage.postgres.connection_pool import open_connection
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from ingest_service.storage.settings import Settings
from tests.support.store_samples import DIRECTORY, readings

STATE = bytes(8 * 2**20)  # of some 4,000 series


def test_a_checkpoint_larger_than_the_socket_buffer_is_committed(timescale_dsn: str) -> None:
    """The rest is unsent when the last statement is complete: over a network the buffers are small."""
    migrate(timescale_dsn)
    with closing(PostgresStore.open(timescale_dsn)) as store:
        store.enrol(DIRECTORY)
        with open_connection(timescale_dsn, Settings(answer_timeout_s=20.0)) as connection:
            with socket.socket(fileno=socket.dup(connection.fileno())) as buffered:
                buffered.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            batch = Batch(readings(1, range(3)), checkpoint=Checkpoint("main", 1, STATE))
            assert write_batch.commit_batch(connection, batch).fresh == 3
        assert store.checkpoint("main") == Checkpoint("main", 1, STATE)
