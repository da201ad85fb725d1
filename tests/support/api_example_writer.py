"""Runs the example request of every API operation on the demo towns and writes the responses to a file.

python -m tests.support.api_example_writer
"""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec
from httpx import ASGITransport, AsyncClient

from analytics.service.monthly_assessment import assess
from analytics.service.settings import Settings
from deploy.debian_servers.installation import PROGRAMS
from gateway.api import examples
from gateway.auth import enrolment_codes
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import DeadLetter
from ingest_service.storage.postgres.api_keys import ApiKey
from ingest_service.storage.postgres.enrolments import (
    EnrolmentCode,
    EnrolmentStore,
    NewProposal,
    ProposedChannel,
)
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support import server_installation
from tests.support.demo_store import fill_with_demo
from tests.support.duty_samples import add_deadline, duty_requests, enrol_duty
from tests.support.federated_towns import add_example_town
from tests.support.forecast_samples import extend_history
from tests.support.gateway_access import ACCOUNTS, HEADERS, KEY, gateway_app
from tests.support.incident_examples import INCIDENT_REQUESTS, add_example_incidents
from tests.support.process_heartbeats import alive
from tests.support.scenario_examples import SCENARIO, add_example_scenarios
from tests.support.throwaway_servers import TIMESCALE, PostgresServer, fresh_database

if TYPE_CHECKING:
    from fastapi import FastAPI
    from httpx import Response


