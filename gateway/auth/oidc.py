"""Verifies OpenID Connect tokens (signature, issuer, audience, expiry) and maps them to principals."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import structlog

from gateway.auth.api_keys import AuthenticationError
from gateway.auth.principal import ROLES_BY_NAME, Principal
from ingest_service.storage.contract.name_rules import escape_controls
from ingest_service.storage.postgres.row_level_security import ALL_AREAS

if TYPE_CHECKING:
    import jwt

    from gateway.settings import Settings

log = structlog.get_logger()

# Asymmetric algorithms only: with HS256 anybody could sign with the provider's public key.
SIGNATURE_ALGORITHMS = [
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
]
KEY_SET_LIFETIME_S = 600.0
KEY_SET_RETRY_S = 10.0  # least time between two fetches, which an unknown key id causes
CLOCK_LEEWAY_S = 30.0
PROVIDER_TIMEOUT_S = 5.0
VERIFIED_CACHE_S = 30.0  # for this long a verified token is accepted without another verification
MAX_VERIFIED_TOKENS = 4096
MAX_EMAIL_CHARS = 254  # RFC 5321, as in RFC 3696, erratum 1690


class OidcTokenVerifier:
    """Verifies tokens with the provider's key set, which is cached and fetched again when it changes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_s = float("-inf")
        # Own threads: a provider that does not answer must not block other requests.
        self._verifier_threads = ThreadPoolExecutor(2, "tokens")
        # BLAKE2b digest of a token -> (principal, cached until [s])
        self._verified: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()

    async def verify(self, token_text: str) -> Principal:
        """Return the principal of a valid token. Raises `AuthenticationError`."""
        digest = hashlib.blake2b(token_text.encode("utf-8", "surrogateescape"), digest_size=32).digest()
        cached_principal, until_s = self._verified.get(digest, (None, 0.0))
        if cached_principal is not None and time.time() < until_s:
            return cached_principal
        result = await asyncio.get_running_loop().run_in_executor(
            self._verifier_threads, self._verify, token_text
        )
        now_s = time.time()
        self._verified[digest] = (result, min(now_s + VERIFIED_CACHE_S, result.expires_s or now_s))
        self._verified.move_to_end(digest)
        if len(self._verified) > MAX_VERIFIED_TOKENS:
            self._verified.popitem(last=False)
        return result

    def _verify(self, token_text: str) -> Principal:
        settings = self._settings
        if settings.oidc_issuer is None:
            raise AuthenticationError(
                "this is no key, and no OpenID provider is set (gateway setting oidc_issuer)"
            )
        import jwt  # noqa: PLC0415 - with cryptography 9 MB, which a gateway without a provider does not need

        try:
            claims = jwt.decode(
                token_text,
                self._key(jwt.get_unverified_header(token_text)),
                algorithms=SIGNATURE_ALGORITHMS,
                audience=settings.oidc_audience,
                issuer=settings.oidc_issuer,
                leeway=CLOCK_LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise AuthenticationError(
                f"the token is refused: {type(error).__name__.removesuffix('Error')}"
            ) from error
        return self._principal(claims)

    def _principal(self, claims: dict[str, Any]) -> Principal:
        claimed_roles = _claim_values(claims.get(self._settings.oidc_role_claim))
        roles = [ROLES_BY_NAME[one] for one in claimed_roles if one in ROLES_BY_NAME]
        areas = _claim_values(claims.get(self._settings.oidc_area_claim))
        if not roles or not areas:
            raise AuthenticationError(
                f"the token has no {self._settings.oidc_role_claim} that is a role here,"
                f" or no {self._settings.oidc_area_claim}: the provider has to give both"
            )
        return Principal(
            principal_id=escape_controls(f"oidc:{claims['sub']}"),
            name=escape_controls(
                str(claims.get("name") or claims.get("preferred_username") or claims["sub"])[:200]
            ),
            role=max(roles),
            areas=None if ALL_AREAS in areas else tuple(areas),
            expires_s=float(claims["exp"]),
            team_id=next(iter(_claim_values(claims.get(self._settings.oidc_team_claim))), None),
            email=_verified_email(claims),
        )

    def _key(self, header: dict[str, Any]) -> jwt.PyJWK:
        """Return the provider's key that a token's header names; the only one where it names none."""
        name = header.get("kid")
        with self._lock:
            age_s = time.monotonic() - self._fetched_s
            if age_s > KEY_SET_LIFETIME_S or (self._find_key(name) is None and age_s > KEY_SET_RETRY_S):
                self._fetch()
            result = self._find_key(name)
        if result is None:
            raise AuthenticationError("the token is signed with a key that the provider does not show")
        return result

    def _find_key(self, name: object) -> jwt.PyJWK | None:
        if name is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(str(name))

    def _fetch(self) -> None:
        import httpx  # noqa: PLC0415 - as jwt above

        self._fetched_s = time.monotonic()
        issuer = str(self._settings.oidc_issuer).rstrip("/")
        try:
            with httpx.Client(timeout=PROVIDER_TIMEOUT_S) as client:
                discovery = client.get(f"{issuer}/.well-known/openid-configuration").raise_for_status().json()
                key_set = client.get(discovery["jwks_uri"]).raise_for_status().json()["keys"]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            log.warning("oidc_provider_away", issuer=issuer, error=str(error))
            return  # the cached keys stay in use
        keys = {str(one.get("kid", "")): _signing_key(one) for one in key_set if isinstance(one, dict)}
        self._keys = {name: key for name, key in keys.items() if key is not None}
        self._verified = OrderedDict()  # they may be signed with a key that the provider withdrew


def _signing_key(key_set: dict[str, Any]) -> jwt.PyJWK | None:
    """Return a JWK as a signing key; None where it has another use or an unsupported type."""
    import jwt  # noqa: PLC0415 - as above

    if key_set.get("kty") not in {"RSA", "EC", "OKP"} or key_set.get("use", "sig") != "sig":
        return None
    try:
        return jwt.PyJWK(key_set)
    except jwt.PyJWTError as error:
        log.warning("oidc_key_left_out", kid=key_set.get("kid"), error=str(error))
        return None


def _claim_values(claim: object) -> list[str]:
    """Return the values of a claim: a list of texts, or a text separated by blanks.

    >>> _claim_values("viewer engineer"), _claim_values(["330483"]), _claim_values(7)
    (['viewer', 'engineer'], ['330483'], [])
    """
    parts = claim.split() if isinstance(claim, str) else claim if isinstance(claim, list) else []
    return [one for one in parts if isinstance(one, str) and one and "," not in one]


def _verified_email(claims: dict[str, Any]) -> str | None:
    """Return the e-mail address of a token, in lower case, if the provider has verified it.

    An address with other characters than ASCII is left out: some of them become an ASCII letter in lower
    case (the Kelvin sign a k), and the address another person's.

    >>> _verified_email({"email": "Wang@Example.org", "email_verified": True})
    'wang@example.org'
    >>> _verified_email({"email": "wang@example.org", "email_verified": "true"})
    """
    email = claims.get("email")
    if claims.get("email_verified") is not True or not isinstance(email, str):
        return None
    is_address = (
        email.isascii() and email.isprintable() and email.find("@") > 0 and len(email) <= MAX_EMAIL_CHARS
    )
    return email.lower() if is_address else None
