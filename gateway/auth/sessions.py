"""Signed session cookies of browsers.

A session is signed with the installation's secret. It names a key, and is good as long as that key is; or,
of a token of the OpenID provider, it holds who its bearer is, and is good as long as the token would be.
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
    """Until when it is good [s]; and a key's id, or who came with a token."""

    expires_s: float
    key_id: str | None = None
    principal_id: str = ""
    name: str = ""
    role: int = 1
    areas: tuple[str, ...] | None = ()

    @property
    def principal(self) -> Principal:
        """Who came with a token."""
        return Principal(
            principal_id=self.principal_id,
            name=self.name,
            role=Role(self.role),
            areas=self.areas,
            expires_s=self.expires_s,
        )


def new_session(principal: Principal, *, key_id: str | None) -> BrowserSession:
    """A session of somebody who came in a moment ago, with a key or (None) with a token."""
    expires_s = min(time.time() + MAX_SESSION_S, principal.expires_s or float("inf"))
    if key_id is not None:
        return BrowserSession(expires_s, key_id)
    return BrowserSession(
        expires_s, None, principal.principal_id, principal.name, principal.role, principal.areas
    )


def sign_session(secret: bytes, session: BrowserSession) -> str:
    """A session as a word.

    >>> read_session(b"secret", sign_session(b"secret", BrowserSession(2e9, "0f3a5c9d2e71"))).key_id
    '0f3a5c9d2e71'
    """
    packed = msgspec.msgpack.encode(session)
    return (
        SESSION_PREFIX + base64.urlsafe_b64encode(packed + _signature(secret, packed)).rstrip(b"=").decode()
    )


def read_session(secret: bytes, cookie_text: str) -> BrowserSession:
    """The session of a word. Raises `AuthenticationError` where it is none of ours, or is over."""
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
    except msgspec.MsgspecError as error:  # of a version with other sessions
        raise _unknown_session() from error
    if time.time() >= session.expires_s:
        raise AuthenticationError("the session is over: enter the key again at /login")
    return session


def _signature(secret: bytes, packed: bytes) -> bytes:
    return blake2b(packed, key=secret, digest_size=SIGNATURE_BYTES, person=b"session").digest()


def _unknown_session() -> AuthenticationError:
    return AuthenticationError("the session is not known: enter the key again at /login")
