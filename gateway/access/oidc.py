"""Verifies OpenID Connect tokens: signature, audience, expiry, role and area."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import jwt
import structlog

from gateway.access.keys import RefusedError
from gateway.access.principal import ROLES, Principal
from ingest_service.storage.names import printable
from ingest_service.storage.wall import EVERYTHING

if TYPE_CHECKING:
    from gateway.settings import Settings

log = structlog.get_logger()

# Asymmetric ones alone: with HS256 anybody could sign with the provider's public key.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
GOOD_FOR_S = 600.0
AGAIN_S = 10.0  # an unknown key id may be a new one, but not more often
LEEWAY_S = 30.0
WAIT_S = 5.0
KNOWN_S = 30.0  # so long a token that was verified is not verified again
MOST_KNOWN = 4096


class Tokens:
    """Tells good tokens from others; the provider's keys are kept, and fetched again when they change."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_s = float("-inf")
        self._threads = ThreadPoolExecutor(
            2, "tokens"
        )  # a provider that does not answer holds up nobody else
        self._known: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()  # -> until when [s]

    async def verify(self, text: str) -> Principal:
        """Who bears a token. Raises `RefusedError`."""
        digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=32).digest()
        known, until_s = self._known.get(digest, (None, 0.0))
        if known is not None and time.time() < until_s:
            return known
        found = await asyncio.get_running_loop().run_in_executor(self._threads, self._verify, text)
        now_s = time.time()
        self._known[digest] = (found, min(now_s + KNOWN_S, found.expires_s or now_s))
        self._known.move_to_end(digest)
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return found

    def _verify(self, text: str) -> Principal:
        settings = self._settings
        if settings.oidc_issuer is None:
            raise RefusedError("this is no key, and no OpenID provider is set (gateway setting oidc_issuer)")
        try:
            claims = jwt.decode(
                text,
                self._key(jwt.get_unverified_header(text)),
                algorithms=ALGORITHMS,
                audience=settings.oidc_audience,
                issuer=settings.oidc_issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise RefusedError(
                f"the token is refused: {type(error).__name__.removesuffix('Error')}"
            ) from error
        return self._principal(claims)

    def _principal(self, claims: dict[str, Any]) -> Principal:
        given = _words(claims.get(self._settings.oidc_role_claim))
        roles = [ROLES[one] for one in given if one in ROLES]
        areas = _words(claims.get(self._settings.oidc_area_claim))
        if not roles or not areas:
            raise RefusedError(
                f"the token has no {self._settings.oidc_role_claim} that is a role here,"
                f" or no {self._settings.oidc_area_claim}: the provider has to give both"
            )
        return Principal(
            who=printable(f"oidc:{claims['sub']}"),
            name=printable(
                str(claims.get("name") or claims.get("preferred_username") or claims["sub"])[:200]
            ),
            role=max(roles),
            areas=None if EVERYTHING in areas else tuple(areas),
            expires_s=float(claims["exp"]),
        )

    def _key(self, header: dict[str, Any]) -> jwt.PyJWK:
        """The key that a token names; the only one where it names none."""
        name = header.get("kid")
        with self._lock:
            age_s = time.monotonic() - self._fetched_s
            if age_s > GOOD_FOR_S or (self._find(name) is None and age_s > AGAIN_S):
                self._fetch()
            found = self._find(name)
        if found is None:
            raise RefusedError("the token is signed with a key that the provider does not show")
        return found

    def _find(self, name: object) -> jwt.PyJWK | None:
        if name is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(str(name))

    def _fetch(self) -> None:
        self._fetched_s = time.monotonic()
        issuer = str(self._settings.oidc_issuer).rstrip("/")
        try:
            with httpx.Client(timeout=WAIT_S) as client:
                about = client.get(f"{issuer}/.well-known/openid-configuration").raise_for_status().json()
                shown = client.get(about["jwks_uri"]).raise_for_status().json()["keys"]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            log.warning("oidc_provider_away", issuer=issuer, error=str(error))
            return  # those that are kept are good a while longer
        keys = {str(one.get("kid", "")): _public(one) for one in shown if isinstance(one, dict)}
        self._keys = {name: key for name, key in keys.items() if key is not None}
        self._known = OrderedDict()  # a key that the provider took back may have signed them


def _public(shown: dict[str, Any]) -> jwt.PyJWK | None:
    """A key that signs; None where it is for something else, or of a kind that nobody here reads."""
    if shown.get("kty") not in {"RSA", "EC", "OKP"} or shown.get("use", "sig") != "sig":
        return None
    try:
        return jwt.PyJWK(shown)
    except jwt.PyJWTError as error:
        log.warning("oidc_key_left_out", kid=shown.get("kid"), error=str(error))
        return None


def _words(claim: object) -> list[str]:
    """A claim as words: a list of them, or some in one text.

    >>> _words("viewer engineer"), _words(["330483"]), _words(7)
    (['viewer', 'engineer'], ['330483'], [])
    """
    parts = claim.split() if isinstance(claim, str) else claim if isinstance(claim, list) else []
    return [one for one in parts if isinstance(one, str) and one and "," not in one]
