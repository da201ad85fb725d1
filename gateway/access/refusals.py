"""Counts refused requests, and logs them at a bounded rate."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from gateway.access import keys
from gateway.access import visit as visits
from gateway.access.buckets import Buckets
from gateway.metrics import REFUSED

if TYPE_CHECKING:
    from starlette.types import Message, Scope, Send

    from gateway.access.visit import Visit

log = structlog.get_logger()

STATUSES = {401, 403, 429}
LINES_PER_S, LINES_BURST = 0.2, 10.0  # of one address
ALL_PER_S, ALL_BURST = 5.0, 50.0  # of all together


class Refusals:
    """Counts and logs refused requests; what is logged holds no secret, and no text of the client's."""

    def __init__(self) -> None:
        self._by_address = Buckets(per_s=LINES_PER_S, burst=LINES_BURST)
        self._all = Buckets(per_s=ALL_PER_S, burst=ALL_BURST)
        self._unlogged = 0

    def noted(self, scope: Scope, send: Send) -> Send:
        """A sender that takes note where the answer is a refusal."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.note(message["status"], scope)
            await send(message)

        return sending

    def note(self, status: int, scope: Scope) -> None:
        """Take note of the status of an answer, where it is a refusal."""
        if status not in STATUSES:
            return
        REFUSED.labels(status).inc()
        visit: Visit | None = scope.get(visits.KEY)
        address, now_s = "" if visit is None else visit.address, time.time()
        if self._by_address.take(address, now_s=now_s) or self._all.take("", now_s=now_s):
            self._unlogged += 1
            return
        log.warning(
            "request_refused",
            status=status,
            method=scope.get("method", "GET"),
            route="" if visit is None else visit.found.path,
            address=address,
            who=_who(visit),
            unlogged=self._unlogged,
        )
        self._unlogged = 0


def _who(visit: Visit | None) -> str:
    """Who was refused: who was let in and may not do this, or the key that was named."""
    if visit is not None and visit.principal is not None:
        return visit.principal.who
    key_id = None if visit is None or visit.by_cookie else keys.id_of(visit.credential)
    return "nobody" if key_id is None else f"key:{key_id} (claimed)"
