"""Tests the console's quantities, time ranges, links, first readings, dead letters and phone layout."""

from __future__ import annotations

import html
import re
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import httpx
import msgspec
import numpy as np
import pytest
from playwright.sync_api import Page, expect

from analytics.core.flags import Rule
from gateway.auth import api_keys
from gateway.auth.principal import Role
from gateway.console import series_chart, translations
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
from tests.support.console_pages import sign_in, status_counts, wait_for_map
from tests.support.demo_store import fill_with_demo
from tests.support.gateway_access import ACCOUNTS
from tests.support.process_heartbeats import alive
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from playwright.sync_api import Browser

ServedConsole = tuple[str, MemoryStore]
NEW = "new-site"


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
    row["time_us"] = row["received_us"] = round(1e6 * (time.time() - 30))
    row["expected"] = row["spread"] = np.nan
    return row


def _commit(store: MemoryStore, rows: NDArray[np.void], dead_letters: Sequence[DeadLetter]) -> None:
    with store.shard("console tests") as lease:
        assert lease is not None
        store.commit(Batch(fresh=rows, dead_letters=list(dead_letters), epoch=lease.epoch))


def _points(one: Page) -> list[list[float]]:
    """The readings of the plot, as the browser has them: measured [ms], value, expected."""
    found: list[list[float]] = one.evaluate(
        "JSON.parse(document.querySelector('#plot .chart').dataset.points)"
    )
    return found


def _span_h(one: Page) -> float:
    points = _points(one)
    return (points[-1][0] - points[0][0]) / 3.6e6


def test_dead_letters_are_read_mended_and_replayed(
    page: tuple[translations.Language, Page], served: ServedConsole, tmp_path: Path
) -> None:
    language, one = page
    sign_in(one, served[0])
    one.get_by_role("navigation").get_by_role(
        "link", name=translations.translate("dead_letters", language)
    ).click()
    expect(
        one.get_by_role("heading", name=translations.translate("newest_letters", language))
    ).to_be_visible()
    expect(one.get_by_text("wz-99", exact=True).first).to_be_visible()
    row = one.locator("tbody tr").first
    expect(row).to_contain_text(translations.translate("reason_channel", language))
    expect(row).to_contain_text(translations.translate("mend_channel", language))
    expect(row).to_contain_text("water_levle")
    one.screenshot(path=tmp_path / f"letters.{language}.png")
    row.get_by_role("link").click()
    expect(one.locator("pre")).to_have_text("[]")
    one.get_by_role("button", name=translations.translate("replay_one", language)).click()
    expect(one.get_by_role("status")).to_have_text(translations.translate("replay_done", language).format(1))
    expect(one.get_by_text(translations.translate("waits_for_replay", language)).first).to_be_visible()


def test_a_key_without_the_scope_reads_no_dead_letters(served: ServedConsole) -> None:
    base_url = served[0].partition("/login")[0]
    key = api_keys.create_key(
        ACCOUNTS, name="narrow", role=Role.VIEWER, scopes=["console"], created_by="tests"
    )[1]
    headers = {"X-API-Key": key, "Accept-Language": "en"}
    listed = httpx.get(f"{base_url}/console/dead-letters", headers=headers)
    assert (listed.status_code, "wz-99" in listed.text) == (200, False)
    assert html.escape(translations.translate("no_right", "en")) in listed.text
    assert httpx.get(f"{base_url}/console/dead-letters/1", headers=headers).status_code == 403
    assert "dead-letters" not in httpx.get(f"{base_url}/console/sites", headers=headers).text


def test_the_first_reading_of_a_new_series_is_drawn_and_its_site_is_warming_up(
    page: tuple[translations.Language, Page], served: ServedConsole, tmp_path: Path
) -> None:
    language, one = page
    address, store = served
    sign_in(one, address)
    wait_for_map(one)
    assert status_counts(one)["warming"] == 1
    one.goto(f"{address.partition('/login')[0]}/?series={_series(store, NEW)}")
    expect(one.locator("#plot h2")).to_contain_text({"en": "New weir", "zh": "新堰"}[language])
    assert len(_points(one)) == 1
    expect(one.locator("#plot .at.value")).to_have_count(1)  # a line through one point alone is invisible
    first_s, last_s = one.evaluate(
        "(({first, last}) => [Number(first), Number(last)])(document.querySelector('#plot .chart').dataset)"
    )
    sent_s = store.latest([_series(store, NEW)])[0].time_s
    assert sent_s - 3600 < first_s < sent_s < last_s < sent_s + 3600, "the axis fits the reading"
    one.screenshot(path=tmp_path / f"first.{language}.png")


