"""Tests that a short database outage interrupts neither live streams nor running exports."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from gateway.auth import api_keys
from gateway.auth.principal import Role
from gateway.settings import Settings
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.postgres import query_api, write_batch
from ingest_service.storage.postgres.api_keys import ApiKeyStore, AuditQuery
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from ingest_service.storage.settings import Settings as Storage
from tests.support.asgi import StreamedResponse, send_request
from tests.support.gateway_access import gateway_app
from tests.support.store_samples import DIRECTORY, anomaly, readings
from tests.support.tcp_proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = Settings(live_poll_s=0.05, heartbeat_s=0.2)
EXPORT = "/v1/readings"
QUERY = "format=ndjson&from=2026-01-01T00:00:00Z&to=2027-12-31T00:00:00Z"


@pytest.fixture
def network(timescale_dsn: str) -> Iterator[Proxy]:
    """Between the gateway and its database."""
    migrate(timescale_dsn)
    parts = conninfo_to_dict(timescale_dsn)
    proxy = Proxy(str(parts["host"]), int(str(parts["port"])))
    yield proxy
    proxy.close()


@pytest.fixture
def store(timescale_dsn: str, network: Proxy) -> Iterator[PostgresStore]:
    far = make_conninfo(timescale_dsn, host=network.host, port=network.port)
    store = PostgresStore.open(far, settings=Storage(connect_timeout_s=1))
    store.enrol(DIRECTORY)
    yield store
    store.close()


def bearing(store: PostgresStore) -> dict[str, str]:
    return {
        "X-API-Key": api_keys.create_key(ApiKeyStore(store), name="n", role=Role.VIEWER, created_by="tests")[
            1
        ]
    }


def test_a_stream_waits_for_the_database_and_goes_on_after_it(
    store: PostgresStore, network: Proxy, timescale_dsn: str
) -> None:
    async def scenario() -> list[str]:
        app, headers = gateway_app(store, accounts=None, settings=SETTINGS), bearing(store)
        live = StreamedResponse(app, "/v1/live", headers, query="kinds=anomaly")
        await live.until(lambda: "nothing new" in live.text)
        network.refuse()
        alive = live.text.count("nothing new")
        with psycopg.connect(timescale_dsn) as connection, connection.cursor() as cursor:
            write_batch.upsert_anomalies(cursor, [anomaly(reason_en="while it was away")])
        await asyncio.sleep(
            api_keys.REFRESH_INTERVAL_S + 1.0
        )  # longer than a key is good without being read again
        assert live.text.count("nothing new") > alive + 3, "it is kept alive"
        resumed = StreamedResponse(app, "/v1/live", headers, query="kinds=anomaly")
        network.restore()
        await live.until(lambda: "while it was away" in live.text, within_s=40)
        with psycopg.connect(timescale_dsn) as connection, connection.cursor() as cursor:
            write_batch.upsert_anomalies(cursor, [anomaly(subject="later", reason_en="after it")])
        await live.until(lambda: "after it" in live.text, within_s=40)
        assert not live.task.done()
        await live.disconnect()
        await resumed.disconnect()
        return [line for line in live.text.splitlines() if line.startswith("event: ")]

    assert asyncio.run(scenario()) == ["event: anomaly"] * 2


def test_a_stream_delivers_what_was_committed_out_of_order(store: PostgresStore, timescale_dsn: str) -> None:
    async def scenario() -> list[str]:
        app, headers = gateway_app(store, accounts=None, settings=SETTINGS), bearing(store)
        live = StreamedResponse(app, "/v1/live", headers, query="kinds=anomaly")
        await live.until(lambda: "nothing new" in live.text)
        with psycopg.connect(timescale_dsn) as first, first.cursor() as cursor:
            write_batch.upsert_anomalies(cursor, [anomaly(subject="1", reason_en="drawn first")])
            store.record_anomalies([anomaly(subject="2", reason_en="drawn second")])
            await asyncio.sleep(0.5)  # several polls
            assert "event: anomaly" not in live.text
            heartbeat = live.text.rsplit("id: ", 1)[1].split()[0]
            first.commit()
        await live.until(lambda: live.text.count("event: anomaly") == 2)
        again = StreamedResponse(
            app, "/v1/live", headers | {"Last-Event-ID": heartbeat}, query="kinds=anomaly"
        )
        await again.until(lambda: again.text.count("event: anomaly") == 2)
        await live.disconnect()
        await again.disconnect()
        return [one.text.partition("drawn ")[2][:5] for one in (live, again)]

    assert asyncio.run(scenario()) == ["first", "first"]


def test_a_stream_that_resumes_waits_for_the_database_too(store: PostgresStore, network: Proxy) -> None:
    async def scenario() -> str:
        store.record_anomalies([anomaly(subject=f"{number}") for number in range(3)])
        app, headers = gateway_app(store, accounts=None, settings=SETTINGS), bearing(store)
        begun = StreamedResponse(app, "/v1/live", headers)
        await begun.until(lambda: "nothing new" in begun.text)  # the key and the directory are known
        network.refuse()
        live = StreamedResponse(app, "/v1/live", headers | {"Last-Event-ID": "0-0"}, query="kinds=anomaly")
        await live.until(lambda: live.text.count("nothing new") > 1)
        network.restore()
        await live.until(lambda: live.text.count("event: anomaly") == 3, within_s=40)
        await live.disconnect()
        await begun.disconnect()
        return live.text

    assert "event: end" not in asyncio.run(scenario())
    assert [one.action for one in ApiKeyStore(store).audit(AuditQuery())] == ["GET /v1/live"], (
        "it was an export"
    )


def test_a_stream_ends_with_its_key_while_the_database_is_away_too(
    store: PostgresStore, network: Proxy
) -> None:
    async def scenario() -> None:
        app = gateway_app(store, accounts=None, settings=SETTINGS)
        soon: Any = {"name": "n", "role": Role.VIEWER, "created_by": "tests"}
        _, text = api_keys.create_key(ApiKeyStore(store), expires_s=time.time() + 4.0, **soon)
        live = StreamedResponse(app, "/v1/live", {"X-API-Key": text})
        await live.until(lambda: "nothing new" in live.text)
        network.refuse()
        await live.until(live.task.done, within_s=30)
        network.restore()

    asyncio.run(scenario())


def test_an_export_that_has_begun_waits_for_the_database(
    store: PostgresStore, network: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_api, "BLOCK_ROWS", 500)
    monkeypatch.setattr(query_api, "RETRY_INTERVAL_S", 0.1)
    store.commit(Batch(fresh=readings(1, range(3000))))

    async def scenario() -> str:
        app, headers = gateway_app(store, accounts=None, settings=SETTINGS), bearing(store)
        export = InterruptedResponse(network, app, EXPORT, headers, query=QUERY)
        await export.until(export.task.done, within_s=60)
        assert export.was_cut
        return export.text

    assert asyncio.run(scenario()).count("\n") == 3000


class InterruptedResponse(StreamedResponse):
    """A stream whose network is cut for two seconds once its first part came."""

    def __init__(self, network: Proxy, *given: Any, **more: Any) -> None:
        self.network = network
        self.was_cut = False
        super().__init__(*given, **more)

    async def _send(self, message: Any) -> None:
        await super()._send(message | {"body": bytes(message.get("body", b""))})
        if self.text and not self.was_cut:
            self.was_cut = True
            self.network.refuse()
            asyncio.get_running_loop().call_later(2.0, self.network.restore)


def test_an_export_that_has_not_begun_gets_a_time_to_retry(store: PostgresStore, network: Proxy) -> None:
    store.commit(Batch(fresh=readings(1, range(10))))
    app, headers = gateway_app(store, accounts=None, settings=SETTINGS), bearing(store)
    assert send_request(app, "GET", f"{EXPORT}?{QUERY}", headers=headers).text.count("\n") == 10
    network.refuse()
    answer = send_request(app, "GET", f"{EXPORT}?{QUERY}", headers=headers)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    network.restore()
