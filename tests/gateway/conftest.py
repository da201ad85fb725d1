"""Fixtures of the gateway tests: a filled store, an HTTP client and a browser page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from httpx import ASGITransport, AsyncClient
from playwright.sync_api import expect, sync_playwright

from gateway.formats.upload_pool import UploadPool
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.console import LANGUAGES
from tests.support.demo_store import fill_with_demo
from tests.support.gateway_access import HEADERS, gateway_app
from tests.support.process_heartbeats import alive
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from gateway.console import translations
    from tests.support.throwaway_servers import NamedServer, PostgresServer


expect.set_options(timeout=20_000)  # of waiting for a page on a busy machine [ms]


@pytest.fixture(scope="session")
def filled_store(timescale_server: PostgresServer | NamedServer) -> Iterator[PostgresStore]:
    """Provide a store with two days of the demo on TimescaleDB, and live heartbeats."""
    with fresh_database(timescale_server) as dsn:
        migrate(dsn)
        store = PostgresStore.open(dsn)
        fill_with_demo(store, days=2.0)
        with alive(store):
            yield store
        store.close()


@pytest.fixture(scope="session")
def upload_pool() -> Iterator[UploadPool]:
    """Provide the processes that parse uploads, for all applications: each takes a second to start."""
    pool = UploadPool()
    yield pool
    pool.close()


@pytest.fixture
def client(filled_store: PostgresStore, upload_pool: UploadPool) -> Callable[[], AsyncClient]:
    """Return a factory of clients that call the application in-process."""
    app = gateway_app(filled_store)
    app.state.upload_pool = upload_pool
    return lambda: AsyncClient(
        transport=ASGITransport(app, raise_app_exceptions=False),
        base_url="http://gateway",
        timeout=30,
        headers=HEADERS,
    )


@pytest.fixture(scope="module")
def chromium_process(chromium: Path) -> Iterator[Browser]:
    """Provide a headless Chromium for the tests of a module.

    Not for the session: the event loop of Playwright counts as running until it ends, which keeps async tests
    of other modules from running theirs.
    """
    with sync_playwright() as playwright:
        one = playwright.chromium.launch(
            executable_path=chromium,
            args=[
                "--no-sandbox",
                "--disable-background-networking",
                "--use-angle=swiftshader",  # WebGL without a graphics card, for the map
                "--enable-unsafe-swiftshader",
                "--disable-gpu-rasterization",  # on in Debian: pages would be drawn by GL
            ],
        )
        yield one
        one.close()


@pytest.fixture
def browser(chromium_process: Browser) -> Iterator[Browser]:
    """Provide the module's Chromium, without the pages that other tests have left open."""
    yield chromium_process
    for one in chromium_process.contexts:
        one.close()


@pytest.fixture
def page(request: pytest.FixtureRequest, browser: Browser) -> Iterator[tuple[translations.Language, Page]]:
    """Provide a page and its language; an error in the page's console fails the test.

    The language is Chinese; tests of texts add English: ``parametrize("page", LANGUAGES, indirect=True)``.
    """
    language: translations.Language = getattr(request, "param", "zh")
    one = browser.new_context(locale=LANGUAGES[language], viewport={"width": 1366, "height": 768}).new_page()
    errors: list[str] = []
    one.on("pageerror", lambda error: errors.append(str(error)))
    one.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield language, one
    one.close()
    assert errors == []