MAX_SHOWN_ROWS = 2  # of a list in an example
DEAD_LETTER = DeadLetter(
    received_s=1_795_000_000.0,
    topic="towntwin/v1/330402-d1/330402-d1-r01/data",
    payload=b'[{"n":"unknown","v":1}]',
    content_type="application/senml+json",
    reason="channel",
    detail="channel 'unknown' of device '330402-d1-r01' is not enrolled: enrol it, then replay",
)
FEEDBACK_BODY = {"verdict": "confirmed", "note": "化验属实"}
UPLOAD_BODY = {"time": ["2026-11-23T08:00:00+08:00", "2026-11-23T08:05:00+08:00"], "value": [7.9, 8.1]}
NOW = datetime.now(ZoneInfo("Asia/Shanghai")).replace(microsecond=0)
TIME_RANGE = {"from": (NOW - timedelta(hours=12)).isoformat(), "to": NOW.isoformat()}
TRIED_LIMITS = {"score_strong": 9.0}
NEW_KEY = {"name": "王芳", "role": "operator", "area": "330483", "expires": "2036-12-31T00:00:00+08:00"}
EXAMPLE_KEY = ApiKey(
    key_id="0f3a5c9d2e71",
    name="Prometheus",
    hash="",
    role="viewer",
    scopes=["platform"],
    created_by="Wang Fang (key:1d5f0b93b0a1)",
)
DUTY_AREA, DUTY_SUFFIX = "330483-d1", "-d1"
PRINCIPALS = {"li-ming": f"key:{KEY.split('_')[1]}"}
ENROLMENT_SECRET = "0" * 32
ENROLMENT_CODE = EnrolmentCode(
    code_id="0f3a5c9d2e71",
    hash=enrolment_codes.hash_secret(ENROLMENT_SECRET),
    area_id="330483-d1",
    devices=9,
    created_by="Wang Fang (key:1d5f0b93b0a1)",
    expires_s=4e9,
)
PROPOSAL = NewProposal(
    device_id="wz-01",
    credential="password",
    token_hash=enrolment_codes.hash_secret(ENROLMENT_SECRET),
    request=None,
    channels=[ProposedChannel(name="ph", unit="pH", value=7.4)],
    agent="towntwin 0.2.0",
    address="192.0.2.7",
)
PROPOSED_DEVICE = {
    "code": f"tte_{ENROLMENT_CODE.code_id}_{ENROLMENT_SECRET}",
    "area": "330483-d1",
    "device": "wz-02",
    "credential": "password",
    "channels": [{"name": "ph", "unit": "pH", "value": 7.4}],
}
CONFIRMED = {"name": "ph", "site": "330483-d1-r04", "quantity": "ph", "unit": "pH", "interval_s": 300}
NETWORK_WORKER = (sys.executable, "-m", "deploy.network_worker")
NODES_TABLE = """node_id,network,area_id,kind,en,zh,lon,lat
hb-1,river,330483-d1,source,Cross creek,横浜,120.6,30.66
"""
REQUESTS: dict[str, tuple[str, Any]] = {
    "GET /v1/areas": ("/v1/areas", None),
    "GET /v1/sites": ("/v1/sites?area=330483&kind=river_section", None),
    "GET /v1/sites/{site_id}": ("/v1/sites/330483-d1-r04", None),
    "GET /v1/devices": ("/v1/devices?area=330483-d1", None),
    "GET /v1/series": ("/v1/series?site=330483-d1-r04&quantity=dissolved_oxygen", None),
    "GET /v1/series/{series_id}": ("/v1/series/12", None),
    "GET /v1/quantities": ("/v1/quantities", None),
    "GET /v1/latest": ("/v1/latest?area=330483&quantity=dissolved_oxygen", None),
    "GET /v1/readings": ("/v1/readings?site=330483-d1-r04&quantity=dissolved_oxygen&limit=2", None),
    "GET /v1/series/{series_id}/readings": ("/v1/series/12/readings?limit=2", None),
    "GET /v1/series/{series_id}/buckets": ("/v1/series/12/buckets?width=PT1H", None),
    "GET /v1/series/{series_id}/forecast": ("/v1/series/12/forecast", None),
    "GET /v1/plot": ("/v1/plot?series=12&points=4&method=minmax", None),
    "GET /v1/anomalies": ("/v1/anomalies?near=330402-d1-r02&within_m=20000&severity_min=2&limit=1", None),
    "GET /v1/anomalies/{anomaly_id}": ("/v1/anomalies/1", None),
    "GET /v1/anomalies/{anomaly_id}/trace": ("/v1/anomalies/1/trace?window_hours=24", None),
    "GET /v1/anomalies/{anomaly_id}/feedback": ("/v1/anomalies/1/feedback", None),
    "POST /v1/anomalies/{anomaly_id}/feedback": ("/v1/anomalies/1/feedback", FEEDBACK_BODY),
    "GET /v1/twin/state": ("/v1/twin/state", None),
    "GET /v1/twin/estimates": ("/v1/twin/estimates?quantity=dissolved_oxygen", None),
    "GET /v1/twin/placement": ("/v1/twin/placement?area=330483&sensors=2&existing=keep", None),
    "GET /v1/twin/placement/report": (
        "/v1/twin/placement/report?area=330483&sensors=2&format=html&language=en",
        None,
    ),
    "GET /v1/twin/network": ("/v1/twin/network", None),
    "GET /v1/twin/network/findings": ("/v1/twin/network/findings", None),
    "POST /v1/twin/network/imports": (
        "/v1/twin/network/imports?dry_run=true",
        (("files", ("nodes.csv", NODES_TABLE.encode())),),  # of a form: a tuple of its files
    ),
    "GET /v1/twin/network/export": ("/v1/twin/network/export?format=swmm&network=river", None),
    "POST /v1/scenarios": ("/v1/scenarios", SCENARIO),
    "GET /v1/scenarios": ("/v1/scenarios?limit=2", None),
    "GET /v1/scenarios/compare": ("/v1/scenarios/compare?a=1&b=2", None),
    "GET /v1/scenarios/{scenario_id}": ("/v1/scenarios/1", None),
    "GET /v1/dead-letters": ("/v1/dead-letters?reason=channel&limit=2", None),
    "GET /v1/dead-letters/{letter_id}": ("/v1/dead-letters/1", None),
    "POST /v1/dead-letters/replay": ("/v1/dead-letters/replay", {"reason": "channel"}),
    "POST /v1/dead-letters/purge": ("/v1/dead-letters/purge", {"ids": [1000]}),
    "POST /v1/judge": ("/v1/judge?quantity=dissolved_oxygen&limit=score_strong=9", UPLOAD_BODY),
    "POST /v1/series/{series_id}/trial": ("/v1/series/12/trial", {"limits": TRIED_LIMITS, **TIME_RANGE}),
    "GET /v1/series/{series_id}/limits": ("/v1/series/12/limits", None),
    "PUT /v1/series/{series_id}/limits": (
        "/v1/series/12/limits",
        {"limits": TRIED_LIMITS, "note": "two false alarms a day at low flow"},
    ),
    "GET /v1/ngsi-ld/entities": ("/v1/ngsi-ld/entities?site=330483-d1-r04&options=keyValues", None),
    "GET /v1/assessments": ("/v1/assessments?area=330483&kind=water_class&limit=2", None),
    "GET /v1/reports/{area}/{month}": (f"/v1/reports/330483/{NOW:%Y-%m}?language=en", None),
    "GET /sta/v1.1/": ("/sta/v1.1/", None),
    "GET /sta/v1.1/{path}": ("/sta/v1.1/Datastreams(12)?$expand=Observations($top=1)", None),
    **INCIDENT_REQUESTS,
    "GET /v1/me": ("/v1/me", None),
    "GET /v1/keys": ("/v1/keys", None),
    "POST /v1/keys": ("/v1/keys", NEW_KEY),
    "DELETE /v1/keys/{key_id}": ("/v1/keys/0f3a5c9d2e71", None),
    "GET /v1/enrolment-codes": ("/v1/enrolment-codes", None),
    "POST /v1/enrolment-codes": ("/v1/enrolment-codes", {"area": "330483-d1", "devices": 5, "hours": 48}),
    "DELETE /v1/enrolment-codes/{code_id}": ("/v1/enrolment-codes/000000000001", None),
    "POST /v1/enrolments": ("/v1/enrolments", PROPOSED_DEVICE),
    "GET /v1/enrolments": ("/v1/enrolments?state=proposed", None),
    "POST /v1/enrolments/{enrolment_id}/collect": ("/v1/enrolments/1/collect", {"token": ENROLMENT_SECRET}),
    "POST /v1/enrolments/{enrolment_id}/decision": (
        "/v1/enrolments/1/decision",
        {"decision": "confirm", "channels": [CONFIRMED], "note": "at the west bridge"},
    ),
    "POST /v1/devices/{device_id}/commands": (
        "/v1/devices/330402-d1-r01/commands",
        {"kind": "set-time", "note": "the station's clock is 4 min late"},
    ),
    "GET /v1/devices/{device_id}/commands": ("/v1/devices/330402-d1-r01/commands", None),
    "GET /v1/devices/{device_id}/commands/{command_id}": ("/v1/devices/330402-d1-r01/commands/1", None),
    "POST /v1/devices/{device_id}/maintenance": (
        "/v1/devices/330402-d1-r01/maintenance",
        {"action": "begin", "minutes": 60, "note": "membrane exchanged"},
    ),
    "GET /v1/devices/{device_id}/maintenance": ("/v1/devices/330402-d1-r01/maintenance", None),
    "POST /v1/series/{series_id}/calibrations": (
        "/v1/series/12/calibrations",
        {"reference": 7.0, "before": 7.12, "after": 7.01},
    ),
    "GET /v1/series/{series_id}/calibrations": ("/v1/series/12/calibrations", None),
    "POST /v1/federation/limits": (
        "/v1/federation/limits",
        {
            "site_id": "shendang-r01",
            "quantity": "ph",
            "limits": TRIED_LIMITS,
            "note": "two false alarms a day at low flow",
        },
    ),
    "POST /v1/federation/incidents": (
        "/v1/federation/incidents",
        {"site_id": "shendang-r01", "cause": "dead_fish", "summary": "dead fish below the weir"},
    ),
    "POST /v1/federation/dashboards": (
        "/v1/federation/dashboards",
        {
            "area_id": "330424-shendang",
            "dashboard": {"uid": "county-rivers", "title": "Rivers of the county", "panels": []},
        },
    ),
    "GET /v1/federation/commands": ("/v1/federation/commands?limit=2", None),
    "GET /v1/audit": ("/v1/audit?limit=2", None),
    "GET /v1/health": ("/v1/health", None),
    "GET /healthz": ("/healthz", None),
    "GET /readyz": ("/readyz", None),
    "GET /metrics": ("/metrics", None),
    **duty_requests(DUTY_AREA, DUTY_SUFFIX, PRINCIPALS),
    "GET /v1/incidents/{incident_id}/deadlines": ("/v1/incidents/1/deadlines", None),
}


