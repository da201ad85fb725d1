"""Chooses the queue in which a request waits: that of heavy requests or that of all others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.auth import authorization
from gateway.auth.fair_queue import FairQueue, TimeBudget

if TYPE_CHECKING:
    from starlette.types import Scope

    from gateway.auth.request_auth import RequestAuth
    from gateway.settings import Settings

MAX_WAITING_PER_KEY = 200  # requests of one key
FILE_FORMATS = (b"csv", b"ndjson", b"arrow", b"parquet")


class RequestQueues:
    """Two queues: of heavy requests, each key with a budget of the server's time, and of all others.

    Together they take fewer connections of the database than a process has, whatever one key asks for.
    """

    def __init__(self, settings: Settings) -> None:
        budget = TimeBudget(share=settings.heavy_share, burst_s=settings.heavy_burst_s)
        self.heavy = FairQueue(
            per_key=settings.heavy_per_key,
            total=settings.heavy_at_once,
            max_waiting=MAX_WAITING_PER_KEY,
            budget=budget,
        )
        self.regular = FairQueue(
            per_key=settings.requests_per_key,
            total=settings.requests_at_once,
            max_waiting=MAX_WAITING_PER_KEY,
        )

    def queue_for(self, scope: Scope, auth: RequestAuth) -> FairQueue | None:
        """The queue of a request; None for what is no work: sockets, files of the console, live streams."""
        right = auth.matched_route.right
        if scope["type"] != "http" or right is authorization.CONSOLE or right is authorization.LIVE:
            return None
        return self.heavy if right.heavy or _is_file_request(scope) else self.regular


def _is_file_request(scope: Scope) -> bool:
    """Whether an answer is wanted as a file, which is everything at once."""
    requested = scope["query_string"] + b"".join(
        value for name, value in scope["headers"] if name == b"accept"
    )
    return any(file_format in requested for file_format in FILE_FORMATS)
