"""Creates and verifies API keys: ``tt_<id>_<secret>``, of which only the SHA-256 is stored.

A secret is 256 random bits, so a fast hash protects it as well as a slow one: it can't be guessed. All keys
are cached in memory and reloaded every two seconds, so that a request is authenticated without a database
query, and a wrong key costs one hash. Keys of older versions have an argon2 hash, which is replaced by a
SHA-256 when the key is next used.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from gateway.auth.principal import ROLES_BY_NAME, Principal, Role
from gateway.errors import GatewayError
from ingest_service.storage.contract.errors import StoreError, StoreUnavailableError
from ingest_service.storage.postgres.api_keys import ApiKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest_service.storage.postgres.api_keys import ApiKeyStore

log = structlog.get_logger()

REFRESH_INTERVAL_S = 2.0  # a revoked key is rejected after this long at the latest
MIN_REFRESH_PAUSE_S = 0.05  # between two loads of all keys, however many requests bring unknown keys
REFRESH_PAUSE_RATIO = 10  # the pause is this many times the duration of a load, within the bounds
MAX_REFRESH_PAUSE_S = 1.0  # a load from a database that was frozen for 30 s held requests back for 300 s
LOAD_TIMEOUT_S = 3.0  # a request waits no longer for a load, which goes on: the database may be frozen
LAST_USED_INTERVAL_S = 60.0  # resolution of the "last used" time in the database
MAX_WAITING_ARGON2 = 64  # waiting requests with argon2 keys; a verification takes some 50 ms and 64 MB
_KEY_PATTERN = re.compile(r"tt_(?P<id>[0-9a-f]{12})_(?P<secret>[0-9a-f]{64})")
_SHA256_PREFIX = "sha256$"
_ARGON2_PREFIX = "$argon2"
# An unknown key id is compared with this hash, so that it takes as long as a wrong secret.
_PLACEHOLDER_HASH = _SHA256_PREFIX + "0" * 64


class AuthenticationError(GatewayError):
    """The credential was rejected; the message gives the reason and contains no secret."""


def create_key(
    accounts: ApiKeyStore,
    *,
    name: str,
    role: Role,
    created_by: str,
    area_id: str | None = None,
    scopes: Sequence[str] = (),
    expires_s: float | None = None,
    loopback: bool = False,
    team_id: str | None = None,
) -> tuple[ApiKey, str]:
    """Create and store a key; return it and its text, which is stored nowhere. Raises as the store does."""
    key_id, secret = secrets.token_hex(6), secrets.token_hex(32)
    key = ApiKey(
        key_id=key_id,
        name=name,
        hash=hash_secret(secret),
        role=role.role_name,
        scopes=sorted(scopes),
        area_id=area_id,
        loopback=loopback,
        created_by=created_by,
        expires_s=expires_s,
        team_id=team_id,
    )
    accounts.create(key)
    return key, f"tt_{key_id}_{secret}"


def principal_of_key(key: ApiKey) -> Principal:
    """Return the principal that a key authenticates."""
    return Principal(
        principal_id=f"key:{key.key_id}",
        name=key.name,
        role=ROLES_BY_NAME[key.role],
        areas=None if key.area_id is None else (key.area_id,),
        scopes=frozenset(key.scopes),
        expires_s=key.expires_s,
        loopback=key.loopback,
        team_id=key.team_id,
    )


def hash_secret(secret: str) -> str:
    """Return the hash of a secret as it is stored.

    >>> hash_secret("x")[:15]
    'sha256$2d711642'
    """
    return _SHA256_PREFIX + hashlib.sha256(secret.encode()).hexdigest()


def parse_key_id(text: str) -> str | None:
    """Return the key id in a text of the form of a key; None for any other text."""
    parts = _KEY_PATTERN.fullmatch(text)
    return None if parts is None else parts["id"]


class ApiKeyCache:
    """Cache of all API keys that verifies presented keys. For one event loop at a time."""

    def __init__(self, accounts: ApiKeyStore) -> None:
        self._accounts = accounts
        self._by_id: dict[str, ApiKey] = {}
        self._refresh_started_s = float("-inf")  # when the last load began [s, monotonic]
        self._refresh_duration_s = 0.0
        self._refresh_task: asyncio.Task[None] | None = None
        self._refresh_thread = ThreadPoolExecutor(1, "keys")  # own thread: shared pools may be busy
        self._last_used_noted_s: dict[str, float] = {}
        self._last_used_thread = ThreadPoolExecutor(1, "key_use")
        self._argon2_verifier = _Argon2Verifier(accounts)

    async def verify(self, text: str) -> ApiKey:
        """Return the valid key that a text is.

        Raises
        ------
        AuthenticationError
            Where it is unknown, revoked or expired; an unknown key id takes as long as a wrong secret.
        StoreError
            Where the keys can't be read.

        """
        request_time_s = time.monotonic()
        await self._ensure_fresh_since(request_time_s - REFRESH_INTERVAL_S)
        key = await self._key_matching_secret(text)
        if key is None:  # it may be newer than the cached keys
            await self._ensure_fresh_since(request_time_s)
            key = await self._key_matching_secret(text)
        if key is None:
            raise AuthenticationError(
                "this key is not known: it is tt_<id>_<secret>, as it was shown when it was made"
            )
        return self._check_valid(key)

    async def by_id(self, key_id: str) -> ApiKey:
        """Return the valid key with an id, for a client that proved possession before. Raises as `verify`."""
        await self._ensure_fresh_since(time.monotonic() - REFRESH_INTERVAL_S)
        key = self._by_id.get(key_id)
        if key is None:
            raise AuthenticationError(f"there is no key {key_id} any more: ask for another")
        return self._check_valid(key)

    def _check_valid(self, key: ApiKey) -> ApiKey:
        now_s = time.time()
        if key.revoked_s is not None:
            raise AuthenticationError(
                f"key {key.key_id} was revoked at {_iso_time(key.revoked_s)}: ask for another"
            )
        if key.expires_s is not None and now_s >= key.expires_s:
            raise AuthenticationError(
                f"key {key.key_id} expired at {_iso_time(key.expires_s)}: ask for another"
            )
        if time.monotonic() - self._last_used_noted_s.get(key.key_id, float("-inf")) >= LAST_USED_INTERVAL_S:
            self._last_used_noted_s[key.key_id] = time.monotonic()
            self._last_used_thread.submit(self._mark_used_in_store, key.key_id)
        return key

    async def _key_matching_secret(self, text: str) -> ApiKey | None:
        """Return the cached key whose id and secret a text has; None where there is none."""
        parts = _KEY_PATTERN.fullmatch(text)
        key = self._by_id.get(parts["id"]) if parts else None
        secret = parts["secret"] if parts else ""
        if key is not None and key.hash.startswith(_ARGON2_PREFIX):
            return key if await self._argon2_verifier.secret_matches(key, secret) else None
        secret_matches = hmac.compare_digest(
            hash_secret(secret), _PLACEHOLDER_HASH if key is None else key.hash
        )
        return key if secret_matches else None

    def _mark_used_in_store(self, key_id: str) -> None:
        try:
            self._accounts.mark_used(key_id)
        except StoreError as error:
            log.warning("key_use_not_noted", key_id=key_id, error=str(error))

    async def _ensure_fresh_since(self, not_before_s: float) -> None:
        """Wait until the cached keys are as of a time [s, monotonic] or later. Raises as the store does."""
        while self._refresh_started_s < not_before_s:
            loop = asyncio.get_running_loop()
            if (
                self._refresh_task is None
                or self._refresh_task.done()
                or self._refresh_task.get_loop() is not loop
            ):
                self._refresh_task = loop.create_task(self._refresh())
                self._refresh_task.add_done_callback(_retrieve_exception)
            try:  # other requests wait for the same task
                await asyncio.wait_for(asyncio.shield(self._refresh_task), LOAD_TIMEOUT_S)
            except TimeoutError as error:
                raise StoreUnavailableError(f"the keys were not read within {LOAD_TIMEOUT_S:g} s") from error

    async def _refresh(self) -> None:
        refresh_pause_s = max(MIN_REFRESH_PAUSE_S, REFRESH_PAUSE_RATIO * self._refresh_duration_s)
        refresh_pause_s = min(refresh_pause_s, MAX_REFRESH_PAUSE_S)
        await asyncio.sleep(self._refresh_started_s + refresh_pause_s - time.monotonic())
        started_s = time.monotonic()
        all_keys = await asyncio.get_running_loop().run_in_executor(
            self._refresh_thread, self._accounts.keys_in_areas
        )
        self._by_id = {one.key_id: one for one in all_keys}
        self._refresh_started_s, self._refresh_duration_s = started_s, time.monotonic() - started_s


class _Argon2Verifier:
    """Verifies argon2 hashes one at a time in a thread of its own, and replaces verified ones by SHA-256."""

    def __init__(self, accounts: ApiKeyStore) -> None:
        self._accounts = accounts
        self._thread = ThreadPoolExecutor(1, "old_key_hashes")
        self._waiting = 0
        self._key_matching_secret: dict[str, str] = {}  # argon2 hash -> SHA-256 of the secret

    async def secret_matches(self, key: ApiKey, secret: str) -> bool:
        """Whether a key has a secret. Raises `StoreUnavailableError` where too many verifications wait."""
        known_sha256 = self._key_matching_secret.get(key.hash)
        if known_sha256 is not None:
            return hmac.compare_digest(hash_secret(secret), known_sha256)
        if self._waiting >= MAX_WAITING_ARGON2:
            raise StoreUnavailableError("too many requests wait for keys with argon2 hashes to be verified")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._verify, key, secret)
        finally:
            self._waiting -= 1

    def _verify(self, key: ApiKey, secret: str) -> bool:
        from argon2 import PasswordHasher  # noqa: PLC0415 - few installations have such keys
        from argon2.exceptions import Argon2Error, InvalidHashError  # noqa: PLC0415

        new = hash_secret(secret)
        if key.hash in self._key_matching_secret:  # verified by a request before this one
            return hmac.compare_digest(new, self._key_matching_secret[key.hash])
        try:
            PasswordHasher().verify(key.hash, secret)
        except (Argon2Error, InvalidHashError):
            return False
        self._key_matching_secret[key.hash] = new
        try:
            self._accounts.renew_hash(key.key_id, old=key.hash, new=new)
            log.info("key_hash_renewed", key_id=key.key_id)
        except StoreError as error:  # the key is valid; its hash is replaced at a later use
            log.warning("key_hash_not_renewed", key_id=key.key_id, error=str(error))
        return True


def _retrieve_exception(task: asyncio.Task[None]) -> None:
    """Retrieve a task's exception, so that asyncio does not log it where no request awaits the task."""
    if not task.cancelled():
        task.exception()


def _iso_time(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds")
