"""API keys: ``tt_<id>_<secret>``; the secret is shown once and kept as an argon2 hash."""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
from collections import OrderedDict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from gateway.access.principal import ROLES, Principal, Role
from ingest_service.storage.accounts import ApiKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest_service.storage.accounts import Accounts

FRESH_S = 2.0  # so soon a revoked key is noticed
MOST = 4096
_KEY = re.compile(r"tt_(?P<id>[0-9a-f]{12})_(?P<secret>[0-9a-f]{64})")
_HASHER = PasswordHasher()


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
        hash=_HASHER.hash(secret),
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
    )


class Keys:
    """Tells good keys from others; argon2 runs once for a key, its row is read again every two seconds."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._proven: OrderedDict[bytes, tuple[ApiKey, float]] = OrderedDict()  # digest -> (key, read at [s])
        self._one_at_a_time = threading.Lock()  # argon2 takes 64 MB a run

    def fresh(self, text: str, now_s: float) -> ApiKey | None:
        """The key, if it was found good a moment ago."""
        key, read_s = self._proven.get(_digest(text), (None, 0.0))
        return key if key is not None and 0 <= now_s - read_s < FRESH_S and _is_good(key, now_s) else None

    def verify(self, text: str, now_s: float) -> ApiKey:
        """The key. Raises `RefusedError`, or as the store does; may take long."""
        parts = _KEY.fullmatch(text)
        key = self._accounts.key(parts["id"]) if parts else None
        if parts is None or key is None or not self._is_proven(text, parts["secret"], key):
            raise RefusedError(
                "this key is not known: it is tt_<id>_<secret>, as it was shown when it was made"
            )
        self._proven[_digest(text)] = (key, now_s)
        self._proven.move_to_end(_digest(text))
        if len(self._proven) > MOST:
            self._proven.popitem(last=False)
        if key.revoked_s is not None:
            raise RefusedError(f"key {key.key_id} was revoked at {_moment(key.revoked_s)}: ask for another")
        if not _is_good(key, now_s):
            raise RefusedError(f"key {key.key_id} expired at {_moment(key.expires_s or 0)}: ask for another")
        self._accounts.used(key.key_id)
        return key

    def _is_proven(self, text: str, secret: str, key: ApiKey) -> bool:
        known, _ = self._proven.get(_digest(text), (None, 0.0))
        if known is not None and known.hash == key.hash:
            return True
        try:
            with self._one_at_a_time:
                return _HASHER.verify(key.hash, secret)
        except VerifyMismatchError:
            return False


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape")).digest()


def _is_good(key: ApiKey, now_s: float) -> bool:
    return key.revoked_s is None and (key.expires_s is None or now_s < key.expires_s)


def _moment(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds")
