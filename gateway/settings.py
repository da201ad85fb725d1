"""Settings of the gateway."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the gateway listens, and how much one answer may hold."""

    host: Annotated[str, Meta(description="Address that it listens on.")] = "127.0.0.1"
    port: Annotated[int, Meta(description="Port that it listens on.", ge=1, le=65535)] = 8080
    page_rows: Annotated[int, Meta(description="Rows in one page at most.", extra={"unit": "rows"}, ge=1)] = (
        10_000
    )
    live_poll_s: Annotated[
        float,
        Meta(description="How often live streams look for news.", extra={"unit": "s"}, gt=0),
    ] = 0.2
    live_waiting: Annotated[
        int,
        Meta(
            description="News that wait for a slow reader, before its stream ends.",
            extra={"unit": "news"},
            ge=10,
        ),
    ] = 1000
    heartbeat_s: Annotated[
        float, Meta(description="A quiet stream says so that often.", extra={"unit": "s"}, gt=0)
    ] = 15.0
    trace_window_s: Annotated[
        float,
        Meta(
            description="How far back a trace looks, where the query does not say.", extra={"unit": "s"}, gt=0
        ),
    ] = 86_400.0
