"""Tests anomalies and readings by every filter and format, paged and complete, on a real database."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from httpx import ASGITransport, AsyncClient
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import csv

from gateway.api import snapshots
from gateway.api.models import row_models
from gateway.api.models.judging_models import JudgedAnomalyResponse
from gateway.api.models.resource_models import (
    AnomalyResponse,
    BucketResponse,
    LatestResponse,
    PlotResponse,
    ReadingResponse,
    SeriesReadingResponse,
)
from gateway.formats import plots
from gateway.formats.negotiation import MEDIA_TYPES
from ingest_service.storage.contract.models import AnomalyFields
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from ingest_service.storage.settings import Settings
from tests.support.api_requests import WIDE_TIME_RANGE, ClientFactory, all_items, get_response
from tests.support.gateway_access import HEADERS, gateway_app
from tests.support.store_samples import DIRECTORY, START_US, anomaly

PATHS_AND_PARAMETERS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/anomalies", {}),
    ("/v1/readings", {"series": [1, 2], **WIDE_TIME_RANGE}),
    ("/v1/latest", {}),
    ("/v1/series/1/buckets", {"width": "PT1H"}),
]


def table_of(form: str, content: bytes) -> pa.Table:
    if form == "arrow":
        return pa.ipc.open_stream(content).read_all()
    if form == "parquet":
        return pq.read_table(io.BytesIO(content))
    if form == "csv":
        empty = csv.ConvertOptions(strings_can_be_null=True, null_values=[""])
        return csv.read_csv(io.BytesIO(content), convert_options=empty)
    return pa.Table.from_pylist([json.loads(line) for line in content.splitlines()])


@pytest.mark.parametrize(
    ("row", "model"),
    [
        (row_models.ReadingJson, ReadingResponse),
        (row_models.SeriesReadingJson, SeriesReadingResponse),
        (row_models.LatestJson, LatestResponse),
        (row_models.BucketJson, BucketResponse),
        (plots.PlotJson, PlotResponse),
    ],
)
def test_what_is_written_has_the_fields_that_are_documented(row: Any, model: Any) -> None:
    assert set(row.__struct_fields__) == set(model.model_fields)


def test_documented_anomalies_have_the_fields_of_stored_ones() -> None:
    times = {"start_s": "start", "end_s": "end", "peak_s": "peak"}
    stored = {times.get(name, name) for name in AnomalyFields.__struct_fields__} | {"evidence"}
    documented = {name: field.annotation for name, field in AnomalyResponse.model_fields.items()}
    judged = {name: field.annotation for name, field in JudgedAnomalyResponse.model_fields.items()}
    assert documented.keys() == stored | {"quantity", "unit"}
    assert judged.keys() == stored - {"anomaly_id", "site_id", "series_id", "device_id"}
    assert {name for name in judged if judged[name] != documented[name]} == {"state"}, "never withdrawn"


@given(st.lists(st.integers(snapshots.EARLIEST_US, snapshots.LATEST_US - 1)))
def test_times_are_written_as_numpy_writes_them(us: list[int]) -> None:
    at = np.array(us, np.int64)
    expected = np.datetime_as_string((at // 1000).astype("datetime64[ms]"), unit="ms", timezone="UTC")
    assert row_models.rfc3339_times(at) == expected.tolist()


@pytest.mark.parametrize(("path", "params"), PATHS_AND_PARAMETERS)
def test_every_format_has_the_same_content(path: str, params: dict[str, Any], client: ClientFactory) -> None:
    limit: dict[str, Any] = {"limit": 10_000} if path in ("/v1/anomalies", "/v1/readings") else {}
    answer = get_response(client, path, **params, **limit).json()
    wanted = answer["items"] if isinstance(answer, dict) else answer
    assert len(wanted) > 3
    for form in ("csv", "ndjson", "arrow", "parquet"):
        found = get_response(client, path, **params, format=form)
        assert found.headers["content-type"].split(";")[0] == MEDIA_TYPES[form]
        assert f".{form}" in found.headers["content-disposition"]
        table = table_of(form, found.content)
        assert len(table) == len(wanted), form
        for name in ("measured", "begins", "start"):
            if name in wanted[0] and form in ("arrow", "parquet"):
                moments = [one.as_py().isoformat(timespec="milliseconds") for one in table[name]]
                assert moments == [row[name].replace("Z", "+00:00") for row in wanted]
        for name in ("value", "mean", "score", "severity", "reason_zh", "quality", "unit"):
            if name in wanted[0] and name in table.column_names:
                assert table[name].to_pylist() == [row[name] for row in wanted], (form, name)
        assert (
            get_response(client, path, **params, headers={"accept": MEDIA_TYPES[form]})
            .headers["content-type"]
            .startswith(MEDIA_TYPES[form])
        )


def test_a_form_that_cannot_be_had_is_a_problem(client: ClientFactory) -> None:
    assert get_response(client, "/v1/anomalies", headers={"accept": "image/png"}).status_code == 406
    assert get_response(client, "/v1/anomalies", format="xml").status_code == 422


def test_near_goes_along_the_network(client: ClientFactory) -> None:
    site = "330402-d1-r02"
    everything = {one["site_id"] for one in all_items(client, "/v1/anomalies")}
    far = {one["site_id"] for one in all_items(client, "/v1/anomalies", near=site, within_m=1e6)}
    here = {one["site_id"] for one in all_items(client, "/v1/anomalies", near=site, within_m=1)}
    assert here <= {site}
    assert here < far < everything, "roads are not on the river"
    up, down = (
        {one["site_id"] for one in all_items(client, "/v1/anomalies", near=site, within_s=1e6, direction=way)}
        for way in ("up", "down")
    )
    assert up | down == far
    assert up != down
    wrong: list[tuple[dict[str, Any], int]] = [
        ({"near": site}, 422),
        ({"near": "nowhere", "within_m": 5}, 404),
        ({"within_m": 5}, 422),
    ]
    for params, status in wrong:
        assert get_response(client, "/v1/anomalies", **params).status_code == status


def test_text_of_the_reason_in_both_languages(client: ClientFactory) -> None:
    everything = all_items(client, "/v1/anomalies")
    for text in ("ammonia", "AMMONIA", "氨氮", "%", "100% sure", "\\"):
        found = {one["anomaly_id"] for one in all_items(client, "/v1/anomalies", text=text)}
        assert found == {
            one["anomaly_id"]
            for one in everything
            if text.lower() in one["reason_en"].lower() or text.lower() in one["reason_zh"].lower()
        }
    assert all_items(client, "/v1/anomalies", text="氨氮")


def test_severity_has_two_ends(client: ClientFactory) -> None:
    found = all_items(client, "/v1/anomalies", severity_min=2, severity_max=2)
    assert {one["severity"] for one in found} == {2}


def test_a_cursor_is_of_its_question(client: ClientFactory) -> None:
    cursor = get_response(client, "/v1/anomalies", limit=2).json()["next"]
    asked: list[tuple[dict[str, Any], int]] = [
        ({}, 200),
        ({"limit": 5}, 200),
        ({"state": "open"}, 422),
        ({"area": "330483"}, 422),
    ]
    for params, status in asked:
        answer = get_response(client, "/v1/anomalies", cursor=cursor, **params)
        assert answer.status_code == status, params
    for forged in (cursor[:-2], f"{cursor}AA", "x", "MTc5MDAwMDAwMC4wOjQy", "é"):
        answer = get_response(client, "/v1/anomalies", cursor=forged)
        assert (answer.status_code, answer.json()["where"]) == (422, "cursor")


def test_pages_stay_while_anomalies_come(timescale_dsn: str) -> None:
    migrate(timescale_dsn)
    store = PostgresStore.open(timescale_dsn)
    store.enrol(DIRECTORY)
    app = gateway_app(store)
    client = lambda: AsyncClient(transport=ASGITransport(app), base_url="http://gateway", headers=HEADERS)  # noqa: E731
    # several begin at the same time, so that the id must decide
    begins = [START_US / 1e6 + at // 3 for at in range(20)]
    store.record_anomalies([anomaly(subject=f"s/{at}", start_s=start) for at, start in enumerate(begins)])
    wanted = [one["anomaly_id"] for one in all_items(client, "/v1/anomalies", limit=1000)]
    collected: list[int] = []
    cursor: dict[str, Any] = {}
    while True:
        page = get_response(client, "/v1/anomalies", limit=3, **cursor).json()
        collected += [one["anomaly_id"] for one in page["items"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
        store.record_anomalies(
            [anomaly(subject=f"n/{len(collected)}", start_s=START_US / 1e6 + 100 + len(collected))]
        )
    store.close()
    assert collected == wanted


def test_pages_of_readings_go_over_series_without_gap_or_repeat(client: ClientFactory) -> None:
    params: dict[str, Any] = {
        "series": [1, 2, 3],
        "from": "2020-01-01T00:00:00Z",
        "to": "2030-01-01T00:00:00Z",
    }
    whole = all_items(client, "/v1/readings", limit=10_000, **params)
    assert {one["series_id"] for one in whole} == {1, 2, 3}
    assert all_items(client, "/v1/readings", limit=499, **params) == whole
    link = get_response(client, "/v1/readings", limit=499, format="csv", **params).headers["link"]
    assert 'rel="next"' in link
    second = get_response(client, link.split(">")[0].removeprefix("<http://gateway").removeprefix("<"))
    assert len(second.text.splitlines()) == 500
    wanted = whole[499]
    assert second.text.splitlines()[1].startswith(f'{wanted["series_id"]},"{wanted["site_id"]}"')


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_text_is_written_in_small_pieces_and_has_the_same_content(
    form: str, client: ClientFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "/v1/readings"
    whole = get_response(client, path, series=[1, 2], format=form, **WIDE_TIME_RANGE).content
    monkeypatch.setattr("gateway.formats.streaming_response.ROWS_PER_TEXT_CHUNK", 7)
    assert get_response(client, path, series=[1, 2], format=form, **WIDE_TIME_RANGE).content == whole
    assert len(whole.splitlines()) > 500
    assert get_response(client, "/v1/anomalies", format=form).content.count(b"\n") > 7


def test_what_the_caller_has_is_not_sent_again(client: ClientFactory) -> None:
    params: dict[str, Any] = {"width": "PT1H", "from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
    first = get_response(client, "/v1/series/1/buckets", **params)
    again = get_response(
        client, "/v1/series/1/buckets", headers={"if-none-match": first.headers["etag"]}, **params
    )
    assert (again.status_code, again.content) == (304, b"")
    bare = {"if-none-match": f'"x", {first.headers["etag"].removeprefix("W/")}'}
    assert get_response(client, "/v1/series/1/buckets", headers=bare, **params).status_code == 304
    other = get_response(client, "/v1/anomalies", headers={"if-none-match": first.headers["etag"]})
    assert other.status_code == 200


def test_answers_are_compressed_for_who_can_take_it(client: ClientFactory) -> None:
    async def raw(accepted: str) -> tuple[str | None, bytes]:
        async with (
            client() as one,
            one.stream(
                "GET",
                "/v1/readings",
                params={"format": "csv", **WIDE_TIME_RANGE},
                headers={"accept-encoding": accepted},
            ) as answer,
        ):
            return answer.headers.get("content-encoding"), b"".join(
                [part async for part in answer.aiter_raw()]
            )

    encoding, small = asyncio.run(raw("gzip"))
    none, plain = asyncio.run(raw("identity"))
    assert (encoding, none) == ("gzip", None)
    assert gzip.decompress(small) == plain
    assert len(small) < len(plain) / 3


def test_a_query_that_takes_too_long_is_a_problem_with_a_remedy(timescale_dsn: str) -> None:
    migrate(timescale_dsn)
    store = PostgresStore.open(timescale_dsn, settings=Settings(statement_timeout_s=1))
    store.enrol(DIRECTORY)
    app = gateway_app(store)
    with store.transaction() as owner:  # who locks the table makes everybody wait
        owner.execute("LOCK TABLE anomaly IN ACCESS EXCLUSIVE MODE")
        answer = get_response(
            lambda: AsyncClient(transport=ASGITransport(app), base_url="http://gateway", headers=HEADERS),
            "/v1/anomalies",
        )
    store.close()
    assert (answer.status_code, answer.headers["content-type"]) == (504, "application/problem+json")
    assert "ask for a shorter time" in answer.json()["detail"]