def prepare(store: PostgresStore) -> None:
    """Add what the demo does not have: a dead letter, assessments, an API key, a long history."""
    store.commit(Batch(dead_letters=[DEAD_LETTER]))
    assess(store, Settings())
    enrol_duty(store, DUTY_AREA, principals=PRINCIPALS, suffix=DUTY_SUFFIX)
    ACCOUNTS.create(EXAMPLE_KEY)
    add_example_incidents(store)
    add_example_scenarios(store)
    add_deadline(store, 1, DUTY_AREA)
    enrolments = EnrolmentStore(store)
    enrolments.create_code(ENROLMENT_CODE)
    enrolments.create_code(msgspec.structs.replace(ENROLMENT_CODE, code_id="000000000001"))
    enrolments.propose(ENROLMENT_CODE, PROPOSAL)
    add_example_town(store)
    extend_history(store, 12, days=8)


def example_response(app: FastAPI, name: str, url: str, body: Any) -> Response:
    """Return the response to an example's request."""

    async def send_request() -> Response:
        async with AsyncClient(transport=ASGITransport(app), base_url="http://gateway") as client:
            content: Any = {"json": body}
            if isinstance(body, bytes | tuple):
                content = {"content": body} if isinstance(body, bytes) else {"files": list(body)}
            return await client.request(name.split(" ", maxsplit=1)[0], url, headers=HEADERS, **content)

    return asyncio.run(send_request())


