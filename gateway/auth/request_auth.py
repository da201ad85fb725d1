"""Holds the authentication state of a request: principal, required right, and facts for its audit entry."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.auth.authorization import MatchedRoute
    from gateway.auth.principal import Principal

AUTH_SCOPE_KEY = "towntwin.visit"


@dataclass(slots=True)
class RequestAuth:
    """Authentication state of one request, kept in its ASGI scope under `AUTH_SCOPE_KEY`.

    Attributes
    ----------
    address : client address; it may be the one that a trusted proxy forwarded
    principal : None on public routes
    credential : API key or OIDC token; the session where ``from_cookie``
    peer_address : address of the connection itself
    was_forwarded : whether the request has any forwarding header, from whatever peer
    is_export : whether the response counts as an export, for the audit
    uncharged_s : part of the time worked that is not the key's, as while the judge is compiled [s]
    rows : readings and anomalies in the response, as far as known before it starts
    detail : fields of the audit entry's detail

    """

    matched_route: MatchedRoute
    address: str
    principal: Principal | None = None
    credential: str = ""
    from_cookie: bool = False
    peer_address: str = ""
    was_forwarded: bool = False
    is_export: bool = False
    uncharged_s: float = 0.0
    rows: int = 0
    detail: dict[str, Any] = field(default_factory=dict)
