"""Tests tokens of a real OIDC provider with its own RSA keys over HTTP; forged ones are refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.auth import oidc
from gateway.settings import Settings
from ingest_service.storage.memory.store import MemoryStore
from tests.support.asgi import send_request
from tests.support.gateway_access import gateway_app
from tests.support.store_samples import DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI

GOOD = {
    "aud": "towntwin",
    "sub": "u1",
    "name": "王芳",
    "towntwin_role": ["operator"],
    "towntwin_area": "330483",
}


class OidcProvider:
    """An OpenID provider, as far as verifying its tokens goes."""

    def __init__(self) -> None:
        self.keys: dict[str, rsa.RSAPrivateKey] = {}
        self.fetched = 0
        shown = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                about = {"issuer": shown.issuer, "jwks_uri": f"{shown.issuer}/keys"}
                body = json.dumps(about if "well-known" in self.path else shown.key_set()).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self.server.server_port}"
        self.rotate("k1")

    def rotate(self, name: str) -> None:
        self.keys = {name: rsa.generate_private_key(public_exponent=65537, key_size=2048)}

    def key_set(self) -> dict[str, Any]:
        self.fetched += 1
        rows = [
            json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())) | {"kid": name, "use": "sig"}
            for name, key in self.keys.items()
        ]
        others = [
            {"kty": "OKP", "crv": "X25519", "x": "AA", "kid": "k7"},
            {"kty": "RSA", "n": "AQAB", "e": "AQAB", "alg": "RSA-OAEP", "kid": "k8"},
            "k9",
        ]  # which are for something else, and are left out
        return {"keys": [*others, *rows]}

    def token(
        self, *, algorithm: str = "RS256", key: Any = None, kid: str | None = None, **changed: Any
    ) -> str:
        name = kid or next(iter(self.keys))
        now_s = int(time.time())
        claims = GOOD | {"iss": self.issuer, "iat": now_s, "exp": now_s + 300} | changed
        claims = {word: value for word, value in claims.items() if value is not None}
        key = key if key is not None else next(iter(self.keys.values()))
        return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": name})


@pytest.fixture
def provider() -> Iterator[OidcProvider]:
    one = OidcProvider()
    thread = threading.Thread(target=one.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield one
    one.server.shutdown()
    one.server.server_close()
    thread.join(10)


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
