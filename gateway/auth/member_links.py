"""Links a signed-in person to the members of teams: by principal, or by a verified e-mail address.

An address links only where one member of the principal's areas has it and no principal is written at that
member. PostgreSQL's row-level security and the areas of the query restrict both kinds of links to the
principal's areas.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec

from gateway.auth.principal import Role
from ingest_service.storage.postgres.duty import DutyStore

if TYPE_CHECKING:
    from gateway.api.directory_cache import DirectoryCache
    from gateway.auth.principal import Principal
    from gateway.settings import Settings
    from ingest_service.storage.contract.duty import LinkedMember
    from ingest_service.storage.contract.store import Store

KEPT_S = 2.0  # as long as API keys: a changed team is in force within this time
MAX_KEPT = 4096  # principals


def linked_members(
    store: Store, directories: DirectoryCache, settings: Settings, principal: Principal
) -> list[LinkedMember]:
    """Return the members that a principal is; none on a store in memory. Raises as the store does."""
    database = store.for_area(principal.area_scope).database
    if database is None:
        return []
    area_ids = sorted(directories.directory_index(principal.areas).visible_area_ids)
    email = principal.email if settings.oidc_link_by_email else None
    found = DutyStore(database).linked_members(principal.principal_id, email, area_ids)
    explicit = [one for one in found if one.principal == principal.principal_id]
    if explicit:
        return explicit
    return [one for one in found if one.principal is None] if len(found) == 1 else []


class MemberTeams:
    """Cache of the teams of team members whose credential names none. For one event loop at a time."""

    def __init__(self, store: Store, directories: DirectoryCache, settings: Settings) -> None:
        self._store = store
        self._directories = directories
        self._settings = settings
        self._thread = ThreadPoolExecutor(1, "member_teams")  # own thread: shared pools may be busy
        self._teams: OrderedDict[Principal, tuple[str | None, float]] = OrderedDict()

    async def with_team(self, principal: Principal) -> Principal:
        """Return a principal with the team of the members that it is, if it is a team member without one.

        Members in several teams give none: then the claim of the provider has to name it.
        Raises as the store does.
        """
        if principal.role != Role.TEAM_MEMBER or principal.team_id is not None:
            return principal
        team_id, until_s = self._teams.get(principal, (None, 0.0))
        if time.monotonic() >= until_s:
            team_id = await asyncio.get_running_loop().run_in_executor(self._thread, self._read, principal)
            self._teams[principal] = team_id, time.monotonic() + KEPT_S
            self._teams.move_to_end(principal)
            if len(self._teams) > MAX_KEPT:
                self._teams.popitem(last=False)
        return principal if team_id is None else msgspec.structs.replace(principal, team_id=team_id)

    def _read(self, principal: Principal) -> str | None:
        found = linked_members(self._store, self._directories, self._settings, principal)
        team_ids = {one.team_id for one in found}
        return next(iter(team_ids)) if len(team_ids) == 1 else None
