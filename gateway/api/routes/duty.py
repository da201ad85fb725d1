"""Routes of duty: grid cells as GeoJSON, teams, rosters with overrides, who is on duty, hand-over notes."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query, Request

from analytics.duty.errors import DutyError
from analytics.duty.grid_cells import check_geometry
from analytics.duty.responsibility import DutyIndex
from analytics.duty.rosters import check_roster
from gateway.api import query_params
from gateway.api.models import duty_models as models
from gateway.api.models.resource_models import PageResponse, utc_datetime
from gateway.api.problems import ProblemError, not_found, problem_responses
from gateway.api.request_context import CurrentContext, RequestContext
from gateway.auth.authorization import ENGINEER, OPERATOR, VIEWER, RequiredRight, requires
from ingest_service.storage.contract.area_tree import parents_of
from ingest_service.storage.contract.duty import (
    Coverage,
    DutyPlan,
    GridCell,
    HandoverNote,
    Roster,
    RosterOverride,
    Rotation,
    Team,
    TeamMember,
)
from ingest_service.storage.contract.incidents import IncidentKind
from ingest_service.storage.contract.notifications import CONSOLE_CHANNEL
from ingest_service.storage.postgres.duty import DutyStore, IdTakenError
from ingest_service.storage.postgres.notifications import NotificationStore

router = APIRouter(prefix="/v1", tags=["duty"])

CELLS = RequiredRight(VIEWER, "duty")
DUTY = RequiredRight(OPERATOR, "duty")
DUTY_ADMINISTRATION = RequiredRight(ENGINEER, "duty")
MAX_OVERRIDE_S = 90 * 86_400.0
LATEST_S = 7_258_118_400.0  # the begin of 2200; local times near year 9999 overflow
IdPath = Annotated[str, Path(pattern=models.ID_PATTERN)]


@router.get("/cells", responses=problem_responses(404))
@requires(CELLS)
def cells(context: CurrentContext, area: query_params.AreaParam = None) -> models.CellCollection:
    """Grid cells (网格) as GeoJSON, disabled ones included."""
    return _cell_collection(read_plan(context, area).cells)


@router.put("/cells", responses=problem_responses(404, 409))
@requires(DUTY_ADMINISTRATION)
def replace_cells(context: CurrentContext, collection: models.CellCollection) -> models.CellCollection:
    """Insert or replace grid cells by their ids, all or none; others stay as they are.

    A cell is switched off by `enabled`. Where cells overlap, the smallest one has the point.
    """
    found = []
    for number, feature in enumerate(collection.features, 1):
        check_area(context, feature.properties.area_id)
        geometry = feature.geometry.model_dump()
        try:
            check_geometry(geometry)
        except DutyError as error:
            raise ProblemError(
                422, f"feature {number} ({feature.properties.cell_id}): {error}", where="geometry"
            ) from error
        found.append(GridCell(**feature.properties.model_dump(), geometry=geometry))
    with_id_conflicts(lambda: DutyStore(context.scoped_database).replace_cells(found))
    context.add_audit_detail(cells=len(found))
    return _cell_collection(found)


@router.get("/teams", responses=problem_responses(404))
@requires(DUTY)
def teams(context: CurrentContext, area: query_params.AreaParam = None) -> list[models.TeamResponse]:
    """Teams with their members, coverage and channels."""
    return [_team_response(one) for one in read_plan(context, area).teams]


@router.put("/teams/{team_id}", responses=problem_responses(404, 409))
@requires(DUTY_ADMINISTRATION)
def replace_team(
    context: CurrentContext, team_id: IdPath, requested: models.TeamRequest
) -> models.TeamResponse:
    """Insert or replace a team. A member of another team of the area changes to this one."""
    check_area(context, requested.area_id)
    member_ids = [one.member_id for one in requested.members]
    if len(set(member_ids)) < len(member_ids):
        raise ProblemError(422, "members: each member_id once", where="members")
    cell_ids = {one.cell_id for one in read_plan(context).cells}
    for coverage in requested.coverage:
        if coverage.cell_id is not None and coverage.cell_id not in cell_ids:
            raise not_found("cell", coverage.cell_id)
    check_channels(context, requested.channels)
    team = Team(
        team_id=team_id,
        area_id=requested.area_id,
        en=requested.en,
        zh=requested.zh,
        coverage=[Coverage(**one.model_dump()) for one in requested.coverage],
        members=[TeamMember(**one.model_dump()) for one in requested.members],
        channels=requested.channels,
        enabled=requested.enabled,
    )
    with_id_conflicts(lambda: DutyStore(context.scoped_database).replace_team(team))
    context.add_audit_detail(members=member_ids)
    return _team_response(team)


@router.get("/rosters", responses=problem_responses(404))
@requires(DUTY)
def rosters(context: CurrentContext, area: query_params.AreaParam = None) -> list[models.RosterResponse]:
    """Rosters with their rotations, and overrides that are not over."""
    plan = read_plan(context, area)
    return [_roster_response(one, plan.overrides) for one in plan.rosters]


@router.put("/rosters/{roster_id}", responses=problem_responses(404, 409))
@requires(DUTY_ADMINISTRATION)
def replace_roster(
    context: CurrentContext, roster_id: IdPath, requested: models.RosterRequest
) -> models.RosterResponse:
    """Insert or replace a roster of a team; its overrides stay."""
    plan = read_plan(context)
    team = next((one for one in plan.teams if one.team_id == requested.team_id), None)
    if team is None:
        raise not_found("team", requested.team_id)
    roster = Roster(
        roster_id=roster_id,
        area_id=team.area_id,
        team_id=team.team_id,
        en=requested.en,
        zh=requested.zh,
        rotations=[_rotation(one) for one in requested.rotations],
        enabled=requested.enabled,
    )
    try:
        check_roster(roster, {one.member_id for one in team.members})
    except DutyError as error:
        raise ProblemError(422, str(error), where="rotations") from error
    with_id_conflicts(lambda: DutyStore(context.scoped_database).replace_roster(roster))
    return _roster_response(roster, plan.overrides)


@router.post("/rosters/{roster_id}/overrides", responses=problem_responses(404))
@requires(DUTY)
def add_override(
    context: CurrentContext, roster_id: IdPath, requested: models.OverrideRequest
) -> models.OverrideResponse:
    """Let somebody else of the team take the duty for a time of 90 days at most."""
    plan = read_plan(context)
    roster = next((one for one in plan.rosters if one.roster_id == roster_id), None)
    if roster is None:
        raise not_found("roster", roster_id)
    members = {one.member_id for team in plan.teams if team.team_id == roster.team_id for one in team.members}
    if requested.member_id is not None and requested.member_id not in members:
        raise ProblemError(
            422,
            f"member_id: {requested.member_id!r} is no member of team {roster.team_id}",
            where="member_id",
        )
    from_s, to_s = requested.from_.timestamp(), requested.to.timestamp()
    if not from_s < to_s <= from_s + MAX_OVERRIDE_S:
        raise ProblemError(422, "to: after from, and 90 days after it at most", where="to")
    stored = DutyStore(context.scoped_database).add_override(
        RosterOverride(
            roster_id=roster_id,
            area_id=roster.area_id,
            member_id=requested.member_id,
            from_s=from_s,
            to_s=to_s,
            who=context.caller_name,
            note=requested.note,
        )
    )
    return _override_response(stored)


@router.get("/duty", responses=problem_responses(404))
@requires(DUTY)
def duty(
    context: CurrentContext,
    area: query_params.AreaParam = None,
    site: query_params.SiteParam = None,
    kind: Annotated[IncidentKind | None, Query(description="Kind of incident, with a site")] = None,
    at: Annotated[query_params.QueryTime | None, Query(description="At this time; now without it")] = None,
) -> list[models.DutyResponse]:
    """Who is on duty: of every team, or of those responsible for a site, the first to be called first."""
    at_s = time.time() if at is None else at.timestamp()
    if not 0 <= at_s <= LATEST_S:
        raise ProblemError(422, "at: a time between 1970 and 2200", where="at")
    plan = read_plan(context, area, after_s=at_s)
    index = duty_index(context, plan)
    if site is None:
        return [_duty_response(one, index, at_s, None) for one in plan.teams if one.enabled]
    found = context.directory_index.sites.get(site)
    if found is None:
        raise not_found("site", site)
    cell = index.cell_of_site(found)
    cell_id = None if cell is None else cell.cell_id
    responsible = index.responsible(area_id=found.area_id, cell_id=cell_id, kind=kind, at_s=at_s)
    return [_duty_response(one.team, index, at_s, cell_id) for one in responsible]


@router.get("/handover-notes", responses=problem_responses(404))
@requires(DUTY)
def handover_notes(
    context: CurrentContext,
    request: Request,
    area: query_params.AreaParam = None,
    team: Annotated[str | None, Query(pattern=models.ID_PATTERN, description="One team")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Notes in the page")] = 100,
    cursor: query_params.CursorParam = None,
) -> PageResponse[models.NoteResponse]:
    """Hand-over notes (交接班记录), newest first."""
    signer = context.cursor_signer(request)
    (before,) = signer.decode(cursor, 1) if cursor else (None,)
    found = DutyStore(context.scoped_database).handover_notes(
        area_ids(context, area), team_id=team, before_id=before, limit=limit + 1
    )
    return PageResponse(
        items=[_note_response(one) for one in found[:limit]],
        next=signer.encode(found[limit - 1].note_id) if len(found) > limit else None,
    )


@router.post("/handover-notes", responses=problem_responses(404))
@requires(DUTY)
def add_handover_note(context: CurrentContext, requested: models.NoteRequest) -> models.NoteResponse:
    """Leave a note to the next shift of a team."""
    team = next((one for one in read_plan(context).teams if one.team_id == requested.team_id), None)
    if team is None:
        raise not_found("team", requested.team_id)
    note = HandoverNote(
        area_id=team.area_id,
        team_id=team.team_id,
        who=context.caller_name,
        text=requested.text,
        incidents=requested.incidents,
    )
    return _note_response(DutyStore(context.scoped_database).add_handover_note(note))


# -- shared with the routes of notifications -------------------------------------------------------


def area_ids(context: RequestContext, area: str | None) -> list[str] | None:
    """Return the visible areas of a filter; None is every area. Raises `ProblemError` for an unknown one."""
    index = context.directory_index
    if area is not None:
        return sorted(index.areas_below(area))
    return None if context.principal.areas is None else sorted(index.visible_area_ids)


def read_plan(context: RequestContext, area: str | None = None, *, after_s: float | None = None) -> DutyPlan:
    """Return cells, teams, rosters and overrides that the principal may see."""
    after_s = time.time() if after_s is None else after_s
    return DutyStore(context.scoped_database).plan(area_ids(context, area), after_s=after_s)


def duty_index(context: RequestContext, plan: DutyPlan) -> DutyIndex:
    """Return the lookups of a plan."""
    areas = context.directory_index.directory.areas
    return DutyIndex(plan, parents_of(areas))


def check_area(context: RequestContext, area_id: str) -> None:
    """Raise `ProblemError` if the principal does not administer an area."""
    if area_id not in context.directory_index.visible_area_ids:
        raise not_found("area", area_id)


def check_channels(context: RequestContext, channel_ids: list[str]) -> None:
    """Raise `ProblemError` if a channel is not visible to the principal."""
    named = set(channel_ids) - {CONSOLE_CHANNEL}
    if named:
        known = {one.channel_id for one in NotificationStore(context.scoped_database).channels()}
        for one in sorted(named - known):
            raise not_found("channel", one)


def with_id_conflicts(change: Callable[[], None]) -> None:
    """Run a change; raise `ProblemError` if its id belongs to another area."""
    try:
        change()
    except IdTakenError as error:
        raise ProblemError(409, str(error)) from error


# -- conversion ------------------------------------------------------------------------------------


def _cell_collection(found: list[GridCell]) -> models.CellCollection:
    features = []
    for one in found:
        row = msgspec.structs.asdict(one)
        features.append({"geometry": row.pop("geometry"), "properties": row})
    return models.CellCollection.model_validate({"features": features})


def _team_response(one: Team) -> models.TeamResponse:
    return models.TeamResponse.model_validate(msgspec.to_builtins(one))


def _rotation(one: models.RotationModel) -> Rotation:
    return Rotation(**one.model_dump(exclude={"starts"}), starts=one.starts.isoformat())


def _roster_response(one: Roster, overrides: list[RosterOverride]) -> models.RosterResponse:
    row = msgspec.to_builtins(one)
    for rotation in row["rotations"]:
        rotation["starts"] = datetime.fromisoformat(rotation["starts"])
    ours = [_override_response(each) for each in overrides if each.roster_id == one.roster_id]
    return models.RosterResponse.model_validate(row | {"overrides": ours})


def _override_response(one: RosterOverride) -> models.OverrideResponse:
    row = msgspec.structs.asdict(one)
    times = {name: utc_datetime(row[f"{name}_s"]) for name in ("from", "to", "at")}
    kept = {name: row[name] for name in ("override_id", "member_id", "who", "note")}
    return models.OverrideResponse.model_validate(kept | times)


def _duty_response(team: Team, index: DutyIndex, at_s: float, cell_id: str | None) -> models.DutyResponse:
    shifts = []
    for one in index.shifts(team.team_id, at_s):
        member = index.member(one.member_id)
        shifts.append(
            {
                "roster_id": one.roster_id,
                "member_id": one.member_id,
                "name": one.member_id if member is None else member.name,
                "from": utc_datetime(one.from_s),
                "to": utc_datetime(one.to_s),
                "is_override": one.override_id is not None,
            }
        )
    return models.DutyResponse.model_validate(
        {
            "team_id": team.team_id,
            "area_id": team.area_id,
            "en": team.en,
            "zh": team.zh,
            "cell_id": cell_id,
            "on_duty": shifts,
        }
    )


def _note_response(one: HandoverNote) -> models.NoteResponse:
    row = msgspec.structs.asdict(one)
    return models.NoteResponse(at=utc_datetime(row.pop("at_s")), **row)
