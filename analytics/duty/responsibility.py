"""Which teams are responsible for an incident, and whom of them to call, from a plan of duty."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from analytics.duty.grid_cells import CellIndex
from analytics.duty.rosters import shift_at
from ingest_service.storage.contract.area_tree import areas_above

if TYPE_CHECKING:
    from collections.abc import Mapping

    from analytics.duty.rosters import Shift
    from ingest_service.storage.contract.duty import Coverage, DutyPlan, GridCell, Team, TeamMember
    from ingest_service.storage.contract.models import Site


class ResponsibleTeam(NamedTuple):
    """A team that covers an incident, with its shifts at a time; the lowest ``rank`` is called first."""

    team: Team
    rank: int
    shifts: tuple[Shift, ...]


class DutyIndex:
    """A plan of duty with the lookups that routes and the service need.

    Parameters
    ----------
    plan : cells, teams, rosters and overrides
    parents : parent of each area, so that a team of a county covers its towns

    """

    def __init__(self, plan: DutyPlan, parents: Mapping[str, str | None]) -> None:
        self._plan = plan
        self._parents = parents
        self._cells = CellIndex(plan.cells)
        self._teams = {one.team_id: one for one in plan.teams if one.enabled}
        self._members = {one.member_id: (one, team) for team in plan.teams for one in team.members}

    def cell_of_site(self, site: Site) -> GridCell | None:
        """Return the grid cell of a site; None outside of all cells."""
        return self._cells.cell_of_site(site)

    def cell_at(self, lon: float, lat: float) -> GridCell | None:
        """Return the grid cell of a point (WGS 84 [deg]); None outside of all cells."""
        return self._cells.cell_at(lon, lat)

    def team(self, team_id: str | None) -> Team | None:
        """Return an enabled team; None if there is none with this id."""
        return self._teams.get(team_id or "")

    def member(self, member_id: str) -> TeamMember | None:
        """Return a member of any team, of disabled ones, too."""
        found = self._members.get(member_id)
        return None if found is None else found[0]

    def team_of_member(self, member_id: str) -> Team | None:
        """Return the team of a member."""
        found = self._members.get(member_id)
        return None if found is None else found[1]

    def shifts(self, team_id: str, at_s: float) -> tuple[Shift, ...]:
        """Return the shifts of a team's rosters at a time [Unix s], in the order of the rosters' ids."""
        found = (
            shift_at(one, self._plan.overrides, at_s) for one in self._plan.rosters if one.team_id == team_id
        )
        return tuple(one for one in found if one is not None)

    def responsible(
        self, *, area_id: str, cell_id: str | None, kind: str | None, at_s: float
    ) -> list[ResponsibleTeam]:
        """Return the teams that cover a place and kind at a time, the nearest and lowest rank first.

        Teams of the area come before those of the areas above it. ``kind`` None is any kind.
        """
        found = []
        for distance, area in enumerate(areas_above(self._parents, area_id)):
            for team in self._teams.values():
                ranks = [one.rank for one in team.coverage if _covers(one, cell_id, kind)]
                if team.area_id == area and ranks:
                    found.append((distance, min(ranks), team))
        found.sort(key=lambda one: (one[0], one[1], one[2].team_id))
        return [
            ResponsibleTeam(team, rank, self.shifts(team.team_id, at_s)) for distance, rank, team in found
        ]

    def supervisors(self, area_id: str) -> list[TeamMember]:
        """Return the supervisors of the nearest area, from an area upwards, that has any."""
        for area in areas_above(self._parents, area_id):
            found = [
                member
                for team in self._teams.values()
                if team.area_id == area
                for member in team.members
                if member.role == "supervisor"
            ]
            if found:
                return found
        return []


def _covers(coverage: Coverage, cell_id: str | None, kind: str | None) -> bool:
    return (coverage.cell_id in {None, cell_id}) and (kind is None or coverage.kind in {None, kind})
