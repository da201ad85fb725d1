"""Tests tokens of a real OIDC provider with its own RSA keys over HTTP; forged ones are refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.auth import oidc
from gateway.settings import Settings
from ingest_service.storage.memory.store import MemoryStore
from tests.support.asgi import send_request
from tests.support.gateway_access import gateway_app
from tests.support.openid_provider import OidcProvider, running_provider
from tests.support.store_samples import DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI


@pytest.fixture
def provider() -> Iterator[OidcProvider]:
    with running_provider() as one:
        yield one


@pytest.fixture
def app(provider: OidcProvider) -> FastAPI:
    store = MemoryStore()
    store.enrol(DIRECTORY)
    return gateway_app(store, settings=Settings(oidc_issuer=provider.issuer))


def get_with_token(app: FastAPI, token: str, path: str = "/v1/me", address: str = "127.0.0.1") -> Any:
    return send_request(app, "GET", path, headers={"Authorization": f"Bearer {token}"}, client=(address, 1))


def test_a_token_brings_its_role_and_its_area(app: FastAPI, provider: OidcProvider) -> None:
    answer = get_with_token(app, provider.token())
    assert answer.json() == {
        "who": "oidc:u1",
        "name": "王芳",
        "role": "operator",
        "areas": ["330483"],
        "scopes": [],
        "team_id": None,
    }
    assert get_with_token(app, provider.token(), "/v1/sites").json()
    assert get_with_token(app, provider.token(towntwin_area="330421"), "/v1/sites").json() == []
    assert get_with_token(app, provider.token(towntwin_area="*")).json()["areas"] is None
    assert get_with_token(app, provider.token(), "/v1/keys").status_code == 403
    assert provider.fetched == 1, "the provider's keys are kept"


def test_hostile_tokens_are_refused(app: FastAPI, provider: OidcProvider) -> None:
    public = next(iter(provider.keys.values())).public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    head, body, _ = provider.token().split(".")
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    hostile = {
        "none": provider.token(algorithm="none", key=""),
        "HMAC with a secret": hmac_signed(body, b"secret"),
        "HMAC with the public key": hmac_signed(body, pem),
        "unsigned": f"{head}.{body}.",
        "another's key": provider.token(key=other),
        "an unknown key": provider.token(key=other, kid="k9"),
        "expired": provider.token(exp=int(time.time()) - 120),
        "for another": provider.token(aud="elsewhere"),
        "of another": provider.token(iss="http://127.0.0.1:1"),
        "not yet": provider.token(nbf=int(time.time()) + 3600),
        "for ever": provider.token(exp=None),
        "nobody": provider.token(sub=None),
        "no role": provider.token(towntwin_role=None),
        "no such role": provider.token(towntwin_role="king"),
        "no area": provider.token(towntwin_area=None),
        "two in one": provider.token(towntwin_area="330483,330421"),
        "no token": "a.b.c",
    }
    for number, (what, token) in enumerate(hostile.items()):
        answer = get_with_token(app, token, address=f"192.0.2.{number}")
        assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json"), what
        assert token not in answer.text
    assert get_with_token(app, provider.token()).status_code == 200


def hmac_signed(body: str, secret: bytes) -> str:
    """The oldest trick: HS256, with what everybody knows as its secret."""

    def encode(raw: bytes) -> str:
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    head = encode(json.dumps({"alg": "HS256", "typ": "JWT", "kid": "k1"}).encode())
    return f"{head}.{body}.{encode(hmac.digest(secret, f'{head}.{body}'.encode(), hashlib.sha256))}"


def test_new_keys_of_the_provider_are_fetched(
    app: FastAPI, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = provider.token()
    assert get_with_token(app, old).status_code == 200
    provider.rotate("k2")
    assert get_with_token(app, provider.token()).status_code == 401, "not asked again so soon"
    monkeypatch.setattr(oidc, "KEY_SET_RETRY_S", 0.0)
    assert get_with_token(app, provider.token()).status_code == 200
    assert get_with_token(app, old).status_code == 401
    assert provider.fetched == 3


def test_without_a_provider_no_token_is_taken(provider: OidcProvider) -> None:
    answer = get_with_token(gateway_app(MemoryStore()), provider.token())
    assert (answer.status_code, "oidc_issuer" in answer.text) == (401, True)
