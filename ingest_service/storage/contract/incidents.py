"""Data model of incidents: what a town works on, the anomalies in it, its history, requests and photos.

An incident has two states: `IncidentState` is its place in the loop of grid management (网格化), `AlarmState`
is that of its alarm (ISA-18.2). Which transitions are legal is data of `analytics.incidents.state_machine`.
Times are Unix seconds UTC [s]. Incidents draw their revisions from the same sequence as anomalies, so one
cursor follows both.
"""

from __future__ import annotations

from collections.abc import Sequence  # noqa: TC003 - msgspec reads the annotations
from typing import Any, Final, Literal

import msgspec

from ingest_service.storage.contract.errors import StoreError

IncidentKind = Literal["water", "traffic", "device", "platform"]
IncidentState = Literal[
    "new", "filed", "dispatched", "in_hand", "reported", "verified", "closed", "false_alarm"
]
AlarmState = Literal[
    "normal",
    "unacknowledged",
    "acknowledged",
    "returned_unacknowledged",
    "shelved",
    "suppressed",
    "out_of_service",
]
MemberRole = Literal["opened", "joined", "suppressed"]
"""Whether an anomaly opened its incident, joined it, or was kept out of all incidents for a reason."""
RequestKind = Literal["extension", "return", "hold"]
"""延期 (later deadline), 回退 (back to the dispatcher) and 挂账 (held over until a date)."""
RequestState = Literal["waiting", "approved", "refused", "withdrawn"]
Machine = Literal["workflow", "alarm", "record"]
"""What a history entry is about: a transition of one of the two states, or anything else that is recorded."""

OVER_STATES: Final[frozenset[IncidentState]] = frozenset({"closed", "false_alarm"})
"""States of incidents that nobody has to work on any more."""
SERVICE: Final = "service"
"""``who`` of everything that the platform does by itself."""


class RevisionConflictError(StoreError):
    """An incident was changed since it was read; ``newest`` is its revision now (None: it is not visible)."""

    def __init__(self, incident_id: int, newest: int | None) -> None:
        super().__init__(
            f"incident {incident_id} was changed meanwhile (its revision is {newest}): read it again, "
            "and repeat the change if it is still wanted"
        )
        self.incident_id, self.newest = incident_id, newest


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """One event that a town works on, however many series, sites and towns it touches.

    Attributes
    ----------
    area_id : home area, of ``main_site_id``: whoever changes the incident needs a right for it
    area_ids : every area in which a site is touched, the home area included: whoever may see one of them sees
        the incident, and of ``site_ids`` those in his areas
    main_site_id : site of the anomaly that opened it; in notifications and for the team of its grid cell
    site_ids : touched sites that the reader may see, sorted; given by the store
    priority : 1 (most urgent) to 4, by the matrix of ``consequence`` and ``urgency``, or by hand
    active : whether the condition lasts; it returns to normal with hysteresis
    started_s : start of the first anomaly (measured); ``opened_s`` is when the platform opened the incident
    last_s : newest start or end of any anomaly in it (measured)
    annunciations : times its alarm became unacknowledged without being suppressed or shelved
    anomalies, open_anomalies : numbers of anomalies in it, those kept out excluded; given by the store
    parent_id : the incident that explains this one, and suppresses its alarm
    suppressed_by : reason of the suppression: ``parent``, ``maintenance``, ``flood`` (annunciated later) or
        None
    merged_into : the incident that it was merged into by hand; it is closed then
    origin : device of the town's platform that forwarded it, and where alone it is changed; None if it is of
        this platform

    """

    incident_id: int = 0  # given by the store
    revision: int = 0  # given by the store; for optimistic locking and as cursor of live streams
    area_id: str
    area_ids: list[str]
    main_site_id: str
    kind: IncidentKind
    cause: str
    priority: int
    consequence: str = ""
    urgency: str = ""
    severity: int = 1
    state: IncidentState = "new"
    alarm_state: AlarmState = "unacknowledged"
    active: bool = True
    started_s: float
    last_s: float
    opened_s: float
    updated_s: float = 0.0  # given by the store
    returned_s: float | None = None
    acknowledged_s: float | None = None
    acknowledged_by: str | None = None
    filed_s: float | None = None
    dispatched_s: float | None = None
    reported_s: float | None = None
    closed_s: float | None = None
    annunciations: int = 0
    team_id: str | None = None
    assignee: str | None = None
    parent_id: int | None = None
    suppressed_by: Literal["parent", "maintenance", "flood"] | None = None
    merged_into: int | None = None
    shelved_until_s: float | None = None
    extended_until_s: float | None = None
    held_until_s: float | None = None
    summary: str = ""  # written by whoever opened it by hand; empty for incidents of the platform
    opened_by: str = SERVICE
    site_ids: list[str] = []
    anomalies: int = 0
    open_anomalies: int = 0
    origin: str | None = None  # given by the store

    @property
    def position(self) -> tuple[int, int]:
        """Position after which the next page starts: opening time [us], incident id."""
        return round(self.opened_s * 1e6), self.incident_id

    @property
    def is_over(self) -> bool:
        """Whether it is closed or was a false alarm."""
        return self.state in OVER_STATES


