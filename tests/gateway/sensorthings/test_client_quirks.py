"""Tests deviating query syntax of common clients: accepted, or refused with the option at fault."""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.sensorthings.expression_parser import MAX_NODES, ExpressionParser
from gateway.sensorthings.expression_tree import LiteralValue, QueryError, TimeInterval
from ingest_service.storage.postgres import observations

if TYPE_CHECKING:
    from tests.gateway.sensorthings.conftest import SensorThingsClient

ROOT = "http://gateway/sta/v1.1"
UTC8 = dt.timezone(dt.timedelta(hours=8))


def at(day: int, hour: int = 0, month: int = 11, zone: dt.tzinfo = dt.UTC) -> dt.datetime:
    return dt.datetime(2026, month, day, hour, tzinfo=zone)


def newest(ask: SensorThingsClient, series_id: int) -> str:
    found = ask.json(f"Datastreams({series_id})/Observations", orderby="phenomenonTime desc", top=1)
    moment: str = found["value"][0]["phenomenonTime"]
    return moment


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("PT6H/2026-11-27T06:00:00Z", TimeInterval(at(27), at(27, 6))),
        ("2026-11-01T00:00:00Z/P1M", TimeInterval(at(1), at(1, month=12))),
        ("2026-10-31T00:00:00Z/P1M", TimeInterval(at(31, month=10), at(30))),
        ("P1M/2026-11-27T00:00:00Z", TimeInterval(at(27, month=10), at(27))),
        ("2026-11-26T24:00:00Z", at(27)),
        ("20261127T060000Z", at(27, 6)),
        ("20261126T2400Z", at(27)),
        ("20261127T060000Z/PT1H", TimeInterval(at(27, 6), at(27, 7))),
        ("2026-11-27T08:00:00+08", at(27, 8, zone=UTC8)),
        ("2026-11-27T08:00:00 08", at(27, 8, zone=UTC8)),
        ("2026-11-27T08:00:00 08:00", at(27, 8, zone=UTC8)),
        ("PT1H/2026-11-27T08:00:00 08", TimeInterval(at(27, 7, zone=UTC8), at(27, 8, zone=UTC8))),
    ],
)
def test_times_of_iso_8601_are_read(text: str, value: Any) -> None:
    assert ExpressionParser(text).parse_expression() == LiteralValue(value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("P999999999D/2026-11-27T00:00:00Z", "years 1 to 9999"),
        ("duration'P999999999999999999D'", "years 1 to 9999"),
        ("2026-11-27T00:00:00Z/P99999Y", "years 1 to 9999"),
        ("duration'P1M'", "different lengths"),
        ("duration'P1.5.5D'", "no duration"),
        ("9999-12-31T24:00:00Z", "years 1 to 9999"),
    ],
)
def test_times_that_there_are_not_are_refused_in_a_sentence(text: str, says: str) -> None:
    with pytest.raises(QueryError, match=says):
        ExpressionParser(text).parse_expression()


@pytest.mark.parametrize("blanks", ["%20%20", "%09", "+", "%C2%A0"])
def test_options_with_leading_blanks_are_not_ignored(blanks: str, ask: SensorThingsClient) -> None:
    found = ask.json(f"{ROOT}/Datastreams?{blanks}$filter=id%20eq%201&{blanks}$select=id{blanks}")
    assert found["value"] == [{"@iot.id": 1}]


@pytest.mark.parametrize("name", ["filter", "Top".lower(), "%EF%BB%BF$filter", "_$filter", "?$filter"])
def test_misspelt_options_are_not_ignored(name: str, ask: SensorThingsClient) -> None:
    answer = ask(f"{ROOT}/Datastreams?{name}=1")
    assert answer.status_code == 400
    assert answer.json()["where"] in {"$filter", "$top"}
    assert ask(f"{ROOT}/Datastreams?token=1").status_code == 200


def test_expansions_of_one_entity_take_the_options_of_sets(ask: SensorThingsClient) -> None:
    found = ask.json(
        "Observations",
        top=1,
        expand="Datastream($top=10;$count=true;$expand=Thing($orderby=id;$top=10;$skip=1))",
    )
    assert found["value"][0]["Datastream"]["Thing"]["@iot.id"]
    assert "Datastream@iot.count" not in found["value"][0]
    assert ask("Observations", expand="Datastream($filter=id eq 2)").json()["where"] == "$filter"


def test_the_latest_value_by_the_names_that_plugins_use(ask: SensorThingsClient) -> None:
    path = "Datastreams(1)/Observations"
    by_itself = ask.json(path, orderby="Observations/phenomenonTime desc", top=1)["value"]
    assert by_itself == ask.json(path, orderby="phenomenonTime desc", top=1)["value"]
    assert by_itself[0]["phenomenonTime"] == newest(ask, 1)
    ids = ask.ids("Datastreams", orderby="Observations/phenomenonTime desc,id")
    times = [newest(ask, one) for one in ids[:5]]
    assert len(ids) == len(ask.ids("Datastreams"))
    assert times == sorted(times, reverse=True)
    assert ask.ids("Things", orderby="Datastreams/Observations/phenomenonTime")
    assert ask("Things", orderby="Datastreams/Observations/result").json()["where"] == "$orderby:1"


