"""Chooses the queue in which a request waits: that of heavy requests or that of all others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.access import rights
from gateway.access.fair_queue import Budget, FairQueue

if TYPE_CHECKING:
    from starlette.types import Scope

    from gateway.access.visit import Visit
    from gateway.settings import Settings

MOST_WAITING = 200  # requests of one key
LIVE = "/v1/live"  # waits for news most of the time: what it takes at its begin, `gateway.live` takes in turn
FILES = (b"csv", b"ndjson", b"arrow", b"parquet")


class Turns:
    """Two queues: of heavy requests, each key with a budget of the server's time, and of all others.

    Together they take fewer connections of the database than a process has, whatever one key asks for.
    """

    def __init__(self, settings: Settings) -> None:
        budget = Budget(share=settings.heavy_share, burst_s=settings.heavy_burst_s)
        self.heavy = FairQueue(
            per_key=settings.heavy_per_key,
            total=settings.heavy_at_once,
            most_waiting=MOST_WAITING,
            budget=budget,
        )
        self.light = FairQueue(
            per_key=settings.requests_per_key, total=settings.requests_at_once, most_waiting=MOST_WAITING
        )

    def of(self, scope: Scope, visit: Visit) -> FairQueue | None:
        """The queue of a request; None for what is no work: sockets, files of the console, live streams."""
        right = visit.found.right
        if scope["type"] != "http" or right is rights.CONSOLE or visit.found.path == LIVE:
            return None
        return self.heavy if right.heavy or _is_file(scope) else self.light


def _is_file(scope: Scope) -> bool:
    """Whether an answer is wanted as a file, which is everything at once."""
    wanted = scope["query_string"] + b"".join(value for name, value in scope["headers"] if name == b"accept")
    return any(form in wanted for form in FILES)