def shortened(answer: Any) -> Any:
    """Return a response with lists cut to their first rows."""
    if isinstance(answer, list):
        return [shortened(one) for one in answer[:MAX_SHOWN_ROWS]]
    if isinstance(answer, dict):
        return {name: value if name == "coordinates" else shortened(value) for name, value in answer.items()}
    return answer


def example(app: FastAPI, name: str, url: str, body: Any) -> examples.ApiExample:
    """Return the example of an operation: request and shortened response."""
    answer = example_response(app, name, url, body)
    answer.raise_for_status()
    is_json = answer.headers["content-type"].endswith("json")
    is_picture = answer.headers["content-type"].startswith("image/")
    shown: Any = "…" if is_picture else shortened(answer.json()) if is_json else answer.text[:200]
    if name == "POST /v1/keys":
        shown["key"] = f"tt_{shown['key_id']}_…"
    elif name == "POST /v1/enrolment-codes":
        shown |= {"code": f"https://twin.example.org/#tte_{shown['code_id']}_…", "qr_svg": "<svg …</svg>"}
    elif name == "POST /v1/enrolments":
        shown["token"] = "…"  # noqa: S105 - shortened
    written: examples.ApiExample = {"request": url, "answer": shown}
    if body is not None and not isinstance(body, bytes | tuple):
        written["body"] = body
    return written


def main() -> None:
    """Write `gateway/api/examples.json`."""
    server = PostgresServer(server_installation.provide(print), "postgres", PROGRAMS, TIMESCALE)
    try:
        server.create()
        with fresh_database(server) as dsn:
            migrate(dsn)
            store = PostgresStore.open(dsn)
            fill_with_demo(store, days=2.0)
            prepare(store)
            app = gateway_app(store, network_worker=NETWORK_WORKER)
            with alive(store):
                found = {name: example(app, name, url, body) for name, (url, body) in REQUESTS.items()}
            store.close()
    finally:
        server.remove()
    text = json.dumps(found, indent=1, ensure_ascii=False)
    Path(examples.__file__).with_name("examples.json").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
