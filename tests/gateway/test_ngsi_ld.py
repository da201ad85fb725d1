"""Tests that the newest values are served as Smart Data Models (NGSI-LD), in their units."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from edge.wire.quantities import QUANTITIES
from gateway.formats import ngsi_ld

if TYPE_CHECKING:
    from collections.abc import Callable

    from httpx import AsyncClient, Response

NUMBER, TEXT = {"type": "number"}, {"type": "string"}
POINT = {
    "type": "object",
    "required": ["type", "coordinates"],
    "properties": {
        "type": {"const": "Point"},
        "coordinates": {"type": "array", "items": NUMBER, "minItems": 2, "maxItems": 2},
    },
}
COMMON = {
    "id": {"type": "string", "pattern": "^urn:ngsi-ld:[A-Za-z]+:[-A-Za-z0-9]+$"},
    "name": TEXT,
    "location": POINT,
    "dateObserved": {"type": "string", "format": "date-time"},
    "@context": {"type": "array", "items": {"type": "string", "format": "uri"}, "minItems": 2},
}
# What the models document (WaterQualityObserved/doc/spec.md, TrafficFlowObserved/doc/spec.md).
KEY_VALUES = {
    "WaterQualityObserved": COMMON
    | dict.fromkeys(
        ("temperature", "pH", "O2", "conductivity", "turbidity", "P-TOT", "N-TOT", "Chla", "flow"), NUMBER
    )
    | {"measurand": {"type": "array", "items": TEXT, "minItems": 1}},
    "TrafficFlowObserved": COMMON
    | {
        "intensity": {"type": "number", "minimum": 0},
        "occupancy": {"type": "number", "minimum": 0, "maximum": 1},
        "averageVehicleSpeed": {"type": "number", "minimum": 0},
        "dateObservedFrom": COMMON["dateObserved"],
        "dateObservedTo": COMMON["dateObserved"],
    },
}


def schema(kind: str) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["id", "type", "dateObserved", "location", "@context"],
        "additionalProperties": False,
        "properties": KEY_VALUES[kind] | {"type": {"const": kind}},
    }


def get(client: Callable[[], AsyncClient], **params: str) -> Response:
    async def ask() -> Response:
        async with client() as one:
            return await one.get("/v1/ngsi-ld/entities", params=params)

    return asyncio.run(ask())


@pytest.mark.parametrize("kind", KEY_VALUES)
def test_key_values_have_the_documented_shape(kind: str, client: Callable[[], AsyncClient]) -> None:
    answer = get(client, type=kind, options="keyValues")
    assert answer.headers["content-type"] == "application/ld+json"
    found = answer.json()
    assert len(found) > 5
    validator = Draft202012Validator(schema(kind), format_checker=FormatChecker())
    for entity in found:
        assert [error.message for error in validator.iter_errors(entity)] == []
    assert {name for entity in found for name in entity} >= {"name", "dateObserved"}


def test_normalized_has_type_unit_time_and_flag(client: Callable[[], AsyncClient]) -> None:
    for entity in get(client).json():
        for name, attribute in entity.items():
            if name in {"id", "type", "@context"}:
                continue
            assert attribute["type"] == ("GeoProperty" if name == "location" else "Property")
            if "observedAt" in attribute:
                assert attribute["qartod"]["value"] in {1, 2, 3}
        assert entity["dateObserved"]["value"]["@type"] == "DateTime"


def test_both_forms_hold_the_same(client: Callable[[], AsyncClient]) -> None:
    whole, bare = (get(client, options=form).json() for form in ("normalized", "keyValues"))
    assert [one["id"] for one in whole] == [one["id"] for one in bare]
    for one, other in zip(whole, bare, strict=True):
        assert one.keys() == other.keys()
        assert one["location"]["value"] == other["location"]


def test_values_are_in_the_units_of_the_models(client: Callable[[], AsyncClient]) -> None:
    async def ask() -> Any:
        async with client() as one:
            rows = (await one.get("/v1/latest")).json()
            series = {row["series_id"]: row for row in (await one.get("/v1/series")).json()}
            return (
                rows,
                series,
                (await one.get("/v1/ngsi-ld/entities", params={"options": "keyValues"})).json(),
            )

    rows, series, found = asyncio.run(ask())
    by_site = {(one["type"], one["id"].rpartition(":")[2]): one for one in found}
    scale = {"occupancy": 0.01, "discharge": 3600.0}
    compared = set()
    for row in rows:
        quantity = QUANTITIES[row["quantity"]]
        model = {"water": "WaterQualityObserved", "traffic": "TrafficFlowObserved"}.get(quantity.domain)
        entity = by_site.get((model, row["site_id"]), {})
        if quantity.smart_data_model not in entity or row["quality"] == 4:
            continue
        factor = scale.get(quantity.name, 1.0)
        if quantity.name == "traffic_flow":
            factor = series[row["series_id"]]["interval_s"] / 3600.0
        assert entity[quantity.smart_data_model] == pytest.approx(row["value"] * factor)
        compared.add(quantity.name)
    assert compared >= {"ph", "dissolved_oxygen", "traffic_flow", "occupancy", "traffic_speed"}


def test_by_area_and_wrong_queries(client: Callable[[], AsyncClient]) -> None:
    ids = [one["id"] for one in get(client, area="330483").json()]
    assert ids
    assert all(":330483" in one for one in ids)
    assert get(client, area="nowhere").status_code == 404
    assert get(client, type="Cat").status_code == 422


def test_every_property_that_is_named_is_documented_or_left_out() -> None:
    domains = {"water": "WaterQualityObserved", "traffic": "TrafficFlowObserved"}
    for one in QUANTITIES.values():
        if one.domain in domains and one.smart_data_model and one.name not in ngsi_ld.OMITTED_QUANTITIES:
            assert one.smart_data_model in KEY_VALUES[domains[one.domain]], one.name
