"""Tests that a posted series is judged like a device's, and that limits are tried, adopted and reverted."""

from __future__ import annotations

import asyncio
import io
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from analytics.quality import default_limits
from analytics.service import backtest
from gateway.formats import upload_worker
from ingest_service.storage.contract.models import Series
from tests.support.parquet import parquet_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from httpx import AsyncClient, Response

    from ingest_service.storage.postgres.store import PostgresStore

    Client = Callable[[], AsyncClient]

BEGIN_S = 1.79e9
STEP_S = 600.0
N = 7 * 144


def call_api(client: Client, method: str, path: str, **request_args: Any) -> Response:
    async def send() -> Response:
        async with client() as one:
            return await one.request(method, path, **request_args)

    return asyncio.run(send())


def week() -> tuple[list[float], list[float | None]]:
    """A week of dissolved oxygen with a day's rhythm, a gap, and a fault on the last day."""
    time_s = BEGIN_S + STEP_S * np.arange(N)
    value = 8 + np.sin(time_s / 86_400 * 2 * np.pi) + np.random.default_rng(1).normal(0, 0.05, N)
    value[-100:-80] = 3.0
    return time_s.tolist(), [None if i == 7 else one for i, one in enumerate(value.tolist())]


def rfc3339(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat()


def as_json(time_s: list[float], value: list[float | None]) -> dict[str, Any]:
    return {"json": {"time": [rfc3339(one) for one in time_s], "value": value}}


def as_csv(time_s: list[float], value: list[float | None]) -> dict[str, Any]:
    sink = io.BytesIO()
    table = pa.table(
        {"value": value, "time": pa.array(np.array(time_s) * 1e3, pa.int64()).cast(pa.timestamp("ms", "UTC"))}
    )
    csv.write_csv(table, sink)
    return {"content": sink.getvalue(), "headers": {"content-type": "text/csv; charset=utf-8"}}


def as_parquet(time_s: list[float], value: list[float | None]) -> dict[str, Any]:
    sink = io.BytesIO()
    pq.write_table(pa.table({"time": time_s, "value": value, "note": ["x"] * len(value)}), sink)
    return {"content": sink.getvalue(), "headers": {"content-type": "application/vnd.apache.parquet"}}


@pytest.mark.parametrize("body", [as_json, as_csv, as_parquet])
def test_a_posted_series_is_judged_as_a_device_is(
    client: Client, body: Callable[..., dict[str, Any]]
) -> None:
    time_s, value = week()
    answer = call_api(client, "POST", "/v1/judge?quantity=dissolved_oxygen", **body(time_s, value))
    assert answer.status_code == 200, answer.text
    judged_body = answer.json()
    history = backtest.make_history(
        Series(site_id="posted", quantity="dissolved_oxygen"), np.array(time_s), np.array(value, np.float64)
    )
    expected = backtest.judge_history(history)
    assert [one["quality"] for one in judged_body["readings"]] == expected.quality.tolist()
    assert [one["detector"] for one in judged_body["anomalies"]] == [
        one.detector for one in expected.anomalies
    ]
    assert judged_body["anomalies"]
    assert {one["quality"] for one in judged_body["readings"][-100:-80]} <= {3, 4}
    assert (judged_body["readings"][7]["quality"], judged_body["readings"][7]["value"]) == (9, None)
    assert judged_body["interval_s"] == STEP_S
    assert judged_body["left_out"] == {"repeated": 0, "without_time": 0}


def test_readings_come_in_every_form(client: Client) -> None:
    path = "/v1/judge?quantity=dissolved_oxygen"
    as_arrow = call_api(client, "POST", f"{path}&format=arrow", **as_json(*week()))
    table = pa.ipc.open_stream(as_arrow.content).read_all()
    as_text = call_api(
        client,
        "POST",
        path,
        **as_csv(*week()),
    )
    assert table["quality"].to_pylist() == [one["quality"] for one in as_text.json()["readings"]]
    assert len(table) == N


def test_units_are_converted_and_limits_obeyed(client: Client) -> None:
    time_s, value = week()
    in_kg = [None if one is None else one / 1000 for one in value]
    path = "/v1/judge?quantity=dissolved_oxygen"
    answer = call_api(
        client, "POST", f"{path}&unit=kg/m3&limit=suspect_low=4", **as_json(time_s, in_kg)
    ).json()
    assert answer["limits"]["suspect_low"] == 4
    assert answer["readings"][-90]["value"] == pytest.approx(3.0)
    assert "GROSS_RANGE" in answer["readings"][-90]["rules"]


def test_a_value_too_large_for_its_unit_fails(client: Client) -> None:
    """The conversion overflowed: 500 where warnings are errors."""
    body = as_json([BEGIN_S, BEGIN_S + STEP_S], [1e308, 0.008])
    answer = call_api(client, "POST", "/v1/judge?quantity=dissolved_oxygen&unit=kg/m3", **body)
    assert [one["quality"] for one in answer.json()["readings"]] == [4, 2]


@pytest.mark.parametrize(
    ("limits", "english", "chinese"),
    [
        ("fail_high=5", "outside what can be (0 to 5 mg/L)", "超出可能范围（0至5 mg/L）"),
        ("suspect_low=4", "outside its usual range (4 to 40 mg/L)", "超出通常范围（4至40 mg/L）"),
        ("suspect_low@1-12=5&limit=suspect_low=4", "usual range (5 to 40 mg/L)", "（5至40 mg/L）"),
    ],
)
def test_a_reason_quotes_the_limit_that_was_applied(
    client: Client, limits: str, english: str, chinese: str
) -> None:
    """It quoted the range of the quantity: "pH 7.064 is outside what can be (0 to 14)"."""
    path = f"/v1/judge?quantity=dissolved_oxygen&limit={limits}"
    anomalies = call_api(client, "POST", path, **as_json(*week())).json()["anomalies"]
    found = next(one for one in anomalies if one["detector"] == "gross_range")
    assert english in found["reason_en"]
    assert chinese in found["reason_zh"]


def test_rows_without_a_usable_time_as_a_leap_second_are_left_out_and_counted(client: Client) -> None:
    """One row with 23:59:60 had the whole file refused."""
    rows = "2016-12-31T23:59:59Z,7\n2016-12-31T23:59:60Z,7.1\n2017-01-01T08:05:00+08:00,7.2\nsoon,7\n,7\n"
    rows += "1483228900.5,7\n2017-02-30T00:00:00Z,7\n"
    answer = call_api(
        client, "POST", "/v1/judge?quantity=ph", **content_args(f"time,value\n{rows}".encode(), "text/csv")
    )
    assert answer.status_code == 200, answer.text
    assert [one["measured"][:19] for one in answer.json()["readings"]] == [
        "2016-12-31T23:59:59",
        "2017-01-01T00:01:40",
        "2017-01-01T00:05:00",
    ]
    assert answer.json()["left_out"] == {"without_time": 4, "repeated": 0}


def test_times_out_of_order_and_repeated_are_put_right_and_counted(client: Client) -> None:
    body = {"time": [BEGIN_S + 600, BEGIN_S, BEGIN_S, 1e300], "value": [2.0, 1.0, 5.0, 1.0]}
    answer = call_api(client, "POST", "/v1/judge?quantity=ph", json=body).json()
    assert [one["value"] for one in answer["readings"]] == [1.0, 2.0]
    assert answer["left_out"] == {"without_time": 1, "repeated": 1}


ONE = {"json": {"time": [1.0], "value": [1.0]}}


def content_args(content: bytes, media_type: str) -> dict[str, Any]:
    return {"content": content, "headers": {"content-type": media_type}}


@pytest.mark.parametrize(
    ("path", "request_args", "status", "sentence"),
    [
        ("quantity=mood", ONE, 422, "there is no 'mood'"),
        ("quantity=ph&unit=mile", ONE, 422, "give one of"),
        ("quantity=ph&limit=tall", ONE, 422, "NAME=NUMBER"),
        ("quantity=ph&limit=size=1", ONE, 422, "there is no limit 'size'"),
        ("quantity=ph&limit=score_weak=9&limit=score_strong=3", ONE, 422, "9 is above score_strong 3"),
        ("quantity=ph", {"json": {"time": [1.0], "value": []}}, 422, "1 times and 0 values"),
        ("quantity=ph", {"json": {"time": ["yesterday"], "value": [1.0]}}, 422, "RFC 3339"),
        ("quantity=ph", {"json": {"time": [1.0]}}, 422, "value"),
        ("quantity=ph", content_args(b"{", "application/json"), 422, "body"),
        ("quantity=ph", content_args(b"a,b\n1,2\n", "text/csv"), 422, "'time'"),
        ("quantity=ph", content_args(b"time,value\n2026-01-01T00:00:00,2\n", "text/csv"), 422, "offset"),
        ("quantity=ph", content_args(b"time,value\n1,7\n2,high\n", "text/csv"), 422, "'high' is not"),
        ("quantity=ph", content_args("time,value\n1,7\n".encode("utf-16"), "text/csv"), 422, "not UTF-8"),
        (
            "quantity=ph",
            content_args("time,value,备注\n1,7,好\n".encode("gbk"), "text/csv"),
            422,
            "not UTF-8",
        ),
        ("quantity=ph", {"json": {"time": [1.79e12], "value": [1.0]}}, 422, "Unix seconds"),
        ("quantity=ph", content_args(b"PAR1", "application/vnd.apache.parquet"), 422, "send a whole file"),
        ("quantity=ph", content_args(b"", "text/csv"), 422, "with commas between"),
        ("quantity=ph", content_args(b"time,value\n1,7,8\n", "text/csv"), 422, "with commas between"),
        (
            "quantity=ph",
            content_args(b"time,value\n1," + b"x" * 3_000_000 + b"\n", "text/csv"),
            422,
            "with commas",
        ),
        ("quantity=ph", content_args(b"time,value\n2026-11-23,7\n", "text/csv"), 422, "times are RFC 3339"),
        ("quantity=ph", content_args(b'[{"time":1,"value":7}]', "application/json"), 422, 'send {"time": ['),
        # An offset this large took the gateway with it: the compiled judge wrote outside of its arrays.
        ("quantity=ph&limit=day_offset_s=7.7e25", ONE, 422, "limit: posted/ph: day_offset_s 7.7e+25 must be"),
        ("quantity=ph&limit=score_close=-1", ONE, 422, "score_close -1 is below 0"),
        ("quantity=ph&limit=score_strong=9&limit=score_strong=8", ONE, 422, "score_strong is there twice"),
        ("quantity=ph", content_args(b"x", "image/png"), 415, "send the series as"),
        ("quantity=ph", content_args(b"x", "application/vnd.apache.arrow.stream"), 415, "send the series as"),
    ],
)
def test_what_cannot_be_judged_is_a_problem(
    client: Client, path: str, request_args: dict[str, Any], status: int, sentence: str
) -> None:
    answer = call_api(client, "POST", f"/v1/judge?{path}", **request_args)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert sentence in answer.json()["detail"]


TWO = ["2026-11-23T08:00:00+08:00", "2026-11-23T00:05:00Z"]


@pytest.mark.parametrize(
    ("time", "value"),
    [
        (pa.array(TWO, pa.large_string()), pa.array([7.0, None])),
        (pa.array(TWO).dictionary_encode(), pa.array(["7.0", None])),
        (pa.array([1795392000, 1795392300]), pa.array([7, None]).cast(pa.decimal128(21, 2))),
        (pa.array([1795392000, 1795392300]).cast(pa.timestamp("s", "Asia/Shanghai")), pa.array([7, None])),
    ],
)
def test_columns_are_read_as_data_frames_write_them(client: Client, time: pa.Array, value: pa.Array) -> None:
    request_args = content_args(parquet_of(time, value), "application/vnd.apache.parquet")
    answer = call_api(client, "POST", "/v1/judge?quantity=ph", **request_args).json()
    found = [(one["measured"], one["value"]) for one in answer["readings"]]
    assert found == [("2026-11-23T00:00:00.000Z", 7.0), ("2026-11-23T00:05:00.000Z", None)]


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"t": [1.0], "v": [1.0]}, "one column 'time', and there are 't', 'v'"),
        ({"time": [1.0], "v": [1.0]}, "one column 'value', and there are 'time', 'v'"),
        ({"time": [[1.0]], "value": [1.0]}, "time: a plain column is wanted, and list"),
        ({"time": [1.0], "value": [{"a": 1.0}]}, "value: a plain column is wanted, and struct"),
        ({"time": [b"1"], "value": [1.0]}, "time: times are RFC 3339"),
    ],
)
def test_a_parquet_file_without_the_columns_is_refused_by_its_schema(
    columns: dict[str, Any], sentence: str
) -> None:
    """The process that reads posted files ended at one, and the answer was that it took too much memory."""
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    answer = upload_worker.parse_upload("application/vnd.apache.parquet", sink.getvalue())
    assert answer.status == 422
    assert sentence in answer.detail


