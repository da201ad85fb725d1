"""Messages by which a town's platform forwards to its county's what is permitted (docs/federation.md).

JSON objects with a ``kind``, published on ``…/federation`` by a device of kind `DEVICE_KIND`, with a spool
position. Fields that a reader does not know are ignored: a version of the format only adds fields and kinds,
and a reader understands the version before and after its own.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from edge.wire.errors import PayloadError
from edge.wire.topics import LEVEL_PATTERN

FORMAT_VERSION = 2
CONTENT_TYPE = "application/vnd.towntwin.federation+json"
DEVICE_KIND = "federation"
FENCED = "fenced"
"""Reason in the receipt of a message from a forwarder that another one of its device has replaced."""
MISREAD = "payload"
"""Reason of a message that the receiver can't read, such as one of a kind that its release lacks."""
FORWARDER_CLOCK = "forwarder_clock"
"""Reason in the receipt of a message from a forwarder whose clock was far ahead when it started."""
CIRCLE = "federation_circle"
"""Reason in the receipt of definitions that have passed through the platform that receives them."""
FORWARDER_AHEAD_S = 86_400.0
"""By how much the number of a forwarder may be ahead of the receiver's clock [s]."""
REFUSED_FORWARDERS = frozenset({FENCED, FORWARDER_CLOCK, CIRCLE})
"""Reasons for which the county keeps nothing of a message, and the forwarder stops and keeps it."""
PARTLY = "partly"
"""Reason in the receipt of a message of which some items became dead letters, and the others are stored."""
MAX_READINGS = 2000
"""Readings in one message: about 150 KiB."""
MAX_ESTIMATES = 2000
"""Estimates in one message: about 200 KiB."""
MAX_FORECASTS = 20
"""Forecasts of series in one message: at most about 150 KiB."""

Level = Literal["city", "county", "town"]
AnomalyState = Literal["open", "closed", "withdrawn"]

# Bounds of the types that the county stores; those of times and values are its receiver's.
Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""A number of the town's database, of a block, or a Unix time [us]."""
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Rules = Annotated[int, Meta(ge=0, le=2**16 - 1)]
Quality = Literal[1, 2, 3, 4, 9]
TopicLevel = Annotated[str, Meta(pattern=rf"^{LEVEL_PATTERN.pattern}\Z")]
"""Id of an area or device, which may stand in a topic."""
Identifier = Annotated[str, Meta(pattern=r"^[^<>\x00-\x1f\x7f-\x9f]+\Z", max_length=200)]
"""Id of a site, node or link, which stands in subjects of anomalies and in addresses.

A town checks the ids that it enrols; those of before (docs/decisions/0128) the county takes, too.
"""
Name = Annotated[str, Meta(max_length=200)]
Longitude = Annotated[float, Meta(ge=-180, le=180)]
Latitude = Annotated[float, Meta(ge=-90, le=90)]


class FederationMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """What all messages have.

    Attributes
    ----------
    version : of the format
    forwarder : when the forwarding process took over its town, Unix time [us]; a later one replaces it
    block : number of the block; its messages may arrive in any order, those of the next one are sent when all
        of it is confirmed
    release : of the sender, for logs

    """

    version: int
    forwarder: Number
    block: Number
    release: Annotated[str, Meta(max_length=64)]


class ForwardedArea(msgspec.Struct, frozen=True, kw_only=True):
    """An area below that of the sender."""

    area_id: TopicLevel
    parent: TopicLevel
    level: Level
    en: Name
    zh: Name


class ForwardedSite(msgspec.Struct, frozen=True, kw_only=True):
    """A site; its position is in WGS 84 [deg]."""

    site_id: Identifier
    area_id: TopicLevel
    kind: Name
    en: Name
    zh: Name
    lon: Longitude
    lat: Latitude
    external_id: Name | None = None
    grid_cell: Name | None = None
    target_class: Annotated[int, Meta(ge=1, le=5)] | None = None


class ForwardedDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device of the town, which anomalies name; it gets no access to the county's broker."""

    device_id: TopicLevel
    area_id: TopicLevel
    kind: Name


class ForwardedSeries(msgspec.Struct, frozen=True, kw_only=True):
    """A series, named by site and quantity: numbers of series differ between platforms.

    With ``only_rollups``, its rollups are forwarded instead of its readings.
    """

    site_id: Identifier
    quantity: Name
    interval_s: Annotated[float, Meta(gt=0, le=31 * 86_400)]
    only_rollups: bool = False


class ForwardedNode(msgspec.Struct, frozen=True, kw_only=True):
    """A node of the town's river or road network; its position is in WGS 84 [deg]."""

    node_id: Identifier
    network: Literal["river", "road"]
    area_id: TopicLevel
    kind: Name
    en: Name
    zh: Name
    lon: Longitude
    lat: Latitude
    site_id: Identifier | None = None


