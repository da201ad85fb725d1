"""Tests that forwarded headers count only from trusted proxies, and that links use the public URL."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.requests import Request

from deploy.__main__ import main
from gateway.auth import api_keys
from gateway.auth.principal import Role
from gateway.settings import Settings
from gateway.transport.forwarded_headers import public_base_url
from ingest_service.storage.memory.store import MemoryStore
from tests.support.asgi import send_request
from tests.support.gateway_access import HEADERS, MemoryApiKeyStore, gateway_app

TRUSTING = Settings(trusted_proxies=["10.0.0.0/8", "fd00::/8", "127.0.0.1"])
PROXY, FAR = "10.0.0.2", "203.0.113.9"


def audited_address(peer: str, headers: dict[str, str], settings: Settings = TRUSTING) -> str:
    """The address that the audit has of a request."""
    accounts = MemoryApiKeyStore()
    _, text = api_keys.create_key(accounts, name="n", role=Role.ADMINISTRATOR, created_by="tests")
    app = gateway_app(MemoryStore(), settings=settings, accounts=accounts)
    given: Any = {"json": {"reason": "unit"}, "client": (peer, 1), "headers": headers | {"X-API-Key": text}}
    assert send_request(app, "POST", "/v1/dead-letters/purge", **given).status_code == 200
    return accounts.lines[-1].address


@pytest.mark.parametrize(
    ("peer", "headers", "found"),
    [
        (PROXY, {"X-Forwarded-For": FAR}, FAR),
        (PROXY, {"X-Forwarded-For": f"127.0.0.1, {FAR}, 10.9.9.9"}, FAR),
        (PROXY, {"X-Forwarded-For": "10.1.1.1, 10.1.1.2"}, "10.1.1.1"),
        (PROXY, {"X-Forwarded-For": f"{FAR}:4711"}, FAR),
        ("fd00::7", {"X-Forwarded-For": "[2001:db8::1]:80"}, "2001:db8::1"),
        ("::ffff:10.0.0.2", {"X-Forwarded-For": FAR}, FAR),
        (PROXY, {"Forwarded": f'for=127.0.0.1, for="{FAR}:80";proto=https;host=x, for=10.0.0.9'}, FAR),
        (PROXY, {"Forwarded": 'For="[2001:db8::1]:80"'}, "2001:db8::1"),
        (PROXY, {"Forwarded": f"for={FAR}", "X-Forwarded-For": FAR}, FAR),
        (PROXY, {"Forwarded": "for=127.0.0.1", "X-Forwarded-For": FAR}, PROXY),
        (PROXY, {"Forwarded": "for=_hidden"}, PROXY),
        (PROXY, {"X-Forwarded-For": f"{FAR}, unknown"}, PROXY),
        (PROXY, {"X-Forwarded-For": "<script>"}, PROXY),
        (PROXY, {"X-Forwarded-For": ","}, PROXY),
        (PROXY, {}, PROXY),
        (FAR, {"X-Forwarded-For": "10.0.0.2", "Forwarded": "for=127.0.0.1"}, FAR),
        ("testclient", {"X-Forwarded-For": "192.0.2.1"}, "testclient"),
    ],
)
def test_a_forwarded_address_counts_from_trusted_proxies_alone(
    peer: str, headers: dict[str, str], found: str
) -> None:
    assert audited_address(peer, headers) == found


def test_without_trusted_proxies_no_forwarded_header_counts() -> None:
    assert (
        audited_address("127.0.0.1", {"X-Forwarded-For": FAR, "Forwarded": f"for={FAR}"}, Settings())
        == "127.0.0.1"
    )


@pytest.mark.parametrize("settings", [Settings(), TRUSTING])
@pytest.mark.parametrize("peer", [FAR, PROXY, "127.0.0.1"])
@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-For": "::1"},
        {"Forwarded": "for=127.0.0.1"},
        {"X-Real-IP": "127.0.0.1"},
        {"X-Forwarded-Proto": "http"},
        {"Via": "1.1 proxy"},
    ],
)
def test_a_key_for_loopback_is_not_fooled_by_forwarded_headers(
    settings: Settings, peer: str, headers: dict[str, str]
) -> None:
    accounts = MemoryApiKeyStore()
    _, text = api_keys.create_key(accounts, name="up", role=Role.VIEWER, created_by="up", loopback=True)
    app = gateway_app(MemoryStore(), accounts=accounts, settings=settings)
    answer = send_request(app, "GET", "/v1/me", headers=headers | {"X-API-Key": text}, client=(peer, 1))
    assert (answer.status_code, "on this machine alone" in answer.text) == (401, True)


@pytest.mark.parametrize(
    ("peer", "headers", "settings", "base"),
    [
        (PROXY, {"X-Forwarded-For": FAR, "X-Forwarded-Proto": "https"}, TRUSTING, "https://gateway"),
        (
            PROXY,
            {
                "X-Forwarded-For": FAR,
                "X-Forwarded-Proto": "https",
                "X-Forwarded-Host": "twin.example.org:8443",
            },
            TRUSTING,
            "https://twin.example.org:8443",
        ),
        (PROXY, {"X-Forwarded-Proto": "https"}, TRUSTING, "https://gateway"),
        (PROXY, {"X-Forwarded-Proto": "javascript", "X-Forwarded-Host": "a b"}, TRUSTING, "http://gateway"),
        (FAR, {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}, TRUSTING, "http://gateway"),
        (
            PROXY,
            {"Forwarded": f"for={FAR};proto=https;host=twin.example.org"},
            TRUSTING,
            "https://twin.example.org",
        ),
        (FAR, {}, Settings(public_url="https://twin.example.org/town/"), "https://twin.example.org/town"),
    ],
)
def test_links_begin_with_the_address_under_which_clients_come(
    peer: str, headers: dict[str, str], settings: Settings, base: str
) -> None:
    app, found = gateway_app(MemoryStore(), settings=settings), []
    inner = app.router.app if hasattr(app.router, "app") else app.router

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            found.append(public_base_url(Request(scope)))
        await inner(scope, receive, send)

    app.router.middleware_stack = noting
    assert send_request(app, "GET", "/v1/me", headers=HEADERS | headers, client=(peer, 1)).status_code == 200
    assert found == [base]


def test_a_wrong_proxy_or_public_address_is_refused_at_the_start(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        ("TRUSTED_PROXIES", "10.0.0.0/99"),
        ("TRUSTED_PROXIES", "proxy.example.org"),
        ("PUBLIC_URL", "twin.example.org"),
        ("PUBLIC_URL", "ftp://twin.example.org"),
        ("PUBLIC_URL", "https://twin.example.org/?x=1"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(f"TOWNTWIN_GATEWAY_{name}", value)
            assert main(["gateway"]) == 2
        assert value in capsys.readouterr().err
