"""The console in a real browser: a planned fault is seen to appear, in English and in Chinese."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
import uvicorn
from playwright.sync_api import Page, expect, sync_playwright

from deploy.embedded.folder import free_port
from gateway.console import words
from gateway.console.page import worst_clock
from ingest_service.storage import process_words
from ingest_service.storage.beating import Look, Pulse
from ingest_service.storage.memory import MemoryStore
from ingest_service.storage.model import Anomaly
from tests.support.access import KEY, opened
from tests.support.alive import alive
from tests.support.filled import fill

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Served = tuple[str, MemoryStore, dict[str, Pulse]]
LANGUAGES = {"en": "en-US", "zh": "zh-CN"}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """The gateway on a port, over a store that the test may change."""
    store = MemoryStore()
    fill(store, days=2.0)
    with alive(store, every_s=0.2) as pulses:
        yield from _served(store, pulses)


def _served(store: MemoryStore, pulses: dict[str, Pulse]) -> Iterator[Served]:
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(opened(store, console=True), port=port, log_config=None, ws="websockets-sansio")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}/login#{KEY}", store, pulses
    server.should_exit = True
    thread.join(10)


@pytest.fixture(params=LANGUAGES)
def page(request: pytest.FixtureRequest, chromium: Path) -> Iterator[tuple[words.Language, Page]]:
    """A page in a headless Chromium; anything on its error console fails the test."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        one = browser.new_context(
            locale=LANGUAGES[request.param], viewport={"width": 1366, "height": 768}
        ).new_page()
        errors: list[str] = []
        one.on("pageerror", lambda error: errors.append(str(error)))
        one.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        yield request.param, one
        browser.close()
        assert errors == []


def test_a_fault_is_seen_to_appear(page: tuple[words.Language, Page], served: Served) -> None:
    language, one = page
    address, store, _ = served
    one.goto(address)
    expect(one.get_by_text(words.word("wrong", language))).to_be_visible()
    expect(one.locator("canvas").first).to_be_visible()
    reason = {"en": f"a fault planned in {language}", "zh": f"按{language}计划的故障"}
    expect(one.get_by_text(reason[language])).to_have_count(0)
    series = store.directory().series[0]
    store.record(
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
    expect(one.get_by_text(reason[language])).to_be_visible(timeout=10_000)
    expect(one.get_by_text(f"◆ {words.word('severity_3', language)}").first).to_be_visible()
    one.get_by_text(reason[language]).click()


def test_the_language_can_be_switched_and_is_remembered(
    page: tuple[words.Language, Page], served: Served
) -> None:
    language, one = page
    other: words.Language = "zh" if language == "en" else "en"
    one.goto(served[0])
    one.get_by_role("button", name=words.word("language", language)).click()
    expect(one.get_by_text(words.word("wrong", other))).to_be_visible(timeout=10_000)
    one.reload()
    expect(one.get_by_text(words.word("wrong", other))).to_be_visible(timeout=10_000)


def test_the_documentation_is_drawn_without_the_internet(
    page: tuple[words.Language, Page], served: Served
) -> None:
    _, one = page
    here = served[0].partition("/login")[0]
    asked: list[str] = []
    one.on("request", lambda request: asked.append(request.url))
    one.goto(f"{here}/docs")
    expect(one.get_by_text("/v1/anomalies", exact=True).first).to_be_visible(timeout=10_000)
    assert [url for url in asked if not url.startswith((here, "data:"))] == []


def test_the_strip_shows_every_process_and_what_keeps_readings_out(
    page: tuple[words.Language, Page], served: Served, tmp_path: Path
) -> None:
    language, one = page
    address, _, pulses = served

    def said(sentence: process_words.Sentence) -> str:
        return sentence.zh if language == "zh" else sentence.en

    one.goto(address)
    expect(one.get_by_text(f"✓ {words.word('kept', language)}")).to_be_visible(timeout=10_000)
    for kind in process_words.KINDS.values():
        expect(one.get_by_text(f"● {said(kind)}").first).to_be_visible()
    one.screenshot(path=tmp_path / f"alive.{language}.png")
    pulses["ingest"].look = lambda: Look("broker")
    try:
        expect(one.get_by_text(f"✕ {words.word('not_kept', language)}")).to_be_visible(timeout=10_000)
        expect(one.get_by_text(f"■ {said(process_words.KINDS['ingest'])}")).to_be_visible()
        expect(one.get_by_text(said(process_words.WHY["broker"]))).to_be_visible()
        one.screenshot(path=tmp_path / f"stuck.{language}.png")
    finally:
        pulses["ingest"].look = Look
    expect(one.get_by_text(f"✓ {words.word('kept', language)}")).to_be_visible(timeout=10_000)


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
    assert worst_clock(clocks, "en") == shown


def test_every_word_is_there_in_both_languages() -> None:
    assert [key for key, pair in words.WORDS.items() if len(pair) != 2 or not all(pair)] == []
