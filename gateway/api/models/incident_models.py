"""Request and response models of incidents. Times are RFC 3339 in UTC."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from gateway.api.models.resource_models import (
    ApiModel,
    MissingResultResponse,
    SensorVerdictResponse,
    SourcePosteriorResponse,
    UtcTime,
)
from gateway.api.query_params import AwareTime
from ingest_service.storage.contract.incidents import (
    AlarmState,
    IncidentKind,
    IncidentState,
    MemberRole,
    RequestKind,
    RequestState,
)

MAX_TEXT = 2000


def _reject_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("a text must not hold the character NUL (U+0000): leave it out")
    return text


Text = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(_reject_nul)]
RequiredText = Annotated[str, Field(min_length=1, max_length=MAX_TEXT), AfterValidator(_reject_nul)]
Id = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_reject_nul)]
RevisionField = Annotated[
    int,
    Field(ge=1, lt=2**63, description="Revision that was read; another one now gives 409", examples=[812]),
]


class IncidentTraceResponse(ApiModel):
    """Where the water of an incident came from, computed by the service from all of its sites."""

    computed: UtcTime
    times_computed: int = Field(description="It is revised when the incident's anomalies change")
    elsewhere: float = Field(description="Probability of the sources that are not listed", examples=[0.03])
    posterior: SourcePosteriorResponse


class IncidentResponse(ApiModel):
    """One event that a town works on, however many series, sites and towns it touches."""

    incident_id: int = Field(examples=[17])
    revision: int = Field(description="Give it back with a change", examples=[812])
    kind: IncidentKind
    cause: str = Field(description="Cause or detector that names it", examples=["sewage"])
    title_en: str = Field(examples=["Sewage at West bridge and 3 more sites"])
    title_zh: str = Field(examples=["西桥断面等4处疑似污水"])
    summary: str = Field(description="Written by whoever opened it by hand; else empty")
    area_id: str = Field(description="Home area, in which it may be changed", examples=["330483-d1"])
    area_ids: list[str] = Field(description="Touched areas that you may see")
    main_site_id: str | None = Field(description="Site where it began; null where you may not see it")
    site_ids: list[str] = Field(description="Touched sites that you may see")
    lon: float | None = Field(description="Of the main site, or of a touched one that you may see [deg]")
    lat: float | None
    priority: int = Field(ge=1, le=4, description="1 is most urgent")
    consequence: str = Field(description="Row of the priority matrix", examples=["major"])
    urgency: str = Field(description="Column of the priority matrix", examples=["prompt"])
    severity: int = Field(ge=1, le=3, description="Greatest severity of its anomalies")
    state: IncidentState
    alarm_state: AlarmState
    active: bool = Field(description="Whether the condition lasts")
    started: UtcTime = Field(description="Start of the first anomaly, as measured")
    last: UtcTime = Field(description="Newest start or end of an anomaly, as measured")
    opened: UtcTime = Field(description="When the platform opened it")
    updated: UtcTime
    returned: UtcTime | None
    acknowledged: UtcTime | None
    acknowledged_by: str | None
    filed: UtcTime | None
    dispatched: UtcTime | None
    reported: UtcTime | None
    closed: UtcTime | None
    annunciations: int = Field(description="Times that its alarm sounded")
    anomalies: int
    open_anomalies: int
    team_id: str | None
    assignee: str | None
    parent_id: int | None = Field(description="Incident that explains this one and suppresses its alarm")
    suppressed_by: Literal["parent", "maintenance", "flood"] | None
    merged_into: int | None
    shelved_until: UtcTime | None
    extended_until: UtcTime | None
    held_until: UtcTime | None
    opened_by: str
    origin: str | None = Field(
        description="Device of the town's platform that forwarded it, and where alone it is changed; null for"
        " one of this platform"
    )
    legal_events: list[str] = Field(
        description="Events that you may cause now", examples=[["file", "dismiss", "acknowledge"]]
    )
    legal_requests: list[RequestKind] = Field(description="Requests that you may make now")
    trace: IncidentTraceResponse | None = Field(
        default=None,
        description="Of a single incident; null in lists, and where `trace_missing` has a reason",
    )
    trace_missing: MissingResultResponse | None = Field(
        default=None, description="Of a single incident: why it has no trace; null in lists"
    )
    sensor_verdict: SensorVerdictResponse | None = Field(
        default=None,
        description="Of a single incident: on the sensor of its first anomaly that has one; null in lists, "
        "and where `sensor_verdict_missing` has a reason",
    )
    sensor_verdict_missing: MissingResultResponse | None = Field(
        default=None, description="Of a single incident: why its first anomaly has no verdict; null in lists"
    )


class IncidentAnomalyResponse(ApiModel):
    """An anomaly of an incident, or one that was kept out of all, with the reason."""

    anomaly_id: int
    incident_id: int | None
    site_id: str
    series_id: int | None
    device_id: str | None
    detector: str
    role: MemberRole
    reason: str = Field(examples=["downstream"])
    reason_en: str
    reason_zh: str
    state: Literal["open", "closed", "withdrawn"]
    severity: int
    start: UtcTime
    end: UtcTime | None
    by: str
    sensor_verdict: SensorVerdictResponse | None = Field(
        default=None, description="Event or fault of its sensor; of the anomalies of a single incident"
    )
    sensor_verdict_missing: MissingResultResponse | None = Field(
        default=None, description="Why there is no verdict; of the anomalies of a single incident"
    )


class HistoryResponse(ApiModel):
    """An entry of an incident's history: who did what, when and why, from which state."""

    history_id: int
    revision: int
    machine: Literal["workflow", "alarm", "record"]
    event: str = Field(examples=["dispatch"])
    event_zh: str = Field(examples=["派遣"])
    from_state: str | None
    to_state: str | None
    who: str
    why: str
    at: UtcTime
    detail: dict[str, Any]


