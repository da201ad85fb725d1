"""Creates and verifies API keys: ``tt_<id>_<secret>``, of which only the SHA-256 is stored.

A secret is 256 random bits, so a fast hash is as good as a slow one: there is nothing to guess. All keys
are held in memory and read again every two seconds, so that a request is authenticated without the database,
and a wrong key costs a hash. Keys of older versions have an argon2 hash, which is replaced when the key is
next used.
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

from gateway.access.principal import ROLES, Principal, Role
from ingest_service.storage.accounts import ApiKey
from ingest_service.storage.errors import StoreError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest_service.storage.accounts import Accounts

log = structlog.get_logger()

FRESH_S = 2.0  # so soon a revoked key is noticed
LEAST_PAUSE_S = 0.05  # between two readings of all keys, however many unknown ones come
PAUSE_RATIO = 10  # and that many times as long as one takes
USED_EVERY_S = 60.0  # how often the use of a key is noted
OLD_WAITING = 64  # requests that wait for argon2, at most; each takes some 50 ms and 64 MB
_KEY = re.compile(r"tt_(?P<id>[0-9a-f]{12})_(?P<secret>[0-9a-f]{64})")
_SHA256 = "sha256$"
_ARGON2 = "$argon2"
_NOBODYS = _SHA256 + "0" * 64  # compared with where a key is unknown, so that this takes as long


class RefusedError(Exception):
    """Whoever comes is not let in; the sentence says why, and holds no secret."""


def mint(
    accounts: Accounts,
    *,
    name: str,
    role: Role,
    created_by: str,
    area_id: str | None = None,
    scopes: Sequence[str] = (),
    expires_s: float | None = None,
    loopback: bool = False,
) -> tuple[ApiKey, str]:
    """Make a key and keep it; the text is nowhere else, so show it now. Raises as the store does."""
    key_id, secret = secrets.token_hex(6), secrets.token_hex(32)
    key = ApiKey(
        key_id=key_id,
        name=name,
        hash=hashed(secret),
        role=role.word,
        scopes=sorted(scopes),
        area_id=area_id,
        loopback=loopback,
        created_by=created_by,
        expires_s=expires_s,
    )
    accounts.create(key)
    return key, f"tt_{key_id}_{secret}"


def principal(key: ApiKey) -> Principal:
    """Who bears a key."""
    return Principal(
        who=f"key:{key.key_id}",
        name=key.name,
        role=ROLES[key.role],
        areas=None if key.area_id is None else (key.area_id,),
        scopes=frozenset(key.scopes),
        expires_s=key.expires_s,
        loopback=key.loopback,
    )


def hashed(secret: str) -> str:
    """What is kept of a secret.

    >>> hashed("x")[:15]
    'sha256$2d711642'
    """
    return _SHA256 + hashlib.sha256(secret.encode()).hexdigest()


def id_of(text: str) -> str | None:
    """The id that a text names, where it has the form of a key."""
    parts = _KEY.fullmatch(text)
    return None if parts is None else parts["id"]


class Keys:
    """All keys in memory, and which texts are good ones. For one event loop at a time."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._by_id: dict[str, ApiKey] = {}
        self._began_s = float("-inf")  # when the reading began that the keys are of [s, monotonic]
        self._took_s = 0.0
        self._reading: asyncio.Task[None] | None = None
        self._reader = ThreadPoolExecutor(1, "keys")  # one of its own: others may be busy
        self._use_noted_s: dict[str, float] = {}
        self._use_noter = ThreadPoolExecutor(1, "key_use")
        self._old = _OldHashes(accounts)

    async def verify(self, text: str) -> ApiKey:
        """The key that a text is.

        Raises
        ------
        RefusedError
            Where it is unknown, revoked or expired; an unknown key id takes as long as a wrong secret.
        StoreError
            Where the keys can't be read.

        """
        came_s = time.monotonic()
        await self._read_since(came_s - FRESH_S)
        key = await self._proven(text)
        if key is None:  # it may have been made a moment ago
            await self._read_since(came_s)
            key = await self._proven(text)
        if key is None:
            raise RefusedError(
                "this key is not known: it is tt_<id>_<secret>, as it was shown when it was made"
            )
        return self._good(key)

    async def by_id(self, key_id: str) -> ApiKey:
        """The key with an id, for whoever has proven that they have it. Raises as `verify`."""
        await self._read_since(time.monotonic() - FRESH_S)
        key = self._by_id.get(key_id)
        if key is None:
            raise RefusedError(f"there is no key {key_id} any more: ask for another")
        return self._good(key)

    def _good(self, key: ApiKey) -> ApiKey:
        now_s = time.time()
        if key.revoked_s is not None:
            raise RefusedError(f"key {key.key_id} was revoked at {_moment(key.revoked_s)}: ask for another")
        if key.expires_s is not None and now_s >= key.expires_s:
            raise RefusedError(f"key {key.key_id} expired at {_moment(key.expires_s)}: ask for another")
        if time.monotonic() - self._use_noted_s.get(key.key_id, float("-inf")) >= USED_EVERY_S:
            self._use_noted_s[key.key_id] = time.monotonic()
            self._use_noter.submit(self._note_use, key.key_id)
        return key

    async def _proven(self, text: str) -> ApiKey | None:
        """The key whose secret a text has."""
        parts = _KEY.fullmatch(text)
        key = self._by_id.get(parts["id"]) if parts else None
        secret = parts["secret"] if parts else ""
        if key is not None and key.hash.startswith(_ARGON2):
            return key if await self._old.is_good(key, secret) else None
        is_good = hmac.compare_digest(hashed(secret), _NOBODYS if key is None else key.hash)
        return key if is_good else None

    def _note_use(self, key_id: str) -> None:
        try:
            self._accounts.used(key_id)
        except StoreError as error:
            log.warning("key_use_not_noted", key_id=key_id, error=str(error))

    async def _read_since(self, since_s: float) -> None:
        """Return once the keys are as of a time [s, monotonic] or later. Raises as the store does."""
        while self._began_s < since_s:
            loop = asyncio.get_running_loop()
            if self._reading is None or self._reading.done() or self._reading.get_loop() is not loop:
                self._reading = loop.create_task(self._read())
                self._reading.add_done_callback(_retrieved)
            await asyncio.shield(self._reading)  # which others wait for, too

    async def _read(self) -> None:
        pause_s = max(LEAST_PAUSE_S, PAUSE_RATIO * self._took_s)
        await asyncio.sleep(self._began_s + pause_s - time.monotonic())
        began_s = time.monotonic()
        found = await asyncio.get_running_loop().run_in_executor(self._reader, self._accounts.within)
        self._by_id = {one.key_id: one for one in found}
        self._began_s, self._took_s = began_s, time.monotonic() - began_s


