"""Serves the pages on which grid cells, teams and rosters are edited, and takes their forms."""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, get_args

import msgspec
from fastapi import APIRouter, Form, Query, UploadFile
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool

from gateway.api.models import duty_models as models
from gateway.api.problems import ProblemError, not_found
from gateway.api.routes import duty, keys_and_audit, notifications
from gateway.auth.authorization import CONSOLE, KEY_ADMINISTRATION, requires
from gateway.console.form_refusals import Refusal, refusal_of
from gateway.console.page_parts import PageParts
from gateway.console.visitor import CurrentState, CurrentVisitor, page_response, require
from ingest_service.storage.contract.duty import RotationDays, Setting, TeamRole
from ingest_service.storage.contract.incidents import IncidentKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.console.platform_state import PlatformState
    from gateway.console.visitor import Visitor

router = APIRouter(include_in_schema=False)

EDIT = duty.DUTY_ADMINISTRATION._replace(by_session=True)
OVERRIDE = duty.DUTY._replace(by_session=True)
CELL_EDIT = EDIT._replace(body_bytes=1 << 21)
EMPTY_ROWS = 2  # of a form's tables; more come when these are saved
ALL_CELLS = "*"
ShortText = Annotated[str, Form(max_length=200)]
IdQuery = Annotated[str, Query(alias="id", max_length=64)]
TeamQuery = Annotated[str, Query(max_length=64)]


class TeamForm(BaseModel):
    """The fields of a team; rows of its tables are lists of the same length."""

    id: str = ""
    is_new: bool = False
    area_id: str = ""
    en: str = ""
    zh: str = ""
    enabled: bool = False
    channels: list[str] = []
    coverage_cell: list[str] = []
    coverage_kind: list[str] = []
    coverage_rank: list[str] = []
    member_id: list[str] = []
    member_name: list[str] = []
    member_role: list[str] = []
    member_principal: list[str] = []
    member_email: list[str] = []
    member_language: list[str] = []

    def request(self) -> models.TeamRequest:
        """Return the team as the API takes it; rows without a cell, or without id and name, are none."""
        coverage = [
            {"cell_id": None if cell == ALL_CELLS else cell, "kind": kind or None, "rank": rank or 1}
            for cell, kind, rank in zip(
                self.coverage_cell, self.coverage_kind, self.coverage_rank, strict=False
            )
            if cell
        ]
        rows = zip(
            *(self.member_id, self.member_name, self.member_role),
            *(self.member_principal, self.member_email, self.member_language),
            strict=False,
        )
        members = [
            {
                "member_id": member_id.strip(),
                "name": name.strip(),
                "role": role,
                "principal": principal.strip() or None,
                "email": email.strip() or None,
                "language": language,
            }
            for member_id, name, role, principal, email, language in rows
            if member_id.strip() or name.strip()
        ]
        values = self.model_dump(include={"area_id", "en", "zh", "enabled", "channels"})
        return models.TeamRequest.model_validate(values | {"coverage": coverage, "members": members})


class RosterForm(BaseModel):
    """The fields of a roster; rows of its rotations are lists of the same length."""

    id: str = ""
    is_new: bool = False
    team_id: str = ""
    en: str = ""
    zh: str = ""
    enabled: bool = False
    members: list[str] = []
    starts: list[str] = []
    shift_hours: list[str] = []
    days: list[str] = []
    from_time: list[str] = []
    until_time: list[str] = []

    def request(self, visitor: Visitor) -> models.RosterRequest:
        """Return the roster as the API takes it; rows without members are none."""
        rows = zip(
            *(self.members, self.starts, self.shift_hours, self.days, self.from_time, self.until_time),
            strict=False,
        )
        rotations = [
            {
                "members": [one for one in re.split(r"[\s,;，、；]+", members) if one],
                "starts": _local_time(starts, visitor),
                "shift_hours": hours or 24,
                "days": days,
                "from_time": from_time or None,
                "until_time": until_time or None,
            }
            for members, starts, hours, days, from_time, until_time in rows
            if members.strip()
        ]
        values = self.model_dump(include={"team_id", "en", "zh", "enabled"})
        return models.RosterRequest.model_validate(values | {"rotations": rotations})


class CellForm(BaseModel):
    """The fields of a grid cell; the polygon as text of GeoJSON."""

    id: str = ""
    is_new: bool = False
    area_id: str = ""
    en: str = ""
    zh: str = ""
    setting: str = "town"
    enabled: bool = False
    geometry: str = ""

    def request(self) -> models.CellCollection:
        """Return the cell as the API takes it. A feature is taken for its geometry."""
        values = self.model_dump(include={"area_id", "en", "zh", "setting", "enabled"})
        geometry = decode_geojson(self.geometry)
        feature = {
            "geometry": geometry.get("geometry", geometry),
            "properties": values | {"cell_id": self.id},
        }
        return models.CellCollection.model_validate({"features": [feature]})