def test_every_quantity_of_a_site_and_every_range_can_be_chosen(
    page: tuple[translations.Language, Page], served: ServedConsole, tmp_path: Path
) -> None:
    language, one = page
    address, store = served
    known = store.directory()
    site = next(one for one in known.sites if sum(s.site_id == one.site_id for s in known.series) > 2)
    mine = [one for one in known.series if one.site_id == site.site_id]
    sign_in(one, address)
    expect(one.locator("main")).to_be_visible()
    one.goto(f"{address.partition('/login')[0]}/console/series/{mine[0].series_id}")
    tabs = one.locator("#plot .tabs").first.get_by_role("link")
    expect(tabs).to_have_count(len(mine))
    chosen = tabs.nth(1).inner_text()
    tabs.nth(1).click()
    expect(one.locator("#plot h2")).to_contain_text(chosen)
    assert len(_points(one)) > 100
    for hours, shortest_h, longest_h in ((24, 20, 24.5), (720, 40, 49)):
        name = translations.translate(f"range_{hours}", language)
        one.locator("#plot .ranges").get_by_role("link", name=name, exact=True).click()
        expect(one.locator("#plot .ranges [aria-current]")).to_have_text(name)
        assert shortest_h < _span_h(one) < longest_h, "the axis ends with the data"
    one.locator(".plot-svg").hover()
    expect(one.locator("#plot .pointed")).to_contain_text(translations.translate("value", language))
    one.screenshot(path=tmp_path / f"range.{language}.png")


def test_each_anomaly_leads_to_its_reason_evidence_and_range(
    page: tuple[translations.Language, Page], served: ServedConsole, tmp_path: Path
) -> None:
    language, one = page
    address, store = served
    base_url = address.partition("/login")[0]
    sign_in(one, address)
    expect(one.locator("main")).to_be_visible()
    anomaly = next(it for it in store.anomalies(AnomalyQuery(limit=100)) if it.series_id is not None)
    one.goto(f"{base_url}/?anomaly={anomaly.anomaly_id}")
    expect(one.locator("#plot .shaded")).to_be_visible()
    expect(one.locator("p.reason").first).to_contain_text(
        anomaly.reason_zh if language == "zh" else anomaly.reason_en
    )
    one.get_by_text(translations.translate("evidence", language), exact=True).click()
    expect(one.locator("pre")).to_be_visible()
    for key in ("flag_suspect", "flag_fail"):
        expect(
            one.locator("#plot .legend").get_by_text(translations.translate(key, language))
        ).to_be_visible()
    one.screenshot(path=tmp_path / f"anomaly.{language}.png")


@pytest.mark.parametrize("page", LANGUAGES, indirect=True)
def test_measured_received_and_now_are_apart_and_stale_is_marked(
    page: tuple[translations.Language, Page], served: ServedConsole, tmp_path: Path
) -> None:
    language, one = page
    address, store = served
    site_id = "stale-site"
    area = store.directory().areas[-1].area_id
    site = Site(
        site_id=site_id, area_id=area, kind="river_section", en="Old weir", zh="旧堰", lon=120.6, lat=30.7
    )
    store.enrol(Directory(sites=[site], series=[Series(site_id=site_id, quantity="water_level")]))
    row = _first(_series(store, site_id))
    row["time_us"] -= 7_200_000_000
    row["received_us"] -= 3_600_000_000
    if not len(store.latest([_series(store, site_id)])):
        _commit(store, row, [])
    sign_in(one, address)
    expect(one.locator("main")).to_be_visible()
    url = f"{address.partition('/login')[0]}/console/sites/{site_id}"
    # The gateway reads the directory again within seconds of an enrolment; until then the page is not found.
    wait_until(lambda: one.request.get(url).ok, within_s=20.0, what="the new site has a page")
    one.goto(url)
    line = one.locator("tr.old")
    expect(line).to_contain_text(translations.translate("stale", language))
    times = line.locator("time")
    measured, received = (times.nth(at).get_attribute("datetime") for at in (0, 1))
    assert measured is not None
    assert received is not None
    assert datetime.fromisoformat(received) - datetime.fromisoformat(measured) == timedelta(hours=1)
    expect(times.nth(2)).to_have_text(translations.translate("unit_hours", language).format(2))
    one.screenshot(path=tmp_path / f"stale.{language}.png")


