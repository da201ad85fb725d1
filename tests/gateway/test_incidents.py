"""Tests incidents by API: the loop from new to closed, refusals in words, teams, areas, photos, exports."""

from __future__ import annotations

import asyncio
import io
import time
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest
from PIL import Image

from analytics.service import missing_results
from gateway.auth import api_keys
from gateway.auth.principal import Role
from gateway.settings import Settings
from ingest_service.storage.contract.incidents import IncidentQuery, IncidentTrace
from ingest_service.storage.postgres.incidents import Incidents
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.asgi import StreamedResponse, send_request
from tests.support.gateway_access import MemoryApiKeyStore, gateway_app
from tests.support.incident_world import (
    anomaly_at,
    maintain,
    series_anomaly,
    store_trace,
    store_verdict,
    town,
)
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI
    from httpx import Response

    from tests.support.throwaway_servers import NamedServer, PostgresServer


NUMBERS = count()


class IncidentPlatform(NamedTuple):
    """A gateway on a database with two towns, and the headers of keys by name."""

    app: FastAPI
    store: PostgresStore
    headers: dict[str, dict[str, str]]

    def ask(self, who: str, method: str, path: str, **options: Any) -> Response:
        return self.ask_path(who, f"/v1/incidents{path}", method, **options)

    def ask_path(self, who: str, path: str, method: str = "GET", **options: Any) -> Response:
        return send_request(
            self.app,
            method,
            path,
            headers=self.headers[who] | options.pop("headers", {}),
            **options,
        )

    def change(self, who: str, incident: dict[str, Any], **requested: Any) -> Response:
        body = {"revision": incident["revision"], **requested}
        return self.ask(who, "POST", f"/{incident['incident_id']}/transitions", json=body)


@pytest.fixture(scope="module")
def database(timescale_server: PostgresServer | NamedServer) -> Iterator[PostgresStore]:
    with fresh_database(timescale_server) as dsn:
        migrate(dsn)
        store = PostgresStore.open(dsn)
        store.enrol(town("b"))
        store.enrol(town("a", links_to="b"))
        yield store
        store.close()


@pytest.fixture
def world(database: PostgresStore) -> IncidentPlatform:
    accounts = MemoryApiKeyStore()
    keys: dict[str, tuple[Role, str | None, str | None]] = {
        "viewer": (Role.VIEWER, "a", None),
        "operator": (Role.OPERATOR, "a", None),
        "supervisor": (Role.SUPERVISOR, "a", None),
        "member": (Role.TEAM_MEMBER, "a", "a-water"),
        "other_member": (Role.TEAM_MEMBER, "a", "a-roads"),
        "operator_b": (Role.OPERATOR, "b", None),
        "everything": (Role.OPERATOR, None, None),
    }
    headers = {}
    for name, (role, area, team) in keys.items():
        _, text = api_keys.create_key(
            accounts, name=name, role=role, area_id=area, team_id=team, created_by="tests"
        )
        headers[name] = {"X-API-Key": text}
    app = gateway_app(database, accounts=accounts, settings=Settings(requests_burst=10_000))
    return IncidentPlatform(app, database, headers)


@pytest.fixture
def incident(world: IncidentPlatform) -> Iterator[dict[str, Any]]:
    """A new incident of both towns; each test has one of its own, long after those of the others."""
    base_s = time.time() - (300 - 10 * next(NUMBERS)) * 86_400
    anomalies = [
        series_anomaly(world.store, "a-r2", "ammonia_nitrogen", base_s),
        series_anomaly(world.store, "b-r0", "ammonia_nitrogen", base_s + 3600),
    ]
    world.store.record_anomalies(anomalies)
    maintain(world.store)
    (found, *_) = world.ask("everything", "GET", "").json()["items"]
    assert found["site_ids"] == ["a-r2", "b-r0"]
    yield dict(found)
    world.store.record_anomalies(
        [msgspec.structs.replace(one, state="closed", end_s=one.start_s + 600) for one in anomalies]
    )
    maintain(world.store)