@router.get("/console/settings/duty")
@requires(CONSOLE)
async def duty_page(
    visitor: CurrentVisitor, state: CurrentState, done: Annotated[str, Query(max_length=20)] = ""
) -> HTMLResponse:
    """Serve the list of teams with who is on duty, and of rosters with their overrides."""
    return await _duty_page(visitor, state, notice=visitor.text("saved") if done == "saved" else "")


@router.get("/console/settings/team")
@requires(CONSOLE)
async def team_page(visitor: CurrentVisitor, state: CurrentState, row_id: IdQuery = "") -> HTMLResponse:
    """Serve the form of a team; of a new one without an id."""
    form = TeamForm(is_new=True, enabled=True)
    if row_id:
        one = _one(await run_in_threadpool(duty.teams, visitor.context), "team", row_id)
        coverage, members = one.coverage, one.members
        columns: dict[str, Any] = {
            f"member_{name.removeprefix('member_')}": [getattr(each, name) or "" for each in members]
            for name in ("member_id", "name", "role", "principal", "email", "language")
        }
        form = TeamForm(
            id=row_id,
            **one.model_dump(include={"area_id", "en", "zh", "enabled", "channels"}),
            coverage_cell=[each.cell_id or ALL_CELLS for each in coverage],
            coverage_kind=[each.kind or "" for each in coverage],
            coverage_rank=[str(each.rank) for each in coverage],
            **columns,
        )
    return await _team_page(visitor, state, form)


@router.post("/console/settings/team")
@requires(EDIT)
async def save_team(
    visitor: CurrentVisitor, state: CurrentState, form: Annotated[TeamForm, Form()]
) -> Response:
    """Insert or replace a team."""

    def save() -> None:
        check_id(form.id, "team_id")
        if form.is_new and any(one.team_id == form.id for one in duty.teams(visitor.context)):
            raise ProblemError(409, f"team {form.id} exists already")
        duty.replace_team(visitor.context, form.id, form.request())

    refusal = await refused(visitor, save)
    return await _team_page(visitor, state, form, refusal) if refusal else saved("/console/settings/duty")


@router.get("/console/settings/roster")
@requires(CONSOLE)
async def roster_page(
    visitor: CurrentVisitor,
    state: CurrentState,
    row_id: IdQuery = "",
    team: TeamQuery = "",
    done: Annotated[str, Query(max_length=20)] = "",
) -> HTMLResponse:
    """Serve the form of a roster with its overrides; of a new one without an id."""
    form = RosterForm(is_new=True, team_id=team, id=team, enabled=True)
    if row_id:
        one = _one(await run_in_threadpool(duty.rosters, visitor.context), "roster", row_id)
        zone = visitor.context.unscoped_store.zone
        rotations = one.rotations
        form = RosterForm(
            id=row_id,
            **one.model_dump(include={"team_id", "en", "zh", "enabled"}),
            members=[", ".join(each.members) for each in rotations],
            starts=[each.starts.astimezone(zone).strftime("%Y-%m-%dT%H:%M") for each in rotations],
            shift_hours=[f"{each.shift_hours:g}" for each in rotations],
            days=[each.days for each in rotations],
            from_time=[each.from_time or "" for each in rotations],
            until_time=[each.until_time or "" for each in rotations],
        )
    notice = visitor.text("saved") if done == "saved" else ""
    return await _roster_page(visitor, state, form, notice=notice)


@router.post("/console/settings/roster")
@requires(EDIT)
async def save_roster(
    visitor: CurrentVisitor, state: CurrentState, form: Annotated[RosterForm, Form()]
) -> Response:
    """Insert or replace a roster."""

    def save() -> None:
        check_id(form.id, "roster_id")
        if form.is_new and any(one.roster_id == form.id for one in duty.rosters(visitor.context)):
            raise ProblemError(409, f"roster {form.id} exists already")
        duty.replace_roster(visitor.context, form.id, form.request(visitor))

    refusal = await refused(visitor, save)
    return await _roster_page(visitor, state, form, refusal) if refusal else saved("/console/settings/duty")


@router.post("/console/settings/overrides")
@requires(OVERRIDE)
async def add_override(
    visitor: CurrentVisitor,
    state: CurrentState,
    roster_id: ShortText,
    begin: Annotated[str, Form(max_length=40)] = "",
    end: Annotated[str, Form(max_length=40)] = "",
    member_id: ShortText = "",
    note: Annotated[str, Form(max_length=1000)] = "",
) -> Response:
    """Let somebody else take a duty for a time; nobody is the rotation again."""

    def save() -> None:
        values = {
            "member_id": member_id or None,
            "from": _local_time(begin, visitor),
            "to": _local_time(end, visitor),
            "note": note,
        }
        duty.add_override(visitor.context, roster_id, models.OverrideRequest.model_validate(values))

    refusal = await refused(visitor, save)
    if refusal is None:
        return saved("/console/settings/duty")
    return await _duty_page(visitor, state, refusal=refusal, opened=roster_id)


