"""Tests the forecast on the page of a series: line, band, table and sentence in both languages."""

from __future__ import annotations

import re
import time
from datetime import UTC
from typing import TYPE_CHECKING

import numpy as np
import pytest
from playwright.sync_api import expect

from gateway.console import series_chart, translations
from gateway.console.series_chart import ForecastLine
from ingest_service.storage.contract.models import Series
from ingest_service.storage.memory.store import MemoryStore
from tests.support.console import LANGUAGES, serve_console
from tests.support.console_pages import serious_findings, sign_in
from tests.support.forecast_samples import TOWNS, fill_towns, rows
from tests.support.process_heartbeats import alive

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page, Route


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[str, dict[str, int]]]:
    """The address of a console on two towns, and the ids of their series."""
    store = MemoryStore()
    ids = fill_towns(store)
    with alive(store, every_s=0.2):
        for address in serve_console(store):
            yield address, ids


@pytest.mark.parametrize("page", LANGUAGES, indirect=True)
def test_a_forecast_is_a_dashed_line_a_table_and_a_sentence_or_the_reason_why_there_is_none(
    page: tuple[translations.Language, Page], served: tuple[str, dict[str, int]], tmp_path: Path
) -> None:
    language, one = page
    address, ids = served
    sign_in(one, address)
    base_url = address.partition("/login")[0]
    panel = one.locator(".forecast-panel")
    for quantity, hours in (("dissolved_oxygen", 48), ("traffic_speed", 6)):
        one.goto(f"{base_url}/console/series/{ids[f'{TOWNS[0]} {quantity}']}?hours={hours}")
        expect(one.locator(".plot-svg path.forecast")).to_have_attribute("d", re.compile("^M.*L"))
        expect(one.locator(".plot-svg path.forecast-band")).to_have_attribute("d", re.compile("^M.*Z$"))
        shown = panel.locator("tbody tr")
        assert shown.count() == one.locator(".plot-svg .at.forecast").count() > 0
        last = shown.last.locator("td").nth(2).inner_text()
        expect(one.locator(".plot-svg")).to_have_attribute("aria-label", re.compile(re.escape(last)))
        one.screenshot(path=tmp_path / f"{quantity}.{language}.png")
        _check_language(panel.inner_text(), language)
    for quantity, words in (("conductivity", ("reliably", "并不明显优于")), ("ph", ("48.", "48."))):
        one.goto(f"{base_url}/console/series/{ids[f'{TOWNS[0]} {quantity}']}?hours=168")
        expect(panel).to_contain_text(words[language == "zh"])
        expect(one.locator(".plot-svg path.forecast")).to_have_count(0)
        _check_language(panel.inner_text(), language)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_of_a_forecast_is_accessible(
    browser: Browser, served: tuple[str, dict[str, int]], language: translations.Language
) -> None:
    address, ids = served
    one = browser.new_context(locale=LANGUAGES[language], bypass_csp=True).new_page()  # axe is no file of it
    sign_in(one, address)
    one.goto(
        f"{address.partition('/login')[0]}/console/series/{ids[f'{TOWNS[0]} dissolved_oxygen']}?hours=48"
    )
    expect(one.locator(".forecast-table tbody tr")).not_to_have_count(0)
    assert serious_findings(one) == []
    one.emulate_media(color_scheme="dark")
    assert serious_findings(one, contrast_only=True) == []


def test_a_forecast_that_arrives_after_another_range_was_chosen_changes_nothing(
    page: tuple[translations.Language, Page], served: tuple[str, dict[str, int]]
) -> None:
    """The reload found no chart of its own any more, which was an error in the page's console."""
    _, one = page
    address, ids = served
    sign_in(one, address)
    held: list[Route] = []

    def hold_reload(route: Route) -> None:
        if "hx-request" in route.request.headers:
            held.append(route)
        else:
            route.continue_()

    one.route(re.compile("hours=48"), hold_reload)
    one.goto(
        f"{address.partition('/login')[0]}/console/series/{ids[f'{TOWNS[0]} water_temperature']}?hours=48"
    )
    expect(one.locator(".forecast-panel[hx-get]")).to_have_count(1)
    ends_s = time.monotonic() + 20
    while not held:  # the panel is reloaded while the model is trained
        assert time.monotonic() < ends_s, "the panel is not reloaded"
        one.wait_for_timeout(50)
    one.locator(".ranges a[href$='hours=168']").click()
    chosen = one.locator(".ranges a[aria-current]")
    expect(chosen).to_have_attribute("href", re.compile("hours=168"))
    with one.expect_response(re.compile("hours=48")):
        held[0].continue_()
    one.wait_for_timeout(300)
    expect(chosen).to_have_attribute("href", re.compile("hours=168"))


def _check_language(text: str, language: translations.Language) -> None:
    foreign = "[A-Za-z]" if language == "zh" else "[\u4e00-\u9fff]"
    assert not re.search(foreign, text), text


def test_a_line_is_interrupted_at_times_without_a_value() -> None:
    times_s = 1.79e9 + 900.0 * np.arange(96, dtype=np.float64)
    chart = series_chart.lay_out(
        Series(site_id="s", quantity="ph"),
        rows(1, times_s, np.full(96, 7.0)),
        UTC,
        forecast=ForecastLine(
            times_s[-1] + 3600.0 * np.arange(5),
            *(np.array([7.0, 7.1, np.nan, 7.2, 7.3]) + add for add in (0.0, -0.2, 0.2)),
        ),
    )
    assert chart is not None
    assert chart.forecast_path.count("M") == chart.forecast_band_path.count("M") == 2
    assert [one.name for one in chart.marks].count("forecast") == 3
    assert chart.now is not None
    assert 80 < chart.now < 90


def test_a_forecast_point_without_neighbours_has_a_mark_with_an_error_bar() -> None:
    """Neither the line nor the band of one point has a length: it was a dot without its band."""
    times_s = 1.79e9 + 900.0 * np.arange(96, dtype=np.float64)
    values = np.array([7.0, np.nan, 7.1, np.nan, 7.2, 7.3])
    low, high = values - 0.2, values + 0.3
    low[0] = high[0] = 7.0
    chart = series_chart.lay_out(
        Series(site_id="s", quantity="ph"),
        rows(1, times_s, np.full(96, 7.0)),
        UTC,
        forecast=ForecastLine(times_s[-1] + 3600.0 * np.arange(6), values, low, high),
    )
    assert chart is not None
    bars = re.findall(r"M(\d+) (\d+)L(\d+) (\d+)", chart.forecast_bars)
    assert len(bars) == 1, (
        "the reading that it begins at has no band, and the last two points have neighbours"
    )
    x, top, same_x, bottom = (int(one) for one in bars[0])
    (alone,) = [one for one in chart.marks if one.name == "forecast" and abs(100 * one.x - x) < 1]
    assert x == same_x
    assert top < 100 * alone.y < bottom
