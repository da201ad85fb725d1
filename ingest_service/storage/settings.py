"""Settings of the store."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a process' use of the database."""

    time_zone: Annotated[str, Meta(description="Local time of the towns: where a day begins.")] = (
        "Asia/Shanghai"
    )
    connections: Annotated[
        int,
        Meta(description="Connections that a process holds at most.", extra={"unit": "connections"}, ge=1),
    ] = 8
    connect_timeout_s: Annotated[
        int, Meta(description="How long one try to connect may take.", extra={"unit": "s"}, ge=1)
    ] = 5
    statement_timeout_s: Annotated[
        int, Meta(description="How long one statement may take.", extra={"unit": "s"}, ge=1)
    ] = 60
    answer_timeout_s: Annotated[
        float,
        Meta(
            description="Time without an answer after which a connection is given up.",
            extra={"unit": "s"},
            gt=0,
        ),
    ] = 75.0
