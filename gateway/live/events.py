"""Builds live events (reading, anomaly, incident, notification …), serialised once for all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec
import structlog

from gateway.api.incident_access import incident_response
from gateway.api.models import conversion, row_models
from gateway.auth import evidence_redaction
from ingest_service.storage.contract.incidents import Incident
from ingest_service.storage.contract.models import Anomaly, NewestReading
from ingest_service.storage.contract.notifications import Notification

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from gateway.api.directory_cache import DirectoryIndex
    from ingest_service.storage.contract.models import DeviceActivity, DeviceStatus

log = structlog.get_logger()

EventKind = Literal["reading", "anomaly", "health", "incident", "notification"]
US_PER_S = 1e6


class StreamPosition(NamedTuple):
    """Position in a stream: newest revision of an anomaly, and newest received time of a reading [us].

    >>> str(StreamPosition(7, 1790000000000000)), StreamPosition.parse("7-1790000000000000").revision
    ('7-1790000000000000', 7)
    """

    revision: int
    received_us: int

    @classmethod
    def parse(cls, text: str) -> StreamPosition:
        """Parse a position from text that `gateway.api.routes.live` has validated."""
        revision, _, received_us = text.partition("-")
        return cls(int(revision), int(received_us))

    def __str__(self) -> str:
        return f"{self.revision}-{self.received_us}"

    def advanced_to(self, *, revision: int = 0, received_us: int = 0) -> StreamPosition:
        """Return the position moved forward to at least a revision and a received time [us]."""
        return StreamPosition(max(self.revision, revision), max(self.received_us, received_us))


class LiveEvent(NamedTuple):
    """A live event.

    Attributes
    ----------
    kind : name of the server-sent event
    data : payload as JSON
    position : position of the stream after this event
    series_id, site_id, device_id : subject of the event, for filters
    key : identity of the event, by which duplicates are found

    """

    kind: EventKind | Literal["gap", "end"]
    data: str
    position: StreamPosition
    series_id: int | None = None
    site_id: str | None = None
    device_id: str | None = None
    key: tuple[object, ...] = ()
    source_anomaly: Anomaly | None = None
    """The anomaly of the event, from which redacted copies are made."""
    source_incident: Incident | None = None
    """The incident of the event, likewise."""
    area_id: str | None = None
    """Area of a notification, for filters."""

    def to_sse(self) -> str:
        """Format the event as a server-sent event."""
        return f"id: {self.position}\nevent: {self.kind}\ndata: {self.data}\n\n"


class GapEvent(msgspec.Struct):
    """Events of a kind that are not delivered again, because they are too many or too old.

    ``from`` and ``to`` [RFC 3339] are the time range to query instead: of readings the received times, of
    anomalies the parameters of ``/v1/anomalies``.
    """

    kind: str
    from_: str = msgspec.field(name="from")
    to: str


def reading_event(
    one: NewestReading, directory_index: DirectoryIndex, position: StreamPosition, now_s: float
) -> LiveEvent:
    """Return the event of a new reading. Raises KeyError where its series is not in the directory."""
    data = conversion.latest_response(one, directory_index, now_s).model_dump_json()
    position = position.advanced_to(received_us=round(one.received_s * US_PER_S))
    return LiveEvent(
        "reading", data, position, series_id=one.series_id, key=("reading", one.series_id, one.time_s)
    )


def newest_from_row(row: np.void) -> NewestReading:
    """Convert a READING row to a `NewestReading`."""
    series_id, time_us, received_us, value, expected, spread, quality, bits = row.tolist()
    return NewestReading(
        series_id=series_id,
        time_s=time_us / US_PER_S,
        received_s=received_us / US_PER_S,
        value=value,
        quality=quality,
        rules=bits,
        expected=None if expected != expected else expected,  # noqa: PLR0124 - NaN
        spread=None if spread != spread else spread,  # noqa: PLR0124 - NaN
    )


def anomaly_event(one: Anomaly, directory_index: DirectoryIndex, position: StreamPosition) -> LiveEvent:
    """Return the event of an opened or changed anomaly."""
    data = conversion.anomaly_response(one, directory_index).model_dump_json()
    return LiveEvent(
        "anomaly",
        data,
        position.advanced_to(revision=one.revision),
        series_id=one.series_id,
        site_id=one.site_id,
        key=("anomaly", one.revision),
        source_anomaly=one,
    )


def redacted_event(one: LiveEvent, directory_index: DirectoryIndex) -> LiveEvent:
    """Return an event whose anomaly is redacted for a restricted directory."""
    if directory_index.is_unrestricted:
        return one
    if one.source_incident is not None:
        return one._replace(data=_incident_json(one.source_incident, directory_index))
    if one.source_anomaly is None:
        return one
    redacted = evidence_redaction.redact_anomaly(one.source_anomaly, directory_index)
    if redacted is one.source_anomaly:
        return one
    return one._replace(
        data=conversion.anomaly_response(redacted, directory_index).model_dump_json(), source_anomaly=redacted
    )


def incident_event(one: Incident, directory_index: DirectoryIndex, position: StreamPosition) -> LiveEvent:
    """Return the event of an opened or changed incident; what a reader may do with it is not in it."""
    return LiveEvent(
        "incident",
        _incident_json(one, directory_index),
        position,
        key=("incident", one.incident_id, one.revision),
        source_incident=one,
    )


def _incident_json(one: Incident, directory_index: DirectoryIndex) -> str:
    return incident_response(one, directory_index).model_dump_json()


def anomaly_events(
    changed: Sequence[Anomaly], directory_index: DirectoryIndex, position: StreamPosition
) -> tuple[list[LiveEvent], StreamPosition]:
    """Return events of anomalies by revision, and the position after them; skip anomalies that fail."""
    events = []
    for one in changed:
        try:
            events.append(anomaly_event(one, directory_index, position))
        except Exception:  # one row that cannot be rendered must not hold up every stream for good
            log.exception("live_anomaly_left_out", anomaly_id=one.anomaly_id)
        position = position.advanced_to(revision=one.revision)
    return events, position


def health_event(
    device_status: DeviceStatus,
    activity: DeviceActivity | None,
    directory_index: DirectoryIndex,
    position: StreamPosition,
) -> LiveEvent:
    """Return the event of a device's status. Raises KeyError where it is not in the directory."""
    device = conversion.device_response(
        directory_index.devices[device_status.device_id], activity, device_status
    )
    key = ("health", device_status.device_id, device_status.received_s)
    return LiveEvent("health", device.model_dump_json(), position, device_id=device_status.device_id, key=key)