class ForwardedLink(msgspec.Struct, frozen=True, kw_only=True):
    """A link between two nodes of the town: length [m], usual or free-flow speed [m/s]."""

    link_id: Identifier
    network: Literal["river", "road"]
    from_node: Identifier
    to_node: Identifier
    en: Name
    zh: Name
    length_m: Annotated[float, Meta(gt=0, le=1e7)]
    speed_m_s: Annotated[float, Meta(gt=0, le=1e7)]
    lanes: Count | None = None
    coordinates: list[tuple[Longitude, Latitude]] = []


class Definitions(FederationMessage, frozen=True, kw_only=True, tag="definitions"):
    """Everything that later messages refer to; sent first, and again after every enrolment in the town.

    Attributes
    ----------
    platforms : ids of the platforms that it has passed through, that of the sender included

    """

    areas: list[ForwardedArea] = []
    sites: list[ForwardedSite] = []
    devices: list[ForwardedDevice] = []
    series: list[ForwardedSeries] = []
    nodes: list[ForwardedNode] = []
    links: list[ForwardedLink] = []
    platforms: list[Name] = []


class ReadingColumns(msgspec.Struct, frozen=True, kw_only=True):
    """Readings of one series as columns ``(n,)``, with the newest flags.

    Attributes
    ----------
    time_us, received_us : measured, and received by the town, Unix time [us]
    value : in the canonical unit of the quantity
    expected, spread : by the town's judge; null where unknown
    quality, rules : QARTOD flag, and bits of the rules that led to it

    """

    site_id: Identifier
    quantity: Name
    time_us: list[Number]
    received_us: list[Number]
    value: list[float]
    expected: list[float | None]
    spread: list[float | None]
    quality: list[Quality]
    rules: list[Rules]


class ForwardedReadings(FederationMessage, frozen=True, kw_only=True, tag="readings"):
    """Readings that are new, or whose flags changed."""

    series: list[ReadingColumns]


class RollupColumns(msgspec.Struct, frozen=True, kw_only=True):
    """Rollups of one series over 15 min as columns ``(n,)``, by the names of docs/rollups.md.

    Attributes
    ----------
    bucket_us : begin of each, Unix time [us]

    """

    site_id: Identifier
    quantity: Name
    bucket_us: list[Number]
    count: list[Count]
    good: list[Count]
    min: list[float | None]
    max: list[float | None]
    total: list[float | None]
    judged: list[Count]
    expected: list[float | None]
    spread: list[float | None]
    flagged: list[float | None]
    weight: list[float | None]
    weighted: list[float | None]


class ForwardedRollups(FederationMessage, frozen=True, kw_only=True, tag="rollups"):
    """Rollups that are new or changed, of series whose readings are not forwarded."""

    series: list[RollupColumns]


class ForwardedDeviceHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The last status of a device of the town, when it came [us], and the offset of its clock [s]."""

    device_id: TopicLevel
    received_us: Number
    status: dict[str, Any]
    clock_offset_s: float | None = None


class ForwardedDevices(FederationMessage, frozen=True, kw_only=True, tag="devices"):
    """Health of devices: all after a start of the forwarder, then those that changed."""

    devices: list[ForwardedDeviceHealth]


class ForwardedAssessment(msgspec.Struct, frozen=True, kw_only=True):
    """An assessment of a site or area of the town; ``assessment`` has its other fields."""

    kind: Name
    subject: str
    area_id: TopicLevel
    site_id: Identifier | None = None
    assessment: dict[str, Any]


class ForwardedAssessments(FederationMessage, frozen=True, kw_only=True, tag="assessments"):
    """All forwarded assessments of a month, such as ``2026-10``, in place of those sent before."""

    month: Annotated[str, Meta(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])\Z")]
    assessments: list[ForwardedAssessment]


class ForwardedEstimates(FederationMessage, frozen=True, kw_only=True, tag="estimates"):
    """Estimates of one quantity at nodes of the town as columns ``(n,)``, in the order of the nodes' ids.

    They replace all of the town's at nodes with an id beyond ``after`` and up to ``until``, by code points.

    Attributes
    ----------
    after, until : ``""`` is from the first node on, None is to the last
    at_us : time of each estimate, Unix time [us]
    source : measured where the newest reading is good and fresh
    estimated, deviation : value and its standard deviation, in the canonical unit of the quantity
    measured, expected, quality, measured_us : of the newest reading; null where it is not forwarded

    """

    quantity: Name
    after: str
    until: str | None
    node_id: list[Identifier]
    at_us: list[Number]
    source: list[Literal["measured", "estimated"]]
    estimated: list[float]
    deviation: list[float]
    measured: list[float | None]
    expected: list[float | None]
    quality: list[Quality | None]
    measured_us: list[Number | None]


class ForwardedForecast(msgspec.Struct, frozen=True, kw_only=True):
    """The newest forecast of a series as columns ``(n,)``; without times the town has none any more.

    Attributes
    ----------
    issued_us : time of the readings that it is made from, Unix time [us]
    times_us : first ``issued_us``, then the times that have a value
    values, low, high : mean and band of 80 %, in the canonical unit of the quantity

    """

    site_id: Identifier
    quantity: Name
    issued_us: Number
    times_us: list[Number] = []
    values: list[float] = []
    low: list[float] = []
    high: list[float] = []


class ForwardedForecasts(FederationMessage, frozen=True, kw_only=True, tag="forecasts"):
    """Forecasts that are new or changed; each replaces the one of its series."""

    forecasts: list[ForwardedForecast]


class ForwardedAnomaly(msgspec.Struct, frozen=True, kw_only=True):
    """An anomaly as it is at the town after its newest change.

    Attributes
    ----------
    anomaly_id, revision : numbers of the town
    subject : ``device/…``, ``site/…``, or ``series`` for the series of ``site_id`` and ``quantity``

    """

    anomaly_id: Number
    revision: Number
    subject: str
    site_id: Identifier
    quantity: Name | None = None
    device_id: TopicLevel | None = None
    detector: Name
    version: str
    state: AnomalyState
    severity: Annotated[int, Meta(ge=1, le=3)]
    start_us: Number
    end_us: Number | None = None
    peak_us: Number
    observed: float | None = None
    expected: float | None = None
    spread: float | None = None
    score: float
    n_readings: Count
    reason_en: str
    reason_zh: str
    evidence: dict[str, Any] = {}


class ForwardedAnomalies(FederationMessage, frozen=True, kw_only=True, tag="anomalies"):
    """Anomalies that are new or changed, oldest change first."""

    anomalies: list[ForwardedAnomaly]


class ForwardedMember(msgspec.Struct, frozen=True, kw_only=True):
    """Why an anomaly, by its number in the town, belongs to an incident."""

    anomaly_id: Number
    role: Name
    reason: str
    reason_en: str
    reason_zh: str
    by: Name


class ForwardedHistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what in an incident, when and why."""

    machine: Name
    event: Name
    from_state: str | None = None
    to_state: str | None = None
    who: Name
    why: str = ""
    at_s: float
    detail: dict[str, Any] = {}


