"""Tests the map of the console: a base from a PMTiles file or a tile server, networks without one."""

from __future__ import annotations

import base64
import io
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from PIL import Image, ImageColor
from playwright.sync_api import expect

from gateway.settings import Settings
from ingest_service.storage.contract.models import Area, Device, Directory, Link, Node, Series, Site
from ingest_service.storage.memory.store import MemoryStore
from tests.support.asgi import send_request
from tests.support.console import serve_console
from tests.support.console_pages import sign_in, wait_for_map
from tests.support.gateway_access import HEADERS, gateway_app
from tests.support.process_heartbeats import alive

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, ConsoleMessage, Page

TILE_COLOUR = (200, 30, 120)
# Written by the library `pmtiles` 3.8.1 (PyPI): compressed vector tiles of zoom 0 to 3; their layer `water`
# covers them whole.
VECTOR_ARCHIVE = base64.b64decode(
    "UE1UaWxlcwN/AAAAAAAAADUAAAAAAAAAtAAAAAAAAAA2AAAAAAAAAOoAAAAAAAAAAAAAAAAAAADqAAAAAAAAADYAAAAAAAAAVQAA"
    "AAAAAAA/AAAAAAAAAAEAAAAAAAAAAAICAQADAC62lIAHVs0A0klrgPipMgAAAAAAAAAAAB+LCAAAAAAAAgOzZ2BmZGRkAhJMjGAA"
    "opiYQCQzkiiyChQGZboZzSgDjJQBAL6Z1FL9AAAAH4sIAAAAAAACA6tWKktNLskvis9JrEwtKlayUoiuVspMAdJK5YklqUVKtbG1"
    "AOb7ocYkAAAAH4sIAJqJDGsC/5NSqGDiYi1PLEktEhKSYFbi42RgkGpwYGBocPhvz8Cv0aAAAMrF41QiAAAA"
)
COLOUR = "name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()"


def one_site() -> MemoryStore:
    """A store with one site on a river."""
    store = MemoryStore()
    store.enrol(
        Directory(
            areas=[Area(area_id="t", level="town", en="Town", zh="镇")],
            sites=[
                Site(
                    site_id="s", area_id="t", kind="river_section", en="Weir", zh="堰", lon=120.5, lat=30.7
                )
            ],
            devices=[Device(device_id="d", area_id="t")],
            series=[Series(site_id="s", quantity="ph")],
            nodes=[
                Node(
                    node_id="a", network="river", kind="section", en="Weir", zh="堰", site_id="s",
                    area_id="t", lon=120.5, lat=30.7,
                ),
                Node(
                    node_id="b", network="river", kind="mouth", en="Mouth", zh="河口", area_id="t", lon=120.6,
                    lat=30.7,
                ),
            ],
            links=[
                Link(
                    link_id="l", network="river", from_node="a", to_node="b", en="Reach", zh="河段",
                    length_m=9000, speed_m_s=0.3,
                )
            ],
        )
    )  # fmt: skip
    return store


