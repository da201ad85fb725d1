"""Signed links by which a person acknowledges an incident without signing in.

A link names incident, reader and expiry, and is signed by HMAC-SHA256. Opening it shows a page; only the
button of that page, a POST, acknowledges: messengers and mail scanners open links in advance.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final, NamedTuple

PATH: Final = "/acknowledge/"
MAX_LENGTH: Final = 400
_SIGNATURE_BYTES: Final = 16
_PURPOSE: Final = b"towntwin acknowledgement 1\n"


class AcknowledgementToken(NamedTuple):
    """What a link is for: an incident, its reader (``member/…`` or ``channel/…``), its end [Unix s]."""

    incident_id: int
    reader: str
    expires_s: int


def sign_token(token: AcknowledgementToken, secret: bytes) -> str:
    """Return the text of a token, for use in a URL.

    >>> text = sign_token(AcknowledgementToken(7, "member/wang", 1800000000), b"k" * 32)
    >>> verify_token(text, b"k" * 32, now_s=1700000000.0)
    AcknowledgementToken(incident_id=7, reader='member/wang', expires_s=1800000000)
    """
    content = f"{token.incident_id}:{token.expires_s}:{token.reader}".encode()
    return f"{_encoded(content)}.{_encoded(_signature(content, secret))}"


def verify_token(text: str, secret: bytes, *, now_s: float) -> AcknowledgementToken | None:
    """Return the token of a text; None if it was not signed by the secret, or is over."""
    content_text, _, signature_text = text.partition(".")
    if len(text) > MAX_LENGTH or not text.isascii():
        return None
    try:
        content, signature = _decoded(content_text), _decoded(signature_text)
    except (binascii.Error, ValueError):
        return None
    if not hmac.compare_digest(signature, _signature(content, secret)):
        return None
    incident_id, expires_s, reader = content.decode().split(":", 2)
    token = AcknowledgementToken(int(incident_id), reader, int(expires_s))
    return token if now_s < token.expires_s else None


def _signature(content: bytes, secret: bytes) -> bytes:
    return hmac.digest(secret, _PURPOSE + content, hashlib.sha256)[:_SIGNATURE_BYTES]


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