class _OldHashes:
    """Verifies argon2 hashes, one at a time in a thread of its own, and replaces those that were verified."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._thread = ThreadPoolExecutor(1, "old_key_hashes")
        self._waiting = 0
        self._proven: dict[str, str] = {}  # argon2 hash -> SHA-256 of the secret

    async def is_good(self, key: ApiKey, secret: str) -> bool:
        """Whether a key has a secret. Raises `StoreUnavailable` where too many wait for that."""
        known = self._proven.get(key.hash)
        if known is not None:
            return hmac.compare_digest(hashed(secret), known)
        if self._waiting >= OLD_WAITING:
            raise StoreUnavailable("too many requests wait for keys with argon2 hashes to be verified")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._verify, key, secret)
        finally:
            self._waiting -= 1

    def _verify(self, key: ApiKey, secret: str) -> bool:
        from argon2 import PasswordHasher  # noqa: PLC0415 - few installations have such keys
        from argon2.exceptions import Argon2Error, InvalidHashError  # noqa: PLC0415

        new = hashed(secret)
        if key.hash in self._proven:  # by a request that was before this one
            return hmac.compare_digest(new, self._proven[key.hash])
        try:
            PasswordHasher().verify(key.hash, secret)
        except (Argon2Error, InvalidHashError):
            return False
        self._proven[key.hash] = new
        try:
            self._accounts.renew_hash(key.key_id, old=key.hash, new=new)
            log.info("key_hash_renewed", key_id=key.key_id)
        except StoreError as error:  # it is good, and its hash is renewed another time
            log.warning("key_hash_not_renewed", key_id=key.key_id, error=str(error))
        return True


def _retrieved(task: asyncio.Task[None]) -> None:
    """Take note of an exception that nobody waited for."""
    if not task.cancelled():
        task.exception()


def _moment(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds")