def test_a_byte_order_mark_and_the_year_0_are_read(client: Client) -> None:
    for media_type, text in (
        ("application/json", '{"time": [-62135596801, 1.7e9], "value": [1, 7]}'),
        ("text/csv", "time,value\n-62135596801,1\n1.7e9,7\n"),
    ):
        request_args = content_args(b"\xef\xbb\xbf" + text.encode(), media_type)
        answer = call_api(client, "POST", "/v1/judge?quantity=ph", **request_args).json()
        assert [one["value"] for one in answer["readings"]] == [7.0]
        assert answer["left_out"]["without_time"] == 1


@pytest.mark.parametrize(
    "words", [pa.array(np.zeros(3_000_000)), pa.array(["2026-11-23T00:00:00Z".ljust(200_000_000)])]
)
def test_a_small_body_that_would_unpack_to_a_large_one_is_refused(client: Client, words: pa.Array) -> None:
    body = parquet_of(words, pa.nulls(len(words), pa.float64()))
    assert len(body) < 1_000_000
    answer = call_api(
        client, "POST", "/v1/judge?quantity=ph", **content_args(body, "application/vnd.apache.parquet")
    )
    assert answer.status_code == 413
    assert answer.json()["detail"].startswith("body: ")


def test_a_csv_of_very_many_columns_is_refused_by_its_first_line(client: Client) -> None:
    wide = b"time,value" + b",x" * 100_000 + b"\n1,7" + b",1" * 100_000 + b"\n"
    many = b"time,value," + b",".join(b"%d" % at for at in range(1000)) + b"\n" + b"1,7\n" * 10
    for body, status, sentence in ((wide, 422, "first line"), (many, 413, "columns")):
        answer = call_api(client, "POST", "/v1/judge?quantity=ph", **content_args(body, "text/csv"))
        assert (answer.status_code, sentence in answer.json()["detail"]) == (status, True), answer.text