def photo(size: tuple[int, int] = (2000, 1000)) -> bytes:
    picture, text = Image.new("RGB", size, "green"), io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = "SECRET PLACE"
    exif[0x0112] = 6  # turned by 90°
    picture.save(text, "JPEG", exif=exif)
    return text.getvalue()


def test_the_loop_from_new_to_closed(world: IncidentPlatform, incident: dict[str, Any]) -> None:
    assert incident["legal_events"] == ["file", "dismiss", "acknowledge", "shelve"]
    steps: list[tuple[str, dict[str, Any], str, str]] = [
        ("operator", {"event": "acknowledge"}, "new", "acknowledged"),
        ("operator", {"event": "file"}, "filed", "acknowledged"),
        ("operator", {"event": "dispatch", "team_id": "a-water"}, "dispatched", "acknowledged"),
        ("member", {"event": "accept"}, "in_hand", "acknowledged"),
        ("member", {"event": "report", "why": "valve closed"}, "reported", "acknowledged"),
        ("operator", {"event": "reject", "why": "still smells"}, "in_hand", "acknowledged"),
        ("member", {"event": "report", "why": "second valve"}, "reported", "acknowledged"),
        ("operator", {"event": "verify"}, "verified", "acknowledged"),
        ("operator", {"event": "close"}, "closed", "normal"),
    ]
    now = incident
    for who, requested, state, alarm_state in steps:
        answer = world.change(who, now, **requested)
        assert answer.status_code == 200, answer.text
        now = answer.json()
        assert (now["state"], now["alarm_state"]) == (state, alarm_state)
    assert now["legal_events"] == ["reopen"]
    history = world.ask("viewer", "GET", f"/{now['incident_id']}/history").json()
    steps_taken = [one for one in history if one["machine"] == "workflow"]
    assert [one["from_state"] for one in steps_taken][:3] == ["new", "filed", "dispatched"]
    assert steps_taken[0]["event_zh"] == "立案"
    assert all(one["who"].startswith(("operator", "member")) for one in steps_taken)


def test_an_illegal_transition_is_refused_with_the_legal_ones_and_changes_nothing(
    world: IncidentPlatform, incident: dict[str, Any]
) -> None:
    refused = world.change("operator", incident, event="verify")
    assert refused.status_code == 409
    assert refused.json()["legal"] == ["file", "dismiss", "acknowledge", "shelve"]
    assert "'verify' is not legal" in refused.json()["detail"]
    assert world.change("operator", incident, event="absorb").status_code == 403  # the platform's own
    assert world.change("viewer", incident, event="file").status_code == 403
    for requested in ({"event": "dismiss"}, {"event": "shelve", "why": "x"}):
        assert world.change("operator", incident, **requested).status_code == 422
    stale = world.change("operator", incident | {"revision": 1}, event="file")
    assert (stale.status_code, stale.json()["where"]) == (409, "revision")
    now = world.ask("operator", "GET", f"/{incident['incident_id']}").json()
    assert (now["state"], now["revision"]) == ("new", incident["revision"])


def test_two_people_at_once_one_is_refused(world: IncidentPlatform, incident: dict[str, Any]) -> None:
    assert world.change("operator", incident, event="acknowledge").status_code == 200
    late = world.change("supervisor", incident, event="file")
    assert (late.status_code, late.json()["where"]) == (409, "revision")


def test_a_team_member_sees_what_is_dispatched_to_his_team_alone(
    world: IncidentPlatform, incident: dict[str, Any]
) -> None:
    path = f"/{incident['incident_id']}"
    assert world.ask("member", "GET", path).status_code == 404
    found_before = world.ask("member", "GET", "").json()["items"]
    assert incident["incident_id"] not in [one["incident_id"] for one in found_before]
    filed = world.change("operator", incident, event="file").json()
    world.change("operator", filed, event="dispatch", team_id="a-water")
    assert world.ask("member", "GET", path).json()["legal_events"] == ["accept", "acknowledge"]
    found_before = world.ask("member", "GET", "?status=open").json()["items"]
    assert {one["team_id"] for one in found_before} == {"a-water"}
    assert world.ask("other_member", "GET", path).status_code == 404
    assert world.ask("other_member", "GET", f"{path}/photos").status_code == 404


