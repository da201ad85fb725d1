"""Authenticates a request by API key, OIDC token or session cookie, and applies rate limits.

It also checks the right that the route requires, and rejects cross-site requests that carry the cookie.
"""

from __future__ import annotations

import asyncio
import math
import time
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers

from gateway.api.problems import ProblemError
from gateway.auth import api_keys, authorization, sessions
from gateway.auth.api_keys import ApiKeyCache, AuthenticationError, principal_of_key
from gateway.auth.oidc import OidcTokenVerifier
from gateway.auth.rate_limit import TokenBuckets
from gateway.auth.request_auth import AUTH_SCOPE_KEY as REQUEST_STATE_KEY
from gateway.auth.request_auth import RequestAuth
from gateway.transport import forwarded_headers
from ingest_service.storage.contract.errors import StoreError, StoreUnavailableError

if TYPE_CHECKING:
    from starlette.types import Scope

    from gateway.auth.authorization import MatchedRoute, RouteRights
    from gateway.auth.member_links import MemberTeams
    from gateway.auth.principal import Principal
    from gateway.settings import Settings
    from ingest_service.storage.postgres.api_keys import ApiKey, ApiKeyStore

SESSION_COOKIE = "towntwin_session"
FAILED_AUTH_PER_S, FAILED_AUTH_BURST = 1.0, 20.0  # failures of one address or key id before a 429
RECHECK_TIMEOUT_S = 1.0  # longest delay of a running stream or page by the check of its key
SAFE_METHODS = {"GET", "HEAD"}


class Authenticator:
    """Resolves the principal of a request, checks its right, and limits its rate."""

    def __init__(
        self,
        accounts: ApiKeyStore,
        settings: Settings,
        route_rights: RouteRights,
        member_teams: MemberTeams,
    ) -> None:
        self._accounts = accounts
        self._route_rights = route_rights
        self._member_teams = member_teams
        self._key_cache = ApiKeyCache(accounts)
        self._oidc_verifier = OidcTokenVerifier(settings)
        self._request_limiter = TokenBuckets(per_s=settings.requests_per_s, burst=settings.requests_burst)
        self._failed_auth_limiter = TokenBuckets(per_s=FAILED_AUTH_PER_S, burst=FAILED_AUTH_BURST)
        public = forwarded_headers.parse_base_url(settings.public_url)
        self._public_host = None if public is None else urlsplit(public).netloc

    async def authenticate(self, scope: Scope) -> RequestAuth:
        """Authenticate and authorise a request.

        Raises
        ------
        ProblemError
            401 without a valid credential, 403 without the right, 404 or 405 where no route matches,
            429 beyond a rate limit.
        StoreError
            Where the keys can't be read.

        """
        headers = Headers(scope=scope)
        method = scope.get("method", "GET")  # a WebSocket's handshake is a GET, without a method in the scope
        auth = RequestAuth(self._match_route(method, scope["path"]), (scope.get("client") or ("", 0))[0])
        scope[REQUEST_STATE_KEY] = auth
        auth.peer_address = scope.get(forwarded_headers.PEER_SCOPE_KEY, auth.address)
        auth.was_forwarded = any(name in forwarded_headers.FORWARDING_HEADERS for name, _ in scope["headers"])
        role = auth.matched_route.right.role
        if role is None:
            is_of_device = auth.matched_route.right is authorization.DEVICE_ENROLMENT
            if method != "POST" or is_of_device:  # POST /login is limited by its failures instead
                self._check_rate(auth.address)
            return auth
        auth.credential, auth.from_cookie = _extract_credential(headers)
        if auth.from_cookie:
            self._check_csrf(scope, headers, auth.matched_route)
        auth.principal = await self.resolve_principal(auth)
        self._check_rate(auth.principal.principal_id)
        _check_right(auth.principal, auth.matched_route)
        return auth

    async def resolve_principal(self, auth: RequestAuth) -> Principal:
        """Return the principal of a request's credential, with the team of a linked team member.

        Raises `ProblemError` 401 where the credential is invalid, and 429 after too many failures. A valid
        credential never gets a 429 for the failures of other clients of its address.
        """
        return await self._member_teams.with_team(await self._verified_principal(auth))

    async def is_still_authenticated(self, auth: RequestAuth) -> bool:
        """Whether the credential of a running stream or page is still valid, with the same team.

        While the database is unavailable a revocation can't be detected, and there is no new data to leak: a
        stream goes on until its key expires.
        """
        try:
            principal = await asyncio.wait_for(self.resolve_principal(auth), RECHECK_TIMEOUT_S)
        except (StoreUnavailableError, TimeoutError):
            ends_s = auth.principal.expires_s if auth.principal else None
            return ends_s is None or time.time() < ends_s
        except (ProblemError, StoreError):
            return False
        return auth.principal is None or principal.team_id == auth.principal.team_id

    async def session(self, auth: RequestAuth) -> tuple[str, int]:
        """Return a signed session for a key or token, and its lifetime [s]. Raises as `resolve_principal`."""
        principal = await self._verified_principal(auth)  # without a linked team, which can change
        session = sessions.new_session(principal, key_id=api_keys.parse_key_id(auth.credential))
        return sessions.sign_session(await self._secret(), session), int(session.expires_s - time.time())

    async def _verified_principal(self, auth: RequestAuth) -> Principal:
        try:
            if auth.from_cookie:
                return await self._principal_of_session(auth)
            if not auth.credential.startswith("tt_"):
                return await self._oidc_verifier.verify(auth.credential)
            key = await self._key_cache.verify(auth.credential)
            _check_loopback(key, auth)
        except AuthenticationError as error:
            self._count_failure(auth)
            raise _unauthenticated(str(error)) from error
        return principal_of_key(key)

    async def _principal_of_session(self, auth: RequestAuth) -> Principal:
        session = sessions.read_session(await self._secret(), auth.credential)
        if session.key_id is None:
            return session.principal
        key = await self._key_cache.by_id(session.key_id)
        _check_loopback(key, auth)
        return principal_of_key(key)

    async def _secret(self) -> bytes:
        if "secret" in vars(self._accounts):  # a cached property: the first access queries the database
            return self._accounts.secret
        return await run_in_threadpool(lambda: self._accounts.secret)

    def _count_failure(self, auth: RequestAuth) -> None:
        """Count a failure of an address and a key id. Raises `ProblemError` 429 beyond the limits."""
        limiter_names = [f"address {auth.address}"]
        key_id = None if auth.from_cookie else api_keys.parse_key_id(auth.credential)
        limiter_names += [] if key_id is None else [f"key {key_id}"]
        wait_s = max(self._failed_auth_limiter.try_take(name, now_s=time.time()) for name in limiter_names)
        if wait_s:
            raise _rate_limited(wait_s)

    def _check_rate(self, name: str) -> None:
        wait_s = self._request_limiter.try_take(name, now_s=time.time())
        if wait_s:
            raise _rate_limited(wait_s)

    def _match_route(self, method: str, path: str) -> MatchedRoute:
        matched_route = self._route_rights.match(method, path)
        if matched_route is not None:
            return matched_route
        allowed_methods = self._route_rights.allowed_methods(path)
        if allowed_methods:
            raise ProblemError(
                405,
                f"{path} takes {' and '.join(allowed_methods)}",
                headers={"Allow": ", ".join(allowed_methods)},
            )
        raise ProblemError(404, f"there is no {path}: see /docs")

    def _check_csrf(self, scope: Scope, headers: Headers, matched_route: MatchedRoute) -> None:
        """Limit cookies, which browsers attach by themselves, to reads and to forms of our own pages."""
        is_change = scope.get("method", "GET") not in SAFE_METHODS
        if is_change and not matched_route.right.by_session:
            raise _unauthenticated("a cookie only reads here: send the key in a header")
        if is_change or scope["type"] == "websocket":
            # A browser sends the origin with every change: one without it comes from no page of ours.
            origin = headers.get("origin", "null")
            if origin.partition("://")[2] not in {headers.get("host"), self._public_host}:
                raise ProblemError(403, f"the page at {origin!r} is not this gateway's")


