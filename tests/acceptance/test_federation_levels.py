"""Tests that a city has what its towns have, through lost packets, cuts, a second box and a restore."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pytest

from analytics.service.incident_maintenance import maintain_incidents
from analytics.service.settings import Settings as ServiceSettings
from edge.wire import federation
from edge.wire.broker_address import BrokerAddress
from ingest_service.federation import forecast_messages
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.federation_commands import IssuedCommand
from ingest_service.storage.contract.incidents import Incident, IncidentQuery
from ingest_service.storage.contract.models import DeadLetterQuery
from ingest_service.storage.contract.series_forecasts import StoredForecast
from ingest_service.storage.postgres.federation_commands import FederationCommands
from ingest_service.storage.postgres.federation_feed import FederationFeed
from ingest_service.storage.postgres.incidents import Incidents
from ingest_service.storage.postgres.series_forecasts import SeriesForecasts
from tests.support import not_tested
from tests.support.device_client import DeviceClient
from tests.support.federated_levels import COMPARED, HTTPS_TOWN, N_DATABASES, FederatedLevels
from tests.support.federated_platforms import (
    COUNTY,
    COUNTY_BOX,
    TOWNS,
    box_of,
    city_directory,
    county_directory,
    receiving,
    site_of,
)
from tests.support.federated_towns import definitions
from tests.support.federation_rows import ANOMALIES, FORECASTS, READINGS, WITHIN_S, copy_of, opened, rows_of
from tests.support.network_namespaces import why_impossible
from tests.support.packet_line import LineConditions
from tests.support.processes import wait_until
from tests.support.store_samples import START_US, anomaly, readings
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


ADOPTED = "SELECT limits, who FROM adoption"
AUDITED = "SELECT status FROM audit WHERE action LIKE 'federation %'"
DISPATCHED = "SELECT count(*) FROM incident WHERE summary = 'foam'"


@pytest.fixture
def levels(timescale_server: Any, real_servers: Any, tmp_path: Path) -> Iterator[FederatedLevels]:
    if real_servers is None or not real_servers.has_mosquitto:
        not_tested.skip("Mosquitto is missing: run on Debian as root, or install Debian's mosquitto")
    if (why := why_impossible()) is not None:
        not_tested.skip_always(f"federation through lost and overtaken packets: {why}")
    with ExitStack() as stack:
        databases = [stack.enter_context(fresh_database(timescale_server)) for _ in range(N_DATABASES)]
        yield FederatedLevels(stack, databases, real_servers, tmp_path, seed=26)


def issue(dsn: str, device: str, town: str, kind: str, **content: Any) -> str:
    """Issue a command about the site of a town, as the gateway does; return its id."""
    command = IssuedCommand(
        area_id=town, device_id=device, kind=kind, content={"site_id": site_of(town), **content}, who="Li"
    )
    with opened(dsn) as store:
        return FederationCommands(store).issue(command).command_id


def state_of(dsn: str, command_id: str) -> str:
    with opened(dsn) as store:
        return FederationCommands(store).found(command_id=command_id)[0].state


def incident_of(dsn: str) -> Incident:
    with opened(dsn) as store:
        return Incidents(store).found(IncidentQuery())[0]


def add_event(dsn: str, ticks: range, **changed: Any) -> None:
    """Add readings, and an anomaly with its incident."""
    with opened(dsn) as store:
        store.commit(Batch(fresh=readings(1, ticks)))
        site_id = store.directory().sites[0].site_id
        store.record_anomalies([anomaly(site_id=site_id, start_s=START_US / 1e6 + ticks.start, **changed)])
        maintain_incidents(store, ServiceSettings())


def add_forecast(dsn: str, value: float) -> None:
    now_s = float(round(time.time()))
    times_s, values = [now_s - 60, now_s + 7200], [value, value + 1]
    with opened(dsn) as store:
        SeriesForecasts(store).replace(
            1, StoredForecast(issued_s=now_s - 60, times_s=times_s, values=values, low=values, high=values)
        )


def let_hours_pass(dsn: str) -> None:
    """Make what waits as old as the readings of a cut of eight hours: it is sent as a backlog then."""
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE federation_due SET noted = noted - interval '8 hours'")
    with opened(dsn) as store:
        assert FederationFeed(store).waiting()[1] > 7 * 3600


def health_of(dsn: str) -> list[str | None]:
    with opened(dsn) as store:
        return [one.why for one in store.processes() if one.kind == "federation"]


def test_three_towns_reach_county_and_city_through_bad_lines_a_second_box_and_a_restored_backup(
    levels: FederatedLevels, timescale_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast_messages, "LOOK_EVERY_S", 1.0)
    first, second, third = levels.towns
    for value, dsn in enumerate(levels.towns):
        add_event(dsn, range(100))
        add_forecast(dsn, float(value))
    for line in (levels.uplink, *levels.lines):
        line.conditions = LineConditions(delay_s=0.02, jitter_s=0.02, loss=0.05, doubling=0.1)
    with ExitStack() as stack:
        clone = stack.enter_context(copy_of(timescale_server, first))
        stack.enter_context(levels.running_county_and_city())
        stack.enter_context(levels.town_forwards(1))
        with levels.town_forwards(0), levels.town_forwards(2):
            levels.wait_until_equal(levels.towns, queries=[*COMPARED, FORECASTS])
            levels.lines[1].cut()
            with levels.town_forwards(0, clone):
                add_event(first, range(100, 150))
                wait_until(
                    lambda: "fenced" in health_of(first), within_s=WITHIN_S, what="the first is fenced"
                )
        limits = issue(levels.city, COUNTY_BOX, TOWNS[1], "limits", quantity="ph", limits={"fail_high": 9.0})
        add_event(second, range(100, 200), severity=3)
        let_hours_pass(second)
        stack.enter_context(levels.town_forwards(0))
        incident = msgspec.structs.asdict(incident_of(first)) | {"summary": "foam"}
        dispatched = issue(levels.county, box_of(TOWNS[0]), TOWNS[0], "incident", incident=incident)
        with copy_of(timescale_server, third) as restored:
            with levels.town_forwards(2), opened(third) as store:
                site_id = store.directory().sites[0].site_id
                closed = {"state": "closed", "end_s": START_US / 1e6 + 900}
                store.record_anomalies([anomaly(site_id=site_id, **closed)])  # lost with the town's disk
                wait_until(
                    lambda: (
                        set(rows_of(third, ANOMALIES)) < set(rows_of(levels.city, ANOMALIES))
                        and set(rows_of(first, READINGS)) < set(rows_of(levels.city, READINGS))
                    ),
                    within_s=WITHIN_S,
                    what="the city has what the other two towns have",
                )
            assert not set(rows_of(second, ANOMALIES)) <= set(rows_of(levels.city, ANOMALIES))
            levels.lines[1].restore()
            add_event(restored, range(100, 130))
            add_forecast(restored, 7.0)
            with opened(restored) as store:
                store.record_anomalies([anomaly(site_id=site_id, state="withdrawn")])
                maintain_incidents(store, ServiceSettings())
            with levels.town_forwards(2, restored):
                levels.wait_until_equal([first, second, restored], queries=[*COMPARED, FORECASTS])
        for dsn, command in ((levels.city, limits), (levels.county, dispatched)):
            wait_until(
                lambda dsn=dsn, command=command: state_of(dsn, command) == "applied",  # type: ignore[misc]
                within_s=WITHIN_S,
                what="the command is applied",
            )
        wait_until(
            lambda: all(rows_of(one, DISPATCHED) == [(1,)] for one in (first, levels.county, levels.city)),
            within_s=WITHIN_S,
            what="the dispatched incident is at the town, and came back",
        )
    assert_audited_on_both_sides(levels)
    by_https = rows_of(levels.county, "SELECT DISTINCT device_id FROM federation_inbox")
    assert by_https == [(box_of(TOWNS[HTTPS_TOWN]),)]
    for line in (levels.uplink, *levels.lines):
        assert min(line.counts.lost, line.counts.doubled, line.counts.overtaken) > 0
    assert levels.lines[1].counts.cut > 0
    with opened(levels.county) as county, opened(levels.city) as city:
        assert county.dead_letters(DeadLetterQuery()) == city.dead_letters(DeadLetterQuery()) == []
        assert set(county.directory().origins.values()) == {box_of(one) for one in TOWNS}
        assert set(city.directory().origins.values()) == {COUNTY_BOX}


def assert_audited_on_both_sides(levels: FederatedLevels) -> None:
    """Check limits that the city sent to the second town, and an incident from the county to the first."""
    first, second, _ = levels.towns
    assert rows_of(second, ADOPTED) == [({"fail_high": 9.0}, "above: Li")]
    for dsn in (levels.county, levels.city):
        assert [limits for limits, _ in rows_of(dsn, ADOPTED)] == [{"fail_high": 9.0}]
    for dsn, statuses in (
        (levels.city, [200]),
        (levels.county, [202, 200, 200]),
        (second, [200]),
        (first, [200]),
    ):
        assert sorted(status for (status,) in rows_of(dsn, AUDITED)) == sorted(statuses)


def publish_to_receiver(client: DeviceClient, topic: str, payload: bytes) -> None:
    """Publish a message again until the broker has the receiver's subscription for it."""

    def is_taken() -> bool:
        mid = client.client.publish(topic, payload, qos=1).mid
        wait_until(lambda: mid in client.acknowledged, within_s=WITHIN_S, what="PUBACK")
        return client.acknowledged[mid] == 0

    wait_until(is_taken, within_s=WITHIN_S, what="the receiver has subscribed")


def test_neither_a_town_nor_a_county_writes_sideways(timescale_server: Any, start_mosquitto: Any) -> None:
    cases = (
        (county_directory(), TOWNS[0], box_of(TOWNS[0]), TOWNS[1]),
        (city_directory(), COUNTY, COUNTY_BOX, "330402"),
    )
    broker = start_mosquitto()
    address = BrokerAddress("127.0.0.1", broker.port)
    for directory, area, device, elsewhere in cases:
        with fresh_database(timescale_server) as dsn, opened(dsn) as store:
            store.enrol(directory)
            with receiving(dsn, address):
                client = DeviceClient(address, device)
                payload = federation.encode_message(definitions(area=elsewhere))
                publish_to_receiver(client, f"towntwin/v1/{area}/{device}/federation", payload)
                wait_until(
                    lambda store=store: store.dead_letters(DeadLetterQuery()) != [],  # type: ignore[misc]
                    within_s=WITHIN_S,
                    what="it is refused",
                )
                (refused,) = store.dead_letters(DeadLetterQuery())
                assert (refused.reason, f"outside area {area!r}" in refused.detail) == ("federation", True)
                assert store.directory().sites == []
                client.close()