def test_a_town_sees_its_part_and_changes_what_is_at_home_there(
    world: IncidentPlatform, incident: dict[str, Any]
) -> None:
    path = f"/{incident['incident_id']}"
    found_before = world.ask("operator_b", "GET", path).json()
    assert (found_before["site_ids"], found_before["area_ids"], found_before["main_site_id"]) == (
        ["b-r0"],
        ["b"],
        None,
    )
    assert found_before["legal_events"] == []
    assert world.change("operator_b", found_before, event="file").status_code == 403
    said = world.ask("operator_b", "POST", f"{path}/comments", json={"text": "brown water here, too"})
    assert said.status_code == 200
    assert [one["site_id"] for one in world.ask("operator_b", "GET", f"{path}/anomalies").json()] == ["b-r0"]
    assert "a-r2" not in world.ask("operator_b", "GET", f"{path}/history").text
    comments = world.ask("operator", "GET", f"{path}/history?event=comment").json()
    assert [one["why"] for one in comments] == ["brown water here, too"]


def test_an_incident_has_trace_and_verdict_without_the_places_that_a_town_may_not_see(
    world: IncidentPlatform, incident: dict[str, Any]
) -> None:
    path = f"/{incident['incident_id']}"
    untraced = world.ask("everything", "GET", path).json()
    assert (untraced["trace"], untraced["trace_missing"]["code"]) == (None, "not_traced")
    missing = msgspec.to_builtins(missing_results.NOTHING_DETECTED)
    Incidents(world.store).replace_trace(
        IncidentTrace(
            incident_id=incident["incident_id"], inputs="x", computing_s=0.1, posterior=None, missing=missing
        )
    )
    assert world.ask("everything", "GET", path).json()["trace_missing"] == missing
    store_trace(world.store, incident["incident_id"], {"a-r2": 0.7, "b-r0": 0.3})
    trace = world.ask("everything", "GET", path).json()["trace"]
    assert [one["node_id"] for one in trace["posterior"]["candidates"]] == ["a-r2", "b-r0"]
    assert (trace["elsewhere"], trace["times_computed"]) == (0, 2)
    assert [one["node_id"] for one in trace["posterior"]["arrivals"]] == ["a-r2", "b-r0"]
    in_a = world.ask("operator", "GET", path)
    assert in_a.json()["trace"]["posterior"]["credible_90"] == ["a-r2"]
    assert in_a.json()["trace"]["posterior"]["extra_sample"] is None
    assert in_a.json()["trace"]["posterior"]["extra_sample_missing"]["code"] == "out_of_sight"
    assert in_a.json()["trace"]["elsewhere"] == 0.3
    (arrival,) = in_a.json()["trace"]["posterior"]["arrivals"]
    assert (arrival["node_id"], arrival["peak_band_mg_l"]) == ("a-r2", [0.5, 0.9])
    assert "b-r0" not in in_a.text
    (listed, *_) = world.ask("everything", "GET", "").json()["items"]
    assert listed["trace"] is None, "a list has no traces"
    for who in ("everything", "operator"):
        (member, *_) = world.ask(who, "GET", f"{path}/anomalies").json()
        of_anomaly = world.ask_path(who, f"/v1/anomalies/{member['anomaly_id']}/trace?posterior=true")
        assert (of_anomaly.status_code, of_anomaly.json()["posterior"]) == (200, None)
        assert of_anomaly.json()["posterior_missing"]["code"] == "no_source_upstream"
        by_time = world.ask_path(who, f"/v1/anomalies/{member['anomaly_id']}/trace").json()
        assert by_time["posterior_missing"]["code"] == "not_requested"
        alone = world.ask_path(who, f"/v1/anomalies/{member['anomaly_id']}").json()
        assert (alone["sensor_verdict"], alone["sensor_verdict_missing"]["code"]) == (None, "not_computed")
        assert member["sensor_verdict_missing"]["code"] == "not_computed"

    unverified = world.ask("everything", "GET", path).json()
    assert (unverified["sensor_verdict"], unverified["sensor_verdict_missing"]["code"]) == (
        None,
        "not_computed",
    )
    members = world.ask("everything", "GET", f"{path}/anomalies").json()
    first = next(one for one in members if one["site_id"] == "a-r2")
    series = next(one.series_id for one in world.store.directory().series if one.site_id == "a-r2")
    store_verdict(world.store, first["anomaly_id"], series, 0.9731, ["a-r1", "b-r0"])
    verdict = world.ask("operator", "GET", path).json()["sensor_verdict"]
    assert (verdict["verdict"], verdict["event_probability"], verdict["sensors"]) == ("event", 0.973, 2)
    assert verdict["site_ids"] == ["a-r1"], "that of the other town is not named"
    by_anomaly = {
        one["anomaly_id"]: one["sensor_verdict"]
        for one in world.ask("operator", "GET", f"{path}/anomalies").json()
    }
    assert by_anomaly[first["anomaly_id"]] == verdict
    listed = {one["anomaly_id"]: one for one in world.ask_path("operator", "/v1/anomalies").json()["items"]}
    assert listed[first["anomaly_id"]]["verdict_on_sensor"] == "event"
    assert listed[first["anomaly_id"]]["event_probability"] == 0.973
    others = [one for one in listed.values() if one["anomaly_id"] != first["anomaly_id"]]
    assert {(one["verdict_on_sensor"], one["event_probability"]) for one in others} <= {(None, None)}
    assert "verdict_on_sensor" in world.ask_path("operator", "/v1/anomalies?format=csv").text.splitlines()[0]
    with world.store.for_area("b").transaction() as connection:
        assert connection.execute("SELECT count(*) FROM sensor_verdict").fetchone() == (0,)


