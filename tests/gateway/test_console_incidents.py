"""Tests an incident in the console from a planned fault to its end, by an operator and a team member."""

from __future__ import annotations

import io
import re
import time
from typing import TYPE_CHECKING, NamedTuple

import httpx
import msgspec
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, expect

from analytics.incidents import incident_text
from analytics.service import incident_maintenance, missing_results
from analytics.service.settings import Settings as ServiceSettings
from gateway.auth import api_keys
from gateway.auth.principal import Role
from gateway.console import translations
from ingest_service.storage.contract.incidents import (
    HistoryEntry,
    Incident,
    IncidentAnomaly,
    IncidentQuery,
    IncidentUpdate,
)
from ingest_service.storage.contract.models import Anomaly, AnomalyQuery
from ingest_service.storage.postgres.api_keys import ApiKeyStore
from ingest_service.storage.postgres.incidents import Incidents
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.chinese_texts import english_in
from tests.support.console import LANGUAGES, serve_console
from tests.support.console_pages import (
    overlapping_labels,
    serious_findings,
    shown_texts,
    sign_in,
    wait_for_map,
)
from tests.support.demo_store import fill_with_demo
from tests.support.incident_world import store_trace, store_verdict
from tests.support.process_heartbeats import alive
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.console.translations import Language
    from ingest_service.storage.contract.incidents import MemberRole
    from tests.support.throwaway_servers import PostgresServer

TEAM = "330483-d1-water"
SITE = "330483-d1-r04"
PHONE: ViewportSize = {"width": 390, "height": 844}


class IncidentConsole(NamedTuple):
    """The console on a database: its address, its store, and a key of each role."""

    base_url: str
    store: PostgresStore
    keys: dict[str, str]


@pytest.fixture(scope="module")
def console(plain_server: PostgresServer) -> Iterator[IncidentConsole]:
    """The gateway on a port over a real database with the demo's towns."""
    with fresh_database(plain_server) as dsn:
        migrate(dsn)
        store = PostgresStore.open(dsn)
        fill_with_demo(store, days=1.0)
        accounts = ApiKeyStore(store)
        people = {
            "operator": (Role.OPERATOR, "Wang Fang", None),
            "member": (Role.TEAM_MEMBER, "Li Qiang", TEAM),
            "stranger": (Role.TEAM_MEMBER, "Zhao Min", "another-team"),
            "supervisor": (Role.SUPERVISOR, "Chen Jing", None),
            "viewer": (Role.VIEWER, "Sun Li", None),
        }
        keys = {
            name: api_keys.create_key(accounts, name=person, role=role, team_id=team, created_by="tests")[1]
            for name, (role, person, team) in people.items()
        }
        with alive(store, every_s=0.5):
            for address in serve_console(store, accounts=None):
                yield IncidentConsole(address.partition("/login")[0], store, keys)
        store.close()


def record_fault(console: IncidentConsole, number: int, site_id: str) -> Anomaly:
    """Record the anomaly of a planned fault, which began half an hour ago."""
    series = next(one for one in console.store.directory().series if one.site_id == site_id)
    start_s = time.time() - 1800 - number
    anomaly = Anomaly(
        subject=f"series/{series.series_id}",
        site_id=site_id,
        series_id=series.series_id,
        detector="residual",
        version="1",
        start_s=start_s,
        peak_s=start_s,
        score=30,
        severity=3,
        n_readings=3,
        state="open",
        reason_en=f"planned fault {number}",
        reason_zh=f"计划故障{number}",
        evidence={"spreads": 12.5},
    )
    console.store.record_anomalies([anomaly])
    stored = console.store.anomalies(AnomalyQuery(site_ids=[site_id], limit=50))
    return next(one for one in stored if one.reason_en == anomaly.reason_en)


def open_incident(console: IncidentConsole, number: int, role: MemberRole = "opened") -> Incident:
    """Open an incident with one anomaly, apart from all others."""
    anomaly = record_fault(console, number, SITE)
    area = SITE.rpartition("-")[0]
    incident = Incident(
        area_id=area,
        area_ids=[area],
        main_site_id=SITE,
        kind="water",
        cause="water_departure",
        priority=1,
        severity=3,
        started_s=anomaly.start_s,
        last_s=anomaly.start_s,
        opened_s=time.time(),
        annunciations=1,
    )
    member = IncidentAnomaly(
        anomaly_id=anomaly.anomaly_id,
        incident_id=None,
        site_id=SITE,
        role=role,
        reason="first",
        reason_en="it opened the incident",
        reason_zh="首个异常",
        anomaly_revision=anomaly.revision,
        state="open",
        start_s=anomaly.start_s,
        severity=3,
        series_id=anomaly.series_id,
        detector="residual",
    )
    entry = HistoryEntry(machine="record", event="open", who="service", at_s=time.time())
    update = IncidentUpdate(incident=incident, entries=[entry], members=[member])
    return Incidents(console.store).apply([update])[0]


