"""Data model of the store: records and array dtypes; the second published contract.

Times are Unix seconds UTC as float64 [s] in records and int64 microseconds [us] in columns.
Everything enrolled (areas, sites, devices, series, networks) is read and written as one `Directory`.
"""

from __future__ import annotations

from collections.abc import Sequence  # noqa: TC003 - msgspec reads the annotations
from typing import Any, Literal

import msgspec
import numpy as np

READING = np.dtype(
    [
        ("series_id", "<i4"),
        ("time_us", "<i8"),  # measured (phenomenon time)
        ("received_us", "<i8"),
        ("value", "<f8"),  # canonical unit of the series' quantity
        ("expected", "<f4"),  # expected value of the judge; NaN while it is unknown
        ("spread", "<f4"),  # one robust standard deviation around expected; NaN likewise
        ("quality", "u1"),  # QARTOD flag
        ("rules", "<u2"),  # bits of analytics.core.flags.Rule that led to the flag
    ]
)
"""One stored reading; a batch of them is a structured array ``(n,)`` of this dtype."""

REVISION = np.dtype([("series_id", "<i4"), ("time_us", "<i8"), ("quality", "u1"), ("rules", "<u2")])
"""A flag changed by later evidence. Readings stay as they were written; views show the revised flag."""

Level = Literal["city", "county", "town"]
Network = Literal["river", "road"]
Direction = Literal["forward", "both"]
SectionShape = Literal["rectangular", "trapezoidal", "circular"]
Structure = Literal["sluice", "weir", "pump"]
Verdict = Literal["false-alarm", "confirmed"]


class Area(msgspec.Struct, frozen=True, kw_only=True):
    """An administrative area (行政区划): GB/T 2260 code for city and county, project id for a town."""

    area_id: str
    parent: str | None = None
    level: Level
    en: str
    zh: str


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """A monitoring site (站点), or an outfall that may be monitored.

    ``kind`` is river_section, lake_section, outfall, rain_gauge, tide_gauge, junction or road_section.
    ``lon``, ``lat`` are WGS 84 [deg]; ``target_class`` is the target class of GB 3838 (1-5).
    """

    site_id: str
    area_id: str
    kind: str
    en: str
    zh: str
    lon: float
    lat: float
    external_id: str | None = None
    grid_cell: str | None = None
    target_class: int | None = None
    demo: bool = False


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """An enrolled MQTT publisher; its id is its MQTT user name."""

    device_id: str
    area_id: str
    kind: str = "agent"


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """A time series: one quantity at one site.

    ``limits`` of the site file override the judge's by name, and ``adopted`` ones override these.
    """

    series_id: int = 0  # given by the store
    site_id: str
    quantity: str
    interval_s: float = 300.0
    limits: dict[str, float] = {}
    adopted: dict[str, float | None] = {}  # by an engineer; given by the store, unchanged by an enrolment
    score_shift: float = 0.0  # of the score limits, by the operators' feedback; given by the store


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """Mapping of one SenML name of a device to the series of its values."""

    device_id: str
    name: str
    site_id: str
    quantity: str
    series_id: int = 0  # given by the store


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A node of the river or road network; with ``site_id`` if there is a site at it.

    ``elevation_m`` is that of the bed or the road surface [m], ``external_id`` the id in a city information
    model (CIM), ``valid_from_s`` the time since which this version holds [Unix s], None for always.
    """

    node_id: str
    network: Network
    area_id: str
    kind: str  # river: source, confluence, section, outfall, mouth, lake; road: junction, detector, end
    en: str
    zh: str
    lon: float
    lat: float
    site_id: str | None = None
    elevation_m: float | None = None
    external_id: str | None = None
    valid_from_s: float | None = None  # given by the store


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A river reach or a road link from one node to another.

    Attributes
    ----------
    speed_m_s : usual water velocity, or free-flow speed of the road [m/s]
    direction : "both" where the water also flows against the link; a road has a link for each direction
    section_shape, width_m, depth_m, side_slope : cross-section of a reach: width at the bed, or diameter [m],
        depth when full [m], and horizontal distance per vertical one of a trapezoid's banks
    manning_n : roughness of a reach [s/m^(1/3)]
    structure : what regulates the flow of a reach
    lane_capacity_veh_h : of a road [vehicles/h and lane]
    external_id : id in a city information model (CIM)
    valid_from_s : time since which this version holds [Unix s]; None for always

    """

    link_id: str
    network: Network
    from_node: str
    to_node: str
    en: str
    zh: str
    length_m: float
    speed_m_s: float
    lanes: int | None = None
    coordinates: list[tuple[float, float]] = []
    direction: Direction = "forward"
    section_shape: SectionShape | None = None
    width_m: float | None = None
    depth_m: float | None = None
    side_slope: float | None = None
    manning_n: float | None = None
    structure: Structure | None = None
    lane_capacity_veh_h: float | None = None
    external_id: str | None = None
    valid_from_s: float | None = None  # given by the store