@pytest.mark.usefixtures("incident")
def test_row_level_security_hides_incidents_of_other_areas(world: IncidentPlatform) -> None:
    world.store.record_anomalies([anomaly_at("a-s0", time.time() - 600)])
    maintain(world.store)
    in_b = Incidents(world.store.for_area("b"))
    everything, found_before = (
        Incidents(world.store).found(IncidentQuery(limit=1000)),
        in_b.found(IncidentQuery(limit=1000)),
    )
    assert {one.main_site_id for one in everything} > {"a-s0"}
    assert all("b" in one.area_ids for one in found_before)
    assert all(one.site_ids == ["b-r0"] for one in found_before)
    hidden = next(one for one in everything if one.main_site_id == "a-s0")
    assert (in_b.incident(hidden.incident_id), in_b.history(hidden.incident_id)) == (None, [])
    store_trace(world.store, hidden.incident_id, {"a-r2": 1.0})
    assert in_b.traces([hidden.incident_id]) == {}


def test_requests_are_approved_by_the_named_role_and_not_by_the_requester(
    world: IncidentPlatform, incident: dict[str, Any]
) -> None:
    path = f"/{incident['incident_id']}"
    filed = world.change("operator", incident, event="file").json()
    now = world.change("operator", filed, event="dispatch", team_id="a-water").json()
    assert world.change("operator", now, event="send_back").status_code == 403  # follows an approved request
    later = "2099-01-01T00:00:00Z"
    asked = {"kind": "extension", "revision": now["revision"], "why": "parts are missing", "until": later}
    made = world.ask("member", "POST", f"{path}/requests", json=asked).json()
    assert (made["state"], made["approver_role"]) == ("waiting", "supervisor")
    revision = world.ask("operator", "GET", path).json()["revision"]
    again = world.ask("member", "POST", f"{path}/requests", json=asked | {"revision": revision})
    assert (again.status_code, "waiting" in again.json()["detail"]) == (409, True)
    decide = f"{path}/requests/{made['request_id']}/decision"
    decision = {"state": "approved", "revision": revision}
    assert world.ask("operator", "POST", decide, json=decision).status_code == 403
    approved = world.ask("supervisor", "POST", decide, json=decision).json()
    assert approved["extended_until"] == "2099-01-01T00:00:00.000Z"
    assert (
        world.ask(
            "supervisor", "POST", decide, json=decision | {"revision": approved["revision"]}
        ).status_code
        == 409
    )

    back = {"kind": "return", "revision": approved["revision"], "why": "not our cell"}
    made = world.ask("supervisor", "POST", f"{path}/requests", json=back).json()
    now = world.ask("operator", "GET", path).json()
    decide = f"{path}/requests/{made['request_id']}/decision"
    decision = {"state": "approved", "revision": now["revision"]}
    own = world.ask("supervisor", "POST", decide, json=decision)
    assert (own.status_code, "own request" in own.json()["detail"]) == (403, True)
    returned = world.ask("operator", "POST", decide, json=decision).json()
    assert (returned["state"], returned["team_id"]) == ("filed", None)


