"""Properties of entities (18-088, clause 8.2), from the directory and the readings."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from analytics.core.flags import Flag, Rule
from edge.wire.quantities import QUANTITIES
from gateway.sta.nodes import Span
from gateway.sta.units import unit_of_measurement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge.wire.quantities import Quantity
    from ingest_service.storage.model import Device, Series, Site
    from ingest_service.storage.sensorthings import Extent, Observed

GEOJSON = "application/geo+json"
MEASUREMENT = "http://www.opengis.net/def/observationType/OGC-OM/2.0/OM_Measurement"
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
TIMED = ("observedArea", "phenomenonTime", "resultTime")
MEANINGS = [
    Flag(value).name.lower().replace("_", " ") if value in set(Flag) else "" for value in range(1, 10)
]
RULES = [one.name or "" for one in Rule]


class Late(Mapping[str, Any]):
    """Properties of which some are only asked for when they are needed."""

    def __init__(
        self, ready: dict[str, Any], late: Callable[[], dict[str, Any]], names: tuple[str, ...]
    ) -> None:
        self._ready, self._late, self._names = ready, late, names

    def __getitem__(self, name: str) -> Any:
        if name in self._names and name not in self._ready:
            self._ready |= self._late()
        return self._ready[name]

    def __iter__(self) -> Iterator[str]:
        return iter([*self._ready.keys() - set(self._names), *self._names])

    def __len__(self) -> int:
        return len(self._ready.keys() | set(self._names))


def thing(site: Site) -> dict[str, Any]:
    """A site as a Thing."""
    return _named(site, "Monitoring site") | {"properties": _about(site)}


def location(site: Site) -> dict[str, Any]:
    """Where a site is."""
    where = {"encodingType": GEOJSON, "location": _point(site), "properties": {"area": site.area_id}}
    return _named(site, "Place of the site") | where


def feature_of_interest(site: Site) -> dict[str, Any]:
    """What the observations of a site are of: the river section, the road section, … there."""
    what = {"encodingType": GEOJSON, "feature": _point(site), "properties": _about(site)}
    return _named(site, site.kind.replace("_", " ").capitalize()) | what


def sensor(sensor_id: str, device: Device | None) -> dict[str, Any]:
    """A device as a Sensor; what it is made of is not enrolled, so the metadata say only that."""
    kind = device.kind if device else "unknown"
    return {
        "id": sensor_id,
        "name": sensor_id,
        "description": f"Device {sensor_id}" if device else "Readings without an enrolled device",
        "encodingType": "text/html",
        "metadata": f"{kind} {sensor_id}",
        "properties": {"kind": kind, "area": device.area_id if device else None},
    }


def observed_property(quantity: Quantity) -> dict[str, Any]:
    """A quantity as an ObservedProperty."""
    return {
        "id": quantity.name,
        "name": quantity.en,
        "description": f"{quantity.en} ({quantity.zh})",
        "definition": f"urn:towntwin:quantity:{quantity.name}",
        "properties": {
            "zh": quantity.zh,
            "symbol": quantity.symbol,
            "unit": quantity.unit,
            "domain": quantity.domain,
            "hj212": quantity.hj212,
            "smartDataModel": quantity.smart_data_model,
        },
    }


def datastream(series: Series, site: Site, extent: Callable[[], Extent | None]) -> Mapping[str, Any]:
    """A series as a Datastream; its area and times come from the data, and only when they are asked for."""
    quantity = QUANTITIES[series.quantity]
    ready = {
        "id": series.series_id,
        "name": f"{quantity.en}, {site.en}",
        "description": f"{quantity.en} ({quantity.zh}) at {site.en} ({site.zh})",
        "observationType": MEASUREMENT,
        "unitOfMeasurement": unit_of_measurement(quantity.unit),
        "properties": {"quantity": series.quantity, "interval_s": series.interval_s, "unit": quantity.unit},
    }

    def timed() -> dict[str, Any]:
        found = extent()
        if found is None:
            return dict.fromkeys(TIMED)
        received = sorted((found.first_received, found.last_received))
        return {
            "observedArea": _point(site),
            "phenomenonTime": Span(found.first, found.last),
            "resultTime": Span(*received),
        }

    return Late(ready, timed, TIMED)


def observation(row: Observed) -> dict[str, Any]:
    """A reading as an Observation: measured is phenomenonTime, received is resultTime."""
    return {
        "id": f"{row.series_id}-{row.time_us}",
        "phenomenonTime": moment(row.time_us),
        "result": row.value,
        "resultTime": moment(row.received_us),
        "resultQuality": {
            "nameOfMeasure": "QARTOD flag",
            "value": row.quality,
            "meaning": MEANINGS[row.quality - 1],
        },
        "validTime": None,
        "parameters": {
            "rules": [one.name for one in Rule(row.rules)],
            "expected": row.expected,
            "spread": row.spread,
        },
    }


def moment(time_us: int) -> dt.datetime:
    """A moment of microseconds since 1970 [us]."""
    return EPOCH + dt.timedelta(microseconds=time_us)


def place_of(observation_id: str) -> tuple[int, dt.datetime] | None:
    """The series and the moment in the id of an observation; None where it is none.

    >>> place_of("12-1790000000000000")[0]
    12
    """
    series_id, dash, time_us = observation_id.partition("-")
    digits = time_us.removeprefix("-")
    if not dash or not (series_id + digits).isascii() or not (series_id.isdigit() and digits.isdigit()):
        return None
    if len(series_id) > 9 or len(digits) > 17:
        return None
    try:
        return int(series_id), moment(int(time_us))
    except OverflowError:
        return None


def _named(site: Site, what: str) -> dict[str, Any]:
    return {"id": site.site_id, "name": site.en, "description": f"{what}: {site.en} ({site.zh})"}


def _about(site: Site) -> dict[str, Any]:
    return {
        "kind": site.kind,
        "area": site.area_id,
        "zh": site.zh,
        "externalId": site.external_id,
        "gridCell": site.grid_cell,
        "targetClass": site.target_class,
        "demo": site.demo,
    }


def _point(site: Site) -> dict[str, Any]:
    return {"type": "Point", "coordinates": [site.lon, site.lat]}
