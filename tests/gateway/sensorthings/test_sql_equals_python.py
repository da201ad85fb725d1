"""Tests that each operator and function gives equal results in SQL and in Python on the same observations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.sensorthings import geometry, name_binding, resource_path
from gateway.sensorthings.entity_types import OBSERVATION
from gateway.sensorthings.evaluation import Evaluator
from gateway.sensorthings.expression_parser import BINDING_POWER, ExpressionParser
from gateway.sensorthings.expression_tree import ExpressionNode, FunctionCall
from gateway.sensorthings.functions import QUERY_FUNCTIONS
from gateway.sensorthings.paging import Pager
from gateway.sensorthings.query_options import QueryOptions

if TYPE_CHECKING:
    from gateway.sensorthings.entity_model import Entity, EntityModel

SERIES = (1, 2, 30, 31, 60)
AT = "2026-11-24T22:00:00Z"

CONDITIONS = [
    "result eq 10.71",
    "result ne 10.71",
    "result gt 8 and result le 10.75",
    "result ge 8 or result lt 1",
    "not (result gt 8)",
    "result add 5 gt 13 and result sub 5 lt 6",
    "result mul 2 ge 16",
    "result div 0 eq null",
    "result div 2 gt 4.1",
    "not (result div (result sub result) gt 1)",
    "result mod 2 lt 1",
    "-result mod 3 lt -1",
    "(result mod 0) ne null",
    "-result lt -8",
    "round(result) eq 8 or round(result mul 10 sub 0.5) eq 71",
    "floor(result) eq 8",
    "ceiling(result) eq 9",
    "result eq 'text'",
    "result gt '8.5' and '1e1' gt result or result eq 'nan'",
    "result in ('10.71', 10.75)",
    "1 add result mul 2 sub -1 gt 20",
    "14 div (result add 1) mod 3 mul 3 gt 3",
    "result ne 'text'",
    "startswith(id, '1-') or endswith(id, '00000000')",
    "substringof('-17', id) and contains(id, '00')",
    "indexof(id, '-') eq 2",
    "indexof(id, 'x') eq -1",
    "length(id) eq 19",
    "substring(id, 3) gt '795'",
    "substring(id, 0, 2) eq '30' or substring(id, 1, 100) le '0-2'",
    "substring(id, -3, -1) eq ''",
    "substring(id, 2.7) lt '79' and substring(id, 1e10) eq '' and substring(id, 0.9, 1e400) eq id",
    "tolower(concat(id, 'AÄ')) eq concat(id, 'aä')",
    "toupper(concat('x', resultQuality/meaning)) eq 'XNOT EVALUATED'",
    "trim(concat(concat('  ', id), ' ')) eq id",
    "id gt '2' and id le '30-9'",
    "id eq '1-1'",
    "length(result) eq 4",
    "phenomenonTime gt {at}",
    "phenomenonTime gt '{at}' and '{at}/PT1H' ne resultTime",
    "phenomenonTime ge {at} and phenomenonTime le {at}",
    "phenomenonTime lt {at}/PT1H",
    "phenomenonTime le {at}/PT1H",
    "phenomenonTime gt {at}/PT1H",
    "phenomenonTime ge {at}/PT30M",
    "phenomenonTime eq {at}/PT0S",
    "before(phenomenonTime, {at}) or after(phenomenonTime, {at}/PT1H)",
    "before({at}/PT10M, phenomenonTime) and after({at}/PT1H, phenomenonTime)",
    "meets(phenomenonTime, {at}) or meets(phenomenonTime, {at}/PT1H)",
    "during(phenomenonTime, {at}/PT1H)",
    "overlaps(phenomenonTime, {at}/PT30M) or overlaps({at}, phenomenonTime)",
    "starts(phenomenonTime, {at}/PT1H) or finishes(phenomenonTime, {at}/PT1H)",
    "during(phenomenonTime, Datastream/phenomenonTime)",
    "not during(phenomenonTime, validTime)",
    "overlaps(validTime, validTime) or starts(validTime, {at}/PT1H) eq null",
    "overlaps(phenomenonTime, Datastream/phenomenonTime) and starts(phenomenonTime, Datastream/resultTime)",
    "phenomenonTime gt 2026-11-24 and phenomenonTime lt 2100-01-01 and result gt 8",
    "time(resultTime) le validTime or date(resultTime) ne date(validTime)",
    "year(phenomenonTime) eq 2026 and month(phenomenonTime) ge 11 and day(phenomenonTime) ge 24",
    "hour(phenomenonTime) eq 22 and minute(resultTime) gt 30",
    "second(resultTime) eq 2 or second(resultTime) gt 30",
    "fractionalseconds(resultTime) eq 0",
    "date(phenomenonTime) eq 2026-11-24",
    "date(phenomenonTime) gt 2026-11-24",
    "date(phenomenonTime) add duration'P1D' eq date(resultTime add duration'P1D')",
    "date(phenomenonTime) sub duration'PT1H' lt date(phenomenonTime)",
    "duration'PT25H' add date(phenomenonTime) gt date({at}) and date(phenomenonTime) mul 2 eq null",
    "date(phenomenonTime) sub date(Datastream/phenomenonTime) le duration'P1D'",
    "phenomenonTime gt date(resultTime) and phenomenonTime ge date({at})",
    "date(phenomenonTime) lt {at} and date(phenomenonTime) ne Datastream/phenomenonTime",
    "date({at}) add duration'P1D' gt phenomenonTime",
    "phenomenonTime sub date(phenomenonTime) eq null",
    "time(phenomenonTime) gt 22:30:00",
    "totaloffsetminutes(resultTime) eq 0",
    "totaloffsetminutes(2026-01-01T00:00:00+08:00) eq 480 and result gt 8",
    "phenomenonTime lt now() and phenomenonTime gt mindatetime() and phenomenonTime lt maxdatetime()",
    "resultTime sub phenomenonTime eq duration'PT2S'",
    "phenomenonTime add duration'PT1H' gt {at}",
    "phenomenonTime sub duration'PT1H' gt {at}",
    "phenomenonTime lt {at}/PT30M add duration'PT15M'",
    "during(phenomenonTime, duration'PT15M' add {at}/PT30M)",
    "overlaps(phenomenonTime, {at}/PT30M sub duration'PT15M' mul 2)",
    "during(phenomenonTime, {at}/PT30M add (resultTime sub phenomenonTime) mul 300)",
    "phenomenonTime sub {at}/PT30M eq null and {at}/PT30M mul 2 eq null",
    "neg_is_no_property eq 1 or true",
    "resultQuality/value eq 2 or resultQuality/value eq 3",
    "resultQuality/meaning gt 'not' and resultQuality/nameOfMeasure eq 'QARTOD flag'",
    "substringof('WARM', parameters/rules)",
    "parameters/rules eq ''",
    "parameters/expected eq null",
    "parameters/expected ne null and result gt parameters/expected",
    "result gt parameters/expected add 3 mul parameters/spread",
    "not (parameters/spread lt 1)",
    "parameters/nothing eq null",
    "validTime eq null",
    "resultQuality ne null",
    "Datastream/id eq 2",
    "Datastream/id eq '2' or Datastream/@iot.id eq 30",
    "result gt Datastream/id",
    "Datastream/ObservedProperty/name eq 'pH' or result gt 10.8",
    "Datastream/unitOfMeasurement/name eq 'milligram per litre'",
    "Datastream/Thing/properties/targetClass eq 3 and Datastream/Sensor/name ne 'x'",
    "length(Datastream/Thing/name) gt result",
    "FeatureOfInterest/id eq 'x' or Datastream/properties/interval_s eq 300",
    "geo.distance(FeatureOfInterest/feature, geography'POINT (120.562 30.6095)') lt 0.0001",
    "geo.length(geography'LINESTRING (30 10, 10 30, 40 40)') gt 50",
    "geo.intersects(Datastream/observedArea, geography'POLYGON ((120 30, 121 30, 121 31, 120 31, 120 30))')",
    "st_equals(FeatureOfInterest/feature, geography'POINT (120.562 30.6095)')",
    "st_disjoint(FeatureOfInterest/feature, geography'POINT (120.562 30.6095)')",
    "st_touches(FeatureOfInterest/feature, geography'LINESTRING (120.562 30.6095, 121 31)')",
    "st_within(FeatureOfInterest/feature, geography'POLYGON ((120 30, 121 30, 121 31, 120 31, 120 30))')",
    "st_overlaps(FeatureOfInterest/feature, geography'POINT (120.562 30.6095)')",
    "st_crosses(FeatureOfInterest/feature, geography'LINESTRING (120 30, 121 31)')",
    "st_intersects(FeatureOfInterest/feature, geography'LINESTRING (120.562 30.6095, 121 31)')",
    "st_contains(FeatureOfInterest/feature, geography'POINT (120.562 30.6095)')",
    "st_relate(FeatureOfInterest/feature, geography'POINT (120.562 30.6095)', 'T*F**FFF*')",
    "Datastream/Thing/Locations/name ne null and result gt 8",
    "Datastream/Thing/Datastreams/ObservedProperty/id eq 'ph' and result gt 8",
    "Datastream/Thing/Datastreams/id eq 2 or result gt 10.75",
    "result gt Datastream/Thing/Datastreams/id",
    "not (result gt Datastream/Sensor/Datastreams/id add 3)",
    "result lt Datastream/Thing/Datastreams/id and Datastream/Thing/Datastreams/id lt 4 and result gt 0",
    "result gt 8 and (Datastream/ObservedProperty/Datastreams/Thing/id eq 'x' or result gt 10.75)",
    "not (resultQuality/value)",
    "not (resultQuality)",
    "not result gt 8 and not phenomenonTime ge {at} or not startswith(id, '1')",
    "resultQuality/value or result gt 8",
    "result",
    "null eq null",
    "result gt null",
    "length(null) eq null",
    "true",
    "not false and (result gt 8) eq true",
]


@pytest.fixture(scope="module")
def everything(world: EntityModel) -> list[Entity]:
    source = resource_path.EntitySet(OBSERVATION, list(SERIES), [])
    return Pager(world).page(source, QueryOptions(), 10_000).entities


def test_the_rows_differ(everything: list[Entity], world: EntityModel) -> None:
    values = [world.values(one) for one in everything]
    assert len({one["id"].partition("-")[0] for one in values}) == len(SERIES)
    assert len({one["result"] for one in values}) > 20


@pytest.mark.parametrize("text", CONDITIONS)
def test_sql_and_python_agree(text: str, everything: list[Entity], world: EntityModel) -> None:
    text = text.replace("{at}", newest_hour(everything)).replace("neg_is_no_property", "neg(result)")
    node = name_binding.bind_filter(ExpressionParser(text).parse_expression(), OBSERVATION)
    evaluator = Evaluator(world)
    expected = [one.id for one in everything if evaluator.matches(node, one)]
    query = QueryOptions(filter=node, count=True)
    found = Pager(world).page(resource_path.EntitySet(OBSERVATION, list(SERIES), []), query, 10_000)
    assert [one.id for one in found.entities] == expected
    assert found.count == len(expected)


@pytest.mark.parametrize(
    "text",
    [
        "result",
        "result desc",
        "phenomenonTime desc, result",
        "Datastream/id desc",
        "Datastream/ObservedProperty/name, resultTime desc",
        "parameters/expected",
        "parameters/expected desc, id desc",
        "resultQuality/meaning desc",
        "result mod 2, substring(id, 3)",
        "FeatureOfInterest/feature desc, Datastream/observedArea, id desc",
        "date(phenomenonTime), time(phenomenonTime) desc",
        "result gt 8, Datastream/Thing/name desc",
        "result gt 'x', not (result) desc",
    ],
)
def test_sql_and_python_sort_alike_over_pages(
    text: str, everything: list[Entity], world: EntityModel
) -> None:
    keys = [
        (name_binding.NameBinder(OBSERVATION).bind(node), down)
        for node, down in ExpressionParser(text).parse_orderby()
    ]
    evaluator = Evaluator(world)
    expected = list(everything)
    for node, descending in reversed(keys):

        def key(one: Entity, node: ExpressionNode = node) -> Any:
            value: Any = geometry.sort_value(evaluator.value(node, {(): one}))
            return (value is not None, value)

        expected.sort(key=key, reverse=descending)
    query, found = QueryOptions(orderby=keys), []
    while True:
        page = Pager(world).page(resource_path.EntitySet(OBSERVATION, list(SERIES), []), query, 23)
        found += page.entities
        if not page.next_options:
            break
        query.token = page.next_options["$skiptoken"]
    assert [one.id for one in found] == [one.id for one in expected]


def test_every_operator_and_function_is_tried() -> None:
    tried: set[str] = set()

    def walk(node: ExpressionNode) -> None:
        if isinstance(node, FunctionCall):
            tried.add(node.name)
            for one in node.args:
                walk(one)

    for text in CONDITIONS:
        walk(
            ExpressionParser(
                text.replace("{at}", AT).replace("neg_is_no_property", "neg(result)")
            ).parse_expression()
        )
    assert set(QUERY_FUNCTIONS) | set(BINDING_POWER) | {"not"} <= tried


def newest_hour(everything: list[Entity]) -> str:
    newest = max(int(str(one.id).partition("-")[2]) for one in everything)
    hour_us = 3_600_000_000
    from gateway.sensorthings.entity_properties import datetime_of_us  # noqa: PLC0415

    return datetime_of_us(newest // hour_us * hour_us - 2 * hour_us).isoformat().replace("+00:00", "Z")
