"""Tests the console's session cookie: signed, ends with its key, secure behind TLS, never the key itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.auth import api_keys, sessions
from gateway.auth.principal import Role
from gateway.auth.sessions import BrowserSession
from gateway.settings import Settings
from ingest_service.storage.memory.store import MemoryStore
from tests.support.asgi import send_request
from tests.support.gateway_access import HEADERS, KEY, MemoryApiKeyStore, gateway_app
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from fastapi import FastAPI
    from httpx import Response

PROXY = ("10.0.0.2", 1)


def post_login(app: FastAPI, key: str, **given: Any) -> Response:
    answer = send_request(app, "POST", "/login", json={"key": key}, **given)
    assert answer.status_code == 200, answer.text
    return answer


def cookie_header(entered: Response) -> dict[str, str]:
    return {"Cookie": entered.headers["set-cookie"].partition(";")[0]}


def test_the_cookie_does_not_hold_the_key() -> None:
    app = gateway_app(MemoryStore())
    entered = post_login(app, KEY)
    assert KEY.split("_")[2] not in str(entered.headers)
    me = send_request(app, "GET", "/v1/me", headers=cookie_header(entered)).json()
    assert me == send_request(app, "GET", "/v1/me", headers=HEADERS).json()
    word = cookie_header(entered)["Cookie"].partition("=")[2]
    for elsewhere in ({"X-API-Key": word}, {"Authorization": f"Bearer {word}"}):
        assert send_request(app, "GET", "/v1/me", headers=elsewhere).status_code == 401, (
            "it is good as a cookie alone"
        )
    assert (
        send_request(app, "GET", "/v1/me", headers={"Cookie": f"towntwin_session={KEY}"}).status_code == 401
    )


def test_a_session_ends_with_its_key() -> None:
    accounts = MemoryApiKeyStore()
    key, text = api_keys.create_key(accounts, name="n", role=Role.VIEWER, created_by="tests")
    app = gateway_app(MemoryStore(), accounts=accounts)
    cookie = cookie_header(post_login(app, text))
    assert send_request(app, "GET", "/v1/me", headers=cookie).status_code == 200
    accounts.revoke(key.key_id, by="tests")
    wait_until(
        lambda: "was revoked at" in send_request(app, "GET", "/v1/me", headers=cookie).text,
        within_s=30,
        what="the session is over",
    )


def test_a_session_lasts_no_longer_than_its_key() -> None:
    accounts = MemoryApiKeyStore()
    expires_s = time.time() + 100
    _, text = api_keys.create_key(accounts, name="n", role=Role.VIEWER, created_by="t", expires_s=expires_s)
    flags = post_login(gateway_app(MemoryStore(), accounts=accounts), text).headers["set-cookie"].lower()
    assert 90 <= int(flags.partition("max-age=")[2].partition(";")[0]) <= 100


def test_a_session_of_a_key_for_loopback_is_good_there_alone() -> None:
    accounts = MemoryApiKeyStore()
    _, text = api_keys.create_key(accounts, name="up", role=Role.VIEWER, created_by="up", loopback=True)
    app = gateway_app(MemoryStore(), accounts=accounts)
    cookie = cookie_header(post_login(app, text))
    assert send_request(app, "GET", "/v1/me", headers=cookie).status_code == 200
    assert send_request(app, "GET", "/v1/me", headers=cookie, client=("192.0.2.7", 1)).status_code == 401
    assert send_request(app, "POST", "/login", json={"key": text}, client=("192.0.2.7", 1)).status_code == 401


@pytest.mark.parametrize(
    ("settings", "client", "headers", "secure"),
    [
        (Settings(), PROXY, {"X-Forwarded-Proto": "https"}, False),
        (Settings(trusted_proxies=["10.0.0.0/8"]), PROXY, {"X-Forwarded-Proto": "https"}, True),
        (Settings(trusted_proxies=["10.0.0.0/8"]), PROXY, {"Forwarded": "for=192.0.2.7;proto=https"}, True),
        (Settings(trusted_proxies=["10.0.0.0/8"]), ("192.0.2.7", 1), {"X-Forwarded-Proto": "https"}, False),
        (Settings(public_url="https://twin.example.org"), PROXY, {}, True),
    ],
)
def test_the_cookie_is_secure_behind_a_proxy_that_ends_tls(
    settings: Settings, client: tuple[str, int], headers: dict[str, str], *, secure: bool
) -> None:
    entered = post_login(gateway_app(MemoryStore(), settings=settings), KEY, client=client, headers=headers)
    assert ("; secure" in entered.headers["set-cookie"].lower()) == secure


def test_a_session_that_was_changed_or_signed_elsewhere_is_refused() -> None:
    secret = b"s" * 32
    word = sessions.sign_session(secret, BrowserSession(time.time() + 60, "0f3a5c9d2e71"))
    assert sessions.read_session(secret, word).key_id == "0f3a5c9d2e71"
    forged = [word[:-2], word + "AA", "x" + word[1:], "tts_", "", word.replace("tts_", "")]
    forged += [
        word[:at] + ("A" if word[at] != "A" else "B") + word[at + 1 :] for at in range(4, len(word) - 1)
    ]
    for one in forged:
        with pytest.raises(api_keys.AuthenticationError):
            sessions.read_session(secret, one)
    with pytest.raises(api_keys.AuthenticationError):
        sessions.read_session(b"o" * 32, word)
    over = sessions.sign_session(secret, BrowserSession(time.time() - 1, "0f3a5c9d2e71"))
    with pytest.raises(api_keys.AuthenticationError, match="is over"):
        sessions.read_session(secret, over)
