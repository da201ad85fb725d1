"""Sets up a gateway with four areas, one of everything in each, and keys of one area for every role."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from analytics.service.monthly_assessment import assess
from analytics.service.settings import Settings as AnalyticsSettings
from gateway.auth import api_keys
from gateway.auth.principal import Role
from gateway.settings import Settings
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.federation_commands import IssuedCommand
from ingest_service.storage.contract.models import (
    AnomalyQuery,
    Area,
    Channel,
    DeadLetter,
    DeadLetterQuery,
    Device,
    DeviceStatus,
    Directory,
    Link,
    Node,
    Series,
    Site,
)
from ingest_service.storage.postgres.enrolments import EnrolmentCode, EnrolmentStore, NewProposal
from ingest_service.storage.postgres.federation_commands import FederationCommands
from ingest_service.storage.postgres.scenarios import Scenario, ScenarioLog
from ingest_service.storage.postgres.station_commands import StationCommandLog
from tests.support.area_incidents import TEAM, add_incident
from tests.support.duty_samples import enrol_duty
from tests.support.gateway_access import MemoryApiKeyStore, gateway_app
from tests.support.store_samples import anomaly, readings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from ingest_service.storage.postgres.api_keys import ApiKey
    from ingest_service.storage.postgres.store import PostgresStore

OWN, BELOW, ABOVE, ABROAD = AREA_NAMES = ("own", "below", "above", "abroad")
PARENTS = {"above": None, "own": "above", "below": "own", "abroad": "above"}
MONTH = "2026-09"


class AreaContents(NamedTuple):
    """Ids of the entities of one area, for the parameters of routes."""

    site_id: str
    series_id: int
    anomaly_id: int
    letter_id: int
    key_id: str
    area: str
    month: str
    path: str
    enrolment_id: int
    code_id: str
    device_id: str
    command_id: int
    incident_id: int
    revision: int
    other_id: int
    request_id: int
    photo_id: int
    maintenance_id: int
    member_id: int
    scenario_id: int


class FourAreas(NamedTuple):
    """A gateway over four areas, each with one of everything, and headers of one area's key per role."""

    app: FastAPI
    store: PostgresStore
    accounts: MemoryApiKeyStore
    contents_by_area: dict[str, AreaContents]
    headers: dict[Role, dict[str, str]]


def command_of(store: PostgresStore, device_id: str) -> int:
    """Return the id of a command to a device, inserted if there is none."""
    log = StationCommandLog(store)
    stored = log.of(device_id, limit=1)
    inserted = stored[0] if stored else log.insert(
        device_id, "1011", {}, who="tests", note="", expires_s=60, over_time_s=10, re_count=0
    )  # fmt: skip
    assert inserted is not None
    return inserted.command_id


def scenario_of(store: PostgresStore, area_name: str) -> int:
    """Return the id of a new scenario whose places are in one area."""
    result = {
        "statements": [{"code": "x", "en": f"site-{area_name}", "zh": "x"}],
        "is_discharge_measured": False,
        "nodes": 2,
        "time_s": [600.0],
        "sites": [],
        "links": [],
    }
    scenario = Scenario(
        area_ids=[area_name],
        kind="water",
        name=f"site-{area_name}",
        who="tests",
        network_version=1,
        at_s=5.0,
        computing_s=0.1,
        inputs={},
        result=result,
    )
    return ScenarioLog(store).insert(scenario).scenario_id


@cache
def key_of_role(role: Role) -> tuple[ApiKey, str]:
    """Return a key of a role, created once for all tests."""
    return api_keys.create_key(
        MemoryApiKeyStore(),
        name=role.role_name,
        role=role,
        area_id=OWN,
        created_by="tests",
        team_id=TEAM if role == Role.TEAM_MEMBER else None,
    )


def principals_of_roles() -> dict[str, str]:
    """Return a member of the team for each role, with the principal of the role's key."""
    return {f"person-{role.role_name}": f"key:{key_of_role(role)[0].key_id}" for role in Role}


def enrol(store: PostgresStore) -> None:
    """Add one of everything to each of the four areas."""
    for area_name in ("above", "own", "below", "abroad"):
        store.enrol(directory(area_name))
    for number, area_name in enumerate(AREA_NAMES, 1):
        series_id = series_of_area(store, area_name)
        location: Any = {
            "site_id": f"site-{area_name}",
            "series_id": series_id,
            "device_id": f"device-{area_name}",
        }
        device_status = DeviceStatus(device_id=f"device-{area_name}", received_s=5.0, status={"online": True})
        fresh, found = (
            readings(series_id, range(number)),
            anomaly(subject=area_name, **location, **neighbour_evidence(area_name)),
        )
        store.commit(Batch(fresh=fresh, anomalies=[found], statuses=[device_status]))
        FederationCommands(store).issue(
            IssuedCommand(
                area_id=area_name, kind="limits", content={"site_id": f"site-{area_name}"}, who="tests"
            )
        )
        enrol_duty(store, area_name, principals=principals_of_roles() if area_name == OWN else None)
    store.refresh_rollups(limit=1000)
    assess(store, AnalyticsSettings())


