"""Signs and verifies browser sessions, which are kept in cookies (keyed BLAKE2b).

A session is signed with the installation's secret. It names an API key, and is valid as long as that key; or
it holds the principal of an OIDC token, and is valid as long as the token. Neither outlasts `MAX_SESSION_S`.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import time
from hashlib import blake2b

import msgspec

from gateway.auth.api_keys import AuthenticationError
from gateway.auth.principal import Principal, Role

MAX_SESSION_S = 7 * 86_400.0
SESSION_PREFIX = "tts_"
SIGNATURE_BYTES = 32


class BrowserSession(msgspec.Struct, frozen=True, array_like=True):
    """Content of a session: its end [s, Unix], and either a key's id or the principal of an OIDC token."""

    expires_s: float
    key_id: str | None = None
    principal_id: str = ""
    name: str = ""
    role: int = 1
    areas: tuple[str, ...] | None = ()
    team_id: str | None = None
    email: str | None = None

    @property
    def principal(self) -> Principal:
        """Principal of the OIDC token."""
        return Principal(
            principal_id=self.principal_id,
            name=self.name,
            role=Role(self.role),
            areas=self.areas,
            expires_s=self.expires_s,
            team_id=self.team_id,
            email=self.email,
        )


def new_session(principal: Principal, *, key_id: str | None) -> BrowserSession:
    """Return a session for a principal that authenticated with a key, or (``key_id`` None) with a token."""
    expires_s = min(time.time() + MAX_SESSION_S, principal.expires_s or float("inf"))
    if key_id is not None:
        return BrowserSession(expires_s, key_id)
    return BrowserSession(
        expires_s,
        None,
        principal.principal_id,
        principal.name,
        principal.role,
        principal.areas,
        principal.team_id,
        principal.email,
    )


def sign_session(secret: bytes, session: BrowserSession) -> str:
    """Encode and sign a session as text for a cookie.

    >>> read_session(b"secret", sign_session(b"secret", BrowserSession(2e9, "0f3a5c9d2e71"))).key_id
    '0f3a5c9d2e71'
    """
    packed = msgspec.msgpack.encode(session)
    return (
        SESSION_PREFIX + base64.urlsafe_b64encode(packed + _signature(secret, packed)).rstrip(b"=").decode()
    )


def read_session(secret: bytes, cookie_text: str) -> BrowserSession:
    """Decode a session. Raises `AuthenticationError` where its signature is wrong or it has expired."""
    try:
        encoded = cookie_text.removeprefix(SESSION_PREFIX)
        signed_bytes = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise _unknown_session() from error
    packed, signature = signed_bytes[:-SIGNATURE_BYTES], signed_bytes[-SIGNATURE_BYTES:]
    if not cookie_text.startswith(SESSION_PREFIX) or not hmac.compare_digest(
        signature, _signature(secret, packed)
    ):
        raise _unknown_session()
    try:
        session = msgspec.msgpack.decode(packed, type=BrowserSession)
    except msgspec.MsgspecError as error:  # signed by a version with another format
        raise _unknown_session() from error
    if time.time() >= session.expires_s:
        raise AuthenticationError("the session is over: enter the key again at /login")
    return session


def _signature(secret: bytes, packed: bytes) -> bytes:
    return blake2b(packed, key=secret, digest_size=SIGNATURE_BYTES, person=b"session").digest()


def _unknown_session() -> AuthenticationError:
    return AuthenticationError("the session is not known: enter the key again at /login")
