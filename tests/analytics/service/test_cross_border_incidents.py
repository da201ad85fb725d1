"""Tests that an event which two towns forwarded is one incident of the county, through every later change."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from analytics.service.cross_border_incidents import join_incidents_of_towns
from analytics.service.incident_maintenance import maintain_incidents
from analytics.service.service_state import ServiceState
from analytics.service.settings import Settings
from edge.wire import federation
from ingest_service.storage.contract.federation import ForwarderIdentity
from ingest_service.storage.contract.incidents import Incident, IncidentQuery
from ingest_service.storage.contract.models import Area, Device, Directory
from ingest_service.storage.postgres.federated_incidents import FederatedIncidents
from ingest_service.storage.postgres.federated_rows import FederatedRows
from ingest_service.storage.postgres.incidents import Incidents
from tests.ingest_service.storage.test_database_roles import working_as
from tests.support.asgi import send_request
from tests.support.federated_towns import forwarded_anomaly, forwarded_incident, header
from tests.support.federation_rows import opened, rows_of
from tests.support.gateway_access import HEADERS, gateway_app
from tests.support.incident_world import town

if TYPE_CHECKING:
    from ingest_service.storage.postgres.store import PostgresStore

COUNTY = "c"
START_S = time.time() - 4 * 3600


def _forwarded(kind: type[Any], enrolled: Any) -> Any:
    """Return the forwarded form of a site, node or link."""
    return kind(**{name: getattr(enrolled, name) for name in kind.__struct_fields__})


class ForwardingTown:
    """A town that forwards to the county."""

    def __init__(self, county: PostgresStore, area: str) -> None:
        self.area, self._revision = area, 0
        self._rows = FederatedRows(county)
        self._sender = ForwarderIdentity(f"box-{area}", area, 1, 1, "0.3.0")
        of = town(area)
        sites = [_forwarded(federation.ForwardedSite, one) for one in of.sites]
        series = [
            federation.ForwardedSeries(site_id=one.site_id, quantity=one.quantity, interval_s=300)
            for one in of.series
        ]
        nodes = [_forwarded(federation.ForwardedNode, one) for one in of.nodes]
        links = [_forwarded(federation.ForwardedLink, one) for one in of.links]
        message = federation.Definitions(sites=sites, series=series, nodes=nodes, links=links, **header())
        self._rows.store_definitions(self._sender, message)

    def forward(
        self, number: int, site: str, start_s: float, *, quantity: str = "ammonia_nitrogen", **incident: Any
    ) -> None:
        """Forward an anomaly with its incident, or a later change of both."""
        self._revision += 1
        start_us = round(start_s * 1e6)
        state = incident.pop("anomaly_state", "open")
        changed = {
            "anomaly_id": number,
            "revision": self._revision,
            "site_id": site,
            "quantity": quantity,
            "state": state,
            "end_us": None if state == "open" else start_us + 600_000_000,
            "start_us": start_us,
            "peak_us": start_us,
        }
        self._rows.store_anomalies(self._sender, [forwarded_anomaly(**changed)])
        member = federation.ForwardedMember(
            anomaly_id=number,
            role="opened",
            reason="first",
            reason_en="first",
            reason_zh="首个",
            by="service",
        )
        fields = forwarded_incident(number).incident | {
            "started_s": start_s,
            "last_s": start_s,
            "severity": 2,
            **incident,
        }
        places = {"area_id": self.area, "area_ids": [self.area], "main_site_id": site, "opened_s": start_s}
        one = forwarded_incident(number, revision=self._revision, incident=fields, members=[member], **places)
        FederatedIncidents(self._rows).store(self._sender, [one])


def one_round(service: PostgresStore) -> list[Incident]:
    """Run the tasks with the service's rights; return the county's own incidents."""
    maintain_incidents(service, Settings())
    join_incidents_of_towns(service, Settings(), service_state=ServiceState())
    return Incidents(service).found(IncidentQuery(own_only=True))


def test_an_event_of_two_towns_is_one_incident_of_the_county(timescale_dsn: str) -> None:
    with opened(timescale_dsn) as county, working_as("analytics", timescale_dsn) as service:
        areas = [Area(area_id=COUNTY, level="county", en="C", zh="县")]
        areas += [Area(area_id=one, parent=COUNTY, level="town", en=one, zh="镇") for one in "ab"]
        boxes = [Device(device_id=f"box-{one}", area_id=one, kind=federation.DEVICE_KIND) for one in "ab"]
        county.enrol(Directory(areas=areas, devices=boxes))
        upstream, downstream = (ForwardingTown(county, one) for one in "ab")
        # The county alone has the reach from one town into the other.
        across = [one for one in town("a", links_to="b").links if one.to_node == "b-r0"]
        county.enrol(Directory(links=across))
        upstream.forward(1, "a-r2", START_S)
        downstream.forward(1, "b-r2", START_S - 48 * 3600, quantity="ph")
        assert one_round(service) == [], "an event of one town stays the town's"

        downstream.forward(2, "b-r0", START_S + 3600)
        (found,) = one_round(service)
        assert (found.area_id, found.area_ids) == (COUNTY, ["a", "b", COUNTY])
        assert (found.site_ids, found.anomalies, found.open_anomalies) == (["a-r2", "b-r0"], 2, 2)
        assert (found.alarm_state, found.active) == ("unacknowledged", True)
        below = Incidents(county).found(IncidentQuery(parent_id=found.incident_id))
        assert {one.origin for one in below} == {"box-a", "box-b"}
        assert one_round(service) == [found], "a further round changes nothing"

        counted = rows_of(timescale_dsn, "SELECT anomalies FROM incident_view ORDER BY incident_id")
        assert counted == [(1,), (1,), (1,), (2,)]
        shown = send_request(
            gateway_app(county), "GET", f"/v1/incidents/{found.incident_id}/anomalies", headers=HEADERS
        )
        assert [one["site_id"] for one in shown.json()] == ["a-r2", "b-r0"]

        downstream.forward(2, "b-r0", START_S + 3600, active=False, anomaly_state="closed", severity=3)
        (changed,) = one_round(service)
        assert (changed.severity, changed.active, changed.open_anomalies) == (3, True, 1)
        downstream.forward(3, "b-r1", START_S + 7200)
        (changed,) = one_round(service)
        assert changed.anomalies == 3, "a later incident of the event joins it"
        assert changed.incident_id == found.incident_id

        upstream.forward(1, "a-r2", START_S, active=False, anomaly_state="closed", state="closed")
        downstream.forward(3, "b-r1", START_S + 7200, active=False, anomaly_state="withdrawn")
        (returned,) = one_round(service)
        assert (returned.active, returned.alarm_state) == (False, "returned_unacknowledged")
        events = [one.event for one in Incidents(county).history(found.incident_id)]
        assert events == ["open", "join", "join", "annunciate", "join", "return_to_normal"]
        assert replace(returned, revision=0) == replace(one_round(service)[0], revision=0)