def neighbour_evidence(area_name: str) -> dict[str, Any]:
    """Return evidence with neighbours inside and outside the area, as written before decision 0028."""
    near = [
        {"site_id": f"site-{one}", "way": "upstream", "lag_s": 3600.0, "quantity": "ph", "score": 77.25}
        for one in (ABROAD, BELOW, ABOVE)
    ]
    return {
        "evidence": {"neighbours": near, "of": [1], "deep": [{"was": {"device_id": f"device-{ABROAD}"}}]},
        "reason_en": f"foul water at {area_name} (pH down); it passed site-{ABROAD} about 1.0 h before",
        "reason_zh": f"{area_name}来水异常（pH值偏低）；约1.0小时前经过site-{ABROAD}",
    }


def directory(area_name: str) -> Directory:
    """Return the directory of an area."""
    labels: Any = {"en": "x", "zh": "x"}
    site = f"site-{area_name}"
    coordinates: Any = {"lon": 1, "lat": 1}
    node: Any = {"node_id": f"node-{area_name}", "network": "river", "kind": "section", "site_id": site}
    return Directory(
        areas=[Area(area_id=area_name, parent=PARENTS[area_name], level="county", **labels)],
        sites=[Site(site_id=site, area_id=area_name, kind="river_section", **coordinates, en=site, zh=site)],
        devices=[Device(device_id=f"device-{area_name}", area_id=area_name)],
        series=[Series(site_id=site, quantity="ph")],
        channels=[Channel(device_id=f"device-{area_name}", name="ph", site_id=site, quantity="ph")],
        nodes=[
            Node(area_id=area_name, **coordinates, **node, **labels),
            *(
                Node(
                    node_id=f"{kind}-{area_name}",
                    network="river",
                    area_id=area_name,
                    kind=kind,
                    **coordinates,
                    **labels,
                )
                for kind in ("mouth", "outfall")
            ),
        ],
        links=[
            Link(
                link_id=f"{name}-{area_name}",
                network="river",
                from_node=f"{begin}-{area_name}",
                to_node=f"{end}-{area_name}",
                length_m=900.0,
                speed_m_s=0.3,
                **labels,
            )
            for name, begin, end in (("reach", "node", "mouth"), ("drain", "outfall", "node"))
        ],
    )


def series_of_area(store: PostgresStore, area_name: str) -> int:
    """Return the id of the series of an area."""
    return next(one.series_id for one in store.directory().series if one.site_id == f"site-{area_name}")


def four_areas_gateway(store: PostgresStore) -> FourAreas:
    """Return a gateway on the four areas, with new dead letters and unused keys."""
    accounts = MemoryApiKeyStore()
    store.purge_dead_letters(DeadLetterQuery())
    store.commit(Batch(dead_letters=[dead_letter_of(area_name) for area_name in AREA_NAMES]))
    dead_letters = {one.topic.split("/")[2]: one.letter_id for one in store.dead_letters(DeadLetterQuery())}
    found = {one.site_id: one.anomaly_id for one in store.anomalies(AnomalyQuery())}
    proposals = propose_devices(store)
    contents_by_area = {}
    for number, area_name in enumerate(AREA_NAMES, 1):
        key, _ = key_of_role(Role.VIEWER)
        key = msgspec.structs.replace(key, key_id=f"{number:012x}", area_id=area_name)
        accounts.create(key)
        site = f"site-{area_name}"
        contents_by_area[area_name] = AreaContents(
            site,
            series_of_area(store, area_name),
            found[site],
            dead_letters[area_name],
            key.key_id,
            area_name,
            MONTH,
            f"Things('{site}')",
            proposals[area_name],
            key.key_id,
            f"device-{area_name}",
            command_of(store, f"device-{area_name}"),
            **add_incident(store, area_name),
            scenario_id=scenario_of(store, area_name),
        )
    headers = {}
    for role in Role:
        key, text = key_of_role(role)
        accounts.create(key)
        headers[role] = {"Authorization": f"Bearer {text}"}
    app = gateway_app(store, accounts=accounts, settings=Settings(requests_burst=10_000))
    return FourAreas(app, store, accounts, contents_by_area, headers)


def propose_devices(store: PostgresStore) -> dict[str, int]:
    """Propose the device of each area by a new code, whose id is the number of the area; return the ids."""
    with store.transaction() as connection:
        connection.execute("TRUNCATE enrolment, enrolment_code")
    enrolments, proposals = EnrolmentStore(store), {}
    for number, area_name in enumerate(AREA_NAMES, 1):
        code = EnrolmentCode(
            code_id=f"{number:012x}",
            hash="x",
            area_id=area_name,
            devices=2,
            created_by="tests",
            expires_s=4e9,
        )
        enrolments.create_code(code)
        proposal = NewProposal(
            device_id=f"device-{area_name}",
            credential="password",
            token_hash="x",  # noqa: S106 - no hash of any token
            request=None,
            channels=[],
            agent="tests",
            address="",
        )
        proposals[area_name] = enrolments.propose(code, proposal).enrolment_id or 0
    return proposals


def dead_letter_of(area_name: str) -> DeadLetter:
    """Return a dead letter of an area."""
    topic = f"towntwin/v1/{area_name}/device-{area_name}/data"
    return DeadLetter(received_s=1.0, topic=topic, payload=b"?", reason="unit", detail="x")
