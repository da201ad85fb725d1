"""Tests that a county has the newest forecasts of its town, and makes none of its own beside them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
from psycopg.conninfo import make_conninfo

from analytics.service import forecast_snapshots
from analytics.service.settings import Settings as ServiceSettings
from edge.wire import federation
from edge.wire.broker_address import BrokerAddress
from ingest_service.federation import forecast_messages
from ingest_service.federation.policy import Policy, PolicyException
from ingest_service.storage.contract.models import DeadLetterQuery
from ingest_service.storage.contract.series_forecasts import StoredForecast
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.series_forecasts import SeriesForecasts
from tests.ingest_service.storage.test_database_roles import working_as
from tests.support.area_scope import set_area_role
from tests.support.federated_pair import FederatedPair
from tests.support.federated_platforms import forwarding, receiving
from tests.support.federated_towns import BOX, COUNTY_DIRECTORY, OTHER_TOWN, TOWN
from tests.support.federation_rows import FORECASTS, WITHIN_S, opened, rows_of
from tests.support.processes import wait_until
from tests.support.store_samples import DIRECTORY
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

POLICY = Policy(area=TOWN, device=BOX, history_days=36_500, readings="rollups", forecasts=True)
PH, TURBIDITY = 1, 2


def forecast(value: float, *, ends_s: float = 3600.0) -> StoredForecast:
    now_s = float(round(time.time()))
    values = [value, value + 1]
    return StoredForecast(
        issued_s=now_s - 60, times_s=[now_s - 60, now_s + ends_s], values=values, low=values, high=values
    )


def test_a_county_has_the_newest_forecast_of_each_series_once(
    timescale_dsn: str, timescale_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(federation, "MAX_FORECASTS", 1)
    migrate(timescale_dsn)
    with (
        fresh_database(timescale_server) as county_dsn,
        opened(timescale_dsn) as town,
        opened(county_dsn) as county,
    ):
        town.enrol(DIRECTORY)
        county.enrol(COUNTY_DIRECTORY)
        made = SeriesForecasts(town)
        made.replace(PH, forecast(7.0))
        made.replace(TURBIDITY, forecast(20.0))
        with (
            working_as("ingest", county_dsn) as receiver,
            opened(make_conninfo(timescale_dsn, user="tests_ingest")) as sender,
        ):
            line = FederatedPair(sender, receiver, POLICY)
            line.forward()
            assert rows_of(county_dsn, FORECASTS) == rows_of(timescale_dsn, FORECASTS)
            assert len(rows_of(county_dsn, FORECASTS)) == 2
            sent = len(line.sent)
            line.look_again()
            line.forward()
            assert len(line.sent) == sent, "nothing changed"

            made.replace(PH, forecast(7.5))
            made.replace(TURBIDITY, None)
            line.look_again()
            line.forward()
            line.repeat()
            (stored,) = rows_of(county_dsn, FORECASTS)
            assert [stored] == rows_of(timescale_dsn, FORECASTS)
            assert stored[4] == [7.5, 8.5], "an older block that is repeated replaces nothing"
            check_what_is_left_out(line, county_dsn)
            check_the_countys_own_stays(line, county, county_dsn)
        assert county.dead_letters(DeadLetterQuery()) == []
        check_the_county(county, county_dsn, monkeypatch)


def check_what_is_left_out(line: FederatedPair, dsn: str) -> None:
    """Check a series of the county, and what a policy without readings of a series forwards of it."""
    last = federation.decode_message(line.sent[-1].payload)
    assert isinstance(last, federation.ForwardedForecasts)
    (one,) = last.forecasts
    changed = msgspec.structs.replace(
        last, block=last.block + 1, forecasts=[msgspec.structs.replace(one, site_id="county-site")]
    )
    line.sent = [msgspec.structs.replace(line.sent[-1], payload=federation.encode_message(changed))]
    line.repeat()
    assert rows_of(dsn, "SELECT DISTINCT origin FROM series_forecast") == [(BOX,)]
    assert len(rows_of(dsn, "SELECT FROM series_forecast")) == 1


def check_the_countys_own_stays(line: FederatedPair, county: Any, dsn: str) -> None:
    """Check that the county's own forecast, made once the town's had ended, stays when the town has none."""
    series = {(one.site_id, one.quantity): one.series_id for one in county.directory().series}
    SeriesForecasts(county).replace(series["s1", "turbidity"], forecast(30.0))
    last = federation.decode_message(line.sent[-1].payload)
    none = federation.ForwardedForecast(site_id="s1", quantity="turbidity", issued_us=1)
    message = msgspec.structs.replace(last, block=last.block + 1, forecasts=[none])
    line.sent = [msgspec.structs.replace(line.sent[-1], payload=federation.encode_message(message))]
    line.repeat()
    assert (None,) in rows_of(dsn, "SELECT origin FROM series_forecast")
    SeriesForecasts(county).replace(series["s1", "turbidity"], None)


def check_the_county(county: Any, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that the service leaves the series out until the forecast has ended, and row-level security."""
    stored = SeriesForecasts(county)
    series = {(one.site_id, one.quantity): one.series_id for one in county.directory().series}
    assert stored.forwarded() == {series["s1", "ph"]}
    tried: list[int] = []
    monkeypatch.setattr(
        forecast_snapshots, "_train", lambda _state, _store, _all, one: tried.append(one.series_id)
    )
    monkeypatch.setattr(forecast_snapshots, "_forecast", lambda *_: None)
    monkeypatch.setattr(forecast_snapshots, "stored_forecast", lambda _: None)
    forecast_snapshots.store_forecasts(county, ServiceSettings())
    assert series["s1", "ph"] not in tried
    assert series["s1", "turbidity"] in tried
    stored.replace(series["s1", "ph"], forecast(1.0))
    stored.replace(series["s1", "ph"], None)
    assert rows_of(dsn, FORECASTS)[0][4] == [7.5, 8.5], "the town's stays until it has ended"
    for area, seen in ((TOWN, 1), (OTHER_TOWN, 0)):
        with psycopg.connect(dsn) as connection:
            set_area_role(connection, area)
            (count,) = connection.execute("SELECT count(*) FROM series_forecast").fetchone() or (None,)
            assert count == seen, area
    with county.transaction() as connection:
        connection.execute("UPDATE series_forecast SET times = ARRAY[issued, now() - interval '1 s']")
    assert stored.forwarded() == set()
    stored.replace(series["s1", "ph"], forecast(2.0))
    assert rows_of(dsn, FORECASTS)[0][4] == [2.0, 3.0]


