"""Tests what people of two platforms do and read: changes of a town follow, the county looks down only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from analytics.service.incident_maintenance import maintain_incidents
from analytics.service.rejudge_late_data import rejudge
from analytics.service.settings import Settings as ServiceSettings
from gateway.auth import api_keys
from gateway.auth.principal import Role
from ingest_service.federation.policy import Policy
from ingest_service.storage.contract.models import DeadLetterQuery
from ingest_service.storage.postgres.api_keys import ApiKeyStore
from ingest_service.storage.postgres.migrate import migrate
from tests.support.asgi import send_request
from tests.support.federated_pair import FederatedPair
from tests.support.federated_towns import BOX, COUNTY, COUNTY_DIRECTORY, OTHER_TOWN, TOWN
from tests.support.federation_rows import ANOMALIES, INCIDENTS, READINGS, opened, rows_of
from tests.support.gateway_access import gateway_app
from tests.support.river_pipeline import SectionPipeline, quiet_series
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from collections.abc import Callable

    from httpx import Response

    from ingest_service.storage.postgres.store import PostgresStore

DAY = 288  # readings
STATES = "SELECT state, count(*) FROM anomaly GROUP BY 1 ORDER BY 1"


def requests_of(store: PostgresStore) -> Callable[..., Response]:
    """Return a function that sends a request with a new key of a role and area."""
    accounts = ApiKeyStore(store)
    app = gateway_app(store, accounts=accounts)

    def ask(role: Role, area: str | None, path: str, method: str = "GET", body: Any = None) -> Response:
        _, text = api_keys.create_key(accounts, name="Li", role=role, area_id=area, created_by="tests")
        return send_request(app, method, path, headers={"X-API-Key": text}, json=body)

    return ask


def test_rejudged_flags_withdrawn_anomalies_and_dismissed_incidents_follow(
    timescale_dsn: str, timescale_server: Any
) -> None:
    migrate(timescale_dsn)
    with (
        fresh_database(timescale_server) as county_dsn,
        opened(timescale_dsn) as town,
        opened(county_dsn) as county,
    ):
        county.enrol(COUNTY_DIRECTORY)
        river = SectionPipeline(town)
        policy = Policy(area=TOWN, device=BOX, history_days=36_500)
        line = FederatedPair(town, county, policy, block_readings=2000)

        def forward() -> None:
            maintain_incidents(town, ServiceSettings())
            line.forward()
            for query in (READINGS, ANOMALIES, INCIDENTS):
                assert rows_of(county_dsn, query) == rows_of(timescale_dsn, query)

        # A sensor that looks stuck until what lay between its readings has come, and a spike that comes late.
        time_s, value = quiet_series(6 * DAY)
        late = np.zeros(len(value), bool)
        late[4 * DAY : 4 * DAY + 168 : 2] = True
        value[4 * DAY : 4 * DAY + 168][1::2] = 7.5
        value[5 * DAY], late[5 * DAY] = 11.0, True
        river.send(time_s[~late], value[~late])
        forward()
        assert rows_of(county_dsn, STATES) == [("closed", 1)]
        river.send(time_s[late], value[late])
        rejudge(town, ServiceSettings())
        forward()
        assert rows_of(county_dsn, STATES) == [("closed", 1), ("withdrawn", 1)]
        assert rows_of(county_dsn, "SELECT count(*) FROM flag_revision")[0][0] > 0

        ask_town, ask_county = requests_of(town), requests_of(county)
        (open_one,) = [
            one
            for one in ask_town(Role.OPERATOR, TOWN, "/v1/incidents").json()["items"]
            if one["state"] == "new"
        ]
        path = f"/v1/incidents/{open_one['incident_id']}"
        dismissed = {"event": "dismiss", "revision": open_one["revision"], "why": "a test of the sensor"}
        assert ask_town(Role.SUPERVISOR, TOWN, f"{path}/transitions", "POST", dismissed).status_code == 200
        forward()
        check_what_the_county_reads(ask_county, open_one["opened"])
        assert county.dead_letters(DeadLetterQuery()) == []


def check_what_the_county_reads(ask: Callable[..., Response], opened_at: str) -> None:
    """Check incidents, history and readings of the town for the county, and for the next town."""
    found = ask(Role.OPERATOR, COUNTY, "/v1/incidents").json()["items"]
    (incident,) = [one for one in found if one["opened"] == opened_at]
    assert (incident["state"], incident["origin"]) == ("false_alarm", BOX)
    path = f"/v1/incidents/{incident['incident_id']}"
    history = ask(Role.OPERATOR, COUNTY, f"{path}/history").json()
    assert ("dismiss", "a test of the sensor") in {(one["event"], one["why"]) for one in history}
    reopened = {"event": "reopen", "revision": incident["revision"], "why": "no"}
    refused = ask(Role.SUPERVISOR, COUNTY, f"{path}/transitions", "POST", reopened)
    assert refused.status_code == 409, "the town works on it"
    for area, sites in ((COUNTY, {"s1", "county-site"}), (TOWN, {"s1"}), (OTHER_TOWN, {"county-site"})):
        listed = ask(Role.VIEWER, area, "/v1/sites").json()
        assert {one["site_id"] for one in listed} == sites, area
        expected = 404 if area == OTHER_TOWN else 200
        assert ask(Role.OPERATOR, area, path).status_code == expected, area