def test_a_photo_is_bounded_checked_and_loses_its_metadata(
    world: IncidentPlatform, incident: dict[str, Any]
) -> None:
    path = f"/{incident['incident_id']}/photos"
    answer = world.ask("operator", "POST", f"{path}?caption=weir", content=photo() + b"SECRET TAIL")
    assert answer.status_code == 200, answer.text
    assert (answer.json()["width"], answer.json()["height"]) == (800, 1600)  # turned upright, scaled down
    content = world.ask("viewer", "GET", f"{path}/{answer.json()['photo_id']}")
    assert content.headers["content-type"] == "image/jpeg"
    assert b"SECRET" not in content.content
    with Image.open(io.BytesIO(content.content)) as stored:
        assert (stored.size, dict(stored.getexif())) == ((800, 1600), {})
    for upload, status in ((b"<svg/>", 415), (photo()[:2000], 415), (b"x" * 8_000_001, 413)):
        assert world.ask("operator", "POST", path, content=upload).status_code == status
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    assert world.ask("operator", "POST", path, content=bomb.getvalue()).status_code == 415
    assert len(world.ask("viewer", "GET", path).json()) == 1


def test_merge_and_split_by_hand(world: IncidentPlatform, incident: dict[str, Any]) -> None:
    world.store.record_anomalies([anomaly_at("a-s1", time.time() - 900)])
    maintain(world.store)
    other = next(
        one
        for one in world.ask("everything", "GET", "?status=open").json()["items"]
        if one["kind"] == "traffic"
    )
    merging = {"revision": other["revision"], "incident_ids": [incident["incident_id"]], "why": "same truck"}
    half_seen = world.ask("operator", "POST", f"/{other['incident_id']}/merge", json=merging)
    assert half_seen.status_code == 403  # it touches town b, too
    merged = world.ask("everything", "POST", f"/{other['incident_id']}/merge", json=merging).json()
    assert set(merged["site_ids"]) > {"a-r2", "b-r0"}
    closed = world.ask("everything", "GET", f"/{incident['incident_id']}").json()
    assert (closed["state"], closed["merged_into"]) == ("closed", other["incident_id"])
    members = world.ask("everything", "GET", f"/{other['incident_id']}/anomalies").json()
    at_b = [one["anomaly_id"] for one in members if one["site_id"] == "b-r0"]
    splitting = {"revision": merged["revision"], "anomaly_ids": at_b, "why": "another event"}
    fresh = world.ask("everything", "POST", f"/{other['incident_id']}/split", json=splitting).json()
    assert (fresh["area_id"], fresh["site_ids"], fresh["alarm_state"]) == ("b", ["b-r0"], "unacknowledged")
    everything = [one["anomaly_id"] for one in members]
    revision = world.ask("everything", "GET", f"/{other['incident_id']}").json()["revision"]
    emptied = {
        "revision": revision,
        "anomaly_ids": [one for one in everything if one not in at_b],
        "why": "x",
    }
    assert world.ask("everything", "POST", f"/{other['incident_id']}/split", json=emptied).status_code == 422


