"""Tests that the API behaves as documented: hierarchy, times, paging, problem details."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from httpx import ASGITransport, AsyncClient

from deploy import demo
from ingest_service.storage.contract.errors import StoreRefusedError, StoreUnavailableError
from ingest_service.storage.memory.store import MemoryStore
from tests.support.gateway_access import gateway_app

if TYPE_CHECKING:
    from collections.abc import Callable

    from httpx import Response

    Client = Callable[[], AsyncClient]


def get(client: Client, path: str, **params: Any) -> Response:
    async def ask() -> Response:
        async with client() as one:
            return await one.get(path, params=params)

    return asyncio.run(ask())


def test_an_area_takes_all_below_it(client: Client) -> None:
    everything, county, town = (
        len(get(client, "/v1/sites", area=area).json()) for area in ("330400", "330483", "330483-d1")
    )
    assert everything == 43
    assert 0 < town == county < everything


def test_latest_keeps_the_times_apart_and_flags_beside_values(client: Client) -> None:
    rows = get(client, "/v1/latest", quantity="ph").json()
    assert rows
    for row in rows:
        assert row["measured"].endswith("Z")
        assert row["received"] > row["measured"]
        assert row["age_s"] > 0
        assert row["quality"] in (1, 2, 3, 4)
        assert isinstance(row["rules"], list)
        assert row["unit"] == "pH"


def test_readings_page_through_without_gap_or_repeat(client: Client) -> None:
    whole = get(client, "/v1/series/1/readings", limit=10_000).json()
    assert whole["next"] is None
    paged: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = get(client, "/v1/series/1/readings", limit=50, **cursor).json()
        paged += page["items"]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    times = [row["measured"] for row in paged]
    assert times == sorted(set(times))
    assert len(paged) in (len(whole["items"]), len(whole["items"]) - 1)  # "the last day" moves on


def test_buckets_are_aligned_and_count_what_is_there(client: Client) -> None:
    rows = get(client, "/v1/series/1/buckets", width="PT1H").json()
    assert all(datetime.fromisoformat(row["begins"]).minute == 0 for row in rows)
    assert all(row["good"] <= row["count"] <= 12 for row in rows)
    assert any(row["mean"] is not None and row["min"] <= row["mean"] <= row["max"] for row in rows)


def test_anomalies_by_filter_and_page(client: Client) -> None:
    whole = get(client, "/v1/anomalies", limit=1000).json()["items"]
    assert len(whole) > 5
    starts = [row["start"] for row in whole]
    assert starts == sorted(starts, reverse=True)
    anomaly_ids: list[int] = []
    cursor: dict[str, str] = {}
    while True:
        page = get(client, "/v1/anomalies", limit=3, **cursor).json()
        anomaly_ids += [row["anomaly_id"] for row in page["items"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert anomaly_ids == [row["anomaly_id"] for row in whole]
    for row in get(client, "/v1/anomalies", area="330421", state="open", severity_min=2).json()["items"]:
        assert row["site_id"].startswith("330421")
        assert (row["state"], row["severity"] >= 2) == ("open", True)
        assert row["reason_en"]
        assert row["reason_zh"]
        assert row["evidence"]
    quantities = {row["quantity"] for row in get(client, "/v1/anomalies", quantity="ph").json()["items"]}
    assert quantities <= {"ph"}


def test_an_anomaly_on_the_river_is_traced_to_outfalls_upstream(client: Client) -> None:
    found = get(client, "/v1/anomalies", quantity="ammonia_nitrogen", site="330402-d1-r02", limit=1).json()[
        "items"
    ]
    assert found, "the planned slug passes here"
    trace = get(client, f"/v1/anomalies/{found[0]['anomaly_id']}/trace", window_hours=48).json()
    kinds = [one["kind"] for one in trace["candidates"]]
    assert "outfall" in kinds
    assert kinds.index("outfall") == 0
    assert "330483-d1-o03" in {one["node_id"] for one in trace["candidates"]}, "where the slug was let out"
    assert sum(one["likelihood"] for one in trace["candidates"]) == pytest.approx(1, abs=0.02)
    for one in trace["candidates"]:
        assert one["likelihood"] == round(one["likelihood"], 3), (
            "0.14285714285714285 looks like a measurement"
        )
        assert (one["travel_s"] % 1, one["distance_m"] % 1) == (0, 0)
        assert one["left_from"] < one["left_to"] < trace["seen"]


def test_the_twin_shows_every_node_and_link(client: Client) -> None:
    state = get(client, "/v1/twin/state").json()
    network = get(client, "/v1/twin/network").json()
    kinds = [one["properties"]["feature"] for one in network["features"]]
    assert kinds.count("node") == len(state["nodes"])
    assert kinds.count("link") == len(state["links"])
    assert {"anomaly", "silent"} <= {one["status"] for one in state["nodes"]}
    assert get(client, "/v1/twin/network/findings").json() == []
    past = get(client, "/v1/twin/network", at="2026-03-01T00:00:00Z").json()
    assert len(past["features"]) == len(network["features"]), "no version of it has another time"
    assert not any("state" in one["properties"] for one in past["features"])
    assert all(0 <= one["congestion"] < 3 for one in state["links"] if one["congestion"] is not None)


def test_the_twin_estimates_a_quantity_where_it_is_not_measured(client: Client) -> None:
    newest = max(one["measured"] for one in get(client, "/v1/latest", quantity="dissolved_oxygen").json())
    found = get(client, "/v1/twin/estimates", quantity="dissolved_oxygen", at=newest).json()
    assert (found["at"], found["network"], found["unit"]) == (newest, "river", "mg/L")
    nodes = {one["node_id"]: one for one in found["nodes"]}
    assert set(nodes) == {
        one["node_id"] for one in get(client, "/v1/twin/state").json()["nodes"] if one["network"] == "river"
    }
    measured = [one for one in nodes.values() if one["source"] == "measured"]
    estimated = [one for one in nodes.values() if one["source"] == "estimated"]
    assert measured
    assert estimated
    assert max(one["deviation"] for one in measured) < max(one["deviation"] for one in estimated)
    known = [one for one in measured if one["expected"] is not None]
    error, departure = (
        sum(abs(one[name] - one["measured"]) for one in known) for name in ("estimated", "expected")
    )
    assert error < departure, "nearer to the readings, which have noise of their own"
    before = get(client, "/v1/twin/estimates", quantity="dissolved_oxygen", at="0001-01-01T00:00:00Z").json()
    assert {one["source"] for one in before["nodes"]} == {"none"}
    assert {one["estimated"] for one in before["links"]} == {None}


def test_the_twin_places_sensors_for_a_network_a_budget_and_what_exists(client: Client) -> None:
    path, county = "/v1/twin/placement", "330483"
    whole, part = (
        get(client, path, sensors=4),
        get(client, path, sensors=4, area=county, existing="keep", limit_mg_l=0.5),
    )
    nodes = {one["node_id"]: one for one in get(client, "/v1/twin/state").json()["nodes"]}
    outfalls = [one for one in demo.directory().nodes if one.kind == "outfall"]
    assert whole.json()["n_outfalls"] == len(outfalls)
    assert part.json()["n_outfalls"] == sum(one.area_id.startswith(county) for one in outfalls)
    for found in (whole.json(), part.json()):
        value = found["before"]["value"]
        for one in found["items"]:
            assert nodes[one["node_id"]]["network"] == "river"
            assert one["value"] == pytest.approx(value + one["gain"], abs=2e-4)
            value = one["value"]
    assert (whole.json()["n_existing"], whole.json()["before"]["value"]) == (0, 0)
    assert part.json()["n_existing"] > 0
    assert part.json()["before"]["detected"] > 0
    assert all(one["area_id"].startswith(county) for one in part.json()["items"])
    page = get(client, f"{path}/report", sensors=2, area=county, format="html", language="en")
    assert "Where further sensors trace most outfalls" in page.text
    assert "img-src data:" in page.headers["content-security-policy"], "a browser shows no picture of it"
    file = get(client, f"{path}/report", sensors=1)
    assert (file.headers["content-type"], file.content[:5]) == ("application/pdf", b"%PDF-")


@pytest.mark.parametrize(
    ("path", "params", "status", "says"),
    [
        ("/v1/twin/placement", {"area": "mars"}, 404, "mars"),
        ("/v1/twin/placement", {"sensors": 51}, 422, "less than or equal to 50"),
        ("/v1/twin/placement", {"amount_kg": "nan"}, 422, "amount_kg"),
        ("/v1/twin/placement", {"limit_mg_l": "inf"}, 422, "limit_mg_l"),
        ("/v1/twin/placement", {"budget": 4}, 422, "there is no parameter 'budget'"),
        ("/v1/twin/estimates", {"quantity": "mood"}, 422, "there is no 'mood'"),
        ("/v1/twin/estimates", {"quantity": "rainfall"}, 422, "on no network: give one of water_temperature"),
        ("/v1/twin/estimates", {"quantity": "ph", "at": "2999-01-01T00:00:00Z"}, 422, "at: is in the future"),
        ("/v1/series/999999", {}, 404, "series"),
        ("/v1/sites", {"area": "nowhere"}, 404, "area"),
        ("/v1/anomalies", {"site": "x"}, 404, "site"),
        ("/v1/anomalies/0", {}, 422, "anomaly_id"),
        ("/v1/anomalies", {"cursor": "garbage"}, 422, "cursor"),
        ("/v1/anomalies", {"cursor": "bmFuOm5hbg"}, 422, "cursor"),
        ("/v1/anomalies", {"from": "2026-01-01T00:00:00"}, 422, "offset"),
        ("/v1/anomalies", {"limit": 0}, 422, "limit"),
        (
            "/v1/series/1/readings",
            {"from": "2026-02-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"},
            422,
            "before",
        ),
        ("/v1/series/1/buckets", {"width": "PT0.5S"}, 422, "width"),
        ("/v1/series/1/buckets", {"width": "PT1S"}, 422, "buckets"),
        ("/v1/series/1/buckets", {"width": "soon"}, 422, "width"),
    ],
)
def test_wrong_queries_are_problems_with_a_remedy(
    path: str, params: dict[str, Any], status: int, says: str, client: Client
) -> None:
    answer = get(client, path, **params)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert problem["status"] == status
    assert says in problem["detail"]


class UnavailableStore(MemoryStore):
    """A store whose database is gone, or refuses."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def directory_version(self) -> int:
        raise self.error


@pytest.mark.parametrize(
    ("error", "status"), [(StoreUnavailableError("secret host"), 503), (StoreRefusedError("secret"), 500)]
)
def test_the_database_away_is_a_problem_without_secrets(error: Exception, status: int) -> None:
    app = gateway_app(UnavailableStore(error))
    answer = get(lambda: AsyncClient(transport=ASGITransport(app), base_url="http://gateway"), "/readyz")
    assert answer.status_code == status
    assert "secret" not in answer.text
    assert status != 503 or int(answer.headers["retry-after"]) > 0


def test_every_operation_is_documented(client: Client) -> None:
    description = get(client, "/openapi.json").json()
    assert description["openapi"].startswith("3.1")
    for path, operations in description["paths"].items():
        for operation in operations.values():
            assert operation["summary"], path
            assert operation["description"], path
            if path.startswith("/v1"):
                assert {"422", "503"} <= operation["responses"].keys(), path
    examples = str(description)
    assert "330483-d1-r04" in examples


def test_metrics_count_by_route_never_by_path(client: Client) -> None:
    get(client, "/v1/series/1")
    text = get(client, "/metrics").text
    assert 'route="/v1/series/{series_id}"' in text
    assert 'route="/v1/series/1"' not in text
