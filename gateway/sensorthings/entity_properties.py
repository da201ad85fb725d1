"""Builds the properties of SensorThings entities (18-088, 8.2) from the directory and the readings."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from analytics.core.flags import Flag, Rule
from edge.wire.quantities import QUANTITIES
from gateway.sensorthings.expression_tree import TimeInterval
from gateway.sensorthings.units import unit_of_measurement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge.wire.quantities import Quantity
    from ingest_service.storage.contract.models import Device, Series, Site
    from ingest_service.storage.postgres.observations import Observation, SeriesExtent

GEOJSON_TYPE = "application/geo+json"
OBSERVATION_TYPE = "http://www.opengis.net/def/observationType/OGC-OM/2.0/OM_Measurement"
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
TIME_PROPERTIES = ("observedArea", "phenomenonTime", "resultTime")
FLAG_MEANINGS = [
    Flag(value).name.lower().replace("_", " ") if value in set(Flag) else "" for value in range(1, 10)
]
RULE_NAMES = [one.name or "" for one in Rule]


class LazyProperties(Mapping[str, Any]):
    """Mapping of properties of which some, the ``names``, are loaded at first access."""

    def __init__(
        self, ready: dict[str, Any], load_deferred: Callable[[], dict[str, Any]], names: tuple[str, ...]
    ) -> None:
        self._loaded, self._load_deferred, self._names = ready, load_deferred, names

    def __getitem__(self, name: str) -> Any:
        if name in self._names and name not in self._loaded:
            self._loaded |= self._load_deferred()
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter([*self._loaded.keys() - set(self._names), *self._names])

    def __len__(self) -> int:
        return len(self._loaded.keys() | set(self._names))


def thing_properties(site: Site) -> dict[str, Any]:
    """Return the properties of a site as a Thing."""
    return _name_properties(site, "Monitoring site") | {"properties": _site_properties(site)}


def location_properties(site: Site) -> dict[str, Any]:
    """Return the properties of a site as a Location."""
    location_part = {
        "encodingType": GEOJSON_TYPE,
        "location": _geojson_point(site),
        "properties": {"area": site.area_id},
    }
    return _name_properties(site, "Place of the site") | location_part


def feature_properties(site: Site) -> dict[str, Any]:
    """Return the properties of a site as a FeatureOfInterest (river section, road section, …)."""
    prefix = {
        "encodingType": GEOJSON_TYPE,
        "feature": _geojson_point(site),
        "properties": _site_properties(site),
    }
    return _name_properties(site, site.kind.replace("_", " ").capitalize()) | prefix


def sensor_properties(sensor_id: str, device: Device | None) -> dict[str, Any]:
    """Return the properties of a device as a Sensor; its metadata is kind and id: no more is enrolled."""
    kind = device.kind if device else "unknown"
    return {
        "id": sensor_id,
        "name": sensor_id,
        "description": f"Device {sensor_id}" if device else "Readings without an enrolled device",
        "encodingType": "text/html",
        "metadata": f"{kind} {sensor_id}",
        "properties": {"kind": kind, "area": device.area_id if device else None},
    }


def observed_property_properties(quantity: Quantity) -> dict[str, Any]:
    """Return the properties of a quantity as an ObservedProperty."""
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


def datastream_properties(
    series: Series, site: Site, extent: Callable[[], SeriesExtent | None]
) -> Mapping[str, Any]:
    """Return the properties of a series as a Datastream; area and times are read at first access."""
    quantity = QUANTITIES[series.quantity]
    ready = {
        "id": series.series_id,
        "name": f"{quantity.en}, {site.en}",
        "description": f"{quantity.en} ({quantity.zh}) at {site.en} ({site.zh})",
        "observationType": OBSERVATION_TYPE,
        "unitOfMeasurement": unit_of_measurement(quantity.unit),
        "properties": {"quantity": series.quantity, "interval_s": series.interval_s, "unit": quantity.unit},
    }

    def load_times() -> dict[str, Any]:
        series_extent = extent()
        if series_extent is None:
            return dict.fromkeys(TIME_PROPERTIES)
        received = sorted((series_extent.first_received, series_extent.last_received))
        return {
            "observedArea": _geojson_point(site),
            "phenomenonTime": TimeInterval(series_extent.first, series_extent.last),
            "resultTime": TimeInterval(*received),
        }

    return LazyProperties(ready, load_times, TIME_PROPERTIES)


def observation_properties(row: Observation) -> dict[str, Any]:
    """Return a reading as an Observation: phenomenonTime is its measured time, resultTime its receipt."""
    return {
        "id": f"{row.series_id}-{row.time_us}",
        "phenomenonTime": datetime_of_us(row.time_us),
        "result": row.value,
        "resultTime": datetime_of_us(row.received_us),
        "resultQuality": {
            "nameOfMeasure": "QARTOD flag",
            "value": row.quality,
            "meaning": FLAG_MEANINGS[row.quality - 1],
        },
        "validTime": None,
        "parameters": {
            "rules": [one.name for one in Rule(row.rules)],
            "expected": row.expected,
            "spread": row.spread,
        },
    }


def datetime_of_us(time_us: int) -> dt.datetime:
    """Return the UTC time of Unix microseconds [us]."""
    return EPOCH + dt.timedelta(microseconds=time_us)


def parse_observation_id(observation_id: str) -> tuple[int, dt.datetime] | None:
    """Return series id and measured time of an Observation id; None if it is invalid.

    >>> parse_observation_id("12-1790000000000000")[0]
    12
    """
    series_id, dash, time_us = observation_id.partition("-")
    digits = time_us.removeprefix("-")
    if not dash or not (series_id + digits).isascii() or not (series_id.isdigit() and digits.isdigit()):
        return None
    if len(series_id) > 9 or len(digits) > 17:
        return None
    try:
        return int(series_id), datetime_of_us(int(time_us))
    except OverflowError:
        return None


def _name_properties(site: Site, prefix: str) -> dict[str, Any]:
    return {"id": site.site_id, "name": site.en, "description": f"{prefix}: {site.en} ({site.zh})"}


def _site_properties(site: Site) -> dict[str, Any]:
    return {
        "kind": site.kind,
        "area": site.area_id,
        "zh": site.zh,
        "externalId": site.external_id,
        "gridCell": site.grid_cell,
        "targetClass": site.target_class,
        "demo": site.demo,
    }


def _geojson_point(site: Site) -> dict[str, Any]:
    return {"type": "Point", "coordinates": [site.lon, site.lat]}
