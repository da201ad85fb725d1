"""Tests that a newcomer's first reading is visible: a site file without networks, one device, no anomaly."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from playwright.sync_api import expect

from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import READING, Area, Channel, Device, Directory, Series, Site
from ingest_service.storage.memory.store import MemoryStore
from tests.support.console import serve_console
from tests.support.console_pages import sign_in, wait_for_map
from tests.support.process_heartbeats import alive

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser


@pytest.fixture
def address() -> Iterator[str]:
    """The console over one site of its own area, without networks, and one reading."""
    store = MemoryStore()
    store.enrol(
        Directory(
            areas=[Area(area_id="t", level="town", en="My town", zh="我的镇")],
            sites=[
                Site(
                    site_id="wz-01",
                    area_id="t",
                    kind="river_section",
                    en="West bridge",
                    zh="西桥断面",
                    lon=120.49,
                    lat=30.75,
                )
            ],
            devices=[Device(device_id="wz-01", area_id="t")],
            series=[Series(site_id="wz-01", quantity="ph")],
            channels=[Channel(device_id="wz-01", name="ph", site_id="wz-01", quantity="ph")],
        )
    )
    row = np.zeros(1, READING)
    now_us = round(time.time() * 1e6)
    row["series_id"], row["time_us"], row["received_us"], row["value"] = 1, now_us, now_us, 7.4
    row["expected"] = row["spread"] = np.nan
    row["quality"] = 2
    with store.shard("console tests") as lease:
        assert lease is not None
        store.commit(Batch(fresh=row, dead_letters=[], epoch=lease.epoch))
    with alive(store, every_s=0.2):
        yield from serve_console(store)


def test_the_first_reading_of_a_site_without_a_network_is_on_the_map_and_drawn(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    one = browser.new_context(locale="en-US", viewport={"width": 1366, "height": 800}).new_page()
    sign_in(one, address)
    expect(one.locator("#plot h2")).to_have_text("West bridge · pH")
    points = one.evaluate("JSON.parse(document.querySelector('#plot .chart').dataset.points)")
    assert [point[1] for point in points] == [7.4]
    expect(one.locator("#plot .at.value")).to_have_count(1)
    wait_for_map(one)
    features = one.evaluate("document.getElementById('map').features.features")
    assert [(it["properties"]["name"], it["geometry"]["coordinates"]) for it in features] == [
        ("West bridge", [120.49, 30.75])
    ]
    one.screenshot(path=tmp_path / "first_reading.png")
