"""Tests the console in a real browser: a planned fault appears, in English and in Chinese."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
from playwright.sync_api import Page, expect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from gateway.console import health_checks, translations
from gateway.console import page as console_page
from gateway.console.open_pages import MAX_UNJOINED_PAGES
from gateway.console.page import worst_clock_text
from ingest_service.storage.contract.models import Anomaly, AnomalyQuery
from ingest_service.storage.health import process_messages
from ingest_service.storage.health.heartbeat_thread import ProgressRecorder, WorkStatus
from ingest_service.storage.memory.store import MemoryStore
from tests.support.chinese_texts import english_in
from tests.support.console import serve_console
from tests.support.console_socket import ConsoleSocket, key_of_area, load_page
from tests.support.demo_store import fill_with_demo
from tests.support.gateway_access import ACCOUNTS, KEY
from tests.support.process_heartbeats import alive

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser


SCRIPT = "<img src=x onerror=window.ran=1><script>window.ran=1</script>"
ServedConsole = tuple[str, MemoryStore, dict[str, ProgressRecorder]]


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


def test_a_fault_is_detected_when_it_appears(
    page: tuple[translations.Language, Page], served: ServedConsole
) -> None:
    language, one = page
    address, store, _ = served
    one.goto(address)
    expect(one.get_by_text(translations.translate("wrong", language), exact=True)).to_be_visible()
    expect(one.locator("canvas").first).to_be_visible()
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
    expect(one.get_by_text(reason[language])).to_be_visible(timeout=30_000)
    expect(one.get_by_text(f"◆ {translations.translate('severity_3', language)}").first).to_be_visible()
    one.get_by_text(reason[language]).click()


def test_anomalies_beyond_those_that_are_listed_are_counted(
    page: tuple[translations.Language, Page], served: ServedConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    language, one = page
    n_open = served[1].count_anomalies(AnomalyQuery(states=["open"]))
    monkeypatch.setattr(console_page, "MAX_LISTED_ANOMALIES", 0)
    one.goto(served[0])
    text = translations.translate("unlisted", language).format(n_open)
    expect(one.get_by_text(text)).to_be_visible(timeout=30_000)


def test_the_language_can_be_switched_and_is_remembered(
    page: tuple[translations.Language, Page], served: ServedConsole
) -> None:
    language, one = page
    other: translations.Language = "zh" if language == "en" else "en"
    one.goto(served[0])
    one.get_by_role("button", name=translations.translate("language", language)).click()
    expect(one.get_by_text(translations.translate("wrong", other), exact=True)).to_be_visible(timeout=30_000)
    one.reload()
    expect(one.get_by_text(translations.translate("wrong", other), exact=True)).to_be_visible(timeout=30_000)


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


def test_the_strip_shows_every_process_and_what_keeps_readings_out(
    page: tuple[translations.Language, Page], served: ServedConsole, tmp_path: Path
) -> None:
    language, one = page
    address, _, pulses = served

    def translated(sentence: process_messages.BilingualText) -> str:
        return sentence.zh if language == "zh" else sentence.en

    one.goto(address)
    expect(one.get_by_text(f"✓ {translations.translate('kept', language)}")).to_be_visible(timeout=30_000)
    for kind in process_messages.KIND_LABELS.values():
        expect(one.get_by_text(f"● {translated(kind)}").first).to_be_visible()
    one.screenshot(path=tmp_path / f"alive.{language}.png")
    good = json.dumps(translations.translate("status_ok", language))
    one.wait_for_function(f"({POINTS})({good}) > 0", timeout=30_000)
    pulses["ingest"].read_work_status = lambda: WorkStatus("broker")
    try:
        expect(one.get_by_text(f"✕ {translations.translate('not_kept', language)}")).to_be_visible(
            timeout=30_000
        )
        expect(one.get_by_text(f"■ {translated(process_messages.KIND_LABELS['ingest'])}")).to_be_visible()
        expect(one.get_by_text(translated(process_messages.REASON_TEXTS["broker"]))).to_be_visible()
        expect(
            one.get_by_text(
                f"■ {translated(health_checks.BROKER_LABEL)} {translated(health_checks.NOT_CONNECTED_TEXT)}"
            )
        ).to_be_visible()
        expect(
            one.get_by_text(
                f"○ {translated(health_checks.DEVICES_LABEL)} {translated(health_checks.UNKNOWN_TEXT)}"
            )
        ).to_be_visible()
        one.wait_for_function(f"({POINTS})({good}) === 0", timeout=30_000)
        one.screenshot(path=tmp_path / f"stuck.{language}.png")
    finally:
        pulses["ingest"].read_work_status = WorkStatus
    expect(one.get_by_text(f"✓ {translations.translate('kept', language)}")).to_be_visible(timeout=30_000)


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


# How many points of the map have a status.
POINTS = """name => {
  let found = 0;
  document.querySelectorAll("[id]").forEach(one => {
    const chart = window.getElement?.(Number(one.id.slice(1)))?.chart;
    const shown = (chart?.getOption().series ?? []).filter(one => one.name === name);
    shown.forEach(one => found += one.data.length);
  });
  return found;
}"""
SHOWN = """() => {
  const found = [document.body.innerText];
  document.querySelectorAll("[title], [alt], [placeholder], [aria-label]").forEach(one =>
    ["title", "alt", "placeholder", "aria-label"].forEach(name => found.push(one.getAttribute(name) ?? "")));
  document.querySelectorAll("[id]").forEach(one => {
    const chart = window.getElement?.(Number(one.id.slice(1)))?.chart;
    if (chart) found.push(...(chart.getOption().series ?? []).map(series => series.name ?? ""));
  });
  const table = Quasar.lang.props.table;
  found.push(Quasar.lang.props.isoName === "zh-CN" ? "" : "language", table.noData, table.loading);
  return found;
}"""


def test_a_chinese_visitor_is_shown_no_english(
    browser: Browser, served: ServedConsole, tmp_path: Path
) -> None:
    address, store, _ = served
    context = browser.new_context(locale="zh-CN", viewport={"width": 1366, "height": 900})
    one = context.new_page()
    one.goto(address)
    expect(one.locator("canvas").nth(1)).to_be_visible(timeout=10_000)
    expect(one.get_by_text(translations.translate("kept", "zh"))).to_be_visible(timeout=10_000)
    one.wait_for_timeout(300)
    one.screenshot(path=tmp_path / "console.png")
    names = [one.device_id for one in store.directory().devices] + [
        "main",
        "analytics",
        store.health().edition,
    ]
    allowed = {word for name in [*names, "English", "ENGLISH"] for word in re.findall(r"[A-Za-z]+", name)}
    found = {word for text in one.evaluate(SHOWN) for line in text.splitlines() for word in english_in(line)}
    assert found - allowed == set()
    context.close()


SHOW_ALL_TIPS_SCRIPT = """() => {
  const shown = [];
  document.querySelectorAll("[id]").forEach(one => {
    const chart = window.getElement?.(Number(one.id.slice(1)))?.chart;
    if (!chart) return;
    chart.getOption().series.forEach((series, seriesIndex) => (series.data ?? []).forEach((_, dataIndex) => {
      chart.dispatchAction({type: "showTip", seriesIndex, dataIndex});
      shown.push([seriesIndex, dataIndex]);
    }));
  });
  return shown.length;
}"""


def test_a_script_in_a_name_does_not_run_when_the_map_is_pointed_at(
    page: tuple[translations.Language, Page], served: ServedConsole
) -> None:
    _, one = page
    one.goto(served[0])
    expect(one.locator("canvas").first).to_be_visible()
    one.wait_for_function(f"({SHOW_ALL_TIPS_SCRIPT})() > 10", timeout=30_000)
    one.wait_for_timeout(300)
    assert one.evaluate("window.ran") is None
    assert one.locator("img[src=x]").count() == 0


def test_markup_that_gets_into_a_page_does_not_run_either(browser: Browser, served: ServedConsole) -> None:
    """The policy stands where an escape is forgotten."""
    one = browser.new_page()
    one.goto(served[0])
    expect(one.locator("canvas").first).to_be_visible()
    one.evaluate("html => document.body.insertAdjacentHTML('beforeend', html)", SCRIPT)
    one.evaluate(
        "() => { const one = document.createElement('script');"
        " one.textContent = 'window.ran=1'; document.body.append(one); }"
    )
    one.wait_for_timeout(300)
    assert one.evaluate("window.ran") is None


def test_no_script_of_a_page_is_inline_without_its_nonce(served: ServedConsole) -> None:
    base_url = served[0].partition("/login")[0]
    answer = httpx.get(f"{base_url}/", headers={"X-API-Key": KEY})
    policy = answer.headers["content-security-policy"]
    nonce = policy.partition("'nonce-")[2].partition("'")[0]
    assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]
    scripts = re.findall("<script[^>]*>", answer.text)
    assert scripts
    assert all(f'nonce="{nonce}"' in one for one in scripts)
    assert (
        nonce not in httpx.get(f"{base_url}/", headers={"X-API-Key": KEY}).headers["content-security-policy"]
    )
    assert (
        "unsafe"
        not in httpx.get(f"{base_url}/docs")
        .headers["content-security-policy"]
        .partition("script-src")[2]
        .partition(";")[0]
    )


def test_a_page_is_joined_by_its_own_key_alone(served: ServedConsole) -> None:
    base_url = served[0].partition("/login")[0]
    own, other = key_of_area("330483"), key_of_area("330402")
    client_id = load_page(base_url, own)
    for implicit in (True, False):
        foreign_socket = ConsoleSocket(base_url, client_id, other, implicit=implicit)
        assert foreign_socket.received[-1].startswith("44"), "refused"
        foreign_socket.close()
    other_socket = ConsoleSocket(base_url, load_page(base_url, other), other, implicit=True)
    handshake: dict[str, Any] = {"client_id": client_id, "tab_id": "tab", "document_id": "d"}
    other_socket.send("420" + json.dumps(["handshake", handshake]))
    assert other_socket.until("430")
    assert json.loads(other_socket.received[-1][3:]) == [False]
    other_socket.close()
    own_socket = ConsoleSocket(base_url, client_id, own, implicit=True)
    assert own_socket.received[-1].startswith("40{")
    assert own_socket.until("42"), "its owner gets what the page shows"
    own_socket.close()


def test_a_page_ends_when_its_key_is_revoked(browser: Browser, served: ServedConsole) -> None:
    base_url, key = served[0].partition("/login")[0], key_of_area("330483")
    one = browser.new_page()
    one.goto(f"{base_url}/login#{key}")
    expect(one.locator("canvas").first).to_be_visible()
    ACCOUNTS.revoke(key.split("_")[1], by="tests")
    one.wait_for_url(f"{base_url}/login", timeout=15_000)


def test_sockets_are_for_pages_of_ours_and_answer_no_other_origin(served: ServedConsole) -> None:
    base_url = served[0].partition("/login")[0]
    cookies = httpx.post(f"{base_url}/login", json={"key": KEY}).cookies
    brought = "; ".join(f"{name}={value}" for name, value in cookies.items())
    headers = {"Cookie": brought, "Origin": "https://elsewhere.example"}
    polled = httpx.get(f"{base_url}/_nicegui_ws/socket.io/?EIO=4&transport=polling", headers=headers)
    assert (polled.status_code, "access-control-allow-origin" in polled.headers) == (400, False)
    address = f"{base_url.replace('http', 'ws')}/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
    with pytest.raises(InvalidStatus), connect(address, additional_headers=headers):
        pass


def test_malformed_socket_events_are_dropped_and_leave_no_line(
    served: ServedConsole, caplog: pytest.LogCaptureFixture
) -> None:
    base_url = served[0].partition("/login")[0]
    key = key_of_area("330483")
    client_id = load_page(base_url, key)
    one = ConsoleSocket(base_url, client_id, key, implicit=True)
    for translated in (
        '["event"]',
        '["event", null]',
        f'["event", {{"client_id": "{client_id}"}}]',
        f'["event", {{"client_id": "{client_id}", "id": [], "args": 7}}]',
        f'["javascript_response", {{"client_id": "{client_id}"}}]',
        f'["log", {{"client_id": "{client_id}", "level": "error", "message": "\u001b[31m forged"}}]',
        "not json",
    ):
        for _ in range(20):
            try:
                one.send("42" + translated)
            except ConnectionClosed:
                one = ConsoleSocket(base_url, load_page(base_url, key), key, implicit=True)
    time.sleep(0.5)
    one.close()
    assert len(caplog.records) < 10, [record.getMessage() for record in caplog.records]
    assert httpx.get(f"{base_url}/v1/me", headers={"X-API-Key": key}).status_code == 200


def test_hidden_pages_beyond_a_few_are_closed(served: ServedConsole) -> None:
    from nicegui import Client  # noqa: PLC0415 - not before the gateway has set it up

    base_url, key = served[0].partition("/login")[0], key_of_area("330483")
    made = [load_page(base_url, key) for _ in range(MAX_UNJOINED_PAGES + 5)]
    assert [one in Client.instances for one in made] == [False] * 5 + [True] * MAX_UNJOINED_PAGES
    before = len(Client.instances)
    for _ in range(5):
        assert httpx.get(f"{base_url}/_nicegui/nothing", headers={"X-API-Key": key}).status_code == 404
    assert len(Client.instances) <= before  # those of other tests may have ended meanwhile