class TransitionRequest(ApiModel):
    """An event to cause."""

    event: Id = Field(examples=["dispatch"])
    revision: RevisionField
    why: Text = Field(default="", examples=["the grid worker is nearby"])
    team_id: Id | None = Field(default=None, description="Of a dispatch", examples=["d1-water"])
    assignee: Id | None = Field(default=None, description="Of a dispatch", examples=["Li Qiang"])
    until: AwareTime | None = Field(default=None, description="End of a shelving")


class NewIncidentRequest(ApiModel):
    """An incident that somebody reports: a patrol, a phone call."""

    site_id: Id = Field(examples=["330483-d1-r04"])
    kind: IncidentKind = Field(examples=["water"])
    cause: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,49}$")] = Field(
        default="reported", examples=["dead_fish"]
    )
    summary: RequiredText = Field(examples=["dead fish below the weir"])
    severity: int = Field(default=2, ge=1, le=3)


class CommentRequest(ApiModel):
    """A comment on an incident; it changes nothing else, so it needs no revision."""

    text: RequiredText = Field(examples=["sampled at 14:10, bottle 3"])


class AssignmentRequest(ApiModel):
    """Who works on an incident, and its priority by hand; what is absent remains."""

    revision: RevisionField
    team_id: Id | None = None
    assignee: Id | None = None
    priority: int | None = Field(default=None, ge=1, le=4)
    why: Text = ""


class MergeRequest(ApiModel):
    """Incidents to merge into this one; their anomalies move, and they are closed."""

    revision: RevisionField
    incident_ids: list[Annotated[int, Field(ge=1, lt=2**63)]] = Field(min_length=1, max_length=50)
    why: RequiredText


class SplitRequest(ApiModel):
    """Anomalies to move from this incident to a new one."""

    revision: RevisionField
    anomaly_ids: list[Annotated[int, Field(ge=1, lt=2**63)]] = Field(min_length=1, max_length=1000)
    why: RequiredText


class ApprovalRequest(ApiModel):
    """A request for an extension (延期), a return (回退) or a hold (挂账)."""

    kind: RequestKind
    revision: RevisionField
    why: RequiredText
    until: AwareTime | None = Field(default=None, description="New deadline, or end of the hold")


class RequestDecision(ApiModel):
    """The decision on a request; ``withdrawn`` is for whoever made it."""

    state: Literal["approved", "refused", "withdrawn"]
    revision: RevisionField
    why: Text = ""


class RequestResponse(ApiModel):
    """A request with its decision."""

    request_id: int
    incident_id: int
    kind: RequestKind
    state: RequestState
    requested_by: str
    requested: UtcTime
    why: str
    until: UtcTime | None
    approver_role: str
    decided_by: str | None
    decided: UtcTime | None
    decided_why: str | None


class PhotoResponse(ApiModel):
    """A photo of an incident; its content is at ``…/photos/{photo_id}``."""

    photo_id: int
    at: UtcTime
    who: str
    caption: str
    media_type: str
    width: int
    height: int
    size_bytes: int


class PlannedMaintenanceRequest(ApiModel):
    """Planned work at a site, in which its alarms are suppressed by design."""

    site_id: Id
    from_: AwareTime = Field(alias="from")
    to: AwareTime
    why: RequiredText


class PlannedMaintenanceResponse(ApiModel):
    """Planned work at a site."""

    maintenance_id: int
    site_id: str
    from_: UtcTime = Field(serialization_alias="from", validation_alias="from_")
    to: UtcTime
    who: str
    why: str


class FloodResponse(ApiModel):
    """A flood: it starts above 10 annunciations in 10 min and operator, and ends below 5."""

    from_: UtcTime = Field(serialization_alias="from", validation_alias="from")
    to: UtcTime
    annunciations: int
    peak: int


class ContributorResponse(ApiModel):
    """One of the alarms that sounded most often, with its share of all annunciations."""

    site_id: str
    cause: str
    annunciations: int
    share: float


class DayLoadResponse(ApiModel):
    """Annunciations of a day."""

    from_: UtcTime = Field(serialization_alias="from", validation_alias="from")
    annunciations: int
    per_operator: float
    peak_10min: float


class PerformanceResponse(ApiModel):
    """Alarm performance as EEMUA 191 and ISA-18.2 measure it."""

    from_: UtcTime = Field(serialization_alias="from", validation_alias="from")
    to: UtcTime
    operators: int
    annunciations: int
    incidents: int = Field(description="Opened in the range")
    per_operator_day: float = Field(description="About 150 is acceptable, 300 the maximum")
    per_operator_hour: float = Field(description="About 6 is acceptable, 12 the maximum")
    peak_10min: float = Field(description="Of an operator; 10 at most")
    periods_above_10: float = Field(description="Share of the 10-min periods; below 0.01")
    flood_share: float = Field(description="Share of the time in floods; below 0.01")
    floods: list[FloodResponse]
    chattering: int = Field(description="Alarms that sounded 3 times within a minute; 0")
    stale: int = Field(description="Alarms unacknowledged for more than 24 h")
    standing: int = Field(description="Alarms active for more than 24 h at the end")
    top_share: float = Field(description="Share of the top ten; 0.01 to 0.05")
    top: list[ContributorResponse]
    priorities: dict[str, float] = Field(description="Share of the annunciations by priority")
    acknowledge_s: tuple[float | None, float | None] = Field(
        description="Median and 95th percentile of the time to acknowledge [s]"
    )
    close_s: tuple[float | None, float | None] = Field(
        description="Median and 95th percentile of the time to close [s]"
    )
    days: list[DayLoadResponse]
