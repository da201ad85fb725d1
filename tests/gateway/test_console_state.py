"""Tests the page of the estimated state: measured, expected and estimated apart, now and at a past time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, expect

from analytics.service import missing_results
from tests.support.chinese_texts import english_in
from tests.support.console import LANGUAGES, serve_console
from tests.support.console_pages import serious_findings, shown_texts, sign_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ingest_service.storage.postgres.store import PostgresStore


@pytest.fixture(scope="module")
def login(filled_store: PostgresStore) -> Iterator[str]:
    """The login address of the console on the demo's towns."""
    yield from serve_console(filled_store)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_state_has_every_node_now_and_at_a_past_time(
    browser: Browser, filled_store: PostgresStore, login: str, tmp_path: Path, language: str
) -> None:
    context = browser.new_context(
        locale=LANGUAGES[language], bypass_csp=True, viewport={"width": 1366, "height": 900}
    )
    page = context.new_page()
    sign_in(page, login)
    base_url = login.partition("/login")[0]
    page.goto(f"{base_url}/console/state")
    river = [one for one in filled_store.directory().nodes if one.network == "river"]
    expect(page.locator("#state-map circle")).to_have_count(len(river))
    rows = page.locator("#state-table tbody tr")
    expect(rows).to_have_count(len(river))
    names = rows.locator("th").all_inner_texts()
    assert len(set(names)) == len(names), "nodes of two towns with one name"
    expect(rows.first.locator("td").nth(1)).to_contain_text("±")
    unmeasured = rows.nth(len(river) - 1).locator("td")
    expect(unmeasured.nth(2)).to_have_text("–")
    expect(unmeasured.nth(0)).not_to_have_text("–")
    assert serious_findings(page) == []
    if language == "zh":
        lines = [line for shown in shown_texts(page) for line in shown.splitlines()]
        assert {word for line in lines for word in english_in(line)} - {"English"} == set()
    page.screenshot(path=tmp_path / f"state.{language}.png", full_page=True)
    newest = rows.all_inner_texts()
    past = time.strftime("%Y-%m-%dT%H:%M", time.localtime(time.time() - 6 * 3600))
    page.locator("input[name=at]").fill(past)
    page.locator("main form button").click()
    expect(page.locator("#state-title")).to_contain_text(past[11:])
    assert rows.all_inner_texts() != newest, "one node may have the same value as now, all may not"
    page.goto(f"{base_url}/console/state?at=2001-01-01T00:00")
    reason = missing_results.NO_EXPECTED
    expect(page.locator("#estimates-missing")).to_have_text(reason.zh if language == "zh" else reason.en)
    page.goto(f"{base_url}/console/state?at=2099-01-01T00:00")
    expect(page.locator("#refusal")).to_be_visible()
    page.goto(f"{base_url}/console/state?quantity=traffic_speed")
    page.screenshot(path=tmp_path / f"roads.{language}.png", full_page=True)
    expect(page.locator("#state-map circle").first).to_be_attached()
    context.close()