def signed_in(
    browser: Browser, console: IncidentConsole, who: str, language: Language, *, phone: bool
) -> Page:
    """A page of a person, signed in; an error in its console fails the test when it is next used."""
    context = browser.new_context(
        locale=LANGUAGES[language],
        viewport=PHONE if phone else {"width": 1366, "height": 900},
        has_touch=phone,
        is_mobile=phone,
    )
    one = context.new_page()
    sign_in(one, f"{console.base_url}/login#{console.keys[who]}")
    return one


def button(page: Page, event: str, language: Language) -> None:
    """Cause an event by its button; forms with fields are in a disclosure of the same name."""
    name = incident_text.event_name(event)[language == "zh"]
    page.locator("#actions").get_by_role("button", name=name, exact=True).click()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_planned_fault_goes_from_the_wall_to_its_end(
    browser: Browser, console: IncidentConsole, tmp_path: Path, language: Language
) -> None:
    def text(key: str, *values: object) -> str:
        return translations.translate(key, language).format(*values)

    def event(name: str) -> str:
        return incident_text.event_name(name)[language == "zh"]

    operator = signed_in(browser, console, "operator", language, phone=False)
    number, site_id = (1, "330483-d1-r02") if language == "en" else (2, "330402-d1-r01")
    anomaly = record_fault(console, number, site_id)
    incident_maintenance.maintain_incidents(console.store, ServiceSettings())
    incident_id = Incidents(console.store).memberships([anomaly.anomaly_id])[anomaly.anomaly_id].incident_id
    link = operator.locator(f"#now a[href='/console/incidents/{incident_id}']")
    expect(link).to_contain_text(text("turn_file"))
    expect(operator.locator("#now")).not_to_contain_text("planned fault" if language == "en" else "计划故障")
    wait_for_map(operator)
    assert overlapping_labels(operator) == []
    labels = operator.locator(f"#map .map-label[href='/console/incidents/{incident_id}']:not(.crowded)")
    expect(labels).to_be_visible()
    operator.screenshot(path=tmp_path / f"wall.{language}.png")

    labels.focus()
    operator.evaluate("document.dispatchEvent(new CustomEvent('towntwin:part', {detail: 'map-states'}))")
    expect(labels).to_be_focused()  # pushed states replace the labels

    link.click()
    expect(operator.locator("p.reason").first).to_contain_text(
        "planned fault" if language == "en" else "计划故障"
    )
    expect(operator.locator("#plot .plot-svg")).to_be_visible()
    wait_for_map(operator)
    operator.screenshot(path=tmp_path / f"incident.{language}.png", full_page=True)
    name = incident_text.event_name("acknowledge")[language == "zh"]
    operator.locator("#actions").get_by_role("button", name=name, exact=True).press("Enter")
    expect(operator.locator(".notice")).to_be_focused()  # the button is gone
    button(operator, "file", language)
    expect(operator.locator("#incident")).to_contain_text(text("turn_dispatch"))
    operator.locator("#actions summary", has_text=event("dispatch")).click()
    operator.get_by_label(text("team"), exact=True).fill(TEAM)
    operator.get_by_label(text("assignee"), exact=True).fill("Li Qiang")
    button(operator, "dispatch", language)
    expect(operator.locator("#incident")).to_contain_text(text("turn_accept", "Li Qiang"))

    member = signed_in(browser, console, "member", language, phone=True)
    member.goto(f"{console.base_url}/console/tasks")
    expect(member.locator("#tasks")).to_contain_text(text("turn_accept", "Li Qiang"))
    member.screenshot(path=tmp_path / f"tasks.{language}.png", full_page=True)
    member.locator(f"#tasks a[href='/console/incidents/{incident_id}']").tap()
    button(member, "accept", language)
    expect(member.locator(".notice")).to_be_visible()
    member.locator("input[type=file]").set_input_files(
        {"name": "weir.jpg", "mimeType": "image/jpeg", "buffer": photo_bytes()}
    )
    member.get_by_label(text("caption")).fill("weir 3" if language == "en" else "三号堰")
    member.get_by_role("button", name=text("add_photo")).click()
    expect(member.locator(".gallery img")).to_have_count(1)
    expect(member.locator(".gallery img")).to_have_js_property("complete", value=True)
    assert member.evaluate("document.querySelector('.gallery img').naturalWidth") > 0
    member.locator("#actions summary", has_text=event("report")).click()
    member.locator("#actions details[open] textarea").fill(
        "valve closed" if language == "en" else "阀门已关闭"
    )
    too_wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert member.evaluate(too_wide) <= 0
    member.screenshot(path=tmp_path / f"phone.{language}.png", full_page=True)
    button(member, "report", language)
    expect(member.locator(".notice")).to_be_visible()

    expect(operator.locator("#incident")).to_contain_text(text("turn_verify"))  # pushed, without a reload
    expect(operator.locator(".timeline")).to_contain_text(
        "valve closed" if language == "en" else "阀门已关闭"
    )
    button(operator, "verify", language)
    expect(operator.locator("#incident")).to_contain_text(text("turn_close"))
    button(operator, "close", language)
    expect(operator.locator("#incident")).to_contain_text(text("turn_nobody"))
    operator.screenshot(path=tmp_path / f"closed.{language}.png", full_page=True)
    operator.goto(f"{console.base_url}/console/incidents?status=over")
    expect(operator.locator(f"#incidents a[href='/console/incidents/{incident_id}']")).to_be_visible()
    operator.context.close()
    member.context.close()


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_illegal_transition_and_an_outdated_form_are_refused_in_words(
    browser: Browser, console: IncidentConsole, tmp_path: Path, language: Language
) -> None:
    one = signed_in(browser, console, "operator", language, phone=False)
    incident = open_incident(console, 3 if language == "en" else 4)
    one.goto(f"{console.base_url}/console/incidents/{incident.incident_id}")
    forged = """form => { form.querySelector("[name=event]").value = "close"; form.requestSubmit(); }"""
    one.locator("#actions form", has=one.locator("input[name=event][value=file]")).evaluate(forged)
    refusal = one.locator("#refusal")
    expect(refusal).to_contain_text(incident_text.event_name("close")[language == "zh"])
    expect(refusal).to_contain_text(incident_text.event_name("dismiss")[language == "zh"])
    one.screenshot(path=tmp_path / f"illegal.{language}.png")
    if language == "zh":
        assert english_in(refusal.inner_text()) == []
    Incidents(console.store).apply(
        [
            IncidentUpdate(
                incident=msgspec.structs.replace(Incidents(console.store).found(_only(incident))[0]),
                entries=[HistoryEntry(machine="record", event="comment", who="x", why="y", at_s=time.time())],
            )
        ]
    )
    one.evaluate("document.querySelectorAll('input[name=revision]').forEach(one => one.value = 1)")
    button(one, "file", language)
    expect(refusal).to_have_text(f"✕ {translations.translate('refused_changed', language)}")
    one.context.close()


