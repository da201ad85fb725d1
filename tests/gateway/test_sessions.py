"""The console's cookie: a signed session that ends with its key, secure behind TLS, never the key itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.access import keys, sessions
from gateway.access.principal import Role
from gateway.access.sessions import Session
from gateway.settings import Settings
from ingest_service.storage.memory import MemoryStore
from tests.support.access import HEADERS, KEY, MemoryAccounts, opened
from tests.support.asgi import ask
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from fastapi import FastAPI
    from httpx import Response

PROXY = ("10.0.0.2", 1)


def enter(app: FastAPI, key: str, **given: Any) -> Response:
    answer = ask(app, "POST", "/login", json={"key": key}, **given)
    assert answer.status_code == 200, answer.text
    return answer


def cookie_of(entered: Response) -> dict[str, str]:
    return {"Cookie": entered.headers["set-cookie"].partition(";")[0]}


def test_the_cookie_does_not_hold_the_key() -> None:
    app = opened(MemoryStore())
    entered = enter(app, KEY)
    assert KEY.split("_")[2] not in str(entered.headers)
    me = ask(app, "GET", "/v1/me", headers=cookie_of(entered)).json()
    assert me == ask(app, "GET", "/v1/me", headers=HEADERS).json()
    word = cookie_of(entered)["Cookie"].partition("=")[2]
    for elsewhere in ({"X-API-Key": word}, {"Authorization": f"Bearer {word}"}):
        assert ask(app, "GET", "/v1/me", headers=elsewhere).status_code == 401, "it is good as a cookie alone"
    assert ask(app, "GET", "/v1/me", headers={"Cookie": f"towntwin_session={KEY}"}).status_code == 401


def test_a_session_ends_with_its_key() -> None:
    accounts = MemoryAccounts()
    key, text = keys.mint(accounts, name="n", role=Role.VIEWER, created_by="tests")
    app = opened(MemoryStore(), accounts=accounts)
    cookie = cookie_of(enter(app, text))
    assert ask(app, "GET", "/v1/me", headers=cookie).status_code == 200
    accounts.revoke(key.key_id, by="tests")
    wait_until(
        lambda: "was revoked at" in ask(app, "GET", "/v1/me", headers=cookie).text,
        within_s=10,
        what="the session is over",
    )


def test_a_session_lasts_no_longer_than_its_key() -> None:
    accounts = MemoryAccounts()
    expires_s = time.time() + 100
    _, text = keys.mint(accounts, name="n", role=Role.VIEWER, created_by="t", expires_s=expires_s)
    flags = enter(opened(MemoryStore(), accounts=accounts), text).headers["set-cookie"].lower()
    assert 90 <= int(flags.partition("max-age=")[2].partition(";")[0]) <= 100


def test_a_session_of_a_key_for_loopback_is_good_there_alone() -> None:
    accounts = MemoryAccounts()
    _, text = keys.mint(accounts, name="up", role=Role.VIEWER, created_by="up", loopback=True)
    app = opened(MemoryStore(), accounts=accounts)
    cookie = cookie_of(enter(app, text))
    assert ask(app, "GET", "/v1/me", headers=cookie).status_code == 200
    assert ask(app, "GET", "/v1/me", headers=cookie, client=("192.0.2.7", 1)).status_code == 401
    assert ask(app, "POST", "/login", json={"key": text}, client=("192.0.2.7", 1)).status_code == 401


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
    entered = enter(opened(MemoryStore(), settings=settings), KEY, client=client, headers=headers)
    assert ("; secure" in entered.headers["set-cookie"].lower()) == secure


def test_a_session_that_was_changed_or_signed_elsewhere_is_refused() -> None:
    secret = b"s" * 32
    word = sessions.sign(secret, Session(time.time() + 60, "0f3a5c9d2e71"))
    assert sessions.read(secret, word).key_id == "0f3a5c9d2e71"
    forged = [word[:-2], word + "AA", "x" + word[1:], "tts_", "", word.replace("tts_", "")]
    forged += [
        word[:at] + ("A" if word[at] != "A" else "B") + word[at + 1 :] for at in range(4, len(word) - 1)
    ]
    for one in forged:
        with pytest.raises(keys.RefusedError):
            sessions.read(secret, one)
    with pytest.raises(keys.RefusedError):
        sessions.read(b"o" * 32, word)
    over = sessions.sign(secret, Session(time.time() - 1, "0f3a5c9d2e71"))
    with pytest.raises(keys.RefusedError, match="is over"):
        sessions.read(secret, over)