def test_rows_are_counted_before_a_body_is_unpacked(client: Client) -> None:
    csv = content_args(b"time,value\n" + b"1,2\n" * 600_000, "text/csv")
    listed = {"time": list(range(600_000)), "value": [1] * 600_000}
    for request_args in (csv, {"json": listed}):
        answer = call_api(client, "POST", "/v1/judge?quantity=ph", **request_args)
        assert (answer.status_code, "600,000 rows" in answer.json()["detail"]) == (413, True), answer.text
    many = {"time": list(range(150_000)), "value": [1] * 150_000}
    answer = call_api(client, "POST", "/v1/judge?quantity=ph", json=many)
    assert (answer.status_code, "ask for csv" in answer.json()["detail"]) == (413, True), answer.text


def series_with_anomalies(store: PostgresStore) -> Series:
    known = {one.series_id: one for one in store.directory().series}
    return next(one for one in known.values() if one.quantity == "dissolved_oxygen")


def test_limits_are_tried_then_adopted_then_taken_back(client: Client, filled_store: PostgresStore) -> None:
    series = series_with_anomalies(filled_store)
    (newest,) = filled_store.latest([series.series_id])
    path = f"/v1/series/{series.series_id}"
    limits_body = {
        "from": rfc3339(newest.time_s - 86_400),
        "to": rfc3339(newest.time_s),
        "limits": {"fail_low": 100.0, "fail_high": None},
    }
    tried = call_api(client, "POST", f"{path}/trial", json=limits_body).json()
    assert tried["now"]["readings"] == tried["tried"]["readings"] > 100
    assert tried["now"]["flagged"] < tried["tried"]["flagged"] == tried["tried"]["readings"]
    assert tried["tried"]["limits"]["fail_low"] == 100
    assert {one["detector"] for one in tried["tried"]["anomalies"]} == {"gross_range"}
    assert all(one in tried["tried"]["anomalies"] for one in tried["new"])
    assert all(one in tried["now"]["anomalies"] for one in tried["gone"])

    before = call_api(client, "GET", f"{path}/limits").json()
    assert (before["adopted"], before["history"]) == ({}, [])
    request_args = {"limits": {"suspect_low": 1.5, "fail_high": None}, "note": "low flow"}
    after = call_api(client, "PUT", f"{path}/limits", json=request_args).json()
    assert after["adopted"] == request_args["limits"]
    assert after["in_force"]["suspect_low"] == 1.5
    assert after["in_force"]["fail_high"] is None
    (one,) = after["history"]
    assert (one["note"], one["limits"]) == ("low flow", request_args["limits"])
    assert one["who"].startswith("Wang Fang")

    filled_store.enrol(filled_store.directory())  # the site file again
    again = next(one for one in filled_store.directory().series if one.series_id == series.series_id)
    assert again.adopted == request_args["limits"]
    assert default_limits.judge_parameters([again]).suspect_low[0] == 1.5
    assert np.isnan(default_limits.judge_parameters([again]).fail_high[0])

    back = call_api(client, "PUT", f"{path}/limits", json={"limits": {}}).json()
    assert back["in_force"] == before["in_force"]
    assert [one["limits"] for one in back["history"]] == [request_args["limits"], {}]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"size": 1.0}, "there is no limit 'size'"),
        ({"score_weak": 9.0, "score_strong": 3.0}, "score_weak 9 is above score_strong 3"),
    ],
)
def test_limits_that_cannot_be_are_neither_tried_nor_adopted(
    client: Client, given: dict[str, float], sentence: str
) -> None:
    adopted = call_api(client, "PUT", "/v1/series/1/limits", json={"limits": given})
    limits_body = {"limits": given, "from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
    tried = call_api(client, "POST", "/v1/series/1/trial", json=limits_body)
    for answer in (adopted, tried):
        assert (answer.status_code, answer.json()["where"]) == (422, "limits")
        assert sentence in answer.json()["detail"]
    assert call_api(client, "PUT", "/v1/series/999999/limits", json={"limits": {}}).status_code == 404


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_a_limit_that_is_no_number_is_refused(client: Client, number: str) -> None:
    request_args = content_args(f'{{"limits": {{"suspect_low": {number}}}}}'.encode(), "application/json")
    answer = call_api(client, "PUT", "/v1/series/1/limits", **request_args)
    assert (answer.status_code, answer.json()["where"]) == (422, "suspect_low")


def test_limits_that_are_wrong_in_the_database_are_shown_and_can_be_mended(
    client: Client, filled_store: PostgresStore
) -> None:
    with filled_store.transaction() as connection:
        kept = connection.execute("SELECT limits FROM series WHERE series_id = 1").fetchone()
        connection.execute("ALTER TABLE series DROP CONSTRAINT series_limits_are_known")
        connection.execute("UPDATE series SET limits = '{\"suspectlow\": 6.5}' WHERE series_id = 1")
        connection.execute("UPDATE directory_version SET version = version + 1")
    shown = call_api(client, "GET", "/v1/series/1/limits")
    assert shown.status_code == 200, shown.text
    assert shown.json()["problems"] == ["there is no limit 'suspectlow' (did you mean 'suspect_low'?)"]
    assert (
        call_api(client, "PUT", "/v1/series/1/limits", json={"limits": {"suspect_low": 1}}).status_code == 422
    )
    with filled_store.transaction() as connection:
        connection.execute(
            "UPDATE series SET limits = %s::jsonb WHERE series_id = 1", [json.dumps((kept or [{}])[0])]
        )
        connection.execute("UPDATE directory_version SET version = version + 1")
