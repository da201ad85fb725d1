"""Authenticates a request by API key, OIDC token or session, checks its right, and applies rate limits."""

from __future__ import annotations

import asyncio
import math
import time
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers

from gateway.access import keys, proxies, rights, sessions
from gateway.access.buckets import Buckets
from gateway.access.keys import Keys, RefusedError, principal
from gateway.access.oidc import Tokens
from gateway.access.visit import KEY as VISIT
from gateway.access.visit import Visit
from gateway.problems import ProblemError
from ingest_service.storage.errors import StoreError, StoreUnavailable

if TYPE_CHECKING:
    from starlette.types import Scope

    from gateway.access.principal import Principal
    from gateway.access.rights import Found
    from gateway.settings import Settings
    from ingest_service.storage.accounts import Accounts, ApiKey

COOKIE = "towntwin_session"
REFUSED_PER_S, REFUSED_BURST = 1.0, 20.0  # of one address, and of one key id, before they get 429
KNOWN_WITHIN_S = 1.0  # a stream or page does not wait longer for whether its key is still good
SAFE = {"GET", "HEAD"}


class Gate:
    """Tells who comes, and whether they may."""

    def __init__(self, accounts: Accounts, settings: Settings) -> None:
        self._accounts = accounts
        self._keys = Keys(accounts)
        self._tokens = Tokens(settings)
        self._askers = Buckets(per_s=settings.requests_per_s, burst=settings.requests_burst)
        self._refused = Buckets(per_s=REFUSED_PER_S, burst=REFUSED_BURST)
        public = proxies.base_url(settings.public_url)
        self._public_host = None if public is None else urlsplit(public).netloc

    async def admit(self, scope: Scope) -> Visit:
        """The visit of a request. Raises `ProblemError`, or as the store does."""
        headers = Headers(scope=scope)
        method = scope.get("method", "GET")  # a WebSocket begins as one
        visit = Visit(_found(method, scope["path"]), (scope.get("client") or ("", 0))[0])
        scope[VISIT] = visit
        visit.peer = scope.get(proxies.PEER, visit.address)
        visit.forwarded = any(name in proxies.FORWARDING for name, _ in scope["headers"])
        role = visit.found.right.role
        if role is None:
            if method != "POST":  # of what is posted to /login, the refused ones are counted
                self._not_too_often(visit.address)
            return visit
        visit.credential, visit.by_cookie = _credential(headers)
        if visit.by_cookie:
            self._from_here(scope, headers, visit.found)
        visit.principal = await self.known(visit)
        self._not_too_often(visit.principal.who)
        _may(visit.principal, visit.found)
        return visit

    async def known(self, visit: Visit) -> Principal:
        """Who comes.

        Raises `ProblemError` 401 where it is nobody, and 429 where it was nobody too often; a good credential
        is never answered so, whoever else comes from its address.
        """
        try:
            if visit.by_cookie:
                return await self._of_session(visit)
            if not visit.credential.startswith("tt_"):
                return await self._tokens.verify(visit.credential)
            key = await self._keys.verify(visit.credential)
            _near_enough(key, visit)
        except RefusedError as error:
            self._count(visit)
            raise _unknown(str(error)) from error
        return principal(key)

    async def still_known(self, visit: Visit) -> bool:
        """Whether a visitor who was let in before would be let in again.

        While the database is away nobody knows whether a key was revoked, and there is nothing to see: what
        lasts goes on until the key's own end.
        """
        try:
            await asyncio.wait_for(self.known(visit), KNOWN_WITHIN_S)
        except (StoreUnavailable, TimeoutError):
            ends_s = visit.principal.expires_s if visit.principal else None
            return ends_s is None or time.time() < ends_s
        except (ProblemError, StoreError):
            return False
        return True

    async def session(self, visit: Visit) -> tuple[str, int]:
        """A session for whoever came with a key or a token, and how long it lasts [s]. Raises as `known`."""
        session = sessions.of(await self.known(visit), key_id=keys.id_of(visit.credential))
        return sessions.sign(await self._secret(), session), int(session.expires_s - time.time())

    async def _of_session(self, visit: Visit) -> Principal:
        session = sessions.read(await self._secret(), visit.credential)
        if session.key_id is None:
            return session.principal
        key = await self._keys.by_id(session.key_id)
        _near_enough(key, visit)
        return principal(key)

    async def _secret(self) -> bytes:
        if "secret" in vars(self._accounts):  # which is read from the database once
            return self._accounts.secret
        return await run_in_threadpool(lambda: self._accounts.secret)

    def _count(self, visit: Visit) -> None:
        """Count a refusal against its address and its key id. Raises `ProblemError` 429 beyond the limits."""
        names = [f"address {visit.address}"]
        key_id = None if visit.by_cookie else keys.id_of(visit.credential)
        names += [] if key_id is None else [f"key {key_id}"]
        wait_s = max(self._refused.take(name, now_s=time.time()) for name in names)
        if wait_s:
            raise _too_often(wait_s)

    def _not_too_often(self, name: str) -> None:
        wait_s = self._askers.take(name, now_s=time.time())
        if wait_s:
            raise _too_often(wait_s)

    def _from_here(self, scope: Scope, headers: Headers, found: Found) -> None:
        """A browser sends cookies by itself: so they only read, and only for pages of ours."""
        changes = scope.get("method", "GET") not in SAFE
        if changes and found.right.scope != rights.CONSOLE.scope:
            raise _unknown("a cookie only reads: send the key in a header")
        origin = headers.get("origin")
        own = {headers.get("host"), self._public_host}
        foreign = origin is not None and origin.partition("://")[2] not in own
        if foreign and (changes or scope["type"] == "websocket"):
            raise ProblemError(403, f"the page at {origin!r} is not this gateway's")


