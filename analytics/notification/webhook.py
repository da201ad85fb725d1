"""Generic webhook: JSON by POST, signed by HMAC-SHA256 over time and body.

The receiver computes ``HMAC-SHA256(key, "<X-Towntwin-Timestamp>.<body>")``, compares it in constant time with
``X-Towntwin-Signature`` (``v1=<hex>``), and refuses times that are more than five minutes away. The header
``Idempotency-Key`` is the same when a message is repeated.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any, Final

import msgspec

from analytics.notification.outcomes import SENT, SendOutcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analytics.notification.http_client import HttpResponse
    from ingest_service.storage.contract.notifications import Notification

MAX_BYTES: Final = 64_000
RETRY_LIMITED_S: Final = 60.0
_KEPT = ("notification_id", "incident_id", "step", "priority", "member_id", "text_en", "text_zh")


def webhook_body(title: str, text: str, notifications: Sequence[Notification]) -> bytes:
    """Return the body: title and text of the digest, and its notifications."""
    rows: list[dict[str, Any]] = [
        {name: getattr(one, name) for name in _KEPT} | {"created": one.created_s} for one in notifications
    ]
    return msgspec.json.encode({"title": title, "text": text, "notifications": rows})


def idempotency_key(notifications: Sequence[Notification]) -> str:
    """Return a key that is the same for the same notifications."""
    ids = ",".join(str(one.notification_id) for one in notifications)
    return hashlib.sha256(ids.encode()).hexdigest()[:32]


def signed_headers(body: bytes, key: str | None, now_s: float) -> dict[str, str]:
    """Return the headers with time and signature; without a key, the time alone."""
    timestamp = str(round(now_s))
    headers = {"Content-Type": "application/json", "X-Towntwin-Timestamp": timestamp}
    if key is not None:
        digest = hmac.digest(key.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
        headers["X-Towntwin-Signature"] = f"v1={digest.hex()}"
    return headers


def webhook_outcome(response: HttpResponse) -> SendOutcome:
    """Return the outcome by the status: 2xx is received, 429 and 503 ask for a pause (``Retry-After``)."""
    if 200 <= response.status < 300:
        return SENT
    detail = f"HTTP status {response.status}"
    if response.status in {429, 503}:
        wait = response.headers.get("retry-after", "")
        return SendOutcome("limited", detail, float(wait) if wait.isdecimal() else RETRY_LIMITED_S)
    if response.status >= 500:
        return SendOutcome("unknown", detail)
    is_permanent = response.status not in {408, 425}
    return SendOutcome(
        "refused",
        f"{detail}: redirects are not followed" if response.status < 400 else detail,
        is_permanent=is_permanent,
    )