class ForwardedIncident(msgspec.Struct, frozen=True, kw_only=True):
    """An incident as it is at the town after its newest change; times are Unix seconds [s].

    Attributes
    ----------
    incident_id, revision, parent_id, merged_into : numbers of the town
    incident : the other fields, by the names of the HTTP API, times with ``_s``
    members : all of its anomalies that are forwarded
    entries : of its history, those that the county may lack

    """

    incident_id: Number
    revision: Number
    opened_s: float
    area_id: TopicLevel
    area_ids: list[TopicLevel]
    main_site_id: Identifier
    parent_id: Number | None = None
    merged_into: Number | None = None
    incident: dict[str, Any]
    members: list[ForwardedMember] = []
    entries: list[ForwardedHistoryEntry] = []


class ForwardedIncidents(FederationMessage, frozen=True, kw_only=True, tag="incidents"):
    """Incidents that are new or changed; those that others refer to come first."""

    incidents: list[ForwardedIncident]


class CommandResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a command at the town: why it was refused, or the number of the incident it opened."""

    command_id: str
    state: Literal["applied", "refused"]
    detail: str = ""
    incident_id: Number | None = None
    at_s: float


class CommandResults(FederationMessage, frozen=True, kw_only=True, tag="command_results"):
    """Results of commands of the platform above."""

    results: list[CommandResult]


AnyMessage = (
    Definitions
    | ForwardedReadings
    | ForwardedRollups
    | ForwardedDevices
    | ForwardedAssessments
    | ForwardedEstimates
    | ForwardedForecasts
    | ForwardedAnomalies
    | ForwardedIncidents
    | CommandResults
)


def decode_message(payload: bytes) -> AnyMessage:
    """Decode a message. Raises `PayloadError` with the remedy, for other versions too."""
    try:
        version = msgspec.json.decode(payload, type=_VersionOnly).version
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise PayloadError(f"it is no message of a platform that forwards: {error}") from error
    if abs(version - FORMAT_VERSION) > 1:
        older = "the sender" if version < FORMAT_VERSION else "this platform"
        raise PayloadError(
            f"its format has version {version}, and this platform understands {FORMAT_VERSION} and the ones"
            f" before and after it: update {older}"
        )
    try:
        found: AnyMessage = msgspec.json.decode(payload, type=AnyMessage)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        newer = "; it is of a newer format: update this platform" if version > FORMAT_VERSION else ""
        raise PayloadError(
            f"it is no message of a platform that forwards, version {version}: {error}{newer}"
        ) from error
    return found


def encode_message(message: AnyMessage) -> bytes:
    """Encode a message as JSON; NaN becomes null."""
    return msgspec.json.encode(message)


class _VersionOnly(msgspec.Struct, frozen=True):
    version: int
