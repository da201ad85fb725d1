"""Tests forecasts of series: values with skill alone, reasons in words, areas, cache and parameters."""

from __future__ import annotations

import math
import re
import threading
import time
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import pytest

from analytics.service.forecast_refusals import REFUSAL_CODES
from analytics.service.forecast_snapshots import store_forecasts
from analytics.service.series_forecast import TrainedModel
from analytics.service.service_state import ServiceState
from analytics.service.settings import Settings
from analytics.service.time_slice import TimeSlice
from gateway import forecast_cache
from gateway.auth import api_keys
from gateway.auth.principal import Principal, Role
from gateway.forecast_cache import ForecastCache
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.asgi import send_request
from tests.support.forecast_samples import TOWNS, fill_towns, grid, rows, rush_hours
from tests.support.gateway_access import HEADERS, MemoryApiKeyStore, gateway_app
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI

    from tests.support.throwaway_servers import NamedServer, PostgresServer

TOWN, NEIGHBOUR = TOWNS
CHINESE = re.compile(r"[\u4e00-\u9fff]")


class ForecastPlatform(NamedTuple):
    """A gateway on two towns, and the ids of their series by area and quantity."""

    app: FastAPI
    store: PostgresStore
    ids: dict[str, int]


@pytest.fixture(scope="module")
def world(timescale_server: PostgresServer | NamedServer) -> Iterator[ForecastPlatform]:
    with fresh_database(timescale_server) as dsn:
        migrate(dsn)
        store = PostgresStore.open(dsn)
        yield ForecastPlatform(gateway_app(store), store, fill_towns(store))
        store.close()