@router.get("/console/settings/cells")
@requires(CONSOLE)
async def cells_page(
    visitor: CurrentVisitor, state: CurrentState, done: Annotated[str, Query(max_length=20)] = ""
) -> HTMLResponse:
    """Serve the grid cells, on the map and in a list."""
    return await _cells_page(visitor, state, notice=visitor.text("saved") if done == "saved" else "")


@router.get("/console/settings/cell")
@requires(CONSOLE)
async def cell_page(visitor: CurrentVisitor, state: CurrentState, row_id: IdQuery = "") -> HTMLResponse:
    """Serve the form of a grid cell; of a new one without an id."""
    form = CellForm(is_new=True, enabled=True)
    if row_id:
        features = (await run_in_threadpool(duty.cells, visitor.context)).features
        found = next((one for one in features if one.properties.cell_id == row_id), None)
        if found is None:
            raise not_found("cell", row_id)
        properties = found.properties.model_dump(include={"area_id", "en", "zh", "setting", "enabled"})
        form = CellForm(id=row_id, geometry=found.geometry.model_dump_json(), **properties)
    return await _cell_page(visitor, state, form)


@router.post("/console/settings/cell")
@requires(CELL_EDIT)
async def save_cell(
    visitor: CurrentVisitor, state: CurrentState, form: Annotated[CellForm, Form()]
) -> Response:
    """Insert or replace a grid cell."""

    def save() -> None:
        check_id(form.id, "cell_id")
        if form.is_new:
            features = duty.cells(visitor.context).features
            if any(one.properties.cell_id == form.id for one in features):
                raise ProblemError(409, f"cell {form.id} exists already")
        duty.replace_cells(visitor.context, form.request())

    refusal = await refused(visitor, save)
    return await _cell_page(visitor, state, form, refusal) if refusal else saved("/console/settings/cells")


@router.post("/console/settings/cells")
@requires(CELL_EDIT)
async def upload_cells(visitor: CurrentVisitor, state: CurrentState, file: UploadFile) -> Response:
    """Insert or replace the grid cells of a GeoJSON file."""
    content = await file.read()

    def save() -> None:
        collection = decode_geojson(content)
        duty.replace_cells(visitor.context, models.CellCollection.model_validate(collection))

    refusal = await refused(visitor, save)
    if refusal is None:
        return saved("/console/settings/cells")
    return await _cells_page(visitor, state, refusal=refusal)


@router.get("/console/settings/cells.json")
@requires(duty.CELLS)
def cells_for_map(visitor: CurrentVisitor) -> Response:
    """Serve the grid cells for the map, each with its name in the visitor's language."""
    features = [
        {
            "type": "Feature",
            "geometry": one.geometry.model_dump(),
            "properties": {"id": one.properties.cell_id, "name": visitor.name(one.properties)},
        }
        for one in duty.cells(visitor.context).features
        if one.properties.enabled
    ]
    content = msgspec.json.encode({"type": "FeatureCollection", "features": features})
    return Response(content, media_type="application/geo+json", headers={"Cache-Control": "no-store"})


def decode_geojson(text: str | bytes) -> dict[str, Any]:
    """Return an object of GeoJSON. Raises `ProblemError` 422 for other text."""
    try:
        decoded = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProblemError(422, f"geometry: is no JSON: {error}", where="geometry") from error
    if not isinstance(decoded, dict):
        raise ProblemError(422, "geometry: is no object of GeoJSON", where="geometry")
    return decoded