@pytest.mark.parametrize("language", ["en"])
def test_no_page_of_the_console_is_wider_than_a_phone(
    browser: Browser, served: ServedConsole, tmp_path: Path, language: translations.Language
) -> None:
    address, store = served
    base_url = address.partition("/login")[0]
    context = browser.new_context(locale=LANGUAGES[language], viewport={"width": 390, "height": 844})
    one = context.new_page()

    def check(name: str) -> None:
        one.screenshot(path=tmp_path / f"{name}.{language}.png", full_page=True)
        too_wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert one.evaluate(too_wide) <= 0, name

    one.goto(f"{base_url}/login")
    check("login")
    sign_in(one, address)  # only the fragment differs: the page has to sign in without being loaded
    wait_for_map(one)
    expect(one.locator("#plot .tabs").first).to_be_visible()
    check("wall")
    boxes = [one.locator(f".{name}").bounding_box() for name in ("map-panel", "now-panel", "lower")]
    tops = [box["y"] for box in boxes if box]
    assert tops == sorted(tops), "everything is in one column"
    assert all(box and box["width"] > 340 and box["height"] > 60 for box in boxes)
    first = store.directory().series[0]
    for name, path in {
        "anomalies": "anomalies",
        "sites": "sites",
        "site": f"sites/{first.site_id}",
        "series": f"series/{first.series_id}",
        "devices": "devices",
        "letters": "dead-letters",
        "letter": "dead-letters/1",
        "settings": "settings",
    }.items():
        one.goto(f"{base_url}/console/{path}")
        expect(one.locator("main")).to_be_visible()
        check(name)
    one.goto(f"{base_url}/nowhere")
    check("error")
    context.close()


def test_a_key_is_created_shown_once_and_revoked(
    page: tuple[translations.Language, Page], served: ServedConsole, tmp_path: Path
) -> None:
    language, one = page
    base_url = served[0].partition("/login")[0]
    name = f"made in {language}"
    sign_in(one, served[0])
    one.goto(f"{base_url}/console/settings")
    one.locator("summary", has_text=translations.translate("create_key", language)).click()
    one.locator("input[name=name]").fill(name)
    one.get_by_role("button", name=translations.translate("create_key", language)).click()
    key = one.locator("code").inner_text()
    assert httpx.get(f"{base_url}/v1/me", headers={"X-API-Key": key}).json()["name"] == name
    one.screenshot(path=tmp_path / f"keys.{language}.png")
    one.get_by_role("button", name=f"{translations.translate('revoke', language)} {name}").click()
    expect(one.get_by_role("row", name=name)).to_contain_text(translations.translate("revoked", language))
    wait_until(
        lambda: httpx.get(f"{base_url}/v1/me", headers={"X-API-Key": key}).status_code == 401,
        within_s=30,
        what="the key is refused",
    )
    assert key not in one.content()


def test_nothing_is_wrong_is_shown_with_a_tick(
    page: tuple[translations.Language, Page], served: ServedConsole, tmp_path: Path
) -> None:
    language, one = page
    address, store = served
    is_open = store.anomalies(AnomalyQuery(states=["open"], limit=1000))
    store.record_anomalies(
        [msgspec.structs.replace(it, state="closed", end_s=it.peak_s + 1) for it in is_open]
    )
    sign_in(one, address)
    expect(one.get_by_text(f"✓ {translations.translate('nothing', language)}")).to_be_visible()
    one.screenshot(path=tmp_path / f"nothing.{language}.png")


def test_a_line_is_interrupted_where_readings_are_missing() -> None:
    rows = np.zeros(40, READING)
    rows["time_us"] = np.concatenate([np.arange(20), np.arange(100, 120)]) * 300_000_000
    rows["expected"] = rows["spread"] = np.nan
    chart = series_chart.lay_out(Series(site_id="s", quantity="ph", interval_s=300), rows, UTC)
    assert chart is not None
    assert chart.value_path.count("M") == 2
    assert (chart.expected_path, chart.band_path) == ("", "")
    assert series_chart.lay_out(Series(site_id="s", quantity="ph"), rows[:0], UTC) is None


@pytest.mark.parametrize("hours", [1, 5, 24, 48, 168, 720])
def test_ticks_are_few_round_and_within_the_plot(hours: int) -> None:
    rows = np.zeros(50, READING)
    rows["time_us"] = (1_790_000_000 + np.linspace(0, hours * 3600, 50)) * 1e6
    rows["value"] = np.linspace(-3, 41, 50)
    chart = series_chart.lay_out(Series(site_id="s", quantity="ph"), rows, ZoneInfo("Asia/Shanghai"))
    assert chart is not None
    for ticks in (chart.time_ticks, chart.value_ticks):
        assert 1 <= len(ticks) <= 8
        assert all(0 <= one.at <= 100 for one in ticks)
        assert len({one.at for one in ticks}) == len(ticks)
    assert all(re.fullmatch(r"\d\d:(00|05|[1-5][05])|\d\d-\d\d", one.label) for one in chart.time_ticks)