def forecast(world: ForecastPlatform, quantity: str, town: str = TOWN) -> dict[str, Any]:
    answer = send_request(
        world.app, "GET", f"/v1/series/{world.ids[f'{town} {quantity}']}/forecast", headers=HEADERS
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def at_s(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_a_daily_wave_is_forecast_for_a_day_with_band_skill_and_training(world: ForecastPlatform) -> None:
    found = forecast(world, "dissolved_oxygen")
    assert (found["refusal"], found["unit"], found["band_share"]) == (None, "mg/L", 0.8)
    assert 40 * 96 - 1 <= found["training"]["readings"] <= 40 * 96
    assert found["training"]["validation_days"] in {9, 10}
    shown = [one for one in found["points"] if one["value"] is not None]
    assert {one["horizon_s"] for one in found["points"]} >= {3600.0 * hours for hours in (2, 6, 12, 24)}
    for one in shown:
        assert one["low"] < one["value"] < one["high"]
        assert at_s(one["time"]) == at_s(found["issued"]) + one["horizon_s"]
        assert min(one["skill"].values()) > 0
    course = np.array([8 + 1.5 * np.sin(2 * np.pi * one["horizon_s"] / 86_400) for one in shown])
    assert np.abs(course - [one["value"] for one in shown]).max() < 0.8, "of a wave of 1.5"


def test_recorded_oxygen_is_forecast_better_than_by_its_newest_value(world: ForecastPlatform) -> None:
    found = forecast(world, "water_temperature")  # where the recorded series is stored
    skill = {one["horizon_s"]: one["skill"] for one in found["points"]}
    assert skill[7200.0]["persistence"] > 0.5
    assert any(one["value"] is not None for one in found["points"])


def test_speeds_are_forecast_for_an_hour(world: ForecastPlatform) -> None:
    found = forecast(world, "traffic_speed")
    horizons = [one["horizon_s"] for one in found["points"]]
    assert horizons[-1] == 3600
    assert set(np.diff(horizons)) == {300.0}
    assert any(one["value"] is not None for one in found["points"])


def test_readings_every_four_hours_are_forecast_at_their_own_times(world: ForecastPlatform) -> None:
    found = forecast(world, "ammonia_nitrogen")
    assert {one["horizon_s"] % 14_400 for one in found["points"]} == {0.0}
    assert any(one["value"] is not None for one in found["points"])


def stored(store: PostgresStore, series_id: int) -> list[tuple[Any, ...]]:
    query = """SELECT extract(epoch FROM "time")::float8, value, low, high, extract(epoch FROM issued)::float8
        FROM series_forecast_view WHERE series_id = %s ORDER BY 1"""
    with store.transaction() as connection:
        return connection.execute(query.encode(), [series_id]).fetchall()


def test_the_service_stores_for_the_dashboards_what_the_api_shows_and_nothing_else(
    world: ForecastPlatform,
) -> None:
    state = ServiceState()
    store_forecasts(world.store, Settings(forecast_every_s=0), service_state=state)
    assert state.forecasts.pending == [], "the task is off"
    store_forecasts(world.store, Settings(), TimeSlice(threading.Event(), 60), state)
    trained = [one for one in state.forecasts.models.values() if isinstance(one.trained, TrainedModel)]
    assert len(trained) == 1, "a training is followed by a pause"
    assert len(state.forecasts.pending) > 5
    store_forecasts(world.store, Settings(), service_state=state)
    assert state.forecasts.pending == []
    for quantity in ("dissolved_oxygen", "traffic_speed", "ammonia_nitrogen"):
        found = forecast(world, quantity)
        first, *rest = stored(world.store, world.ids[f"{TOWN} {quantity}"])
        assert first == (at_s(found["issued"]), *3 * [pytest.approx(found["origin"])], first[0])
        shown = {at_s(one["time"]): one for one in found["points"] if one["value"] is not None}
        assert {one[0] for one in rest} >= set(shown)
        for time_s, value, low, high, _ in rest:
            if time_s in shown:
                expected = [shown[time_s][name] for name in ("value", "low", "high")]
                assert [value, low, high] == pytest.approx(expected, rel=1e-3)
    for quantity in ("conductivity", "turbidity", "ph", "total_phosphorus", "rainfall"):
        assert stored(world.store, world.ids[f"{TOWN} {quantity}"]) == []
    assert stored(world.store.for_area(NEIGHBOUR), world.ids[f"{TOWN} dissolved_oxygen"]) == []
    state.forecasts.due_s = -math.inf
    store_forecasts(world.store, Settings(forecast_series=2), service_state=state)
    assert stored(world.store, world.ids[f"{TOWN} traffic_speed"]), "the most important quantity"
    assert stored(world.store, world.ids[f"{TOWN} dissolved_oxygen"]) == []
    with world.store.transaction() as connection:
        connection.execute(
            "UPDATE series_forecast SET times = ARRAY[issued - interval '1 h', issued]"
            ', "values" = ARRAY[1, 1], low = ARRAY[1, 1], high = ARRAY[1, 1]'
        )
    assert stored(world.store, world.ids[f"{TOWN} traffic_speed"]) == [], "it has ended"


@pytest.mark.parametrize(
    ("quantity", "code", "words"),
    [
        ("conductivity", "no_skill", "not have been reliably better"),
        ("turbidity", "too_little_history", "needs 5.0 days"),
        ("ph", "stale", "48."),
        ("total_phosphorus", "too_rare", "every 1,440 min"),
        ("rainfall", "not_forecast", "Rain"),
        ("chlorophyll_a", "no_readings", "no good reading"),
    ],
)
def test_a_series_without_a_forecast_has_no_values_and_a_reason_in_each_language(
    world: ForecastPlatform, quantity: str, code: str, words: str
) -> None:
    found = forecast(world, quantity)
    assert found["refusal"]["code"] == code
    assert words in found["refusal"]["en"]
    assert all(one["value"] is one["low"] is one["high"] is None for one in found["points"])
    assert not CHINESE.search(found["refusal"]["en"])
    assert not re.search("[A-Za-z]", found["refusal"]["zh"])
    assert code in REFUSAL_CODES


def test_a_forecast_uses_no_reading_of_another_area(world: ForecastPlatform) -> None:
    """The road goes on in the next town: its readings change nothing, and its key reads nothing here."""
    before = forecast(world, "traffic_speed")
    times_s = grid(10, 300)
    neighbour = world.ids[f"{NEIGHBOUR} traffic_speed"]
    world.store.commit(Batch(fresh=rows(neighbour, times_s, rush_hours(times_s, ahead_s=1800))))
    fresh = ForecastPlatform(gateway_app(world.store), world.store, world.ids)
    before_by_time, after_by_time = (
        {one["time"]: one["value"] for one in found["points"]}
        for found in (before, forecast(fresh, "traffic_speed"))
    )
    common = before_by_time.keys() & after_by_time.keys()  # points become past meanwhile
    assert len(common) >= len(before["points"]) - 2
    assert [after_by_time[at] for at in sorted(common)] == pytest.approx(
        [before_by_time[at] for at in sorted(common)]
    )

    accounts = MemoryApiKeyStore()
    _, key = api_keys.create_key(
        accounts, name="next", role=Role.VIEWER, area_id=NEIGHBOUR, created_by="tests"
    )
    app = gateway_app(world.store, accounts=accounts)
    codes = [
        send_request(
            app,
            "GET",
            f"/v1/series/{world.ids[f'{town} traffic_speed']}/forecast",
            headers={"X-API-Key": key},
        ).status_code
        for town in TOWNS
    ]
    assert codes == [404, 200]


def test_a_model_is_kept_renewed_when_old_and_dropped_when_there_are_too_many(
    world: ForecastPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    everywhere = Principal(principal_id="key:1", name="tests", role=Role.VIEWER, areas=None)
    context = replace(world.app.state.context, principal=everywhere)
    kept = ForecastCache(max_models=2, renew_s=3600)
    series = {one.quantity: one for one in world.store.directory().series if one.site_id.startswith(TOWN)}
    oxygen = series["dissolved_oxygen"]
    first = kept.forecast(context, oxygen)
    assert kept.forecast(context, oxygen) is first
    newest_s = world.store.latest([oxygen.series_id])[0].time_s
    world.store.commit(Batch(fresh=rows(oxygen.series_id, np.array([newest_s + 1]), np.array([8.0]))))
    again = kept.forecast(context, oxygen)
    assert again is not first, "a new reading makes a new forecast"
    assert again.training is first.training, "by the same model"
    slower = msgspec.structs.replace(oxygen, interval_s=1800.0)
    assert kept.forecast(context, slower).training != first.training
    for quantity in ("turbidity", "ph", "rainfall"):
        kept.forecast(context, series[quantity])
    assert len(kept) == 2
    monkeypatch.setattr(forecast_cache, "SHORT_HISTORY_KEPT_S", 0.01)
    young = kept.forecast(context, series["turbidity"]).refusal
    assert young is not None, "of too little history, which grows while recorded files are read in"
    assert young.code == "too_little_history"
    time.sleep(0.02)
    assert kept.forecast(context, series["turbidity"]).refusal is not young
    expired = ForecastCache(max_models=2, renew_s=0.01)
    old = expired.forecast(context, series["traffic_speed"])
    time.sleep(0.02)
    assert expired.forecast(context, series["traffic_speed"]).training != old.training


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/series/999999/forecast", 404),
        ("/v1/series/0/forecast", 422),
        ("/v1/series/-1/forecast", 422),
        ("/v1/series/1e3/forecast", 422),
        ("/v1/series/99999999999999999999/forecast", 422),
        ("/v1/series/1%3BDROP/forecast", 422),
        ("/v1/series/1/forecast?horizon=1000000", 422),
        ("/v1/series/1/forecast?hours=24&hours=48", 422),
    ],
)
def test_what_cannot_be_forecast_is_a_problem(world: ForecastPlatform, path: str, status: int) -> None:
    answer = send_request(world.app, "GET", path, headers=HEADERS)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert send_request(world.app, "GET", "/v1/series/1/forecast").status_code == 401
