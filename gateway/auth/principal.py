"""The principal of a request: identity, role, scopes and the areas that it may see."""

from __future__ import annotations

from enum import IntEnum

import msgspec

from ingest_service.storage.postgres.row_level_security import ALL_AREAS


class Role(IntEnum):
    """Each may do what those before it may."""

    VIEWER = 1
    OPERATOR = 2
    ENGINEER = 3
    ADMINISTRATOR = 4

    @property
    def role_name(self) -> str:
        """As it is written.

        >>> Role.VIEWER.role_name
        'viewer'
        """
        return self.name.lower()


ROLES_BY_NAME = {role.role_name: role for role in Role}


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who was let in; ``areas`` None is everything, no scopes are all that the role may.

    ``expires_s`` None is no end; with ``loopback`` it is good on the gateway's own machine alone.
    """

    principal_id: str  # "key:…" or "oidc:…"
    name: str
    role: Role
    areas: tuple[str, ...] | None
    scopes: frozenset[str] = frozenset()
    expires_s: float | None = None
    loopback: bool = False

    @property
    def area_scope(self) -> str:
        """The scope of the wall in the database."""
        return ALL_AREAS if self.areas is None else ",".join(self.areas)
