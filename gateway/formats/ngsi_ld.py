"""Converts the newest readings of sites to NGSI-LD entities of the Smart Data Models.

WaterQualityObserved 0.0.6 and TrafficFlowObserved 0.0.1 (smart-data-models, dataModel.WaterQuality and
dataModel.Transportation). Units are those of the models: flow in m³/h, occupancy from 0 to 1, intensity as
vehicles counted in the period. Unit codes are UN/CEFACT's. Quantities without a property of their own go to
``measurand``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from analytics.core.flags import Flag
from edge.wire.quantities import QUANTITIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.api.directory_cache import DirectoryIndex
    from ingest_service.storage.contract.models import NewestReading, Series, Site

CORE_CONTEXT = "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context.jsonld"
SMART_DATA_MODELS_URL = "https://raw.githubusercontent.com/smart-data-models/"
HOUR_S = 3600.0
OMITTED_QUANTITIES = ("queue_length",)
"""Left out: the model's property of that name means something else (a gap between vehicles)."""
UNIT_CODES = {"°C": "CEL", "pH": "Q30", "mg/L": "M1", "µS/cm": "G42", "m": "MTR", "m/s": "MTS", "km/h": "KMH"}
UNIT_CODES_BY_QUANTITY = {"discharge": "MQH", "occupancy": "C62", "traffic_flow": "C62"}

EntityType = Literal["WaterQualityObserved", "TrafficFlowObserved"]


@dataclass(frozen=True, slots=True)
class NgsiDataModel:
    """A Smart Data Model: entity type, domain of its quantities, and URL of its JSON-LD context."""

    type: EntityType
    domain: str
    context: str


WATER_MODEL = NgsiDataModel(
    "WaterQualityObserved", "water", f"{SMART_DATA_MODELS_URL}dataModel.WaterQuality/master/context.jsonld"
)
TRAFFIC_MODEL = NgsiDataModel(
    "TrafficFlowObserved", "traffic", f"{SMART_DATA_MODELS_URL}dataModel.Transportation/master/context.jsonld"
)


def entities(
    sites: Iterable[Site],
    latest: Iterable[NewestReading],
    directory_index: DirectoryIndex,
    *,
    entity_type: EntityType | None,
    simplified: bool,
) -> Iterator[dict[str, Any]]:
    """Yield entities of sites from their newest readings, without those that failed quality control."""
    readings_by_site: dict[str, list[tuple[Series, NewestReading]]] = {}
    for one in latest:
        series = directory_index.series[one.series_id]
        if one.quality not in {Flag.FAIL, Flag.MISSING} and series.quantity not in OMITTED_QUANTITIES:
            readings_by_site.setdefault(series.site_id, []).append((series, one))
    for site in sites:
        for model in (WATER_MODEL, TRAFFIC_MODEL):
            site_readings = [
                pair
                for pair in readings_by_site.get(site.site_id, [])
                if QUANTITIES[pair[0].quantity].domain == model.domain
            ]
            if site_readings and entity_type in {None, model.type}:
                entity = _entity(site, model, site_readings)
                yield _simplified(entity) if simplified else entity


def _entity(
    site: Site, model: NgsiDataModel, site_readings: list[tuple[Series, NewestReading]]
) -> dict[str, Any]:
    newest_s = max(one.time_s for _, one in site_readings)
    entity: dict[str, Any] = {
        "id": f"urn:ngsi-ld:{model.type}:{site.site_id}",
        "type": model.type,
        "name": _property(site.en),
        "location": {
            "type": "GeoProperty",
            "value": {"type": "Point", "coordinates": [site.lon, site.lat]},
        },
        "dateObserved": _property(_date_time(newest_s)),
    }
    if model is TRAFFIC_MODEL:
        period_s = max(series.interval_s for series, _ in site_readings)
        entity["dateObservedFrom"] = _property(_date_time(newest_s - period_s))
        entity["dateObservedTo"] = _property(_date_time(newest_s))
    measurands = []
    for series, one in site_readings:
        quantity = QUANTITIES[series.quantity]
        code = UNIT_CODES_BY_QUANTITY.get(quantity.name, UNIT_CODES.get(quantity.unit))
        value = _value(series, one)
        if quantity.smart_data_model is None:
            measurands.append(f"{quantity.symbol}, {value:g}, {code or quantity.unit}, {quantity.en}")
        else:
            entity[quantity.smart_data_model] = _measured_property(value, one, code)
    if measurands and model is WATER_MODEL:
        entity["measurand"] = _property(measurands)
    return entity | {"@context": [model.context, CORE_CONTEXT]}


def _value(series: Series, one: NewestReading) -> float:
    """Return a value in the unit of the data model."""
    match series.quantity:
        case "discharge":
            return one.value * HOUR_S
        case "occupancy":
            return one.value / 100.0
        case "traffic_flow":
            return one.value * series.interval_s / HOUR_S
    return one.value


def _measured_property(value: float, one: NewestReading, code: str | None) -> dict[str, Any]:
    site_readings = _property(value) | {"observedAt": _iso(one.time_s), "qartod": _property(one.quality)}
    return site_readings if code is None else site_readings | {"unitCode": code}


def _property(value: Any) -> dict[str, Any]:
    return {"type": "Property", "value": value}


def _date_time(time_s: float) -> dict[str, str]:
    return {"@type": "DateTime", "@value": _iso(time_s)}


def _iso(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _simplified(entity: dict[str, Any]) -> dict[str, Any]:
    """Return the simplified (keyValues) form of an entity: every property is its value."""
    simplified_entity = {}
    for name, attribute in entity.items():
        value = attribute["value"] if isinstance(attribute, dict) else attribute
        simplified_entity[name] = value.get("@value", value) if isinstance(value, dict) else value
    return simplified_entity
