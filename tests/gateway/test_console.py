"""Tests the console in a real browser: a planned fault appears, in English and in Chinese."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING

import httpx
import msgspec
import pytest
from playwright.sync_api import Page, expect

from gateway.console import health_checks, page_parts, translations
from gateway.console.live_updates import MAX_STREAMS
from gateway.console.page_parts import worst_clock_text
from ingest_service.storage.contract.models import Anomaly, AnomalyQuery
from ingest_service.storage.health import process_messages
from ingest_service.storage.health.heartbeat_thread import ProgressRecorder, WorkStatus
from ingest_service.storage.memory.store import MemoryStore
from tests.support.chinese_texts import english_in
from tests.support.console import LANGUAGES, serve_console
from tests.support.console_pages import (
    key_of_area,
    serious_findings,
    shown_texts,
    sign_in,
    status_counts,
    wait_for_map,
)
from tests.support.demo_store import fill_with_demo
from tests.support.gateway_access import ACCOUNTS, KEY
from tests.support.process_heartbeats import alive

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser


SCRIPT = "<img src=x onerror=window.ran=1><script>window.ran=1</script>"
ServedConsole = tuple[str, MemoryStore, dict[str, ProgressRecorder]]
PAGES = (
    "/",
    "/console/anomalies",
    "/console/sites",
    "/console/devices",
    "/console/dead-letters",
    "/console/settings",
)
NODE_POSITION = """() => {
  const {map, features} = document.getElementById("map");
  const node = features.features.find(one => one.properties.kind === "node");
  const box = map.getContainer().getBoundingClientRect(), at = map.project(node.geometry.coordinates);
  return [box.x + at.x, box.y + at.y];
}"""


@pytest.fixture(scope="module")
def served() -> Iterator[ServedConsole]:
    """The gateway on a port, over a store that the test may change."""
    store = MemoryStore()
    fill_with_demo(store, days=2.0)
    known = store.directory()
    nodes = [msgspec.structs.replace(one, en=SCRIPT + one.en, zh=SCRIPT + one.zh) for one in known.nodes]
    store.enrol(msgspec.structs.replace(known, nodes=nodes))
    with alive(store, every_s=0.2) as pulses:
        for address in serve_console(store):
            yield address, store, pulses


@pytest.mark.parametrize("page", LANGUAGES, indirect=True)
def test_a_fault_is_detected_when_it_appears(
    page: tuple[translations.Language, Page], served: ServedConsole, tmp_path: Path
) -> None:
    language, one = page
    address, store, _ = served
    sign_in(one, address)
    expect(one.get_by_role("heading", name=translations.translate("wrong", language))).to_be_visible()
    wait_for_map(one)
    reason = {"en": f"a fault planned in {language}", "zh": f"按{language}计划的故障"}
    expect(one.get_by_text(reason[language])).to_have_count(0)
    series = store.directory().series[0]
    store.record_anomalies(
        [
            Anomaly(
                subject=f"series/{series.series_id}",
                site_id=series.site_id,
                series_id=series.series_id,
                detector="residual",
                version="1",
                start_s=time.time() + len(language) + sum(map(ord, language)),
                peak_s=time.time(),
                score=30,
                severity=3,
                n_readings=3,
                state="open",
                reason_en=reason["en"],
                reason_zh=reason["zh"],
            )
        ]
    )
    expect(one.get_by_text(reason[language])).to_be_visible()
    expect(one.get_by_text(f"◆ {translations.translate('severity_3', language)}").first).to_be_visible()
    one.get_by_text(reason[language]).click()
    expect(one.locator("#plot .shaded")).to_be_visible()
    assert one.url.endswith("/"), "the plot changes, and the map stays"
    one.screenshot(path=tmp_path / f"fault.{language}.png")


def test_anomalies_beyond_those_that_are_listed_are_counted(
    page: tuple[translations.Language, Page], served: ServedConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    language, one = page
    n_open = served[1].count_anomalies(AnomalyQuery(states=["open"]))
    monkeypatch.setattr(page_parts, "MAX_WALL_ROWS", 0)
    sign_in(one, served[0])
    expect(one.get_by_text(translations.translate("more_rows", language).format(n_open))).to_be_visible()


def test_the_language_can_be_switched_and_is_remembered(
    page: tuple[translations.Language, Page], served: ServedConsole
) -> None:
    language, one = page
    other: translations.Language = "zh" if language == "en" else "en"
    sign_in(one, served[0])
    one.get_by_role("link", name=translations.translate("language", language), exact=True).click()
    expect(one.get_by_role("heading", name=translations.translate("wrong", other))).to_be_visible()
    one.reload()
    expect(one.get_by_role("heading", name=translations.translate("wrong", other))).to_be_visible()


def test_the_choice_of_a_language_leads_to_no_other_site(served: ServedConsole) -> None:
    base_url = served[0].partition("/login")[0]
    for back in ("https://elsewhere.example/", "//elsewhere.example/", "/\\elsewhere.example"):
        answer = httpx.get(f"{base_url}/console/language/zh", params={"back": back})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_the_documentation_is_drawn_without_the_internet(
    page: tuple[translations.Language, Page], served: ServedConsole
) -> None:
    _, one = page
    base_url = served[0].partition("/login")[0]
    requested_urls: list[str] = []
    one.on("request", lambda request: requested_urls.append(request.url))
    one.goto(f"{base_url}/docs")
    expect(one.get_by_text("/v1/anomalies", exact=True).first).to_be_visible(timeout=30_000)
    assert [url for url in requested_urls if not url.startswith((base_url, "data:"))] == []
    assert one.locator("html").get_attribute("lang") == "en"


@pytest.mark.parametrize("page", LANGUAGES, indirect=True)
def test_the_strip_shows_every_process_and_what_keeps_readings_out(
    page: tuple[translations.Language, Page], served: ServedConsole, tmp_path: Path
) -> None:
    language, one = page
    address, _, pulses = served

    def translated(sentence: process_messages.BilingualText) -> str:
        return sentence.zh if language == "zh" else sentence.en

    sign_in(one, address)
    expect(one.get_by_text(f"✓ {translations.translate('kept', language)}")).to_be_visible()
    for kind in (process_messages.KIND_LABELS[one] for one in pulses):
        expect(one.get_by_text(f"● {translated(kind)}").first).to_be_visible()
    wait_for_map(one)
    assert status_counts(one)["ok"] > 0
    pulses["ingest"].read_work_status = lambda: WorkStatus("broker")
    try:
        expect(one.get_by_text(f"✕ {translations.translate('not_kept', language)}")).to_be_visible()
        expect(one.get_by_text(f"■ {translated(process_messages.KIND_LABELS['ingest'])}")).to_be_visible()
        expect(one.get_by_text(translated(process_messages.REASON_TEXTS["broker"]))).to_be_visible()
        broker = f"{translated(health_checks.BROKER_LABEL)} {translated(health_checks.NOT_CONNECTED_TEXT)}"
        expect(one.get_by_text(f"■ {broker}")).to_be_visible()
        devices = f"{translated(health_checks.DEVICES_LABEL)} {translated(health_checks.UNKNOWN_TEXT)}"
        expect(one.get_by_text(f"○ {devices}")).to_be_visible()
        deadline = time.monotonic() + 20
        while status_counts(one).get("ok", 0):
            assert time.monotonic() < deadline
            one.wait_for_timeout(100)
        one.screenshot(path=tmp_path / f"stuck.{language}.png")
    finally:
        pulses["ingest"].read_work_status = WorkStatus
    expect(one.get_by_text(f"✓ {translations.translate('kept', language)}")).to_be_visible()


@pytest.mark.parametrize(
    ("clocks", "shown"),
    [
        ({"d1": -0.3, "d2": 0.1}, "0 s"),
        ({"d1": 0.0}, "0 s"),
        ({"d1": -0.6}, "-1 s"),
        ({"d1": 4000.2, "d2": -3.0}, "+4,000 s d1"),
    ],
)
def test_the_worst_clock_is_never_minus_nothing(clocks: dict[str, float], shown: str) -> None:
    assert worst_clock_text(clocks, "en") == shown


def test_every_word_is_there_in_both_languages() -> None:
    assert [key for key, pair in translations.TRANSLATIONS.items() if len(pair) != 2 or not all(pair)] == []


def test_a_chinese_visitor_is_shown_no_english(
    browser: Browser, served: ServedConsole, tmp_path: Path
) -> None:
    address, store, _ = served
    base_url = address.partition("/login")[0]
    context = browser.new_context(
        locale="zh-CN", viewport={"width": 1920, "height": 1080}, color_scheme="dark"
    )
    one = context.new_page()
    sign_in(one, address)
    wait_for_map(one)
    names = [one.device_id for one in store.directory().devices] + [
        "main",
        "analytics",
        store.health().edition,
    ]
    names += ["English", *(key.name for key in ACCOUNTS.keys_by_id.values())]
    allowed = {word for name in names for word in re.findall(r"[A-Za-z]+", name)}
    for path in (*PAGES, f"/console/sites/{store.directory().sites[0].site_id}"):
        one.goto(f"{base_url}{path}")
        expect(one.locator("main")).to_be_visible()
        one.screenshot(path=tmp_path / f"zh{path.replace('/', '_')}.png")
        lines = [line for text in shown_texts(one) for line in text.splitlines()]
        assert {word for line in lines for word in english_in(line)} - allowed == set(), path
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_serious_finding_of_axe(browser: Browser, served: ServedConsole, scheme: str) -> None:
    address, store, _ = served
    base_url = address.partition("/login")[0]
    context = browser.new_context(
        locale="en-US",
        viewport={"width": 1366, "height": 900},
        color_scheme="dark" if scheme == "dark" else "light",
        bypass_csp=True,  # axe is no file of the console
    )
    one = context.new_page()
    sign_in(one, address)
    wait_for_map(one)
    known = store.directory()
    found = {}
    for path in (
        *PAGES,
        f"/console/sites/{known.sites[0].site_id}",
        f"/console/series/{known.series[0].series_id}",
        f"/console/anomalies/{store.anomalies(AnomalyQuery(limit=1))[0].anomaly_id}",
    ):
        one.goto(f"{base_url}{path}")
        expect(one.locator("main")).to_be_visible()
        found[path] = serious_findings(one, contrast_only=scheme == "dark")
    assert {path: findings for path, findings in found.items() if findings} == {}
    context.close()


def test_the_wall_can_be_used_by_keyboard(browser: Browser, served: ServedConsole) -> None:
    one = browser.new_page()
    sign_in(one, served[0])
    one.keyboard.press("Tab")
    assert one.evaluate("document.activeElement.className") == "skip"
    wait_for_map(one)  # without the scripts the link leads to the page of the anomaly
    one.locator(".row > a").first.focus()
    one.keyboard.press("Enter")
    expect(one.locator("#plot .shaded")).to_be_visible()
    assert one.evaluate("document.activeElement.closest('.row') !== null"), "the focus stays in the list"


def test_a_click_before_any_script_has_run_is_not_lost(browser: Browser, served: ServedConsole) -> None:
    """A page without scripts stands for one whose scripts are not there yet."""
    base_url = served[0].partition("/login")[0]
    cookies = httpx.post(f"{base_url}/login", json={"key": KEY}).cookies
    context = browser.new_context(locale="en-US", java_script_enabled=False)
    context.add_cookies([{"name": name, "value": value, "url": base_url} for name, value in cookies.items()])
    one = context.new_page()
    one.goto(f"{base_url}/")
    one.locator(".row > a").first.click()
    expect(one.locator(".plot-svg .shaded")).to_be_visible()
    one.get_by_role("link", name="24 h", exact=True).click()
    expect(one.locator(".ranges [aria-current]")).to_have_text("24 h")
    context.close()


def test_a_script_in_a_name_does_not_run_when_the_map_is_pointed_at(
    page: tuple[translations.Language, Page], served: ServedConsole
) -> None:
    _, one = page
    sign_in(one, served[0])
    wait_for_map(one)
    assert SCRIPT in json.dumps(one.evaluate("document.getElementById('map').features")).replace('\\"', '"')
    popup = one.locator(".maplibregl-popup-content").filter(has_text="<img")
    deadline = time.monotonic() + 30
    while popup.count() == 0:  # a map that is still being drawn has nothing under the pointer
        assert time.monotonic() < deadline
        at = one.evaluate(NODE_POSITION)
        one.mouse.move(at[0] - 5, at[1])
        one.mouse.move(at[0], at[1])
        one.wait_for_timeout(100)
    assert one.evaluate("window.ran") is None
    assert one.locator("img[src=x]").count() == 0


def test_markup_that_gets_into_a_page_does_not_run_either(browser: Browser, served: ServedConsole) -> None:
    """The policy stands where an escape is forgotten."""
    one = browser.new_page()
    sign_in(one, served[0])
    one.evaluate("html => document.body.insertAdjacentHTML('beforeend', html)", SCRIPT)
    one.evaluate(
        "() => { const one = document.createElement('script');"
        " one.textContent = 'window.ran=1'; document.body.append(one); }"
    )
    handler = "<b hx-on:click='window.ran=1'>x</b>"
    one.evaluate("html => htmx.process(Object.assign(document.body, {innerHTML: html}))", handler)
    one.locator("b").click()
    one.wait_for_timeout(200)
    assert one.evaluate("window.ran") is None


def test_pages_have_nothing_inline_and_no_eval(served: ServedConsole) -> None:
    base_url = served[0].partition("/login")[0]
    for path in PAGES:
        answer = httpx.get(f"{base_url}{path}", headers={"X-API-Key": KEY})
        assert answer.status_code == 200, path
        assert "unsafe" not in answer.headers["content-security-policy"], path
        assert answer.headers["cache-control"] == "private, no-store"
        scripts = re.findall("<script[^>]*>", answer.text)
        assert scripts
        assert all("src=" in one or 'type="application/json"' in one for one in scripts), path
        assert not re.search(r'\sstyle="|\son[a-z]+="|<style', answer.text), path


def test_files_are_the_same_for_everybody_and_kept_by_browsers(served: ServedConsole) -> None:
    base_url = served[0].partition("/login")[0]
    text = httpx.get(f"{base_url}/", headers={"X-API-Key": KEY}).text
    addresses = re.findall(r'(?:src|href)="(/console/static/[^"]+)"', text)
    assert len(addresses) > 4
    for address in addresses:
        answer = httpx.get(f"{base_url}{address}")
        assert (answer.status_code, answer.headers["content-encoding"]) == (200, "gzip")
        assert "immutable" in answer.headers["cache-control"]
    assert httpx.get(f"{base_url}/console/static/000000000000/console.css").status_code == 404


def test_a_page_ends_when_its_key_is_revoked(browser: Browser, served: ServedConsole) -> None:
    base_url, key = served[0].partition("/login")[0], key_of_area("330483")
    one = browser.new_page()
    sign_in(one, f"{base_url}/login#{key}")
    ACCOUNTS.revoke(key.split("_")[1], by="tests")
    one.wait_for_url(f"{base_url}/login")


def test_a_link_from_elsewhere_leads_to_its_page_by_the_session(
    browser: Browser, served: ServedConsole
) -> None:
    """A link in a messenger comes without the cookie (SameSite): the login page finds the session."""
    base_url = served[0].partition("/login")[0]
    context = browser.new_context()
    one = context.new_page()
    sign_in(one, served[0])
    one.goto(f"{base_url}/login?next=/console/devices")
    one.wait_for_url(f"{base_url}/console/devices")
    one.goto(f"{base_url}/login?next=//elsewhere.example/")
    one.wait_for_url(f"{base_url}/")
    context.close()


def test_a_form_of_another_site_changes_nothing(served: ServedConsole) -> None:
    base_url = served[0].partition("/login")[0]
    cookies = httpx.post(f"{base_url}/login", json={"key": KEY}).cookies
    brought = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
    form = {"letter_id": "1"}
    for origin in ("https://elsewhere.example", "null", None):
        headers = brought if origin is None else {**brought, "Origin": origin}
        answer = httpx.post(f"{base_url}/console/dead-letters/replay", data=form, headers=headers)
        assert answer.status_code == 403, origin
    own = {**brought, "Origin": base_url}
    assert httpx.post(f"{base_url}/console/dead-letters/replay", data=form, headers=own).status_code == 303
    keys = httpx.post(f"{base_url}/v1/keys", json={"name": "n", "role": "viewer"}, headers=own)
    assert keys.status_code == 401, "the API takes no changes by cookie"


def test_a_stream_is_for_those_who_may_see_and_their_number_is_bounded(served: ServedConsole) -> None:
    base_url, key = served[0].partition("/login")[0], key_of_area("330483")
    address = f"{base_url}/console/live?part=now:000000000000"
    assert httpx.get(address).status_code == 401
    assert (
        httpx.get(f"{base_url}/console/live?part=other:000000000000", headers={"X-API-Key": key}).status_code
        == 422
    )
    with httpx.Client(headers={"X-API-Key": key}, limits=httpx.Limits(max_connections=100)) as client:
        opened = [client.send(client.build_request("GET", address), stream=True) for _ in range(MAX_STREAMS)]
        assert {one.status_code for one in opened} == {200}
        assert client.get(address).status_code == 429
        for one in opened:
            one.close()
        deadline = time.monotonic() + 20
        while (answer := client.send(client.build_request("GET", address), stream=True)).status_code == 429:
            answer.close()
            assert time.monotonic() < deadline, "closed streams are counted no more"
            time.sleep(0.1)
        answer.close()


def test_a_page_of_an_area_shows_no_other(browser: Browser, served: ServedConsole) -> None:
    base_url, key = served[0].partition("/login")[0], key_of_area("330402")
    index = served[1].directory()
    foreign = next(one for one in index.sites if one.area_id.startswith("330483"))
    own = next(one for one in index.sites if one.area_id.startswith("330402"))
    headers = {"X-API-Key": key}
    assert httpx.get(f"{base_url}/console/sites/{own.site_id}", headers=headers).status_code == 200
    assert httpx.get(f"{base_url}/console/sites/{foreign.site_id}", headers=headers).status_code == 404
    sites = {
        one["properties"].get("site")
        for one in httpx.get(f"{base_url}/console/map.json", headers=headers).json()["features"]
    }
    assert own.site_id in sites
    assert foreign.site_id not in sites
    one = browser.new_page()
    sign_in(one, f"{base_url}/login#{key}")
    wait_for_map(one)
    assert foreign.site_id not in one.content()
