"""Tests SensorThings filters across links, to one and to many, from every entity set."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.gateway.sensorthings.conftest import SensorThingsClient

SITE = "330483-d1-r04"


def test_filters_reach_along_links(ask: SensorThingsClient) -> None:
    things = ask.ids("Things", filter="Datastreams/ObservedProperty/name eq 'pH'")
    streams = ask.value("Datastreams", filter="ObservedProperty/name eq 'pH'", expand="Thing")
    assert set(things) == {one["Thing"]["@iot.id"] for one in streams} != set()
    high = ask.value(
        "Observations",
        filter="result gt 8 and Datastream/ObservedProperty/id eq 'ph'",
        expand="FeatureOfInterest",
    )
    sites = {one["FeatureOfInterest"]["@iot.id"] for one in high}
    for path in ("Things", "Locations", "FeaturesOfInterest"):
        way = {"Things": "Datastreams", "Locations": "Things/Datastreams", "FeaturesOfInterest": ""}[path]
        observations = f"{way}/Observations".removeprefix("/")
        asked = f"{observations}/result gt 8 and {observations}/Datastream/ObservedProperty/id eq 'ph'"
        assert set(ask.ids(path, filter=asked)) == sites != set(), path
    example = ask.ids(
        "Things",
        filter=f"Datastreams/Observations/FeatureOfInterest/id eq '{SITE}'"
        " and Datastreams/Observations/resultTime ge 2010-06-01T00:00:00Z",
    )
    assert example == [SITE]
    near = "geo.distance(Locations/location, geography'POINT (120.59, 30.6422)') lt 0.0001"
    assert ask.ids("Things", filter=near) == [SITE]
    assert ask.ids("ObservedProperties", filter="Datastreams/Thing/name eq 'no such'") == []
    assert ask.value("Datastreams", filter="phenomenonTime gt 2000-01-01T00:00:00Z and resultTime lt now()")
    assert ask.ids("Datastreams", filter="id eq '3' or @iot.id eq 4") == [3, 4]
    assert ask.ids("Things", filter=f"id eq '{SITE}' and properties/demo eq true") == [SITE]


def test_a_filter_through_observations_keeps_who_has_none(ask: SensorThingsClient) -> None:
    read = set(ask.ids("Things", filter="Datastreams/Observations/result ne null"))
    silent = [one for one in ask.ids("Things") if one not in read]
    assert read
    assert silent
    assert set(ask.ids("Things", filter="Datastreams/Observations/id eq null")) == set(silent)
    either = f"Datastreams/Observations/result gt 1e9 or id eq '{silent[0]}'"
    assert ask.ids("Things", filter=either) == [silent[0]]
    assert set(silent) <= set(ask.ids("Things", filter="not (Datastreams/Observations/result gt 1)"))
    neither = f"Datastreams/Observations/result gt 0 and id eq '{silent[0]}'"
    assert ask.ids("Things", filter=neither) == []


def test_observations_are_filtered_through_sets(ask: SensorThingsClient) -> None:
    beside = ask.ids("Datastreams", filter="Thing/Datastreams/ObservedProperty/id eq 'ph'")
    found = ask.ids(
        "Observations",
        filter="Datastream/Thing/Datastreams/ObservedProperty/id eq 'ph' and result gt 8",
        orderby="result desc",
        top=1000,
    )
    expected = ask.ids(
        "Observations",
        filter=f"Datastream/id in ({','.join(map(str, beside))}) and result gt 8",
        top=1000,
    )
    assert 100 < len(found) == len(expected)
    assert set(found) == set(expected)
    either = f"Datastream/ObservedProperty/Datastreams/Thing/id eq '{SITE}' or result gt 8"
    some = ask.ids("Datastreams", filter=f"ObservedProperty/Datastreams/Thing/id eq '{SITE}'")
    same = f"Datastream/id in ({','.join(map(str, some))}) or result gt 8"
    counts = [
        ask.json("Observations", filter=one, count="true", top=0)["@iot.count"] for one in (either, same)
    ]
    assert 0 < counts[0] == counts[1] < ask.json("Observations", count="true", top=0)["@iot.count"]