class ConsoleNotification(msgspec.Struct):
    """A notification as consoles receive it."""

    notification_id: int
    delivery_id: int | None
    incident_id: int | None
    member_id: str | None
    step: str
    priority: int
    text_en: str
    text_zh: str


def notification_event(one: Notification, position: StreamPosition) -> LiveEvent:
    """Return the event of a notification for consoles; it does not move the position."""
    shown = ConsoleNotification(
        one.notification_id,
        one.delivery_id,
        one.incident_id,
        one.member_id,
        one.step,
        one.priority,
        one.text_en,
        one.text_zh,
    )
    key = ("notification", one.notification_id)
    data = msgspec.json.encode(shown).decode()
    return LiveEvent("notification", data, position, key=key, area_id=one.area_id)


def gap_event(
    kind: Literal["reading", "anomaly", "incident"], from_us: int, to_us: int, position: StreamPosition
) -> LiveEvent:
    """Return the event for a time range [us] whose readings or anomalies the stream leaves out."""
    gap_times = row_models.rfc3339_of_seconds([from_us / US_PER_S, to_us / US_PER_S])
    return LiveEvent("gap", msgspec.json.encode(GapEvent(kind, *gap_times)).decode(), position)


def end_event(position: StreamPosition) -> LiveEvent:
    """Return the last event to a client that is too slow."""
    return LiveEvent("end", "{}", position)