def _extract_credential(headers: Headers) -> tuple[str, bool]:
    """Return the credential of a request, and whether it came in a cookie."""
    scheme, _, bearer_credential = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and bearer_credential.strip():
        return bearer_credential.strip(), False
    if headers.get("x-api-key"):
        return headers["x-api-key"], False
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(SESSION_COOKIE)
    except CookieError:
        morsel = None
    if morsel is None or not morsel.value:
        raise _unauthenticated(
            "bring a key: Authorization: Bearer tt_…, or X-API-Key: tt_… (towntwin key create)"
        )
    return morsel.value, True


def _check_right(principal: Principal, matched_route: MatchedRoute) -> None:
    right = matched_route.right
    if right.role is not None and principal.role < right.role:
        raise ProblemError(
            403, f"this asks for the role {right.role.role_name}, and yours is {principal.role.role_name}"
        )
    if right.scope and principal.scopes and right.scope not in principal.scopes:
        raise ProblemError(
            403, f"this asks for the scope {right.scope}, and yours are {_comma_separated(principal.scopes)}"
        )
    if right.requires_all_areas and principal.areas is not None:
        raise ProblemError(403, "this is about the whole platform, and you are bound to an area")


def _comma_separated(scopes: frozenset[str]) -> str:
    return ", ".join(sorted(scopes))


def _check_loopback(key: ApiKey, auth: RequestAuth) -> None:
    """Reject a loopback-only key where the peer is not loopback or a proxy forwarded the request."""
    if key.loopback and (auth.was_forwarded or not forwarded_headers.is_loopback(auth.peer_address)):
        raise AuthenticationError(f"key {key.key_id} is good on this machine alone: ask for one of your own")


def _unauthenticated(detail: str) -> ProblemError:
    return ProblemError(401, detail, headers={"WWW-Authenticate": 'Bearer realm="towntwin"'})


def _rate_limited(wait_s: float) -> ProblemError:
    seconds = max(1, math.ceil(wait_s))
    return ProblemError(
        429, f"too many requests: try again in {seconds} s", headers={"Retry-After": str(seconds)}
    )
