"""Tests every form of a resource path, and the responses for missing and unsupported resources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.sensorthings.conformance import IMPLEMENTED_REQUIREMENTS
from gateway.sensorthings.entity_types import ENTITY_TYPES, linked_type

if TYPE_CHECKING:
    from tests.gateway.sensorthings.conftest import SensorThingsClient

SITE = "330483-d1-r04"


def test_the_root_names_the_sets_and_what_is_kept(ask: SensorThingsClient) -> None:
    for root in ("", "http://gateway/sta/v1.1"):
        document = ask.json(root)
        assert [one["name"] for one in document["value"]] == list(ENTITY_TYPES)
        for one in document["value"]:
            assert ask.json(one["url"])["value"], one["name"]
        kept = document["serverSettings"]["conformance"]
        assert kept == IMPLEMENTED_REQUIREMENTS
        assert len(set(kept)) == len(kept) == 3 + 1 + 16 + 1 + 13
        assert all(one.startswith("http://www.opengis.net/spec/iot_sensing/1.1/req/") for one in kept)
        assert not any(word in " ".join(kept) for word in ("create", "mqtt", "multi", "batch", "data-array"))


@pytest.mark.parametrize("plural", ENTITY_TYPES)
def test_every_entity_is_whole_and_every_link_leads_somewhere(plural: str, ask: SensorThingsClient) -> None:
    kind = ENTITY_TYPES[plural]
    for entity in ask.json(plural, top=3)["value"]:
        assert {"@iot.id", "@iot.selfLink"} <= entity.keys()
        assert ask.json(entity["@iot.selfLink"]) == entity
        for link in kind.links:
            found = ask.json(entity[f"{link}@iot.navigationLink"])
            several = found["value"] if kind.to_many(link) else [found]
            for one in several[:2]:
                assert one["@iot.selfLink"].startswith(
                    f"http://gateway/sta/v1.1/{linked_type(kind, link).plural}("
                )
            references = ask.json(entity[f"{link}@iot.navigationLink"] + "/$ref")["value"]
            assert [one["@iot.selfLink"] for one in several] == [one["@iot.selfLink"] for one in references]
            assert all(one.keys() == {"@iot.selfLink"} for one in references)


@pytest.mark.parametrize("plural", ENTITY_TYPES)
def test_every_property_is_served_and_its_value(plural: str, ask: SensorThingsClient) -> None:
    kind = ENTITY_TYPES[plural]
    entity = ask.json(plural, top=1)["value"][0]
    for name in kind.properties:
        answer = ask(f"{entity['@iot.selfLink']}/{name}")
        key = "@iot.id" if name == "id" else name
        if entity.get(key) is None:
            assert (answer.status_code, answer.content) == (204, b"")
            continue
        assert answer.json() == {key: entity[key]}
        raw = ask(f"{entity['@iot.selfLink']}/{name}/$value")
        if isinstance(entity[key], dict):
            assert raw.json() == entity[key]
        else:
            assert raw.headers["content-type"].startswith("text/plain")
            assert raw.text == str(entity[key])


def test_mandatory_properties_are_there(ask: SensorThingsClient) -> None:
    mandatory = {
        "Things": "name description",
        "Locations": "name description encodingType location",
        "HistoricalLocations": "time",
        "Datastreams": "name description unitOfMeasurement observationType",
        "Sensors": "name description encodingType metadata",
        "ObservedProperties": "name definition description",
        "Observations": "phenomenonTime result resultTime",
        "FeaturesOfInterest": "name description encodingType feature",
    }
    for plural, names in mandatory.items():
        for entity in ask.json(plural, top=50)["value"]:
            assert set(names.split()) <= entity.keys(), plural
    units = [one["unitOfMeasurement"] for one in ask.value("Datastreams")]
    assert all(one.keys() == {"name", "symbol", "definition"} for one in units)


def nested(ask: SensorThingsClient, path: str) -> Any:
    return ask.json(path)


def test_nested_paths_to_any_depth(ask: SensorThingsClient) -> None:
    stream = ask.json(f"Things('{SITE}')/Datastreams", top=1)["value"][0]
    series_id = stream["@iot.id"]
    base = f"Things('{SITE}')/Datastreams({series_id})"
    assert ask.json(base) == stream
    observations = ask.json(f"{base}/Observations", top=2)["value"]
    one = observations[0]["@iot.id"]
    assert ask.json(f"{base}/Observations('{one}')") == observations[0]
    assert ask.json(f"{base}/Observations('{one}')/result") == {"result": observations[0]["result"]}
    assert ask.json(f"{base}/Observations('{one}')/FeatureOfInterest")["@iot.id"] == SITE
    around = (
        f"{base}/Observations('{one}')/FeatureOfInterest/Observations('{one}')/Datastream/Thing/Locations"
    )
    assert ask.json(around)["value"][0]["@iot.id"] == SITE
    deep = f"Datastreams({series_id})" + f"/Thing/Datastreams({series_id})" * 30 + "/name/$value"
    assert ask(deep).text == stream["name"]
    symbol = ask.json(f"{base}/unitOfMeasurement/symbol")
    assert symbol == {"symbol": stream["unitOfMeasurement"]["symbol"]}
    assert ask(f"Things('{SITE}')/properties/kind/$value").text == "river_section"
    assert ask.json(f"Locations('{SITE}')/HistoricalLocations('{SITE}')/Thing")["@iot.id"] == SITE


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("Nothings", 404),
        ("Things('nowhere')", 404),
        ("Things('it''s')", 404),
        ("Things(1)", 404),
        ("Datastreams(999999)", 404),
        ("Datastreams('1')", 404),
        ("Datastreams(-1)", 404),
        ("Observations('1-1')", 404),
        ("Observations('1')", 404),
        ("Observations('1-99999999999999999')", 404),
        ("Observations('999999-1790000000000000')", 404),
        ("Things('nowhere')/Datastreams", 404),
        (f"Things('{SITE}')/Datastreams(1)", 404),  # of another site
        (f"Things('{SITE}')/Datastreams(1)/Observations", 404),
        (f"Things('{SITE}')/nme", 404),
        (f"Things('{SITE}')/properties/nothing", 404),
        (f"Things('{SITE}')/name/first", 404),
        (f"Things('{SITE}')/$value", 404),
        ("Datastreams(1)/Thing/$value", 404),
        ("Things/$value", 404),
        ("Things/$count", 404),
        ("Datastreams(1)/name/$ref", 404),
        ("Things/name", 404),
        ("Datastreams(1)/Thing/Sensor", 404),
        ("Things(", 400),
        ("Things()", 400),
        ("Things(abc)", 400),
        ("Things('x", 400),
        ("Things('x'", 400),
        ("Things('x')y", 400),
        ("Things//name", 400),
        ("Datastreams(1)/Thing('x')", 400),
        ("Datastreams(" + "9" * 400 + ")", 400),
        ("MultiDatastreams", 501),
        ("Tasks", 501),
        ("Things?$apply=x", 501),
        ("Things?$format=json", 501),
        ("Observations?$resultFormat=CSV", 501),
        ("Datastreams(1)?$filter=id eq 1", 400),
        ("Datastreams(1)?$top=1", 400),
        ("Datastreams(1)/name?$select=name", 400),
        ("Things?$resultFormat=dataArray", 400),
        ("Observations/$ref?$resultFormat=dataArray", 400),
    ],
)
def test_nothing_there_nothing_readable_nothing_served(
    path: str, status: int, ask: SensorThingsClient
) -> None:
    answer = ask(path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["Things", "Datastreams(1)", "$batch", "CreateObservations"])
def test_nothing_is_changed_here(method: str, path: str, ask: SensorThingsClient) -> None:
    answer = ask(path, method=method)
    assert answer.status_code == 501
    assert "not served" in answer.text or "only reads" in answer.text or "not here" in answer.text


def test_head_and_trailing_slash(ask: SensorThingsClient) -> None:
    assert ask("Things", method="HEAD").status_code == 200
    assert ask.json("Things/", top=1) == ask.json("Things", top=1) | {
        "@iot.nextLink": ask.json("Things/", top=1)["@iot.nextLink"]
    }
