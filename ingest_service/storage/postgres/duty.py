"""Stores grid cells, teams, rosters, hand-over notes and preferences of members in PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from psycopg import errors
from psycopg.types.json import Jsonb

from ingest_service.storage.contract.duty import (
    DutyPlan,
    GridCell,
    HandoverNote,
    LinkedMember,
    Roster,
    RosterOverride,
    Team,
)
from ingest_service.storage.contract.errors import StoreError
from ingest_service.storage.contract.notifications import MemberPreferences
from ingest_service.storage.postgres import read_rows
from ingest_service.storage.postgres.named_queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import Connection

    from ingest_service.storage.contract.store import Database


class IdTakenError(StoreError):
    """An id belongs to a row of another area, which nobody may move or replace."""

    def __init__(self, kind: str, row_id: str) -> None:
        super().__init__(f"the id {row_id!r} of a {kind} belongs to another area: choose another one")


class DutyStore:
    """Cells, teams, rosters and notes in the database, as far as its area scope allows.

    Each call is one transaction. Methods raise the errors of the store; those that replace a row raise
    `IdTakenError` if its id belongs to another area.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def plan(self, area_ids: Sequence[str] | None = None, *, after_s: float) -> DutyPlan:
        """Return cells, teams and rosters of some areas, and the overrides that end after a time."""
        parameters = {"area_ids": None if area_ids is None else list(area_ids), "after_s": after_s}
        with self._database.transaction() as connection:
            return DutyPlan(
                cells=read_rows.fetch_structs(connection, "grid_cells", parameters, GridCell),
                teams=read_rows.fetch_structs(connection, "teams", parameters, Team),
                rosters=read_rows.fetch_structs(connection, "rosters", parameters, Roster),
                overrides=read_rows.fetch_structs(connection, "roster_overrides", parameters, RosterOverride),
            )

    def linked_members(
        self, principal_id: str, email: str | None, area_ids: Sequence[str]
    ) -> list[LinkedMember]:
        """Return the members of teams in some areas with a principal, or with an address in lower case."""
        parameters = {"principal_id": principal_id, "email": email, "area_ids": list(area_ids)}
        with self._database.transaction() as connection:
            return read_rows.fetch_structs(connection, "linked_members", parameters, LinkedMember)

    def replace_cells(self, cells: Sequence[GridCell]) -> None:
        """Insert or replace grid cells, all or none."""
        with self._database.transaction() as connection:
            for one in cells:
                row = msgspec.structs.asdict(one) | {"geometry": Jsonb(one.geometry)}
                upsert(connection, "upsert_grid_cell", row, "grid cell", one.cell_id)

    def replace_team(self, team: Team) -> None:
        """Insert or replace a team; members that it no longer has are in no team."""
        row = msgspec.to_builtins(team) | {"coverage": Jsonb(msgspec.to_builtins(team.coverage))}
        with self._database.transaction() as connection:
            upsert(connection, "upsert_team", row, "team", team.team_id)
            kept = {"team_id": team.team_id, "kept": [one.member_id for one in team.members]}
            connection.execute(QUERIES["remove_members"], kept)
            for number, one in enumerate(team.members):
                member_row = msgspec.structs.asdict(one) | {
                    "area_id": team.area_id,
                    "team_id": team.team_id,
                    "place": number,
                }
                upsert(connection, "upsert_member", member_row, "member", one.member_id)

    def replace_roster(self, roster: Roster) -> None:
        """Insert or replace a roster. Raises `StoreRefusedError` if there is no such team."""
        row = msgspec.to_builtins(roster) | {"rotations": Jsonb(msgspec.to_builtins(roster.rotations))}
        with self._database.transaction() as connection:
            upsert(connection, "upsert_roster", row, "roster", roster.roster_id)

    def add_override(self, override: RosterOverride) -> RosterOverride:
        """Store an override and return it with id and time."""
        override_id, at_s = self._inserted("insert_override", override)
        return msgspec.structs.replace(override, override_id=override_id, at_s=at_s)

    def handover_notes(
        self,
        area_ids: Sequence[str] | None = None,
        *,
        team_id: str | None = None,
        before_id: int | None = None,
        limit: int = 100,
    ) -> list[HandoverNote]:
        """Return hand-over notes, newest first."""
        parameters = {
            "area_ids": None if area_ids is None else list(area_ids),
            "team_id": team_id,
            "before_id": before_id,
            "limit": limit,
        }
        with self._database.transaction() as connection:
            return read_rows.fetch_structs(connection, "handover_notes", parameters, HandoverNote)

    def add_handover_note(self, note: HandoverNote) -> HandoverNote:
        """Store a hand-over note and return it with id and time."""
        note_id, at_s = self._inserted("insert_handover_note", note)
        return msgspec.structs.replace(note, note_id=note_id, at_s=at_s)

    def preferences(self, member_ids: Sequence[str] | None = None) -> dict[str, MemberPreferences]:
        """Return the preferences of some members, or of all, by member."""
        parameters = {"member_ids": None if member_ids is None else list(member_ids)}
        with self._database.transaction() as connection:
            rows = read_rows.fetch_structs(connection, "member_preferences", parameters, MemberPreferences)
        return {one.member_id: one for one in rows}

    def replace_preferences(self, preferences: MemberPreferences) -> None:
        """Insert or replace the preferences of a member."""
        row = msgspec.structs.asdict(preferences)
        row |= {"preferences": Jsonb(msgspec.to_builtins(preferences.preferences))}
        with self._database.transaction() as connection:
            connection.execute(QUERIES["upsert_preferences"], row)

    def _inserted(self, query: str, row: msgspec.Struct) -> tuple[int, float]:
        with self._database.transaction() as connection:
            found = connection.execute(QUERIES[query], msgspec.structs.asdict(row)).fetchone()
        assert found is not None, "INSERT … RETURNING returns a row"  # noqa: S101
        return int(found[0]), float(found[1])


def upsert(connection: Connection[Any], query: str, row: dict[str, Any], kind: str, row_id: str) -> None:
    """Insert or replace a row. Raises `IdTakenError`."""
    try:
        replaced = connection.execute(QUERIES[query], row).rowcount
    except errors.InsufficientPrivilege as error:
        if "row-level security" in str(error):  # the row exists, in an area outside the scope
            raise IdTakenError(kind, row_id) from error
        raise
    if not replaced:
        raise IdTakenError(kind, row_id)