def varint(number: int) -> bytes:
    """Encode an integer as Protocol Buffers and PMTiles do."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def picture_tile() -> bytes:
    """A tile of one colour."""
    made = io.BytesIO()
    Image.new("RGB", (256, 256), TILE_COLOUR).save(made, "PNG")
    return made.getvalue()


def pmtiles_archive(tile: bytes) -> bytes:
    """A PMTiles archive (version 3) with one PNG tile of the world."""
    directory = (
        bytes([1, 0, 1]) + varint(len(tile)) + bytes([1])
    )  # entries, first id, run, length, offset + 1
    metadata = b"{}"
    parts = (127, len(directory), 127 + len(directory), len(metadata))
    tiles_at = 127 + len(directory) + len(metadata)
    header = b"PMTiles\x03" + struct.pack("<11Q", *parts, 0, 0, tiles_at, len(tile), 1, 1, 1)
    uncompressed, png = 1, 2
    header += struct.pack("<6B", 1, uncompressed, uncompressed, png, 0, 0)
    header += struct.pack("<4iB2i", -1_800_000_000, -850_000_000, 1_800_000_000, 850_000_000, 0, 0, 0)
    assert len(header) == 127
    return header + directory + metadata + tile


def colour_at(page: Page, x: int, y: int) -> object:
    """Return the colour of a pixel of the map."""
    picture = Image.open(io.BytesIO(page.locator("#map canvas").screenshot()))
    return picture.convert("RGB").getpixel((x, y))


@pytest.mark.parametrize(
    ("archive", "layers"),
    [
        (pmtiles_archive(picture_tile()), ["base"]),
        (
            VECTOR_ARCHIVE,
            ["base-landuse", "base-water", "base-buildings", "base-roads", "base-boundaries"],
        ),
    ],
    ids=["pictures", "vectors"],
)
def test_a_pmtiles_file_is_drawn_below_the_network(
    archive: bytes, layers: list[str], browser: Browser, tmp_path: Path
) -> None:
    path = tmp_path / "town.pmtiles"
    path.write_bytes(archive)
    store = one_site()
    settings = Settings(map_pmtiles=str(path), map_attribution="© the town")
    messages: list[tuple[str, str]] = []

    def keep(message: ConsoleMessage) -> None:
        messages.append((message.type, message.text))

    with alive(store, every_s=0.5):
        for address in serve_console(store, settings=settings):
            one = browser.new_context(locale="en-US", viewport={"width": 1366, "height": 768}).new_page()
            one.on("console", keep)
            sign_in(one, address)
            wait_for_map(one)
            expect(one.get_by_text("© the town")).to_have_count(1)
            one.wait_for_function(f"document.getElementById('map').map.getLayer('{layers[-1]}')")
            expected: object = TILE_COLOUR
            if "base-water" in layers:
                water, background = (one.evaluate(COLOUR, name) for name in ("map-water", "map"))
                assert water != background
                expected = ImageColor.getrgb(water)
            deadline = time.monotonic() + 20
            while colour_at(one, 40, 40) != expected:
                assert time.monotonic() < deadline
            one.screenshot(path=tmp_path / "pmtiles.png")
            drawn = one.evaluate("document.getElementById('map').map.getStyle().layers.map(it => it.id)")
            assert drawn == ["background", *layers, "links", "nodes"]
            assert [text for kind, text in messages if kind == "error"] == []


@pytest.mark.parametrize("accepted", ["gzip", "identity"])
def test_a_pmtiles_file_is_sent_by_ranges_and_as_it_is(tmp_path: Path, accepted: str) -> None:
    path = tmp_path / "town.pmtiles"
    path.write_bytes(bytes(range(256)) * 40)
    app = gateway_app(MemoryStore(), console=True, settings=Settings(map_pmtiles=str(path)))
    headers = {**HEADERS, "Range": "bytes=100-4099", "Accept-Encoding": accepted}
    answer = send_request(app, "GET", "/console/map.pmtiles", headers=headers)
    assert (answer.status_code, answer.headers["content-length"]) == (206, "4000")
    assert answer.content == path.read_bytes()[100:4100]
    without = gateway_app(MemoryStore(), console=True)
    assert send_request(without, "GET", "/console/map.pmtiles", headers=HEADERS).status_code == 404
    assert send_request(app, "GET", "/console/map.pmtiles").status_code == 401


class TileServer(BaseHTTPRequestHandler):
    """A tile server whose tiles are of one colour; like public ones, it lets every page read them."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.send_header("Access-Control-Allow-Origin", "*")
        self.end_headers()
        self.wfile.write(picture_tile())

    def log_message(self, *_: object) -> None:
        """Keep the output of the tests free of requests."""


def test_tiles_of_a_tile_server_are_drawn_below_the_network(browser: Browser, tmp_path: Path) -> None:
    store = one_site()
    with ThreadingHTTPServer(("127.0.0.1", 0), TileServer) as server, alive(store, every_s=0.5):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings = Settings(map_tiles=f"http://127.0.0.1:{server.server_port}/{{z}}/{{x}}/{{y}}.png")
        for address in serve_console(store, settings=settings):
            one = browser.new_context(viewport={"width": 1366, "height": 768}).new_page()
            sign_in(one, address)
            wait_for_map(one)
            deadline = time.monotonic() + 20
            while colour_at(one, 40, 40) != TILE_COLOUR:
                assert time.monotonic() < deadline
            one.screenshot(path=tmp_path / "tiles.png")
        server.shutdown()


def test_only_the_configured_tile_server_may_be_reached() -> None:
    tiles = "https://tiles.example:8443/{z}/{x}/{y}.png"
    for settings, reached in ((Settings(map_tiles=tiles), True), (Settings(), False)):
        app = gateway_app(one_site(), console=True, settings=settings)
        answer = send_request(app, "GET", "/", headers=HEADERS)
        policy = answer.headers["content-security-policy"]
        assert ("https://tiles.example:8443" in policy, "tiles.example" in answer.text) == (reached, reached)
        assert policy.count("https:") == 2 * reached, "for images and for connections"
