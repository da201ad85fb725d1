"""Defines the principal of a request: identity, role, scopes and visible areas."""

from __future__ import annotations

from enum import IntEnum

import msgspec

from ingest_service.storage.postgres.row_level_security import ALL_AREAS


class Role(IntEnum):
    """Roles in ascending order; each includes the rights of those before it.

    A team member sees, of the incidents, those that are dispatched to his team alone.
    """

    VIEWER = 1
    TEAM_MEMBER = 2
    OPERATOR = 3
    SUPERVISOR = 4
    ENGINEER = 5
    ADMINISTRATOR = 6

    @property
    def role_name(self) -> str:
        """Name of the role as the API and the database have it.

        >>> Role.VIEWER.role_name
        'viewer'
        """
        return self.name.lower()


ROLES_BY_NAME = {role.role_name: role for role in Role}


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """An authenticated user or program.

    Attributes
    ----------
    principal_id : ``key:<key id>`` or ``oidc:<subject>``
    areas : areas that it may see, with all below them; None is every area
    scopes : part of the role's rights; empty is all of them
    expires_s : end of its credential [s, Unix]; None is no end
    loopback : whether its key is valid on the gateway's own machine only
    team_id : team of a team member; None for all others
    email : e-mail address that an OpenID provider verified, in lower case; None without one

    """

    principal_id: str
    name: str
    role: Role
    areas: tuple[str, ...] | None
    scopes: frozenset[str] = frozenset()
    expires_s: float | None = None
    loopback: bool = False
    team_id: str | None = None
    email: str | None = None

    @property
    def area_scope(self) -> str:
        """The area scope for PostgreSQL's row-level security."""
        return ALL_AREAS if self.areas is None else ",".join(self.areas)
