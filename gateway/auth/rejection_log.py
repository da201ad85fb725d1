"""Counts rejected requests (401, 403, 429) as a metric, and logs them at a bounded rate."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from gateway.auth import api_keys, request_auth
from gateway.auth.rate_limit import TokenBuckets
from gateway.metrics import REJECTED_REQUESTS

if TYPE_CHECKING:
    from starlette.types import Message, Scope, Send

    from gateway.auth.request_auth import RequestAuth

log = structlog.get_logger()

REJECTION_STATUSES = {401, 403, 429}
LOG_PER_S, LOG_BURST = 0.2, 10.0  # log entries of one client address
TOTAL_LOG_PER_S, TOTAL_LOG_BURST = 5.0, 50.0  # log entries of all addresses


class RejectionLog:
    """Counts and logs rejected requests; the log entries hold no secret and no text of the client's."""

    def __init__(self) -> None:
        self._address_limiter = TokenBuckets(per_s=LOG_PER_S, burst=LOG_BURST)
        self._total_limiter = TokenBuckets(per_s=TOTAL_LOG_PER_S, burst=TOTAL_LOG_BURST)
        self._unlogged = 0

    def recording_send(self, scope: Scope, send: Send) -> Send:
        """Wrap an ASGI ``send`` so that rejections are counted and logged."""

        async def send_and_record(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.note(message["status"], scope)
            await send(message)

        return send_and_record

    def note(self, status: int, scope: Scope) -> None:
        """Count and log a response's status, where it is a rejection."""
        if status not in REJECTION_STATUSES:
            return
        REJECTED_REQUESTS.labels(status).inc()
        auth: RequestAuth | None = scope.get(request_auth.AUTH_SCOPE_KEY)
        address, now_s = "" if auth is None else auth.address, time.time()
        if self._address_limiter.try_take(address, now_s=now_s) or self._total_limiter.try_take(
            "", now_s=now_s
        ):
            self._unlogged += 1
            return
        log.warning(
            "request_refused",
            status=status,
            method=scope.get("method", "GET"),
            route="" if auth is None else auth.matched_route.path,
            address=address,
            who=_rejected_id(auth),
            unlogged=self._unlogged,
        )
        self._unlogged = 0


def _rejected_id(auth: RequestAuth | None) -> str:
    """Return the principal's id; without a principal, the key id that the credential claims."""
    if auth is not None and auth.principal is not None:
        return auth.principal.principal_id
    key_id = None if auth is None or auth.from_cookie else api_keys.parse_key_id(auth.credential)
    return "nobody" if key_id is None else f"key:{key_id} (claimed)"