def test_a_series_without_readings_has_no_forecast_at_the_county(timescale_dsn: str) -> None:
    with opened(timescale_dsn) as town:
        town.enrol(DIRECTORY)
        for series_id in (PH, TURBIDITY):
            SeriesForecasts(town).replace(series_id, forecast(7.0))
        exceptions = [PolicyException(quantities=["ph"], readings="none")]
        for policy, quantities in (
            (POLICY, ["ph", "turbidity"]),
            (msgspec.structs.replace(POLICY, exceptions=exceptions), ["turbidity"]),
            (msgspec.structs.replace(POLICY, leave_out_quantities=["turbidity"]), ["ph"]),
            (msgspec.structs.replace(POLICY, forecasts=False), []),
        ):
            block = forecast_messages.ForecastMessages(town, policy).next_block(town.directory())
            found = [one.quantity for some in (block.messages if block else []) for one in some]
            assert sorted(found) == quantities


def test_a_county_of_an_older_release_gets_one_message_of_forecasts(
    timescale_dsn: str,
    timescale_server: Any,
    start_mosquitto: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    older = federation.Definitions | federation.ForwardedDevices | federation.ForwardedAnomalies
    monkeypatch.setattr(forecast_messages, "LOOK_EVERY_S", 0.0)
    broker = BrokerAddress("127.0.0.1", start_mosquitto().port)
    policy = msgspec.structs.asdict(POLICY)
    with fresh_database(timescale_server) as county_dsn, opened(county_dsn) as county:
        county.enrol(COUNTY_DIRECTORY)
        with opened(timescale_dsn) as town:
            town.enrol(DIRECTORY)
            SeriesForecasts(town).replace(PH, forecast(7.0))
        with receiving(county_dsn, broker):
            with monkeypatch.context() as release:
                release.setattr(federation, "AnyMessage", older)
                with forwarding(timescale_dsn, broker, tmp_path, **policy):
                    wait_until(
                        lambda: county.dead_letters(DeadLetterQuery()) != [],
                        within_s=WITHIN_S,
                        what="the kind is refused",
                    )
                    with opened(timescale_dsn) as town:
                        SeriesForecasts(town).replace(PH, forecast(7.5))
                    time.sleep(0.5)  # some looks for changes
            (refused,) = county.dead_letters(DeadLetterQuery())
            assert (refused.reason, "Invalid value 'forecasts'" in refused.detail) == (
                federation.MISREAD,
                True,
            )
            with forwarding(timescale_dsn, broker, tmp_path, **policy):  # after an update of the county
                wait_until(
                    lambda: rows_of(county_dsn, FORECASTS) == rows_of(timescale_dsn, FORECASTS),
                    within_s=WITHIN_S,
                    what="the forecast is there",
                )
