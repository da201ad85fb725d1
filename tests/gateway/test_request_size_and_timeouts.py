"""Tests large request bodies and slow clients on real sockets: refused, without affecting others."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import httpx
import pytest
import uvicorn

from deploy.embedded.server_environment import free_port
from gateway.settings import Settings
from gateway.transport.timeout_protocol import MAX_HEAD_BYTES, MAX_HEADERS, protocol_with_timeouts
from ingest_service.storage.memory.store import MemoryStore
from tests.support.gateway_access import HEADERS, KEY, gateway_app

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = Settings(body_bytes=10_000, body_s=1.0, head_s=1.0, stalled_s=1.0)
SLOW_TEST_S = 30.0
LETTERS = "/v1/dead-letters/purge"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A gateway that is impatient."""
    port = free_port()
    app = gateway_app(MemoryStore(), settings=SETTINGS)

    @app.get("/v1/quantities/large", include_in_schema=False)
    def nothing() -> None:
        """Never reached: the table of rights has no entry for it."""

    config = uvicorn.Config(
        app, port=port, log_config=None, http=protocol_with_timeouts(SETTINGS), access_log=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield port
    server.should_exit = True
    thread.join(30)


def send_and_receive(port: int, *parts: bytes) -> bytes:
    """What is answered to some bytes, until the gateway closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=SLOW_TEST_S) as one:
        for part in parts:
            one.sendall(part)
        received = b""
        while more := one.recv(65_536):
            received += more
        return received


def head(*lines: str) -> bytes:
    common = (f"POST {LETTERS} HTTP/1.1", "Host: x", f"X-API-Key: {KEY}", "Content-Type: application/json")
    return "\r\n".join((*common, *lines, "", "")).encode()


def others_are_served(port: int) -> bool:
    return httpx.get(f"http://127.0.0.1:{port}/v1/me", headers=HEADERS).status_code == 200


def test_a_large_body_is_a_problem_before_it_is_read(port: int) -> None:
    answer = send_and_receive(port, head("Content-Length: 99999999"))
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"application/problem+json" in answer
    assert b"larger than 10,000 bytes" in answer


def test_a_large_body_without_a_length_is_refused_too(port: int) -> None:
    chunk = b"1000\r\n" + b" " * 4096 + b"\r\n"
    answer = send_and_receive(port, head("Transfer-Encoding: chunked"), chunk, chunk, chunk)
    assert answer.startswith(b"HTTP/1.1 413")
    assert others_are_served(port)


def test_a_body_that_does_not_come_is_not_waited_for(port: int) -> None:
    answer = send_and_receive(port, head("Content-Length: 100"), b"{")
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"did not come within 1 s" in answer
    assert others_are_served(port)


@pytest.mark.parametrize(
    "begun", [b"", b"GET /v1/me HTTP/1.1\r\nHost: x\r\nX-Slow: "], ids=["silent", "begun"]
)
def test_a_head_that_does_not_come_is_not_waited_for(port: int, begun: bytes) -> None:
    assert send_and_receive(port, begun).startswith(b"HTTP/1.1 408")
    assert others_are_served(port)


def test_a_second_head_on_a_connection_is_not_waited_for_either(port: int) -> None:
    whole = f"GET /v1/me HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", port), timeout=SLOW_TEST_S) as one:
        one.sendall(whole)
        received = b""
        while not received.endswith(b"}"):
            received += one.recv(65_536)
        assert received.startswith(b"HTTP/1.1 200")
        one.sendall(b"GET /v1/me HTTP/1.1\r\nHost:")
        assert one.recv(100).startswith(b"HTTP/1.1 408")


def flood(port: int, begun: bytes, endless: bytes, most_bytes: int) -> tuple[bytes, int]:
    """What is answered to a request that never comes to an end, and how many bytes could be sent of it."""
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=SLOW_TEST_S) as one:
        try:
            one.sendall(begun)
            while sent < most_bytes:
                one.sendall(endless)
                sent += len(endless)
        except (BrokenPipeError, ConnectionResetError):
            pass
        received = b""
        try:
            while more := one.recv(65_536):
                received += more
        except ConnectionResetError:
            pass
        return received, sent


FIRST = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
CHUNKED = (
    f"POST {LETTERS} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
)


@pytest.mark.parametrize(
    ("begun", "endless"),
    [
        (FIRST + b"X-Large: ", b"a" * 65_536),
        (b"GET /" + b"a" * 1000, b"a" * 65_536),
        (FIRST, b"X-Many: 1\r\n" * 1000),
        (CHUNKED + b"1\r\n{\r\n0\r\nX-Trailer: ", b"a" * 65_536),
        (CHUNKED + b"1;", b"a" * 65_536),
    ],
    ids=["value", "target", "headers", "trailer", "chunk-extension"],
)
def test_a_head_of_megabytes_is_refused_while_it_comes(port: int, begun: bytes, endless: bytes) -> None:
    most_bytes = 30_000_000
    received, sent = flood(port, begun, endless, most_bytes)
    assert sent < most_bytes
    assert received[:12] in {b"HTTP/1.1 431", b""}, received[:200]  # a reset connection may lose the answer
    assert others_are_served(port)


def test_a_head_beyond_its_bound_gets_a_sentence(port: int) -> None:
    """Slightly beyond it: all that was sent is read, so the answer arrives."""
    by_size = send_and_receive(port, FIRST + b"X-Large: " + b"a" * (MAX_HEAD_BYTES + 30_000))
    by_count = send_and_receive(port, FIRST + b"X-Many: 1\r\n" * MAX_HEADERS + b"\r\n")
    for answer in (by_size, by_count):
        assert answer.startswith(b"HTTP/1.1 431"), answer[:200]
        assert b"65536 bytes and 200 headers" in answer


def test_a_head_within_its_bound_is_served(port: int) -> None:
    lines = b"Connection: close\r\nX-Large: " + b"a" * (MAX_HEAD_BYTES - 20_000) + b"\r\n"
    answer = send_and_receive(port, FIRST + lines + b"X-Many: 1\r\n" * (MAX_HEADERS - 10) + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 200"), answer[:200]


def test_many_slow_clients_delay_no_other_request(port: int) -> None:
    slow = [socket.create_connection(("127.0.0.1", port), timeout=SLOW_TEST_S) for _ in range(100)]
    for one in slow:
        one.sendall(b"GET / HTTP/1.1\r\n")
    assert others_are_served(port)
    for one in slow:
        assert one.recv(100).startswith(b"HTTP/1.1 408")
        one.close()


def test_a_route_without_an_entry_cannot_be_reached(port: int) -> None:
    url = f"http://127.0.0.1:{port}/v1/quantities/large"
    assert httpx.get(url, headers=HEADERS).status_code == 404
    assert httpx.put(f"http://127.0.0.1:{port}/v1/sites", headers=HEADERS).headers["allow"] == "GET"


def test_every_answer_is_secured(port: int) -> None:
    for path, headers in (
        ("/v1/me", HEADERS),
        ("/v1/me", {}),
        ("/docs", {}),
        ("/login", {}),
        ("/nowhere", {}),
    ):
        answer = httpx.get(f"http://127.0.0.1:{port}{path}", headers=headers)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