def test_a_day_in_quotes_is_a_day(ask: SensorThingsClient) -> None:
    day = newest(ask, 1)[:10]
    found = ask.ids("Datastreams(1)/Observations", filter=f"date(phenomenonTime) eq date('{day}')")
    assert found == ask.ids("Datastreams(1)/Observations", filter=f"date(phenomenonTime) eq {day}")
    assert found


def test_ids_of_another_kind_get_a_sentence_that_helps(ask: SensorThingsClient) -> None:
    answer = ask("Datastreams('1')")
    assert (answer.status_code, "Datastreams(1)" in answer.json()["detail"]) == (404, True)
    answer = ask("Datastreams", filter="startswith(@iot.id,'1')")
    assert (answer.status_code, answer.json()["where"]) == (400, "$filter:12")
    assert "id in (1, 2)" in answer.json()["detail"]


def test_far_pages_are_errors_with_an_alternative(ask: SensorThingsClient) -> None:
    detail = ask("Observations", skip=100_001).json()["detail"]
    assert "@iot.nextLink" in detail
    assert "phenomenonTime" in detail


@pytest.mark.parametrize("levels", [12, 16, 17, 400])
def test_a_filter_that_doubles_at_each_level_is_refused_at_once(levels: int, ask: SensorThingsClient) -> None:
    began_s = time.monotonic()
    text = "(result gt 1)" + " in (true,false)" * levels
    for path, option in (("Observations", "filter"), ("Observations", "orderby"), ("Things", "expand")):
        sent = f"Datastreams($expand=Observations($filter={text}))" if option == "expand" else text
        answer = ask(path, **{option: sent})
        assert answer.status_code == 400, answer.text
        assert "operations" in answer.json()["detail"] or "levels" in answer.json()["detail"]
    assert time.monotonic() - began_s < 20  # it took more than a minute, and 750 MB


def test_many_small_filters_are_bounded_together(ask: SensorThingsClient) -> None:
    values = ",".join(["1"] * 700)
    inner = f"Observations($filter=result in ({values}))"
    assert ask("Datastreams", top=1, expand=inner).status_code == 200
    wide = f"Thing($expand=Datastreams($top=1;$expand={inner}))"
    whole = ",".join([inner, wide, f"Sensor($expand=Datastreams($top=1;$expand={inner}))"])
    names = f"ObservedProperty($expand=Datastreams($top=1;$expand={inner})),{whole}"
    assert 4 * 3 * 700 < MAX_NODES < 5 * 3 * 700
    assert ask("Datastreams", top=1, expand=names).status_code == 200
    answer = ask("Datastreams", top=1, expand=names, filter=f"id in ({values})")
    assert answer.status_code == 400
    assert "operations" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({}, None),
        ({"top": 5}, None),
        ({"filter": "result gt 1"}, "$filter"),
        ({"orderby": "result"}, "$orderby"),
        ({"count": "true", "skip": 1}, "$skip"),
    ],
)
def test_a_slow_statement_blames_no_option_that_was_not_sent(
    options: dict[str, Any], where: str | None, ask: SensorThingsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server cancels a statement that waits behind another transaction's lock."""
    monkeypatch.setattr(observations, "STATEMENT_MS", 200)
    with ask.store.transaction() as holder:
        holder.execute("LOCK TABLE flag_revision IN ACCESS EXCLUSIVE MODE")
        answer = ask("Observations", **options)
    problem = answer.json()
    assert (answer.status_code, problem.get("where")) == (504, where), answer.text
    assert "phenomenonTime" in problem["detail"]
    assert ("$filter" in problem["detail"]) == (where == "$filter")


@pytest.mark.parametrize(
    "path", ["/sta/v1.1/a%00b", "/v1/reports/%00/x", "/v1/series/%00/readings", "/v1/me?x=%00"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_nul_in_an_address_is_refused(path: str, method: str, ask: SensorThingsClient) -> None:
    answer = ask(f"http://gateway{path}", method=method)
    assert answer.status_code == 400, answer.text
    assert "%00" in answer.json()["detail"]


def test_a_bucket_wider_than_all_time_is_refused(ask: SensorThingsClient) -> None:
    for width in ("P999999999D", "P99999D", "P4000D"):
        answer = ask(f"http://gateway/v1/series/1/buckets?width={width}")
        assert (answer.status_code, answer.json()["where"]) == (422, "width"), answer.text
