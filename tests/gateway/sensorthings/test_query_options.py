"""Tests query options over HTTP: expand, select, order, pages, counts, data arrays; pages under inserts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pytest

from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import READING

if TYPE_CHECKING:
    from tests.gateway.sensorthings.conftest import SensorThingsClient

SITE = "330483-d1-r04"
HALF_A_CHARACTER = "WyJcdWQ4MDAiLDEseyJhdCI6IjIwMjYtMTEtMDFUMDA6MDA6MDArMDA6MDAifV0"  # keys with "\ud800"


def ids(entities: list[dict[str, Any]]) -> list[Any]:
    return [one["@iot.id"] for one in entities]


def test_expand_nests_with_options(ask: SensorThingsClient) -> None:
    expand = (
        "Datastreams($filter=ObservedProperty/name eq 'pH' or contains(name, 'a;b)');"
        "$count=true;$orderby=id desc;$top=1;$expand="
        "Observations($top=2;$orderby=result desc;$select=result),ObservedProperty($select=name)),"
        "Locations/HistoricalLocations"
    )
    thing = ask.json(f"Things('{SITE}')", expand=expand)
    (stream,) = thing["Datastreams"]
    assert thing["Datastreams@iot.count"] == 1
    assert "Datastreams@iot.nextLink" not in thing
    assert stream["ObservedProperty"] == {"name": "pH"}
    results = [one["result"] for one in stream["Observations"]]
    whole = [one["result"] for one in ask.value(f"Datastreams({stream['@iot.id']})/Observations")]
    assert results == sorted(whole, reverse=True)[:2]
    assert all(one.keys() == {"result"} for one in stream["Observations"])
    following = ask.json(stream["Observations@iot.nextLink"])
    assert [one["result"] for one in following["value"]] == sorted(whole, reverse=True)[2:4]
    assert thing["Locations"][0]["HistoricalLocations"][0]["@iot.id"] == SITE


def test_expanding_one_link_twice_is_one_expansion(ask: SensorThingsClient) -> None:
    thing = ask.json(
        f"Things('{SITE}')", expand="Datastreams/Sensor,Datastreams/ObservedProperty,Datastreams"
    )
    assert all({"Sensor", "ObservedProperty"} <= one.keys() for one in thing["Datastreams"])
    assert ask("Things", expand="Datastreams($top=1),Datastreams($top=2)").status_code == 400


def test_blanks_around_nested_options_are_nothing(ask: SensorThingsClient) -> None:
    plain = "Datastreams($top=1;$count=true;$filter=id gt 1)"
    blanks = " Datastreams( $top = 1 ; $count= true ;$filter =  id gt 1 )"
    assert ask.json("Things", expand=blanks)["value"] == ask.json("Things", expand=plain)["value"]
    answer = ask("Things", expand="Datastreams($top=1;$filter = nme eq 1)")
    assert answer.json()["where"] == "$filter:30"
    answer = ask("Observations", expand="Datastream($resultFormat=dataArray)")
    assert (answer.status_code, answer.json()["where"]) == (400, "$resultFormat")


def test_a_big_expansion_ends_in_links_not_in_memory(ask: SensorThingsClient) -> None:
    things = ask.json("Things", top=1000, expand="Datastreams($top=1000;$expand=Observations($top=10000))")[
        "value"
    ]
    streams = [stream for thing in things for stream in thing["Datastreams"]]
    total = sum(len(one["Observations"]) for one in streams) + len(streams) + len(things)
    assert 0 < total <= 20_000
    for one in streams:
        assert one["Observations"] or "Observations@iot.nextLink" in one or not one.get("phenomenonTime")


def test_select_gives_just_that(ask: SensorThingsClient) -> None:
    assert ask.json("Observations", top=1, select="result,resultTime")["value"][0].keys() == {
        "result",
        "resultTime",
    }
    assert ask.json("Datastreams(1)", select="id") == {"@iot.id": 1}
    found = ask.json("Datastreams(1)", select="id,Observations", expand="Observations/FeatureOfInterest")
    assert found.keys() >= {"@iot.id", "Observations"}
    assert not found.keys() & {"name", "Thing@iot.navigationLink"}
    assert "FeatureOfInterest" in found["Observations"][0]
    assert ask.json("Datastreams(1)", select="name", expand="Thing($select=name)").keys() == {"name", "Thing"}


def test_count_ignores_the_page(ask: SensorThingsClient) -> None:
    for path in ("Things", "Datastreams", "Observations", "Datastreams(1)/Observations"):
        whole = ask.json(path, count="true", top=0)
        assert whole["value"] == []
        assert whole["@iot.count"] == len(ask.value(path)), path
        assert "@iot.count" not in ask.json(path, top=1)
        assert ask.json(path, count="true", top=1, skip=1)["@iot.count"] == whole["@iot.count"]
    assert "@iot.count" not in ask.json("Things", count="false")


def test_skip_and_top_cut_what_is_sorted(ask: SensorThingsClient) -> None:
    for path, key in (
        ("Datastreams", "name desc, id"),
        ("Datastreams(1)/Observations", "result desc, phenomenonTime"),
    ):
        whole = ids(ask.value(path, orderby=key))
        assert ids(ask.json(path, orderby=key, skip=2, top=3)["value"]) == whole[2:5]
        assert ids(ask.value(path, orderby=key, skip=2, top=3)) == whole[2:]


def test_a_query_that_is_encoded_whole_is_read(ask: SensorThingsClient) -> None:
    plain = ask.ids(
        "Observations", filter="result eq 10.71 or result gt 12 and not result lt 12.3", orderby="result"
    )
    encoded = quote("$filter=result eq 10.71 or result gt 12 and not result lt 12.3", safe="")
    assert len(plain) > 5
    assert ask.ids(f"Observations?{encoded.replace('%20', '+')}&{quote('$orderby=result', safe='')}") == plain
    assert ask(f"Things('{SITE}')/name?%24top%3D1").status_code == 400


def test_nulls_come_first(ask: SensorThingsClient) -> None:
    classes = [
        one["properties"]["targetClass"] for one in ask.value("Things", orderby="properties/targetClass")
    ]
    n = classes.count(None)
    assert 0 < n < len(classes)
    assert classes[:n] == [None] * n
    assert classes[n:] == sorted(classes[n:])
    down = [
        one["properties"]["targetClass"] for one in ask.value("Things", orderby="properties/targetClass desc")
    ]
    assert down == classes[n:][::-1] + [None] * n


def test_geometries_are_sorted_by_their_text(ask: SensorThingsClient) -> None:
    for path, name in (
        ("Locations", "location"),
        ("FeaturesOfInterest", "feature"),
        ("Datastreams", "observedArea"),
    ):
        texts = [json.dumps(one[name]) for one in ask.value(path, orderby=name)]
        assert texts == sorted(texts)
        assert len(set(texts)) > 10
        texts = [json.dumps(one[name]) for one in ask.value(path, orderby=f"{name} desc")]
        assert texts == sorted(texts, reverse=True)


def test_data_arrays_hold_the_same_values(ask: SensorThingsClient) -> None:
    asked = {
        "filter": "Datastream/id lt 4",
        "select": "id,result,phenomenonTime",
        "orderby": "phenomenonTime",
    }
    rows = ask.value("Observations", **asked)
    tables = ask.value("Observations", resultFormat="dataArray", top=40, **asked)
    found = []
    for table in tables:
        assert table["components"] == ["id", "phenomenonTime", "result"]
        assert table["dataArray@iot.count"] == len(table["dataArray"])
        stream = ask.json(table["Datastream@iot.navigationLink"])
        assert all(row[0].startswith(f"{stream['@iot.id']}-") for row in table["dataArray"])
        found += table["dataArray"]
    expected = [[one["@iot.id"], one["phenomenonTime"], one["result"]] for one in rows]
    assert sorted(found) == sorted(expected)


def test_data_arrays_hold_properties_alone(ask: SensorThingsClient) -> None:
    one = ask.json("Observations", resultFormat="dataArray", select="validTime,result,Datastream", top=1)[
        "value"
    ]
    assert one[0]["components"] == ["result", "validTime"]
    assert one[0]["dataArray"][0][1] is None
    whole = ask.json("Datastreams(1)/Observations", resultFormat="dataArray", count="true", top=2)
    assert whole["@iot.count"] == len(ask.ids("Datastreams(1)/Observations"))
    assert whole["value"][0]["components"] == [
        *("id", "phenomenonTime", "result", "resultTime", "resultQuality", "parameters")
    ]
    assert ask.json("Observations", resultFormat="dataArray", top=0)["value"] == []
    answer = ask("Observations", resultFormat="dataArray", expand="Datastream")
    assert (answer.status_code, answer.json()["where"]) == (501, "$expand")


@pytest.mark.parametrize("order", ["", "phenomenonTime desc", "result"])
def test_following_next_links_yields_every_observation_once_under_inserts(
    order: str, ask: SensorThingsClient
) -> None:
    options = {"filter": "Datastream/id le 2"} | ({"orderby": order} if order else {})
    before = ids(ask.value("Observations", **options))
    page = ask.json("Observations", top=17, **options)
    found = ids(page["value"])
    added = 0
    while "@iot.nextLink" in page:
        added += 1
        _insert(ask, series_id=1 + added % 2, k=added, order=order)
        page = ask.json(page["@iot.nextLink"])
        found += ids(page["value"])
    assert added > 3
    assert len(set(found)) == len(found)
    assert set(before) <= set(found)


def _insert(ask: SensorThingsClient, *, series_id: int, k: int, order: str) -> None:
    """A reading long before all others, so that it comes before the page in the order of times."""
    row = np.zeros(1, READING)
    row["series_id"], row["quality"], row["value"] = series_id, 1, 0.5
    row["time_us"] = (1_600_000_000 + 60 * k + 7 * len(order)) * 1_000_000
    row["received_us"] = row["time_us"] + 2_000_000
    row["expected"] = row["spread"] = np.nan
    ask.store.commit(
        Batch(fresh=row[:0], doubtful=row, revisions=row[:0][["series_id", "time_us", "quality", "rules"]])
    )
    assert ask.json(f"Observations('{series_id}-{row['time_us'][0]}')")["result"] == 0.5


@pytest.mark.parametrize(
    ("path", "options", "where"),
    [
        ("Things", {"filter": "name eq"}, "$filter:8"),
        ("Things", {"filter": "name eq 'x' and size gt 1"}, "$filter:17"),
        ("Observations", {"filter": "Datastream/Thing/Datastreams/Observations/result gt 1"}, "$filter:50"),
        ("Things", {"orderby": "name up"}, "$orderby:6"),
        ("Things", {"orderby": "Datastreams/name"}, "$orderby:1"),
        ("Things", {"orderby": "size"}, "$orderby:1"),
        ("Things", {"select": "name,size"}, "$select:6"),
        ("Things", {"expand": "Datastreams,Sensor"}, "$expand:13"),
        ("Things", {"expand": "Datastreams($filter=nme eq 1)"}, "$filter:21"),
        ("Things", {"expand": "Datastreams($top=1"}, "$expand:19"),
        ("Things", {"expand": "Datastreams)"}, "$expand:12"),
        ("Things", {"expand": "/".join(["Datastreams", "Thing"] * 5)}, "$expand:1"),
        ("Things", {"top": "-1"}, "$top"),
        ("Things", {"top": "x"}, "$top"),
        ("Things", {"skip": "1.5"}, "$skip"),
        ("Things", {"count": "yes"}, "$count"),
        ("Things", {"skiptoken": "x"}, "$skiptoken"),
        ("Observations", {"skiptoken": "x"}, "$skiptoken"),
        ("Observations", {"skiptoken": "W1siJyBPUiAxPTEiXV0"}, "$skiptoken"),
        ("Observations", {"orderby": "result", "skiptoken": HALF_A_CHARACTER}, "$skiptoken"),
        ("Observations", {"skip": "99999999999"}, "$skip"),
        ("Observations", {"filter": "result mul 1e308 mul 1e308 gt 1"}, "$filter"),
    ],
)
def test_wrong_queries_are_errors_with_a_position(
    path: str, options: dict[str, str], where: str, ask: SensorThingsClient
) -> None:
    answer = ask(path, **options)
    assert answer.status_code == 400, answer.text
    assert answer.json()["where"] == where, answer.text


@pytest.mark.parametrize(
    "text",
    [
        "'; DROP TABLE reading; --",
        "' OR '1'='1",
        "%s %(p0)s {0} {{}} $1",
        "\\'; SELECT pg_sleep(60); --",
        "\x00",
        "中文'🙂",
    ],
)
def test_texts_are_only_texts(text: str, ask: SensorThingsClient) -> None:
    quoted = text.replace("'", "''")
    count = ask.json("Observations", count="true", top=0)["@iot.count"]
    for asked in (
        f"id eq concat('{quoted}', resultQuality/meaning)",
        f"substringof('{quoted}', id)",
        f"id gt '{quoted}' and false",
    ):
        answer = ask("Observations", filter=asked)
        assert answer.status_code == (400 if "\x00" in text else 200), answer.text
        assert answer.status_code == 400 or answer.json()["value"] == []
    key = quote(f"'{quoted}'", safe="")
    assert ask(f"Things({key})").status_code in {404, 400}
    assert ask.json("Observations", count="true", top=0)["@iot.count"] == count


def test_what_is_huge_is_refused_or_bounded(ask: SensorThingsClient) -> None:
    assert len(ask.json("Observations", top=10**15, filter="Datastream/id eq 1")["value"]) > 50
    assert ask("Observations", filter="result eq 1" + " or result eq 1" * 2000).status_code == 400
    assert ask("Observations", filter="(" * 3000).status_code == 400
    assert ask("Things", expand="(" * 3000).status_code == 400
    far = "/".join(["Datastreams", "ObservedProperty"] * 9)
    assert ask("ObservedProperties", filter=f"Datastreams/Sensor/{far}/name eq 'x'").status_code == 400
