"""Request and response models of grid cells, teams, rosters, duty and hand-over notes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from gateway.api.models.key_models import KeyName
from gateway.api.models.resource_models import ApiModel, UtcTime
from gateway.api.query_params import AwareTime
from ingest_service.storage.contract.duty import Language, RotationDays, Setting, TeamRole
from ingest_service.storage.contract.incidents import IncidentKind

ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
CLOCK_PATTERN = r"^([01]\d|2[0-3]):[0-5]\d$"
RowId = Annotated[str, Field(pattern=ID_PATTERN)]
ClockTime = Annotated[str, Field(pattern=CLOCK_PATTERN, examples=["22:00"])]
Position = Annotated[list[Annotated[float, Field(ge=-180, le=180)]], Field(min_length=2, max_length=2)]
Ring = Annotated[list[Position], Field(min_length=4, max_length=20_000)]
PolygonRings = Annotated[list[Ring], Field(min_length=1, max_length=100)]


class CellPolygon(ApiModel):
    """A GeoJSON Polygon: an outer ring and holes, longitude and latitude (WGS 84 [deg])."""

    type: Literal["Polygon"]
    coordinates: PolygonRings


class CellMultiPolygon(ApiModel):
    """A GeoJSON MultiPolygon."""

    type: Literal["MultiPolygon"]
    coordinates: Annotated[list[PolygonRings], Field(min_length=1, max_length=100)]


class CellProperties(ApiModel):
    """Properties of a grid cell (网格); others are ignored."""

    model_config = ConfigDict(extra="ignore")

    cell_id: RowId = Field(examples=["330483-d1-g4"])
    area_id: str = Field(max_length=200, examples=["330483-d1"])
    en: KeyName
    zh: KeyName
    setting: Setting = Field(default="town", description="A village has more time for verification")
    enabled: bool = True


class CellFeature(ApiModel):
    """A grid cell as a GeoJSON feature."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["Feature"] = "Feature"
    geometry: CellPolygon | CellMultiPolygon
    properties: CellProperties


class CellCollection(ApiModel):
    """Grid cells as a GeoJSON feature collection."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["FeatureCollection"] = "FeatureCollection"
    features: list[CellFeature] = Field(max_length=2_000)


class CoverageModel(ApiModel):
    """What a team is responsible for."""

    cell_id: RowId | None = Field(default=None, description="Null is every cell of the area")
    kind: IncidentKind | None = Field(default=None, description="Null is any kind of incident")
    rank: int = Field(default=1, ge=1, le=100, description="The lowest one is called first")


class MemberModel(ApiModel):
    """A person of a team."""

    member_id: RowId = Field(examples=["wang-fang"])
    name: KeyName = Field(examples=["王芳"])
    role: TeamRole = "member"
    principal: KeyName | None = Field(default=None, description="Who signs in so: `who` of /v1/me")
    email: str | None = Field(
        default=None, pattern=r"^[^@\s\x00-\x1f]{1,64}@[A-Za-z0-9.-]{1,190}$", examples=["wang@example.org"]
    )
    language: Language = "zh"


class TeamRequest(ApiModel):
    """A team, which replaces what is stored of it."""

    area_id: str = Field(max_length=200, examples=["330483-d1"])
    en: KeyName
    zh: KeyName
    coverage: list[CoverageModel] = Field(default_factory=list, max_length=500)
    members: list[MemberModel] = Field(default_factory=list, max_length=200)
    channels: list[RowId] = Field(default_factory=list, max_length=20, description="Of its group")
    enabled: bool = True


class TeamResponse(TeamRequest):
    """A team with its members."""

    team_id: str


class RotationModel(ApiModel):
    """Members who follow one another in shifts."""

    members: list[RowId] = Field(min_length=1, max_length=200)
    starts: AwareTime = Field(description="Start of the first shift", examples=["2026-11-23T08:00:00+08:00"])
    shift_hours: float = Field(default=24.0, gt=0, le=24 * 366)
    days: RotationDays = Field(default="all", description="`working` includes adjusted working days")
    from_time: ClockTime | None = None
    until_time: ClockTime | None = Field(default=None, description="Before from_time: on the next day")


class RosterRequest(ApiModel):
    """A roster, which replaces what is stored of it; the first rotation that applies decides."""

    team_id: RowId
    en: KeyName
    zh: KeyName
    rotations: list[RotationModel] = Field(default_factory=list, max_length=50)
    enabled: bool = True


class OverrideRequest(ApiModel):
    """Somebody else takes the duty for a time; the newest override wins."""

    member_id: RowId | None = Field(description="Null restores the rotation")
    from_: AwareTime = Field(alias="from")
    to: AwareTime
    note: str = Field(default="", max_length=1_000)


class OverrideResponse(ApiModel):
    """An override of a roster."""

    override_id: int
    member_id: str | None
    from_: UtcTime = Field(alias="from")
    to: UtcTime
    who: str
    note: str
    at: UtcTime


class RosterResponse(RosterRequest):
    """A roster with its overrides that are not over."""

    roster_id: str
    area_id: str
    overrides: list[OverrideResponse]


class ShiftResponse(ApiModel):
    """Who is on duty, and until when."""

    roster_id: str
    member_id: str
    name: str
    from_: UtcTime = Field(alias="from")
    to: UtcTime
    is_override: bool


class DutyResponse(ApiModel):
    """A team with those who are on duty."""

    team_id: str
    area_id: str
    en: str
    zh: str
    cell_id: str | None = Field(description="Of the site that was given")
    on_duty: list[ShiftResponse]


class NoteRequest(ApiModel):
    """A hand-over note (交接班记录)."""

    team_id: RowId
    text: str = Field(min_length=1, max_length=10_000)
    incidents: list[Annotated[int, Field(ge=1, lt=2**63)]] = Field(default_factory=list, max_length=100)


class NoteResponse(ApiModel):
    """A stored hand-over note."""

    note_id: int
    area_id: str
    team_id: str
    at: UtcTime
    who: str
    text: str
    incidents: list[int]