@pytest.mark.usefixtures("incident")
def test_filters_pages_and_exports(world: IncidentPlatform) -> None:
    reported = world.ask(
        "operator",
        "POST",
        "",
        json={
            "site_id": "a-r0",
            "kind": "water",
            "cause": "dead_fish",
            "summary": "=dead fish",
            "severity": 2,
        },
    ).json()
    assert (reported["priority"], reported["alarm_state"]) == (1, "unacknowledged")
    assert reported["title_en"] == "Dead fish at x"
    pages, query = [], "?area=a&limit=1"
    while True:
        page = world.ask("everything", "GET", query).json()
        pages += [one["incident_id"] for one in page["items"]]
        if page["next"] is None:
            break
        query = f"?area=a&limit=1&cursor={page['next']}"
    assert len(pages) == len(set(pages)) >= 2
    only = world.ask("everything", "GET", "?cause=dead_fish&state=new&priority_max=1&site=a-r0").json()[
        "items"
    ]
    assert reported["incident_id"] in [one["incident_id"] for one in only]
    lines = world.ask("operator_b", "GET", "/export?format=csv").text.splitlines()
    assert lines[0].startswith("incident_id,revision,kind,cause")
    assert "a-r" not in "".join(lines)
    text = world.ask("operator", "GET", "/export?format=csv&cause=dead_fish").text
    assert "'=dead fish" in text  # a spreadsheet would run it
    features = world.ask("operator", "GET", "/export?format=geojson&cause=dead_fish").json()["features"]
    assert features[-1]["geometry"]["coordinates"] == [120.0, 30.0]
    assert world.ask("operator", "GET", "?no_such=1").status_code == 422


def test_performance_counts_what_sounded(world: IncidentPlatform, incident: dict[str, Any]) -> None:
    world.change("operator", incident, event="acknowledge")
    hour = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T01:00:00Z"}
    assert world.ask("operator", "GET", "/performance", params=hour).json()["annunciations"] == 0
    now_s = time.time()
    day = {"from": _rfc3339(now_s - 3600), "to": _rfc3339(now_s + 60), "operators": 1}
    measured = world.ask("operator", "GET", "/performance", params=day).json()
    assert measured["annunciations"] >= 1
    assert sum(measured["priorities"].values()) == pytest.approx(1.0)
    assert measured["acknowledge_s"][0] >= 0.0
    assert measured["days"][0]["annunciations"] == measured["annunciations"]


def test_a_stream_has_the_changes_of_incidents_redacted_for_the_town(
    world: IncidentPlatform, incident: dict[str, Any]
) -> None:
    async def follow() -> str:
        settings = Settings(requests_burst=10_000, live_poll_s=0.1)
        accounts = world.app.state.context.accounts
        app = gateway_app(world.store, accounts=accounts, settings=settings)
        stream = StreamedResponse(app, "/v1/live", world.headers["operator_b"], "kinds=incident")
        await stream.until(lambda: "id:" in stream.text)
        await asyncio.to_thread(world.change, "operator", incident, event="acknowledge")
        await stream.until(lambda: "event: incident" in stream.text)
        await stream.disconnect()
        return stream.text

    text = asyncio.run(follow())
    assert '"alarm_state":"acknowledged"' in text
    assert "a-r2" not in text


def _rfc3339(time_s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time_s))
