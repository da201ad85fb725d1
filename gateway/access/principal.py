"""The principal of a request: identity, role, scopes and the areas that it may see."""

from __future__ import annotations

from enum import IntEnum

import msgspec

from ingest_service.storage.wall import EVERYTHING


class Role(IntEnum):
    """Each may do what those before it may."""

    VIEWER = 1
    OPERATOR = 2
    ENGINEER = 3
    ADMINISTRATOR = 4

    @property
    def word(self) -> str:
        """As it is written.

        >>> Role.VIEWER.word
        'viewer'
        """
        return self.name.lower()


ROLES = {role.word: role for role in Role}


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who was let in; ``areas`` None is everything, no scopes are all that the role may.

    ``expires_s`` None is no end; with ``loopback`` it is good on the gateway's own machine alone.
    """

    who: str  # "key:…" or "oidc:…"
    name: str
    role: Role
    areas: tuple[str, ...] | None
    scopes: frozenset[str] = frozenset()
    expires_s: float | None = None
    loopback: bool = False

    @property
    def seen_from(self) -> str:
        """The scope of the wall in the database."""
        return EVERYTHING if self.areas is None else ",".join(self.areas)
