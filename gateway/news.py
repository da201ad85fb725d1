"""Live events, serialised once for all streams that receive them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec
import structlog

from gateway import convert, redaction, rows
from ingest_service.storage.model import Anomaly, Latest

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from gateway.known import Known
    from ingest_service.storage.model import DeviceActivity, DeviceStatus

log = structlog.get_logger()

Kind = Literal["reading", "anomaly", "health"]
ONE_US = 1e6


class Place(NamedTuple):
    """How far a stream was told: the newest anomaly's revision, and when the newest reading came [us].

    >>> str(Place(7, 1790000000000000)), Place.read("7-1790000000000000").revision
    ('7-1790000000000000', 7)
    """

    revision: int
    received_us: int

    @classmethod
    def read(cls, text: str) -> Place:
        """A place from its text, which `params` has checked."""
        revision, _, received_us = text.partition("-")
        return cls(int(revision), int(received_us))

    def __str__(self) -> str:
        return f"{self.revision}-{self.received_us}"

    def later(self, *, revision: int = 0, received_us: int = 0) -> Place:
        """At least so far."""
        return Place(max(self.revision, revision), max(self.received_us, received_us))


class News(NamedTuple):
    """Something that happened: as JSON, where it is told, what it is of; the key tells one from another."""

    kind: Kind | Literal["gap", "end"]
    data: str
    place: Place
    series_id: int | None = None
    site_id: str | None = None
    device_id: str | None = None
    key: tuple[object, ...] = ()
    whole: Anomaly | None = None
    """The anomaly that this tells of, for readers who may not see all that its evidence names."""

    def event(self) -> str:
        """As a server-sent event."""
        return f"id: {self.place}\nevent: {self.kind}\ndata: {self.data}\n\n"


class Gap(msgspec.Struct):
    """Events of a kind that are not delivered again, for they are too many or too old.

    ``from`` and ``to`` [RFC 3339] are what to query for instead: of readings the receiving times, of
    anomalies the parameters of ``/v1/anomalies``.
    """

    kind: str
    from_: str = msgspec.field(name="from")
    to: str


def reading(one: Latest, known: Known, place: Place, now_s: float) -> News:
    """A reading came. Raises KeyError where its series is not known yet."""
    data = convert.latest(one, known, now_s).model_dump_json()
    place = place.later(received_us=round(one.received_s * ONE_US))
    return News("reading", data, place, series_id=one.series_id, key=("reading", one.series_id, one.time_s))


def stored(row: np.void) -> Latest:
    """A READING row, as if it were the newest."""
    series_id, time_us, received_us, value, expected, spread, quality, bits = row.tolist()
    return Latest(
        series_id=series_id,
        time_s=time_us / ONE_US,
        received_s=received_us / ONE_US,
        value=value,
        quality=quality,
        rules=bits,
        expected=None if expected != expected else expected,  # noqa: PLR0124 - NaN
        spread=None if spread != spread else spread,  # noqa: PLR0124 - NaN
    )


def anomaly(one: Anomaly, known: Known, place: Place) -> News:
    """An anomaly opened or changed."""
    data = convert.anomaly(one, known).model_dump_json()
    return News(
        "anomaly",
        data,
        place.later(revision=one.revision),
        series_id=one.series_id,
        site_id=one.site_id,
        key=("anomaly", one.revision),
        whole=one,
    )


def seen(one: News, known: Known) -> News:
    """News as a reader may see them: an anomaly without what its evidence names elsewhere."""
    if one.whole is None or known.is_whole:
        return one
    shown = redaction.of_anomaly(one.whole, known)
    if shown is one.whole:
        return one
    return one._replace(data=convert.anomaly(shown, known).model_dump_json(), whole=shown)


def anomalies(changed: Sequence[Anomaly], known: Known, place: Place) -> tuple[list[News], Place]:
    """Anomalies in the order of their revisions, and the place after them; one with a defect is left out."""
    found = []
    for one in changed:
        try:
            found.append(anomaly(one, known, place))
        except Exception:  # one row that cannot be rendered must not hold up every stream for good
            log.exception("live_anomaly_left_out", anomaly_id=one.anomaly_id)
        place = place.later(revision=one.revision)
    return found, place


def health(said: DeviceStatus, active: DeviceActivity | None, known: Known, place: Place) -> News:
    """A device said how it is. Raises KeyError where it is not known yet."""
    device = convert.device(known.devices[said.device_id], active, said)
    key = ("health", said.device_id, said.received_s)
    return News("health", device.model_dump_json(), place, device_id=said.device_id, key=key)


def gap(kind: Literal["reading", "anomaly"], from_us: int, to_us: int, place: Place) -> News:
    """Readings or anomalies are left out: they are in /v1/readings or /v1/anomalies."""
    edges = rows.of_seconds([from_us / ONE_US, to_us / ONE_US])
    return News("gap", msgspec.json.encode(Gap(kind, *edges)).decode(), place)


def end(place: Place) -> News:
    """The last word to a reader that is too slow."""
    return News("end", "{}", place)
