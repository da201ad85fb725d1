"""Makes and verifies enrolment codes, with which technicians propose devices."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING

from ingest_service.storage.postgres.enrolments import EnrolmentCode

if TYPE_CHECKING:
    from ingest_service.storage.postgres.enrolments import EnrolmentStore

CODE_PREFIX = "tte"
SECRET_BYTES = 16


def make_code(
    base_url: str, *, area_id: str, devices: int, expires_s: float, created_by: str
) -> tuple[EnrolmentCode, str]:
    """Return a new code and its text, the address of the gateway with the code as fragment.

    A fragment is in no log where somebody opens the address in a browser.
    """
    code_id, secret = secrets.token_hex(6), secrets.token_hex(SECRET_BYTES)
    code = EnrolmentCode(
        code_id=code_id,
        hash=hash_secret(secret),
        area_id=area_id,
        devices=devices,
        created_by=created_by,
        expires_s=expires_s,
    )
    return code, f"{base_url.rstrip('/')}/#{CODE_PREFIX}_{code_id}_{secret}"


def find_code(store: EnrolmentStore, text: str) -> EnrolmentCode | None:
    """Return the code of a text; None if it is unknown, or its secret is wrong."""
    prefix, _, rest = text.rpartition("#")[2].strip().partition("_")
    code_id, _, secret = rest.partition("_")
    if prefix != CODE_PREFIX or not text.isascii() or not text.isprintable():
        return None
    code = store.code(code_id)
    return code if is_secret(secret, code.hash if code else "") else None


def hash_secret(secret: str) -> str:
    """Return the SHA-256 of a secret, which has 128 random bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def is_secret(secret: str, stored_hash: str | None) -> bool:
    """Whether a secret is the one of a hash, in constant time."""
    return hmac.compare_digest(stored_hash or "", hash_secret(secret))
