"""Tests the transfer of responses: compression, streaming, and HEAD requests."""

from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from gateway.metrics import OPEN_STREAMS
from gateway.settings import Settings
from tests.support import howto_pages
from tests.support.asgi import StreamedResponse, send_request
from tests.support.gateway_access import ACCOUNTS, HEADERS, gateway_app
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from fastapi import FastAPI
    from httpx import Response

    from ingest_service.storage.postgres.store import PostgresStore

WIDE = "from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z"
EXPORT = f"/v1/readings?{WIDE}&format="
THINGS = "/sta/v1.1/Things?$expand=Datastreams"
ENCODINGS = {
    "gzip": True,
    "gzip, deflate, br": True,
    "*": True,
    "gzip;q=0": False,
    "identity": False,
    "br": False,
    "identity, gzip;q=0.5": False,
    "gzip;q=0, *": False,
}


@pytest.fixture(scope="module")
def app(filled_store: PostgresStore) -> FastAPI:
    return gateway_app(filled_store, settings=Settings(heartbeat_s=0.1, heavy_burst_s=3600.0))


async def body_chunks(
    app: FastAPI, path: str, accepted: str, method: str = "GET"
) -> tuple[dict[str, str], Any]:
    """Headers and pieces as the application hands them to the server."""
    path, _, query = path.partition("?")
    headers = {**HEADERS, "Accept-Encoding": accepted, "Host": "gateway"}
    sent: list[Any] = []

    async def receive() -> Any:
        if not asked:
            asked.append(True)
            return {"type": "http.request", "body": b"", "more_body": False}
        return await asyncio.Future()

    async def send(message: Any) -> None:
        sent.append(message)

    asked: list[bool] = []
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "scheme": "http",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 5),
        "server": ("gateway", 80),
    }
    await app(scope, receive, send)
    assert sent[0]["status"] == 200
    told = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    return told, [bytes(one["body"]) for one in sent[1:]]


@pytest.mark.parametrize(
    ("path", "encodings"),
    [
        (f"{EXPORT}ndjson&area=330483-d1", ENCODINGS),
        (THINGS, ENCODINGS),
        *((EXPORT + form, {"gzip": True}) for form in ("json", "csv", "arrow")),
    ],
)
def test_an_answer_is_compressed_for_who_takes_it(
    app: FastAPI, path: str, encodings: dict[str, bool]
) -> None:
    _, plain = asyncio.run(body_chunks(app, path, "identity"))
    for accepted, compressed in encodings.items():
        headers, got = asyncio.run(body_chunks(app, path, accepted))
        assert (headers.get("content-encoding") == "gzip") == compressed, accepted
        assert "accept-encoding" in headers["vary"].lower()
        whole = b"".join(got)
        assert len(gzip.decompress(whole) if compressed else whole) == len(b"".join(plain))
        assert not compressed or len(whole) < len(b"".join(plain))


def test_what_is_compressed_within_is_not_compressed_again(app: FastAPI) -> None:
    headers, got = asyncio.run(body_chunks(app, EXPORT + "parquet", "gzip"))
    assert "content-encoding" not in headers
    assert b"".join(got).startswith(b"PAR1")


@pytest.mark.parametrize("form", ["csv", "ndjson", "arrow"])
def test_what_is_compressed_goes_out_as_it_is_read(app: FastAPI, form: str) -> None:
    """Every piece that was read is one that is sent, and none is large."""
    _, plain = asyncio.run(body_chunks(app, EXPORT + form, "identity"))
    _, got = asyncio.run(body_chunks(app, EXPORT + form, "gzip"))
    assert len(got) == len(plain) > 3
    assert max(map(len, plain)) <= 256 * 1024
    assert all(got[:-1])


def test_events_are_not_held_back(app: FastAPI) -> None:
    async def read_stream() -> None:
        stream = StreamedResponse(app, "/v1/live", {**HEADERS, "Accept-Encoding": "gzip"})
        await stream.until(lambda: stream.text.count("\nid: ") >= 2)
        await stream.disconnect()

    asyncio.run(read_stream())