class PastNode(msgspec.Struct, frozen=True, kw_only=True):
    """A node as it was from its ``valid_from_s`` up to, but not including, ``valid_to_s`` [Unix s]."""

    node: Node
    valid_to_s: float


class PastLink(msgspec.Struct, frozen=True, kw_only=True):
    """A link as it was from its ``valid_from_s`` up to, but not including, ``valid_to_s`` [Unix s]."""

    link: Link
    valid_to_s: float


class Directory(msgspec.Struct, kw_only=True):
    """Everything enrolled. Site files have this structure; the store returns it with ids filled in."""

    areas: list[Area] = []
    sites: list[Site] = []
    devices: list[Device] = []
    series: list[Series] = []
    channels: list[Channel] = []
    nodes: list[Node] = []
    links: list[Link] = []
    version: int = 0  # grows with every enrolment
    enrolled_s: dict[str, float] = {}  # of devices, Unix seconds [s]; given by the store
    # Windows in which readings are flagged, by series id, Unix seconds [s]; given by the store.
    maintenance: dict[int, list[tuple[float, float]]] = {}
    # Of sites that a town's platform forwards, its device; given by the store.
    origins: dict[str, str] = {}
    # Series of which a town's platform forwards only rollups; given by the store.
    only_rollups: list[int] = []
    # Of nodes and links that changed or ended, by the time of the change; given by the store.
    past_nodes: list[PastNode] = []
    past_links: list[PastLink] = []

    def valid_at(self, at_s: float) -> Directory:
        """Return the directory with the nodes and links that were valid at a time [Unix s].

        A link whose ends were not valid then is left out. Everything else is as it is enrolled now.
        """
        has_versions = bool(self.past_nodes or self.past_links)
        has_versions |= any(one.valid_from_s is not None for one in self.nodes)
        has_versions |= any(one.valid_from_s is not None for one in self.links)
        if not has_versions:
            return self
        nodes = {one.node_id: one for one in self.nodes if _began(one, at_s)}
        links = {one.link_id: one for one in self.links if _began(one, at_s)}
        for past_node in self.past_nodes:
            if _began(past_node.node, at_s) and at_s < past_node.valid_to_s:
                nodes[past_node.node.node_id] = past_node.node
        for past_link in self.past_links:
            if _began(past_link.link, at_s) and at_s < past_link.valid_to_s:
                links[past_link.link.link_id] = past_link.link
        return msgspec.structs.replace(
            self,
            nodes=[nodes[name] for name in sorted(nodes)],
            links=[
                links[name]
                for name in sorted(links)
                if links[name].from_node in nodes and links[name].to_node in nodes
            ],
        )

    def judged_here(self) -> Directory:
        """Return the directory without the sites, series and channels that a town's platform judges."""
        if not self.origins:
            return self
        return msgspec.structs.replace(
            self,
            sites=[one for one in self.sites if one.site_id not in self.origins],
            series=[one for one in self.series if one.site_id not in self.origins],
            channels=[one for one in self.channels if one.site_id not in self.origins],
        )


def _began(one: Node | Link, at_s: float) -> bool:
    return one.valid_from_s is None or one.valid_from_s <= at_s


class AnomalyFields(msgspec.Struct, frozen=True):
    """What both forms of an anomaly have: one physical event at one series, device or site.

    ``severity`` is 1 notice, 2 warning, 3 alarm. ``score`` is −log10 of the false-alarm probability, so it is
    comparable between detectors. The query ``anomaly_fields`` has the same fields in the same order.
    """

    site_id: str
    detector: str
    version: str
    state: Literal["open", "closed", "withdrawn"]
    severity: int
    start_s: float
    peak_s: float
    score: float
    n_readings: int
    reason_en: str
    reason_zh: str
    anomaly_id: int = 0  # given by the store
    series_id: int | None = None
    device_id: str | None = None
    end_s: float | None = None
    observed: float | None = None
    expected: float | None = None
    spread: float | None = None

    @property
    def position(self) -> tuple[int, int]:
        """Position after which the next page starts: start [us], anomaly id."""
        return round(self.start_s * 1e6), self.anomaly_id


class Anomaly(AnomalyFields, frozen=True, kw_only=True):
    """An anomaly as it is recorded; unique by ``(subject, start_s)``.

    ``subject`` is ``series/12``, ``device/wz-01`` or ``site/…``.
    """

    revision: int = 0  # grows with every change to any anomaly; the cursor of live streams
    subject: str
    evidence: dict[str, Any] = {}


