"""The authenticated request: principal, right, and details for its audit entry."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.access.principal import Principal
    from gateway.access.rights import Found

KEY = "towntwin.visit"


@dataclass(slots=True)
class Visit:
    """``principal`` is None where anybody may come; ``is_export``, ``rows``, ``detail`` are for the audit."""

    found: Found
    address: str
    principal: Principal | None = None
    credential: str = ""
    by_cookie: bool = False  # then the credential is a session
    peer: str = ""  # where the connection itself comes from; `address` may be what a trusted proxy forwarded
    forwarded: bool = False  # by anybody
    is_export: bool = False
    rows: int = 0  # readings and anomalies in the answer, as far as they are known before it begins
    detail: dict[str, Any] = field(default_factory=dict)
