"""Defines the gateway's Prometheus metrics, and the middleware that counts and times requests by route."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUESTS = Counter("towntwin_gateway_requests_total", "Requests answered", ["route", "status"])
REQUEST_SECONDS = Histogram(
    "towntwin_gateway_request_seconds", "Time to the first byte of an answer", ["route"]
)
DEAD_LETTERS_OVER_QUOTA = Gauge(
    "towntwin_gateway_dead_letters_beyond_quota", "Dead letters of today beyond the quotas of their devices"
)
TASK_FAILURES = Counter(
    "towntwin_gateway_task_failures_total", "Background tasks that failed and began again", ["task"]
)
REJECTED_REQUESTS = Counter("towntwin_gateway_refused_total", "Requests refused", ["status"])
REPLICA_LAG = Gauge(
    "towntwin_gateway_replica_lag_seconds", "How far the replica for queries lags behind; NaN where unknown"
)
REPLICA_READS = Counter(
    "towntwin_gateway_replica_reads_total", "Requests that a replica may answer, by who answered", ["by"]
)
OPEN_STREAMS = Gauge("towntwin_gateway_streams", "Live streams open")


class MetricsMiddleware:
    """ASGI middleware that counts and times requests by route template: paths would be unbounded labels."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; count and time it when its response starts."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_at_s = time.perf_counter()

        async def send_measured(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "other")
                REQUESTS.labels(route, message["status"]).inc()
                REQUEST_SECONDS.labels(route).observe(time.perf_counter() - started_at_s)
            await send(message)

        await self._app(scope, receive, send_measured)