class IncidentAnomaly(msgspec.Struct, frozen=True, kw_only=True):
    """Where an anomaly belongs, and why; every anomaly has exactly one such row once it was grouped.

    ``incident_id`` is None if no incident has it. A suppressed anomaly never annunciates; ``reason`` is a
    code of `analytics.incidents.reasons`, and the texts explain it.
    """

    anomaly_id: int
    incident_id: int | None
    site_id: str
    role: MemberRole
    reason: str
    reason_en: str
    reason_zh: str
    anomaly_revision: int  # revision of the anomaly that was applied
    state: Literal["open", "closed", "withdrawn"]
    start_s: float
    end_s: float | None = None
    severity: int = 1
    series_id: int | None = None
    device_id: str | None = None
    detector: str = ""
    by: str = SERVICE


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Entry of an incident's history before it is stored: who did what, when and why, from which state."""

    machine: Machine
    event: str
    from_state: str | None = None
    to_state: str | None = None
    who: str
    why: str = ""
    at_s: float
    detail: dict[str, Any] = {}


class IncidentHistory(HistoryEntry, frozen=True, kw_only=True):
    """A stored history entry; ``revision`` is that of the incident after it."""

    history_id: int
    incident_id: int
    revision: int


class IncidentRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that a named role has to approve: extension (延期), return (回退), hold (挂账)."""

    request_id: int = 0  # given by the store
    incident_id: int
    kind: RequestKind
    state: RequestState = "waiting"
    requested_by: str
    requested_s: float
    why: str
    until_s: float | None = None  # new deadline of an extension, or the end of a hold
    approver_role: str
    decided_by: str | None = None
    decided_s: float | None = None
    decided_why: str | None = None


class IncidentPhoto(msgspec.Struct, frozen=True, kw_only=True):
    """A photo without its content; re-encoded, so without metadata."""

    photo_id: int = 0  # given by the store
    incident_id: int
    at_s: float
    who: str
    caption: str = ""
    media_type: Literal["image/jpeg", "image/png"]
    width: int
    height: int
    size_bytes: int = 0  # given by the store


class PlannedMaintenance(msgspec.Struct, frozen=True, kw_only=True):
    """Planned work at a site in ``[from_s, to_s)``; alarms of the site are suppressed by design meanwhile."""

    maintenance_id: int = 0  # given by the store
    site_id: str
    from_s: float
    to_s: float
    who: str
    why: str


class IncidentQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Filter of incidents, joined by "and"; newest opening first. ``after`` is `Incident.position`."""

    incident_ids: Sequence[int] | None = None
    area_ids: Sequence[str] | None = None  # touched ones
    site_ids: Sequence[str] | None = None
    kinds: Sequence[str] | None = None
    causes: Sequence[str] | None = None
    states: Sequence[str] | None = None
    alarm_states: Sequence[str] | None = None
    priority_max: int = 4
    team_ids: Sequence[str] | None = None
    assignee: str | None = None
    parent_id: int | None = None
    is_open: bool | None = None  # neither closed nor a false alarm
    own_only: bool = False  # without those that a town's platform forwarded
    from_s: float | None = None  # opened at or after it
    to_s: float | None = None  # opened before it
    after: tuple[int, int] | None = None  # opening time [us], incident id
    limit: int = 100


class IncidentUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """A change to one incident with the entries that explain it; stored together or not at all.

    ``incident.revision`` is the revision that was read; 0 inserts a new incident.
    """

    incident: Incident
    entries: Sequence[HistoryEntry]
    members: Sequence[
        IncidentAnomaly
    ] = ()  # rows to insert or replace; their incident_id is set by the store


class IncidentCursor(msgspec.Struct, frozen=True, kw_only=True):
    """Up to which revision the anomalies of an area were grouped into incidents."""

    area_id: str
    revision: int


class IncidentToTrace(msgspec.Struct, frozen=True, kw_only=True):
    """An incident on the river, its anomalies by start, and what its trace was computed from."""

    incident_id: int
    anomaly_ids: list[int]
    inputs: str | None
    age_s: float | None


class IncidentTrace(msgspec.Struct, frozen=True, kw_only=True):
    """The posterior over the sources of an incident; None where it can't be computed from ``inputs``.

    ``posterior`` is a `SourcePosteriorAnswer` of `analytics.service.source_posterior` as JSON, ``missing`` a
    `MissingResult` of `analytics.service.missing_results`: why there is none; None of older versions.
    """

    incident_id: int
    inputs: str
    computed_s: float = 0.0  # given by the store
    computing_s: float
    times_computed: int = 1  # given by the store
    posterior: dict[str, Any] | None
    missing: dict[str, str] | None = None