def test_what_the_role_may_not_do_has_no_button_and_is_refused(console: IncidentConsole) -> None:
    incident = open_incident(console, 5)
    path = f"/console/incidents/{incident.incident_id}"
    form = {"event": "file", "revision": str(incident.revision)}

    def client(who: str) -> httpx.Client:
        cookies = httpx.post(f"{console.base_url}/login", json={"key": console.keys[who]}).cookies
        return httpx.Client(base_url=console.base_url, cookies=cookies, headers={"Origin": console.base_url})

    with client("viewer") as viewer:
        assert 'name="event"' not in viewer.get(path).text
        assert viewer.post(f"{path}/transitions", data=form).status_code == 403
        assert "/console/tasks" not in viewer.get("/").text
    with client("stranger") as stranger:
        assert stranger.get(path).status_code == 404
        assert stranger.post(f"{path}/transitions", data=form).status_code == 404
        assert f'href="{path}"' not in stranger.get("/").text
    with client("operator") as operator:
        big = {"file": ("a.jpg", b"no photo", "image/jpeg")}
        refused = operator.post(f"{path}/photos", files=big, headers={"Accept-Language": "en"})
        assert refused.status_code == 409
        assert translations.translate("refused_photo", "en") in refused.text
        assert operator.post(f"{path}/transitions", data=form).status_code == 303
        del operator.headers["Origin"]
        assert operator.post(f"{path}/transitions", data=form).status_code == 403, "a form of another site"


def test_a_suppressed_alarm_is_listed_with_its_reason_on_the_page_of_the_shift(
    console: IncidentConsole,
) -> None:
    open_incident(console, 6, "suppressed")
    cookies = httpx.post(f"{console.base_url}/login", json={"key": console.keys["operator"]}).cookies
    page = httpx.get(
        f"{console.base_url}/console/shift", cookies=cookies, headers={"Accept-Language": "zh-CN"}, timeout=30
    ).text
    (listed,) = re.findall(r'<ul class="plain" id="suppressed">.*?</ul>', page, re.DOTALL)
    assert "首个异常" in listed


