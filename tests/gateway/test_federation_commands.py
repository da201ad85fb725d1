"""Tests that commands to towns are issued for forwarded sites alone, with the rights that they need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.auth import api_keys
from gateway.auth.principal import Role
from gateway.settings import Settings
from ingest_service.storage.contract.incidents import IncidentQuery
from ingest_service.storage.contract.models import Area, Directory, Series
from ingest_service.storage.postgres.api_keys import ApiKeyStore, AuditQuery
from ingest_service.storage.postgres.incidents import Incidents
from tests.support.asgi import send_request
from tests.support.federated_towns import add_example_town, site
from tests.support.federation_rows import opened
from tests.support.gateway_access import gateway_app

if TYPE_CHECKING:
    from httpx import Response

SITE, TOWN, COUNTY = "shendang-r01", "330424-shendang", "330424"
LIMITS = {"site_id": SITE, "quantity": "ph", "limits": {"fail_high": 9.5}, "note": "low flow"}


def test_commands_to_a_town_need_the_right_for_its_area(timescale_dsn: str) -> None:
    with opened(timescale_dsn) as store:
        store.enrol(
            Directory(
                areas=[
                    Area(area_id="330400", level="city", en="Jiaxing", zh="嘉兴市"),
                    Area(area_id="330483", parent="330400", level="county", en="Tongxiang", zh="桐乡市"),
                ],
                sites=[site("own", "330483")],
                series=[Series(site_id="own", quantity="ph")],
            )
        )
        add_example_town(store)
        accounts = ApiKeyStore(store)
        app = gateway_app(store, accounts=accounts, settings=Settings(requests_burst=10_000))

        def ask(role: Role, area: str | None, method: str, path: str, body: Any = None) -> Response:
            _, text = api_keys.create_key(accounts, name="Li", role=role, area_id=area, created_by="tests")
            return send_request(app, method, path, headers={"X-API-Key": text}, json=body)

        def command(kind: str, body: Any, role: Role = Role.ENGINEER, area: str | None = COUNTY) -> Response:
            return ask(role, area, "POST", f"/v1/federation/{kind}", body)

        (series,) = [one for one in store.directory().series if one.site_id == SITE]
        own = LIMITS | {"site_id": "own"}
        assert command("limits", LIMITS, Role.OPERATOR).status_code == 403
        assert command("limits", LIMITS, area="330483").status_code == 404
        assert command("limits", own, area=None).status_code == 409
        put = ask(
            Role.ENGINEER, COUNTY, "PUT", f"/v1/series/{series.series_id}/limits", {"limits": {}, "note": ""}
        )
        assert (put.status_code, "POST /v1/federation/limits" in put.json()["detail"]) == (409, True)

        limits = command("limits", LIMITS).json()
        assert (limits["state"], limits["device_id"], limits["area_id"]) == ("waiting", "shendang-box", TOWN)
        reported = {"site_id": "own", "kind": "water", "summary": "foam", "severity": 3}
        opened_here = ask(Role.OPERATOR, None, "POST", "/v1/incidents", reported).json()
        dispatched = command(
            "incidents",
            {"site_id": SITE, "summary": "foam in Shendang", "incident_id": opened_here["incident_id"]},
            Role.OPERATOR,
            None,
        ).json()
        sent = dispatched["content"]["incident"]
        assert (sent["severity"], sent["priority"]) == (3, opened_here["priority"])
        assert sent["summary"] == "foam in Shendang"
        assert dispatched["own_incident"] == opened_here["incident_id"]
        board = {"area_id": COUNTY, "dashboard": {"uid": "county-rivers", "title": "Rivers"}, "note": "all"}
        assert command("dashboards", board, Role.OPERATOR).status_code == 403
        assert command("dashboards", board, area="330483").status_code == 404
        assert command("dashboards", board | {"area_id": "330483"}, area=None).status_code == 409
        for wrong in ({}, {"uid": "towntwin-road-en", "title": "Road"}, {"uid": "x" * 41, "title": "x"}):
            assert command("dashboards", board | {"dashboard": wrong}).status_code == 422
        large = {"uid": "x", "title": "x" * 600_000}
        assert command("dashboards", board | {"dashboard": large}).status_code == 422
        (sent_board,) = command("dashboards", board).json()
        assert (sent_board["device_id"], sent_board["area_id"]) == ("shendang-box", TOWN)
        assert sent_board["content"]["dashboard"].keys() == {"uid", "title", "sha256"}
        listed = ask(Role.OPERATOR, COUNTY, "GET", "/v1/federation/commands").json()
        assert listed.pop(0) == sent_board
        assert [one["command_id"] for one in listed] == [dispatched["command_id"], limits["command_id"]]
        assert ask(Role.OPERATOR, "330483", "GET", "/v1/federation/commands").json() == []
        audited = {one.detail.get("command_id"): one.status for one in accounts.audit(AuditQuery())}
        assert audited[limits["command_id"]] == audited[dispatched["command_id"]] == 200
        assert len(Incidents(store).found(IncidentQuery())) == 1, "the town opens it, not the county"