class AnomalyRow(AnomalyFields, frozen=True):
    """An anomaly as the API reads it, its evidence undecoded (`docs/decisions/0038`).

    ``event_probability`` and ``compared``, the number of other sensors, are of the verdict on its sensor.
    """

    evidence: str = "{}"
    event_probability: float | None = None
    compared: int | None = None


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's verdict on an anomaly; valid until it is withdrawn, and kept after that."""

    feedback_id: int
    anomaly_id: int
    series_id: int | None
    verdict: Verdict
    who: str
    note: str
    at_s: float
    withdrawn_s: float | None = None
    withdrawn_by: str | None = None
    withdrawn_note: str | None = None


class LateReadings(msgspec.Struct, frozen=True, kw_only=True):
    """Late readings of a series that are not judged yet, measured from ``since_s`` to ``until_s`` [s]."""

    series_id: int
    since_s: float
    until_s: float
    readings: int


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that could not be stored (completely), with its payload, the reason and the remedy."""

    letter_id: int = 0  # given by the store
    received_s: float
    topic: str
    payload: bytes
    content_type: str | None = None
    size_bytes: int = 0  # of the payload; given by the store
    properties: dict[str, str] = {}
    reason: str  # a key of `ingest_service.storage.dead_letter_reasons.REASONS`
    detail: str
    state: Literal["waiting", "replay"] = "waiting"
    replays: int = 0
    retained: bool = False  # an MQTT retained message, which the broker sends at every subscription


class DeadLetterQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Filter of dead letters, joined by "and", newest first; ``before_id`` is the last id of the last page.

    Without ``whole``, payloads are omitted: one may have megabytes.
    """

    ids: list[int] | None = None
    reason: str | None = None
    device: str | None = None
    areas: list[str] | None = None  # in the topic
    received_before_s: float | None = None
    before_id: int | None = None
    whole: bool = True
    limit: int = 100


class DeviceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The newest status message of a device."""

    device_id: str
    received_s: float
    status: dict[str, Any]
    clock_offset_s: float | None = None  # device clock minus platform clock, if known


class DeviceActivity(msgspec.Struct, frozen=True, kw_only=True):
    """Times of a device's newest reading, over all of its channels; None if it never sent one."""

    device_id: str
    area_id: str
    kind: str = "agent"  # as enrolled; "replay" publishes recorded files
    site_id: str
    interval_s: float
    measured_s: float | None
    received_s: float | None


class ExceededQuota(msgspec.Struct, frozen=True, kw_only=True):
    """Dead letters of a device and day (UTC) beyond its quota; unknown devices of an area count as one."""

    area_id: str
    device_id: str | None  # None for devices that are not enrolled
    site_id: str  # of the device, or a site of the area
    day_s: float  # start of the day, Unix time [s]
    devices: int
    letters: int  # stored
    beyond: int  # counted, not stored
    bytes_beyond: int


class NewestReading(msgspec.Struct, frozen=True, kw_only=True):
    """The newest measured reading of a series."""

    series_id: int
    time_s: float
    received_s: float
    value: float
    quality: int
    rules: int
    expected: float | None
    spread: float | None


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """A series over ``[time_s, time_s + width)``; min, max and mean are over good readings (flag 1 or 2)."""

    time_s: float
    count: int
    good: int
    min: float | None
    max: float | None
    mean: float | None


class AnomalyQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Filter of anomalies, joined by "and"; newest start first.

    ``text`` is a case-insensitive substring of the English or the Chinese reason; ``after`` is the last row's
    `AnomalyFields.position`.
    """

    anomaly_id: int | None = None
    site_ids: Sequence[str] | None = None
    series_ids: Sequence[int] | None = None
    detectors: Sequence[str] | None = None
    states: Sequence[str] | None = None
    severity_min: int = 1
    severity_max: int = 3
    text: str | None = None
    from_s: float | None = None  # selects anomalies that end after it
    to_s: float | None = None  # selects anomalies that start before it
    after: tuple[int, int] | None = None  # start [us], anomaly id
    limit: int = 100


class StoreHealth(msgspec.Struct, frozen=True, kw_only=True):
    """Edition, schema version and row counts of the database."""

    edition: str  # "TimescaleDB Community 2.x", "TimescaleDB Apache 2.x", "PostgreSQL 18.x"
    schema_version: int
    readings: int
    open_anomalies: int
    dead_letters: int
    rollups_due: int
    rejudge_due: int
    newest_received_s: float | None