def head(app: FastAPI, path: str, **more: str) -> tuple[Response, Response]:
    """HEAD and GET of the same."""
    headers = {**HEADERS, "Accept-Encoding": "identity", **more}
    alone, whole = (send_request(app, method, path, headers=headers) for method in ("HEAD", "GET"))
    return alone, whole


@pytest.mark.parametrize(
    "path",
    [
        "/healthz",
        "/v1/sites",
        "/v1/latest",
        "/v1/anomalies?limit=2",
        "/v1/anomalies/999999",
        "/v1/nothing",
        EXPORT + "csv",
        THINGS,
        "/openapi.json",
    ],
)
def test_a_head_is_that_of_the_answer(app: FastAPI, path: str) -> None:
    alone, whole = head(app, path)
    assert alone.status_code == whole.status_code
    assert alone.content == b""
    changing = {"age", "date", "etag", "content-length", "towntwin-reproduce"} & set(whole.headers)
    assert set(alone.headers) == set(whole.headers)
    for name in set(whole.headers) - changing:
        assert alone.headers[name] == whole.headers[name]


def test_a_head_needs_a_key_and_is_known_by_its_etag(app: FastAPI) -> None:
    assert send_request(app, "HEAD", "/v1/sites").status_code == 401
    path = "/v1/series/1/buckets?width=PT1H&from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z"
    alone, whole = head(app, path)
    assert alone.headers["etag"] == whole.headers["etag"]
    again, same = head(app, path, **{"If-None-Match": alone.headers["etag"]})
    assert (again.status_code, same.status_code) == (304, 304)
    assert "accept-encoding" in same.headers["vary"].lower()


@pytest.mark.parametrize("path", [EXPORT + "csv", f"/v1/anomalies?{WIDE}&format=csv"])
def test_an_export_that_the_caller_has_is_not_read_again(app: FastAPI, path: str) -> None:
    first = send_request(app, "GET", path, headers=HEADERS)
    known = {**HEADERS, "If-None-Match": first.headers["etag"]}
    same = f"{path}&reproduce={first.headers['towntwin-reproduce']}"
    again = send_request(app, "GET", same, headers=known)
    assert (again.status_code, again.content) == (304, b"")
    assert send_request(app, "GET", same, headers=HEADERS).content == first.content
    for other in (path, same.replace("csv", "ndjson"), f"{same}&area=330483-d1"):
        assert send_request(app, "GET", other, headers=known).status_code == 200


def test_a_head_of_a_stream_ends(app: FastAPI) -> None:
    answer = send_request(app, "HEAD", "/v1/live", headers=HEADERS)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].startswith("text/event-stream")


def test_what_is_no_get_has_no_head(app: FastAPI) -> None:
    answer = send_request(app, "HEAD", "/v1/judge", headers=HEADERS)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_a_head_of_what_is_audited_is_audited_as_such(app: FastAPI) -> None:
    before = len(ACCOUNTS.lines)
    send_request(app, "HEAD", "/v1/reports/330483/2020-01", headers=HEADERS)
    assert [one.action for one in ACCOUNTS.lines[before:]] == ["HEAD /v1/reports/{area}/{month}"]


def test_many_heads_leave_nothing_open(app: FastAPI, capfd: pytest.CaptureFixture[str]) -> None:
    """Over sockets, each export and stream is let go of: more of them than the database has connections."""
    with howto_pages.serve_app(app) as address, httpx.Client(base_url=address, headers=HEADERS) as client:
        for _ in range(30):
            assert client.head(EXPORT + "csv").status_code == 200
            assert client.head("/v1/live").status_code == 200
        assert client.get("/v1/sites").status_code == 200
        wait_until(lambda: OPEN_STREAMS._value.get() == 0, within_s=20, what="no stream is open")
    assert "Traceback" not in capfd.readouterr().err
