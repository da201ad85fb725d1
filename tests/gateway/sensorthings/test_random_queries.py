"""Tests that random queries, well typed or not, are answered or refused, and that every next link works."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from gateway.sensorthings.entity_types import ENTITY_TYPES
from gateway.sensorthings.expression_parser import BINDING_POWER
from gateway.sensorthings.functions import QUERY_FUNCTIONS

if TYPE_CHECKING:
    from tests.gateway.sensorthings.conftest import SensorThingsClient

N = 700
NAMES = [
    "id",
    "name",
    "result",
    "phenomenonTime",
    "resultTime",
    "properties/kind",
    "parameters/expected",
    "resultQuality/value",
    "resultQuality/meaning",
    "parameters/rules",
    "validTime",
    "unitOfMeasurement/name",
    "Datastream/name",
    "time",
    "definition",
    "Datastream/Thing/name",
    "Datastreams/name",
    "Datastreams/Observations/result",
    "Observations/phenomenonTime",
    "Thing/Locations/location",
    "feature",
    "location",
    "observedArea",
    "FeatureOfInterest/feature",
    "parameters",
    "properties",
    "Datastream/phenomenonTime",
    "Datastream/Thing/properties/targetClass",
    "Datastream/properties",
]
LITERALS = (
    *("1", "2.5", "'x'", "null", "true", "1e308", "-1", "9999999999", "now()", "maxdatetime()"),
    *("2026-11-24T20:00:00Z", "2026-11-24T20:00:00Z/PT1H", "2026-11-24", "08:00:00", "duration'PT1H'"),
    *("geography'POINT(120.6 30.6)'", "geography'POLYGON((120 30,121 30,121 31,120 31,120 30))'"),
)


def expression(rng: random.Random, depth: int) -> str:
    chance = rng.random()
    if depth == 0 or chance < 0.2:
        return rng.choice(NAMES) if rng.random() < 0.6 else rng.choice(LITERALS)
    if chance < 0.65:
        left, right = expression(rng, depth - 1), expression(rng, depth - 1)
        return f"({left}) {rng.choice(list(BINDING_POWER))} ({right})"
    if chance < 0.7:
        return f"not ({expression(rng, depth - 1)})"
    name = rng.choice(list(QUERY_FUNCTIONS))
    return f"{name}({', '.join(expression(rng, depth - 1) for _ in QUERY_FUNCTIONS[name].arg_types)})"


def test_random_queries(ask: SensorThingsClient) -> None:
    rng = random.Random(5)
    answered = 0
    for _ in range(N):
        path = rng.choice(["Observations", *ENTITY_TYPES])
        text = expression(rng, rng.randint(1, 3))
        options = (
            {"filter": text} if rng.random() < 0.7 else {"orderby": f"{text} {rng.choice(['', 'desc'])}"}
        )
        answer = ask(path, top=5, **options)
        assert answer.status_code in {200, 400}, (path, options, answer.text)
        if answer.status_code == 200:
            answered += 1
            page = answer.json()
            if "@iot.nextLink" in page:
                assert ask(page["@iot.nextLink"]).status_code == 200, (path, options)
    assert answered > N / 20
