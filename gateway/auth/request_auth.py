"""The authenticated request: principal, right, and details for its audit entry."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.auth.authorization import MatchedRoute
    from gateway.auth.principal import Principal

AUTH_SCOPE_KEY = "towntwin.visit"


@dataclass(slots=True)
class RequestAuth:
    """``principal`` is None where anybody may come; ``is_export``, ``rows``, ``detail`` are for the audit."""

    matched_route: MatchedRoute
    address: str
    principal: Principal | None = None
    credential: str = ""
    from_cookie: bool = False  # then the credential is a session
    peer_address: str = (
        ""  # where the connection itself comes from; `address` may be what a trusted proxy forwarded
    )
    was_forwarded: bool = False  # by anybody
    is_export: bool = False
    rows: int = 0  # readings and anomalies in the answer, as far as they are known before it begins
    detail: dict[str, Any] = field(default_factory=dict)
