"""Tests the record of refused requests: a metric counts all, and the log has a bounded number."""

from __future__ import annotations

from structlog.testing import capture_logs

from gateway.auth import api_keys
from gateway.auth.principal import Role
from gateway.metrics import REJECTED_REQUESTS
from ingest_service.storage.memory.store import MemoryStore
from tests.support.asgi import send_request
from tests.support.gateway_access import HEADERS, KEY, MemoryApiKeyStore, gateway_app

FAR = ("192.0.2.7", 1)


def rejected_count(status: int) -> float:
    return float(REJECTED_REQUESTS.labels(status)._value.get())


def test_a_refused_request_leaves_a_trace() -> None:
    accounts = MemoryApiKeyStore()
    key, viewer = api_keys.create_key(accounts, name="n", role=Role.VIEWER, created_by="tests")
    app = gateway_app(MemoryStore(), accounts=accounts)
    before = {status: rejected_count(status) for status in (401, 403)}
    with capture_logs() as logs:
        send_request(
            app, "GET", "/v1/sites", headers={"X-API-Key": KEY}, client=FAR
        )  # of another installation
        send_request(app, "GET", "/v1/keys", headers={"X-API-Key": viewer}, client=FAR)
        send_request(app, "GET", "/v1/sites", headers={"X-API-Key": "\x1b[31m" + "x" * 99}, client=FAR)
    lines = [one for one in logs if one["event"] == "request_refused"]
    assert [(one["status"], one["method"], one["route"], one["who"]) for one in lines] == [
        (401, "GET", "/v1/sites", f"key:{KEY.split('_')[1]} (claimed)"),
        (403, "GET", "/v1/keys", f"key:{key.key_id}"),
        (401, "GET", "/v1/sites", "nobody"),
    ]
    assert {one["address"] for one in lines} == {"192.0.2.7"}
    assert KEY.split("_")[2] not in str(logs)
    assert "\x1b" not in str(lines)
    assert {status: rejected_count(status) - before[status] for status in before} == {401: 2, 403: 1}


def test_many_refused_requests_do_not_fill_the_log() -> None:
    app, before = gateway_app(MemoryStore()), rejected_count(401)
    with capture_logs() as logs:
        for _ in range(60):
            send_request(app, "GET", "/v1/sites", headers={}, client=FAR)
        send_request(app, "GET", "/v1/sites", client=("192.0.2.8", 1))
    lines = [one for one in logs if one["event"] == "request_refused"]
    assert 10 <= len(lines) < 20
    assert lines[-1]["address"] == "192.0.2.8"
    assert lines[-1]["unlogged"] > 40
    assert rejected_count(401) - before == 61


def test_what_was_let_in_leaves_no_such_trace() -> None:
    with capture_logs() as logs:
        send_request(gateway_app(MemoryStore()), "GET", "/v1/sites", headers=HEADERS)
        send_request(gateway_app(MemoryStore()), "GET", "/v1/sites/nowhere", headers=HEADERS)
    assert not [one for one in logs if one["event"] == "request_refused"]