@pytest.mark.parametrize("language", ["en"])
def test_an_extension_is_requested_and_approved(
    browser: Browser, console: IncidentConsole, tmp_path: Path, language: Language
) -> None:
    incident = open_incident(console, 6 if language == "en" else 7)
    headers = {"X-API-Key": console.keys["operator"]}
    api = f"{console.base_url}/v1/incidents/{incident.incident_id}"
    revision = incident.revision
    for event, more in (("file", {}), ("dispatch", {"team_id": TEAM})):
        body = {"event": event, "revision": revision, **more}
        answer = httpx.post(f"{api}/transitions", json=body, headers=headers)
        revision = answer.json()["revision"]
    member = signed_in(browser, console, "member", language, phone=True)
    member.goto(f"{console.base_url}/console/incidents/{incident.incident_id}")
    name = translations.translate("request_for", language).format(
        translations.translate("request_extension", language)
    )
    member.locator("#actions summary", has_text=name).click()
    opened = member.locator("#actions details[open]")
    opened.locator("input[name=until]").fill(
        time.strftime("%Y-%m-%dT%H:%M", time.localtime(time.time() + 200_000))
    )
    opened.locator("textarea").fill("parts" if language == "en" else "等待配件")
    opened.get_by_role("button", name=name).click()
    expect(member.locator(".notice")).to_be_visible()
    supervisor = signed_in(browser, console, "supervisor", language, phone=False)
    supervisor.goto(f"{console.base_url}/console/incidents/{incident.incident_id}")
    supervisor.get_by_role("button", name=translations.translate("approve", language)).click()
    expect(supervisor.get_by_text(translations.translate("request_state_approved", language))).to_be_visible()
    supervisor.screenshot(path=tmp_path / f"approved.{language}.png", full_page=True)
    member.context.close()
    supervisor.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_of_incidents_are_accessible_and_chinese(
    browser: Browser, console: IncidentConsole, tmp_path: Path, scheme: str
) -> None:
    incident = open_incident(console, 8 if scheme == "light" else 9)
    context = browser.new_context(
        locale="zh-CN",
        color_scheme="dark" if scheme == "dark" else "light",
        bypass_csp=True,
        viewport={"width": 1366, "height": 900},
    )
    one = context.new_page()
    sign_in(one, f"{console.base_url}/login#{console.keys['operator']}")
    one.goto(f"{console.base_url}/console/incidents/{incident.incident_id}")
    expect(one.locator("#trace-missing")).to_have_text(missing_results.NOT_TRACED.zh)
    expect(one.locator("#verdict-missing")).to_have_text(missing_results.VERDICT_NOT_COMPUTED.zh)
    (member,) = Incidents(console.store).members([incident.incident_id])
    one.goto(f"{console.base_url}/console/anomalies/{member.anomaly_id}")
    expect(one.locator("#verdict-missing")).to_have_text(missing_results.VERDICT_NOT_COMPUTED.zh)
    store_trace(console.store, incident.incident_id, {"330483-d1-o02": 0.92, "330483-d1-q01": 0.08})
    store_verdict(console.store, member.anomaly_id, member.series_id or 0, 0.03, ["330483-d1-r03"])
    ids = [it.device_id for it in console.store.directory().devices]
    allowed = {
        *["Wang", "Fang", "Li", "Qiang", "English", "main", "analytics", "water", "PostgreSQL"],
        *(w for it in ids for w in it.split("-")),
    }
    for path in ("/", "/console/incidents", "/console/tasks", f"/console/incidents/{incident.incident_id}"):
        one.goto(f"{console.base_url}{path}")
        expect(one.locator("main")).to_be_visible()
        assert serious_findings(one, contrast_only=scheme == "dark") == [], path
        lines = [line for shown in shown_texts(one) for line in shown.splitlines()]
        assert {word for line in lines for word in english_in(line)} - allowed == set(), path
    expect(one.locator("#sources tbody tr")).to_have_count(2)
    expect(one.locator("#sources")).to_contain_text("92%")
    expect(one.locator("#arrivals tbody tr")).to_have_count(1)
    expect(one.locator("#arrivals")).to_contain_text("0.7 mg/L")
    expect(one.locator(".verdict-sensor_fault")).to_have_text("传感器故障")
    wait_for_map(one)
    expect(one.locator(".map-label.source")).to_have_count(2)
    one.screenshot(path=tmp_path / f"incident.{scheme}.png", full_page=True)
    one.goto(f"{console.base_url}/console/anomalies/{member.anomaly_id}")
    expect(one.locator(".verdict-sensor_fault")).to_have_text("传感器故障")
    one.goto(f"{console.base_url}/console/anomalies")
    listed = one.locator(f"#anomaly-{member.anomaly_id}")
    expect(listed.locator(".verdict-sensor_fault")).to_have_text("传感器故障")
    context.close()


def photo_bytes() -> bytes:
    """A JPEG as of a phone."""
    made = io.BytesIO()
    Image.new("RGB", (800, 600), (70, 120, 160)).save(made, "JPEG")
    return made.getvalue()


def _only(incident: Incident) -> IncidentQuery:
    return IncidentQuery(incident_ids=[incident.incident_id])
