"""Assigns each request to one of two fair queues: heavy requests or all others."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from gateway.auth.fair_queue import FairQueue, TimeBudget

if TYPE_CHECKING:
    from starlette.types import Scope

    from gateway.auth.request_auth import RequestAuth
    from gateway.settings import Settings

MAX_WAITING_PER_KEY = 200  # waiting requests of one key; more get a 429
FILE_FORMATS = ("csv", "ndjson", "arrow", "parquet")
API_PREFIX = "/v1/"  # of the routes with file formats; the worker process has few pages of the console


class RequestQueues:
    """Two queues: of heavy requests, with a time budget per key, and of all others.

    Together they use fewer database connections than a process has, whatever one key requests.
    """

    def __init__(self, settings: Settings) -> None:
        budget = TimeBudget(share=settings.heavy_share, burst_s=settings.heavy_burst_s)
        self.regular = FairQueue(
            per_key=settings.requests_per_key,
            total=settings.requests_at_once,
            max_waiting=MAX_WAITING_PER_KEY,
        )
        self.heavy = FairQueue(
            per_key=settings.heavy_per_key,
            total=settings.heavy_at_once,
            max_waiting=MAX_WAITING_PER_KEY,
            budget=budget,
            yields_to=self.regular,
        )

    def queue_for(self, scope: Scope, auth: RequestAuth) -> FairQueue | None:
        """Return the queue of a request; None for WebSockets and live streams."""
        right = auth.matched_route.right
        # Streams are idle most of the time; `gateway.live` queues their catch-up reads itself.
        if scope["type"] != "http" or right.unqueued:
            return None
        return self.heavy if right.heavy or _is_file_request(scope) else self.regular


def _is_file_request(scope: Scope) -> bool:
    """Whether a request of the API names a file format, whose response is not paged."""
    if not scope["path"].startswith(API_PREFIX):
        return False
    parameters = parse_qsl(scope["query_string"].decode("latin-1"))
    requested = [value for name, value in parameters if name == "format"]
    requested += [value.decode("latin-1") for name, value in scope["headers"] if name == b"accept"]
    return any(file_format in one for one in requested for file_format in FILE_FORMATS)
