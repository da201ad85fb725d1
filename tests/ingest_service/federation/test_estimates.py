"""Tests that a county estimates the state of a town's networks, or has the town's where it lacks readings."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec
import pytest
from psycopg.conninfo import make_conninfo

from analytics.service.estimated_state import estimate_quantity
from analytics.service.settings import Settings as ServiceSettings
from analytics.service.state_snapshots import store_states, stored_estimates
from edge.wire import federation
from edge.wire.broker_address import BrokerAddress
from gateway.auth import api_keys
from gateway.auth.principal import Role
from ingest_service.federation import estimate_messages
from ingest_service.federation.estimate_messages import EstimateMessages
from ingest_service.federation.policy import Policy, PolicyException
from ingest_service.storage.contract.models import Area, DeadLetterQuery, Device, Directory, Node
from ingest_service.storage.contract.state_estimates import StoredEstimate
from ingest_service.storage.postgres.api_keys import ApiKeyStore
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.state_estimates import StateEstimates
from tests.ingest_service.storage.test_database_roles import working_as
from tests.support.asgi import send_request
from tests.support.federated_pair import FederatedPair
from tests.support.federated_platforms import forwarding, receiving
from tests.support.federation_rows import WITHIN_S, opened, rows_of
from tests.support.gateway_access import gateway_app
from tests.support.processes import wait_until
from tests.support.throwaway_servers import fresh_database
from tests.support.traced_river import add_cloud, traced_river

if TYPE_CHECKING:
    from pathlib import Path

    from ingest_service.storage.postgres.store import PostgresStore

BOX = "box-a"
AT_US = 1_790_000_000_000_000
LACKED, SHARED = "turbidity", "ammonia_nitrogen"
POLICY = Policy(
    area="a",
    device=BOX,
    history_days=36_500,
    networks=True,
    estimates=True,
    exceptions=[PolicyException(quantities=[LACKED], readings="none")],
)
NAMES: Any = {"en": "x", "zh": "某"}
COUNTY = Directory(
    areas=[
        Area(area_id="c", level="county", **NAMES),
        Area(area_id="a", parent="c", level="town", **NAMES),
    ],
    devices=[Device(device_id=BOX, area_id="a", kind=federation.DEVICE_KIND)],
    nodes=[Node(node_id="own", network="river", area_id="c", kind="section", lon=120, lat=30, **NAMES)],
)
ESTIMATES = (
    'SELECT node_id, "at", source, estimated, deviation FROM state_estimate'
    f" WHERE quantity = '{LACKED}' ORDER BY node_id"
)
FORWARDED = "SELECT DISTINCT quantity, origin, measured FROM state_estimate WHERE origin IS NOT NULL"


def enrol_river(town: PostgresStore) -> None:
    """Enrol a town whose river measures, with a cloud of two quantities that has passed."""
    town.enrol(traced_river())
    now_s = time.time()
    for quantity in (SHARED, LACKED):
        add_cloud(town, passed_s=now_s - 3600, now_s=now_s, quantity=quantity)
    store_states(town, ServiceSettings())


def estimate(node_id: str, value: float) -> StoredEstimate:
    return StoredEstimate(node_id=node_id, source="estimated", estimated=value, deviation=1.0)


def test_a_county_computes_what_it_has_readings_of_and_gets_the_rest_from_the_town(
    timescale_dsn: str, timescale_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(federation, "MAX_ESTIMATES", 2)
    migrate(timescale_dsn)
    with (
        fresh_database(timescale_server) as county_dsn,
        opened(timescale_dsn) as town,
        opened(county_dsn) as county,
    ):
        county.enrol(COUNTY)
        enrol_river(town)
        with (
            working_as("ingest", county_dsn) as receiver,
            opened(make_conninfo(timescale_dsn, user="tests_ingest")) as sender,
        ):
            line = FederatedPair(sender, receiver, POLICY)
            line.forward()
            assert rows_of(county_dsn, FORWARDED) == [(LACKED, BOX, None)], "no reading goes with it"
            assert rows_of(county_dsn, ESTIMATES) == rows_of(timescale_dsn, ESTIMATES)
            assert len(rows_of(county_dsn, ESTIMATES)) == 6

            at_s = time.time()
            states = [estimate_quantity(one.directory(), one, SHARED, at_s) for one in (town, county)]
            at_town, at_county = ({node.node_id: node for node in one.nodes} for one in states)
            del at_county["own"]
            assert at_county == at_town, "from the same readings it has the same estimates"
            assert {one.source for one in at_town.values()} == {"measured", "estimated"}
            store_states(county, ServiceSettings())
            StateEstimates(county).replace(LACKED, at_s, [estimate("a-r1", 1.0), estimate("own", 1.0)])
            found = {row[0]: row[1:] for row in rows_of(county_dsn, ESTIMATES)}
            assert found.pop("own")[2] == 1.0
            assert sorted(found.items()) == [(row[0], row[1:]) for row in rows_of(timescale_dsn, ESTIMATES)]

            stored = {row[0]: row[2:] for row in rows_of(timescale_dsn, ESTIMATES)}
            check_what_the_api_has(county, stored)

            above = Policy(area="c", device="county-box", networks=True, estimates=True)
            passed_on = EstimateMessages(county, above).next_quantity(county.directory())
            assert passed_on is not None
            assert (passed_on.quantity, passed_on.rows) == (LACKED, 7)

            sent = len(line.sent)
            line.look_again()
            line.forward()
            assert len(line.sent) == sent, "nothing changed"
            state = estimate_quantity(town.directory(), town, LACKED, at_s)
            StateEstimates(town).replace(LACKED, at_s, stored_estimates(state.nodes)[1:3])
            line.look_again()
            line.forward()
            line.repeat()
            of_town = [row for row in rows_of(county_dsn, ESTIMATES) if row[0] != "own"]
            assert of_town == rows_of(timescale_dsn, ESTIMATES)
            assert len(of_town) == 2

            with county.transaction() as connection:
                connection.execute("UPDATE state_estimate SET at = at - interval '25 h' WHERE origin <> ''")
            StateEstimates(county).replace(LACKED, at_s, [estimate("a-r1", 1.0)])
            assert [row[0] for row in rows_of(county_dsn, ESTIMATES)] == ["a-r1"], "a day old: the own one"
            StateEstimates(town).replace(LACKED, at_s, [])
            line.look_again()
            line.forward()
            assert county.dead_letters(DeadLetterQuery()) == []
            check_what_is_left_out(line, county, county_dsn)


def check_what_the_api_has(county: PostgresStore, stored: dict[str, Any]) -> None:
    """Check the state of now, and of a past time, for a town's key and the county's."""
    accounts = ApiKeyStore(county)
    app = gateway_app(county, accounts=accounts)

    def ask(area: str | None, **params: str) -> Any:
        _, text = api_keys.create_key(accounts, name="Li", role=Role.VIEWER, area_id=area, created_by="tests")
        path = f"/v1/twin/estimates?{urlencode({'quantity': LACKED, **params})}"
        return send_request(app, "GET", path, headers={"X-API-Key": text}).json()

    found = ask("a")
    shown = {one["node_id"]: (one["source"], one["estimated"], one["deviation"]) for one in found["nodes"]}
    assert shown == stored
    assert all(0 <= one["age_s"] < 300 and one["measured"] is None for one in found["nodes"])
    (link,) = [one for one in found["links"] if one["link_id"] == "a-r1:a-r2"]
    assert link["estimated"] == pytest.approx((stored["a-r1"][1] + stored["a-r2"][1]) / 2, rel=1e-4)
    assert {one["source"] for one in ask("a", at=found["at"])["nodes"]} == {"none"}
    assert len(ask("c")["nodes"]) == len(stored) + 1


def check_what_is_left_out(line: FederatedPair, county: PostgresStore, dsn: str) -> None:
    """Check a node of the county, a quantity that it lacks, and columns that do not fit."""
    last = federation.decode_message(line.sent[-1].payload)
    assert isinstance(last, federation.ForwardedEstimates)
    assert last.node_id == []
    fields: dict[str, Any] = {
        "block": last.block + 1, "node_id": ["own"], "at_us": [AT_US],
        "source": ["measured"], "estimated": [9.0],
        "deviation": [0.1], "measured": [9.0], "expected": [None], "quality": [1],
        "measured_us": [AT_US],
    }  # fmt: skip
    message = line.sent[-1]
    changes: list[dict[str, Any]] = [{}, {"quantity": "moon"}, {"at_us": []}]
    for changed in changes:
        payload = federation.encode_message(msgspec.structs.replace(last, **fields | changed))
        line.sent = [msgspec.structs.replace(message, payload=payload)]
        line.repeat()
    details = [one.detail for one in county.dead_letters(DeadLetterQuery())]
    assert sorted(one.partition(":")[0] for one in details) == [
        "estimates of 'moon', which is no quantity here",
        f"the columns of estimates of {LACKED} differ in length",
    ]
    assert rows_of(dsn, FORWARDED) == []


def test_a_county_of_an_older_release_gets_one_message_of_a_kind_that_it_lacks(
    timescale_dsn: str,
    timescale_server: Any,
    start_mosquitto: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    older = federation.Definitions | federation.ForwardedDevices | federation.ForwardedReadings
    monkeypatch.setattr(federation, "AnyMessage", older)
    monkeypatch.setattr(estimate_messages, "LOOK_EVERY_S", 0.0)
    broker = BrokerAddress("127.0.0.1", start_mosquitto().port)
    with fresh_database(timescale_server) as county_dsn, opened(county_dsn) as county:
        county.enrol(COUNTY)
        with opened(timescale_dsn) as town:
            enrol_river(town)
            policy = msgspec.structs.asdict(POLICY)
            with receiving(county_dsn, broker), forwarding(timescale_dsn, broker, tmp_path, **policy):
                wait_until(
                    lambda: county.dead_letters(DeadLetterQuery()) != [],
                    within_s=WITHIN_S,
                    what="the kind is refused",
                )
                StateEstimates(town).replace(LACKED, time.time(), [])
                count = "SELECT count(*) FROM reading AS r JOIN series USING (series_id) WHERE quantity = %s"
                count = count.replace("%s", f"'{SHARED}'")
                wait_until(
                    lambda: rows_of(county_dsn, count) == rows_of(timescale_dsn, count),
                    within_s=WITHIN_S,
                    what="what it understands is stored",
                )
                time.sleep(0.5)  # some looks for changes
        (refused,) = county.dead_letters(DeadLetterQuery())
        assert refused.reason == federation.MISREAD
        assert "Invalid value 'estimates'" in refused.detail
