"""A real OpenID provider for tests: its own RSA keys, discovery and key set over HTTP, and any tokens."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@contextmanager
def running_provider() -> Iterator[OidcProvider]:
    """Run a provider on a free port of this machine."""
    one = OidcProvider()
    thread = threading.Thread(target=one.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield one
    finally:
        one.server.shutdown()
        one.server.server_close()
        thread.join(30)