def _found(method: str, path: str) -> Found:
    found = rights.find(method, path)
    if found is not None:
        return found
    others = rights.methods(path)
    if others:
        raise ProblemError(405, f"{path} takes {' and '.join(others)}", headers={"Allow": ", ".join(others)})
    raise ProblemError(404, f"there is no {path}: see /docs")


def _credential(headers: Headers) -> tuple[str, bool]:
    """What was brought, and whether a cookie brought it."""
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and bearer.strip():
        return bearer.strip(), False
    if headers.get("x-api-key"):
        return headers["x-api-key"], False
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        morsel = None
    if morsel is None or not morsel.value:
        raise _unknown("bring a key: Authorization: Bearer tt_…, or X-API-Key: tt_… (towntwin key create)")
    return morsel.value, True


def _may(who: Principal, found: Found) -> None:
    right = found.right
    if right.role is not None and who.role < right.role:
        raise ProblemError(403, f"this asks for the role {right.role.word}, and yours is {who.role.word}")
    if right.scope and who.scopes and right.scope not in who.scopes:
        raise ProblemError(403, f"this asks for the scope {right.scope}, and yours are {_list(who.scopes)}")
    if right.whole and who.areas is not None:
        raise ProblemError(403, "this is about the whole platform, and you are bound to an area")


def _list(words: frozenset[str]) -> str:
    return ", ".join(sorted(words))


def _near_enough(key: ApiKey, visit: Visit) -> None:
    """A key for loopback is good where the connection itself comes from there, and nobody passed it on."""
    if key.loopback and (visit.forwarded or not proxies.is_loopback(visit.peer)):
        raise RefusedError(f"key {key.key_id} is good on this machine alone: ask for one of your own")


def _unknown(detail: str) -> ProblemError:
    return ProblemError(401, detail, headers={"WWW-Authenticate": 'Bearer realm="towntwin"'})


def _too_often(wait_s: float) -> ProblemError:
    seconds = max(1, math.ceil(wait_s))
    return ProblemError(
        429, f"too many requests: try again in {seconds} s", headers={"Retry-After": str(seconds)}
    )