def _local_time(text: str, visitor: Visitor) -> datetime | None:
    """Return the time of a ``datetime-local`` field, in the zone of the towns; None where it is no time."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=visitor.context.unscoped_store.zone)
    except ValueError:
        return None  # the model refuses it, with its place


def check_id(row_id: str, where: str) -> None:
    """Raise `ProblemError` 422 for what can be no id."""
    if not re.fullmatch(models.ID_PATTERN, row_id):
        raise ProblemError(422, f"{where}: does not match {models.ID_PATTERN}", where=where)


def _one(found: list[Any], kind: str, row_id: str) -> Any:
    one = next((each for each in found if getattr(each, f"{kind}_id") == row_id), None)
    if one is None:
        raise not_found(kind, row_id)
    return one


async def refused(visitor: Visitor, save: Callable[[], object]) -> Refusal | None:
    """Save; return why it was refused, None where it was not."""
    try:
        await run_in_threadpool(save)
    except (ProblemError, ValidationError) as error:
        return refusal_of(error, visitor)
    return None


def saved(address: str, done: str = "saved") -> RedirectResponse:
    """Return the way back to a page, which shows that something is done."""
    return RedirectResponse(f"{address}?done={done}", 303)


def area_options(visitor: Visitor, state: PlatformState) -> list[tuple[str, str]]:
    """Return id and name of the areas for which a visitor may define something."""
    index = state.directory_index
    areas = [one for one in index.directory.areas if one.area_id in index.visible_area_ids]
    return [(one.area_id, visitor.name(one)) for one in areas]


def _options(visitor: Visitor, prefix: str, names: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(one, visitor.text(f"{prefix}_{one}")) for one in names]


async def _duty_page(
    visitor: Visitor,
    state: PlatformState,
    *,
    notice: str = "",
    refusal: Refusal | None = None,
    opened: str = "",
) -> HTMLResponse:
    require(visitor, duty.DUTY)
    context = visitor.context

    def read() -> dict[str, Any]:
        teams, rosters = duty.teams(context), duty.rosters(context)
        return {
            "teams": teams,
            "rosters": rosters,
            "on_duty": {one.team_id: one.on_duty for one in duty.duty(context)},
            "members_of": {one.team_id: one.members for one in teams},
            "member_names": {m.member_id: m.name for one in teams for m in one.members},
        }

    return page_response(
        visitor,
        "settings_duty.html",
        http_status=422 if refusal else 200,
        parts=PageParts(visitor, state),
        may_edit=visitor.may(EDIT),
        notice=notice,
        refusal=refusal,
        opened=opened,
        **await run_in_threadpool(read),
    )


async def _team_page(
    visitor: Visitor, state: PlatformState, form: TeamForm, refusal: Refusal | None = None
) -> HTMLResponse:
    require(visitor, EDIT)
    context = visitor.context

    def read() -> dict[str, Any]:
        keys = keys_and_audit.keys(context) if visitor.may(KEY_ADMINISTRATION) else []
        now_s = time.time()
        valid = [
            one for one in keys if not one.revoked and (not one.expires or one.expires.timestamp() > now_s)
        ]
        principals = [(f"key:{one.key_id}", one.name) for one in valid]
        own = context.principal
        if own.principal_id not in dict(principals):
            principals.insert(0, (own.principal_id, own.name))
        return {
            "cells": duty.cells(context).features,
            "channels": notifications.channels(context),
            "principals": principals,
        }

    return page_response(
        visitor,
        "settings_team.html",
        http_status=422 if refusal else 200,
        parts=PageParts(visitor, state),
        form=form,
        refusal=refusal,
        areas=area_options(visitor, state),
        kinds=_options(visitor, "incident_kind", get_args(IncidentKind)),
        roles=_options(visitor, "team_role", get_args(TeamRole)),
        coverage_rows=len(form.coverage_cell) + EMPTY_ROWS,
        member_rows=len(form.member_id) + EMPTY_ROWS,
        **await run_in_threadpool(read),
    )


async def _roster_page(
    visitor: Visitor,
    state: PlatformState,
    form: RosterForm,
    refusal: Refusal | None = None,
    *,
    notice: str = "",
) -> HTMLResponse:
    require(visitor, EDIT)
    return page_response(
        visitor,
        "settings_roster.html",
        http_status=422 if refusal else 200,
        parts=PageParts(visitor, state),
        form=form,
        refusal=refusal,
        notice=notice,
        teams=await run_in_threadpool(duty.teams, visitor.context),
        days=_options(visitor, "days", get_args(RotationDays)),
        rows=len(form.members) + EMPTY_ROWS,
    )


async def _cells_page(
    visitor: Visitor, state: PlatformState, *, notice: str = "", refusal: Refusal | None = None
) -> HTMLResponse:
    require(visitor, duty.CELLS)
    return page_response(
        visitor,
        "settings_cells.html",
        http_status=422 if refusal else 200,
        parts=PageParts(visitor, state),
        cells=(await run_in_threadpool(duty.cells, visitor.context)).features,
        area_names=dict(area_options(visitor, state)),
        may_edit=visitor.may(CELL_EDIT),
        notice=notice,
        refusal=refusal,
    )


async def _cell_page(
    visitor: Visitor, state: PlatformState, form: CellForm, refusal: Refusal | None = None
) -> HTMLResponse:
    require(visitor, EDIT)
    return page_response(
        visitor,
        "settings_cell.html",
        http_status=422 if refusal else 200,
        parts=PageParts(visitor, state),
        form=form,
        refusal=refusal,
        areas=area_options(visitor, state),
        settings=_options(visitor, "setting", get_args(Setting)),
    )
