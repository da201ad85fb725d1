"""Tests the console's quantities, time ranges, links, first readings, dead letters and phone layout."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from analytics.core.flags import Rule
from gateway.console import translations
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import (
    READING,
    AnomalyQuery,
    Channel,
    DeadLetter,
    Device,
    Directory,
    Node,
    Series,
    Site,
)
from ingest_service.storage.memory.store import MemoryStore
from tests.support.console import LANGUAGES, serve_console
from tests.support.demo_store import fill_with_demo
from tests.support.process_heartbeats import alive

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from playwright.sync_api import Browser

ServedConsole = tuple[str, MemoryStore]
NEW = "new-site"
SENT_S = time.time() - 30
OPTIONS = """mark => {
  const found = [];
  document.querySelectorAll("[id]").forEach(one => {
    const chart = window.getElement?.(Number(one.id.slice(1)))?.chart;
    if (chart) found.push(chart.getOption());
  });
  return found;
}"""


@pytest.fixture(scope="module")
def served() -> Iterator[ServedConsole]:
    """The demo towns, a new site with one single reading, and one dead letter."""
    store = MemoryStore()
    fill_with_demo(store, days=2.0)
    known = store.directory()
    area = known.areas[-1].area_id
    store.enrol(
        Directory(
            areas=[],
            sites=[
                Site(
                    site_id=NEW,
                    area_id=area,
                    kind="river_section",
                    en="New weir",
                    zh="新堰",
                    lon=120.6,
                    lat=30.7,
                )
            ],
            devices=[Device(device_id="new-device", area_id=area)],
            series=[Series(site_id=NEW, quantity="water_level", interval_s=300)],
            channels=[
                Channel(device_id="new-device", name="water_level", site_id=NEW, quantity="water_level")
            ],
            nodes=[
                Node(
                    node_id="new",
                    network="river",
                    area_id=area,
                    kind="section",
                    en="New weir",
                    zh="新堰",
                    lon=120.6,
                    lat=30.7,
                    site_id=NEW,
                )
            ],
            links=[],
        )
    )
    letter = DeadLetter(
        received_s=time.time(),
        topic="towntwin/v1/330483-d1/wz-99/data",
        payload=b"[]",
        reason="channel",
        detail="channel 'water_levle' of device wz-99 is not enrolled",
    )
    _commit(store, _first(_series(store, NEW)), [letter])
    with alive(store, every_s=0.2):
        for address in serve_console(store):
            yield address, store


def _series(store: MemoryStore, site: str) -> int:
    return next(one.series_id for one in store.directory().series if one.site_id == site)


def _first(series_id: int) -> NDArray[np.void]:
    row = np.zeros(1, READING)
    row["series_id"], row["value"], row["quality"], row["rules"] = series_id, 2.5, 2, int(Rule.WARM_UP)
    row["time_us"] = row["received_us"] = round(SENT_S * 1e6)
    row["expected"] = row["spread"] = np.nan
    return row


def _commit(store: MemoryStore, rows: NDArray[np.void], dead_letters: Sequence[DeadLetter]) -> None:
    with store.shard("console tests") as lease:
        assert lease is not None
        store.commit(Batch(fresh=rows, dead_letters=list(dead_letters), epoch=lease.epoch))


def _charts(one: Page) -> tuple[dict[str, Any], dict[str, Any]]:
    """The map and the plot, as the browser has them."""
    found = one.evaluate(OPTIONS)
    return found[0], found[1]


def _until_plot(one: Page, words_: str, click: Locator | None = None) -> dict[str, Any]:
    """Wait for the plot of a title; click again at times: a page loses clicks until it is connected."""
    deadline, click_due = time.monotonic() + 90, 0.0
    while True:
        if click is not None and time.monotonic() >= click_due:
            click.click()
            click_due = time.monotonic() + 10
        charts = one.evaluate(OPTIONS)
        title = charts[1]["title"][0]["text"] if len(charts) > 1 and charts[1].get("title") else ""
        if words_ in title:
            plot: dict[str, Any] = charts[1]
            return plot
        assert time.monotonic() < deadline, title
        one.wait_for_timeout(100)


def test_the_dead_letters_can_be_opened(
    page: tuple[translations.Language, Page], served: ServedConsole, tmp_path: Path
) -> None:
    language, one = page
    one.goto(served[0])
    one.get_by_text(translations.translate("dead_letters", language), exact=True).click(timeout=60_000)
    expect(one.get_by_text(translations.translate("newest_letters", language))).to_be_visible(timeout=60_000)
    expect(one.get_by_text("wz-99", exact=True).first).to_be_visible()
    expect(
        one.get_by_text(translations.translate("reason_channel", language), exact=True).first
    ).to_be_visible()
    expect(one.get_by_text("water_levle").first).to_be_visible()
    one.wait_for_timeout(400)
    one.screenshot(path=tmp_path / f"letters.{language}.png")


def test_the_first_reading_of_a_new_series_is_drawn_and_its_site_is_warming_up(
    page: tuple[translations.Language, Page], served: ServedConsole, tmp_path: Path
) -> None:
    language, one = page
    address, store = served
    one.goto(address)
    expect(one.locator("canvas").first).to_be_visible(timeout=60_000)
    one.goto(f"{address.partition('/login')[0]}/?series={_series(store, NEW)}")
    plot = _until_plot(one, {"en": "New weir", "zh": "新堰"}[language])
    value = next(line for line in plot["series"] if line["name"] == translations.translate("value", language))
    assert len(value["data"]) == 1
    assert value["showSymbol"], "a line through one point alone is invisible"
    at_ms = value["data"][0][0]
    axis = plot["xAxis"][0]
    assert at_ms - 3600e3 < axis["min"] < at_ms < axis["max"] < at_ms + 3600e3, "the axis fits the reading"
    points = {one["name"]: len(one["data"]) for one in _charts(one)[0]["series"]}
    assert points[translations.translate("status_warming", language)] == 1
    looks = {
        one["name"]: (one["symbol"], one["itemStyle"]["color"])
        for one in _charts(one)[0]["series"]
        if one["type"] == "scatter"
    }
    assert len(set(looks.values())) == len(looks), "each status has a look of its own"
    one.screenshot(path=tmp_path / f"first.{language}.png")


def test_every_quantity_of_a_site_and_every_range_can_be_chosen(
    page: tuple[translations.Language, Page], served: ServedConsole, tmp_path: Path
) -> None:
    language, one = page
    address, store = served
    known = store.directory()
    site = next(one for one in known.sites if sum(s.site_id == one.site_id for s in known.series) > 2)
    mine = [one for one in known.series if one.site_id == site.site_id]
    one.goto(address)
    expect(one.locator("canvas").first).to_be_visible(timeout=60_000)
    one.goto(f"{address.partition('/login')[0]}/?series={mine[0].series_id}")
    tabs = one.get_by_role("tab")
    expect(tabs).to_have_count(len(mine), timeout=60_000)
    plot = _until_plot(one, tabs.nth(1).inner_text().strip(), click=tabs.nth(1))
    assert len(plot["series"][3]["data"]) > 100
    one.get_by_role("button", name=translations.translate("range_24", language), exact=True).click()
    deadline = time.monotonic() + 90
    while (shown := _span_h(_charts(one)[1])) > 24.5:
        assert time.monotonic() < deadline, shown
        one.wait_for_timeout(100)
    one.get_by_role("button", name=translations.translate("range_720", language), exact=True).click()
    deadline = time.monotonic() + 90
    while (shown := _span_h(_charts(one)[1])) < 40:
        assert time.monotonic() < deadline, shown
        one.wait_for_timeout(100)
    assert shown < 49, "the axis ends with the data"
    one.screenshot(path=tmp_path / f"range.{language}.png")


def _span_h(plot: dict[str, Any]) -> float:
    times = [pair[0] for pair in plot["series"][3]["data"]]
    return float((times[-1] - times[0]) / 3.6e6)


def test_each_anomaly_links_to_its_series_and_range(
    page: tuple[translations.Language, Page], served: ServedConsole, tmp_path: Path
) -> None:
    language, one = page
    one.goto(served[0])
    link = one.locator("a[href^='/?anomaly=']").first
    expect(link).to_be_visible(timeout=60_000)
    link.click()
    expect(one.get_by_role("tab").first).to_be_visible(timeout=60_000)
    deadline = time.monotonic() + 60
    while not any("markArea" in line for line in _charts(one)[1].get("series", [])):
        assert time.monotonic() < deadline
        one.wait_for_timeout(100)
    names = [mark["name"] for mark in _charts(one)[1]["legend"][0]["data"]]
    shapes = {line["name"]: line.get("symbol") for line in _charts(one)[1]["series"]}
    for key, shape in (("flag_suspect", "triangle"), ("flag_fail", "diamond")):
        assert translations.translate(key, language) in names
        assert shapes[translations.translate(key, language)] == shape
    one.screenshot(path=tmp_path / f"anomaly.{language}.png")


@pytest.mark.parametrize("language", LANGUAGES)
def test_on_a_phone_everything_is_in_one_column(
    browser: Browser, served: ServedConsole, tmp_path: Path, language: translations.Language
) -> None:
    context = browser.new_context(locale=LANGUAGES[language], viewport={"width": 390, "height": 844})
    one = context.new_page()
    one.goto(served[0])
    expect(one.locator("canvas").first).to_be_visible(timeout=60_000)
    expect(one.get_by_role("tab").first).to_be_visible(timeout=60_000)
    assert one.evaluate("document.documentElement.scrollWidth") <= 390
    boxes = [one.locator(f".{name}").bounding_box() for name in ("map-panel", "list-panel", "lower")]
    tops = [box["y"] for box in boxes if box]
    assert tops == sorted(tops)
    assert all(box and box["width"] > 340 and box["height"] > 250 for box in boxes)
    one.screenshot(path=tmp_path / f"phone.{language}.png", full_page=True)
    context.close()


def test_no_warning_sign_stands_beside_nothing_is_wrong(
    page: tuple[translations.Language, Page], served: ServedConsole, tmp_path: Path
) -> None:
    language, one = page
    address, store = served
    is_open = store.anomalies(AnomalyQuery(states=["open"], limit=1000))
    store.record_anomalies(
        [msgspec.structs.replace(it, state="closed", end_s=it.peak_s + 1) for it in is_open]
    )
    one.goto(address)
    expect(one.get_by_text(f"✓ {translations.translate('nothing', language)}")).to_be_visible(timeout=60_000)
    assert one.locator(".list-panel .q-icon").count() == 0
    one.screenshot(path=tmp_path / f"nothing.{language}.png")


# Texts on the charts' canvases that reach beyond their edges.
CUT_ON_CANVAS = """() => {
  const found = [];
  document.querySelectorAll("[id]").forEach(one => {
    const chart = window.getElement?.(Number(one.id.slice(1)))?.chart;
    (chart?.getZr().storage.getDisplayList(true) ?? []).filter(it => it.type === "tspan").forEach(it => {
      const box = it.getBoundingRect().clone();
      if (it.transform) box.applyTransform(it.transform);
      if (box.x < -1 || box.x + box.width > chart.getWidth() + 1) found.push(it.style.text);
    });
  });
  return found;
}"""
OVERLAPPING_ROWS = """() => {
  const rows = [...document.querySelectorAll(".list-panel .q-virtual-scroll__content tr")];
  const foot = row => Math.max(...[...row.children].map(cell => cell.getBoundingClientRect().bottom));
  return rows.slice(1).filter((row, i) => row.getBoundingClientRect().top < foot(rows[i]) - 1)
    .map(row => row.innerText);
}"""
WIDER_THAN_THE_PAGE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_page_of_the_console_is_wider_than_a_phone_and_no_name_is_cut(
    browser: Browser, served: ServedConsole, tmp_path: Path, language: translations.Language
) -> None:
    base = served[0].partition("/login")[0]
    context = browser.new_context(locale=LANGUAGES[language], viewport={"width": 390, "height": 844})
    one = context.new_page()

    def check(page_name: str) -> None:
        one.screenshot(path=tmp_path / f"{page_name}.{language}.png", full_page=True)
        assert one.evaluate(WIDER_THAN_THE_PAGE) <= 0, page_name

    one.goto(f"{base}/login")
    check("login")
    one.goto(served[0])  # only the fragment differs: the page has to sign in without being loaded
    expect(one.get_by_role("tab").first).to_be_visible(timeout=60_000)
    one.wait_for_function(f"({OPTIONS})().some(it => it.title?.[0]?.text?.includes(' · '))", timeout=60_000)
    check("start")
    assert one.evaluate(CUT_ON_CANVAS) == []
    assert one.evaluate(OVERLAPPING_ROWS) == []
    tabs = one.locator(".plot-head .q-tabs").bounding_box()
    ranges = one.locator(".plot-head .q-btn-group").bounding_box()
    assert tabs is not None
    assert ranges is not None
    assert tabs["width"] > 340, "the tabs have a row of their own"
    assert ranges["y"] > tabs["y"]
    one.get_by_text(translations.translate("dead_letters", language), exact=True).click()
    expect(one.get_by_text(translations.translate("newest_letters", language))).to_be_visible()
    expect(one.get_by_text("wz-99", exact=True).first).to_be_visible()
    check("letters")
    table = one.locator(".letters .q-table__middle")
    assert table.evaluate("it => it.scrollWidth - it.clientWidth") <= 0, "nothing to scroll sideways"
    one.goto(f"{base}/nowhere")
    check("error")
    context.close()
