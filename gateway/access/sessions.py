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

from gateway.access.keys import RefusedError
from gateway.access.principal import Principal, Role

LONGEST_S = 7 * 86_400.0
PREFIX = "tts_"
SIGNATURE_BYTES = 32


class Session(msgspec.Struct, frozen=True, array_like=True):
    """Until when it is good [s]; and a key's id, or who came with a token."""

    expires_s: float
    key_id: str | None = None
    who: str = ""
    name: str = ""
    role: int = 1
    areas: tuple[str, ...] | None = ()

    @property
    def principal(self) -> Principal:
        """Who came with a token."""
        return Principal(
            who=self.who,
            name=self.name,
            role=Role(self.role),
            areas=self.areas,
            expires_s=self.expires_s,
        )


def of(principal: Principal, *, key_id: str | None) -> Session:
    """A session of somebody who came in a moment ago, with a key or (None) with a token."""
    expires_s = min(time.time() + LONGEST_S, principal.expires_s or float("inf"))
    if key_id is not None:
        return Session(expires_s, key_id)
    return Session(expires_s, None, principal.who, principal.name, principal.role, principal.areas)


def sign(secret: bytes, session: Session) -> str:
    """A session as a word.

    >>> read(b"secret", sign(b"secret", Session(2e9, "0f3a5c9d2e71"))).key_id
    '0f3a5c9d2e71'
    """
    packed = msgspec.msgpack.encode(session)
    return PREFIX + base64.urlsafe_b64encode(packed + _signature(secret, packed)).rstrip(b"=").decode()


def read(secret: bytes, word: str) -> Session:
    """The session of a word. Raises `RefusedError` where it is none of ours, or is over."""
    try:
        text = word.removeprefix(PREFIX)
        signed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise _unknown() from error
    packed, signature = signed[:-SIGNATURE_BYTES], signed[-SIGNATURE_BYTES:]
    if not word.startswith(PREFIX) or not hmac.compare_digest(signature, _signature(secret, packed)):
        raise _unknown()
    try:
        session = msgspec.msgpack.decode(packed, type=Session)
    except msgspec.MsgspecError as error:  # of a version with other sessions
        raise _unknown() from error
    if time.time() >= session.expires_s:
        raise RefusedError("the session is over: enter the key again at /login")
    return session


def _signature(secret: bytes, packed: bytes) -> bytes:
    return blake2b(packed, key=secret, digest_size=SIGNATURE_BYTES, person=b"session").digest()


def _unknown() -> RefusedError:
    return RefusedError("the session is not known: enter the key again at /login")
