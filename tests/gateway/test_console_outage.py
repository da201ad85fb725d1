"""Tests the console without a usable database (stopped, frozen, killed, read-only), and HTML error pages."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import httpx
import psycopg
import pytest
from playwright.sync_api import Browser, expect
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from gateway.auth import api_keys
from gateway.auth.principal import Role
from gateway.console import health_checks, translations
from gateway.transport import browser_error_pages
from ingest_service.storage.health import process_messages
from ingest_service.storage.health.process_messages import BilingualText
from ingest_service.storage.postgres.api_keys import ApiKeyStore
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from ingest_service.storage.settings import Settings as Storage
from tests.support.console import LANGUAGES, serve_console
from tests.support.console_pages import sign_in
from tests.support.process_heartbeats import alive
from tests.support.store_samples import DIRECTORY
from tests.support.tcp_proxy import Proxy
from tests.support.throwaway_servers import fresh_database, frozen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.throwaway_servers import PostgresServer

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
SOON_MS = 25_000
FROZEN_RED_WITHIN_S = 8.0


@pytest.fixture(scope="module")
def served(plain_server: PostgresServer) -> Iterator[tuple[str, Proxy, str]]:
    """The console on a real database that the test may stop: address with a key, network, database."""
    with fresh_database(plain_server) as dsn:
        migrate(dsn)
        parts = conninfo_to_dict(dsn)
        proxy = Proxy(str(parts["host"]), int(str(parts["port"])))
        far = make_conninfo(dsn, host=proxy.host, port=proxy.port)
        store = PostgresStore.open(far, settings=Storage(connect_timeout_s=1))
        store.enrol(DIRECTORY)
        _, key = api_keys.create_key(ApiKeyStore(store), name="n", role=Role.VIEWER, created_by="tests")
        with alive(store, every_s=0.5):
            for address in serve_console(store, accounts=None):
                yield f"{address.partition('#')[0]}#{key}", proxy, dsn
        proxy.close()
        store.close()


def _set_read_only(dsn: str, value: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(
            f"ALTER DATABASE {connection.info.dbname} SET default_transaction_read_only = {value}"
        )
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE 'towntwin%'"
        )


@pytest.mark.parametrize("language", ["zh"])
def test_the_strip_shows_a_database_that_is_read_only_and_one_that_is_stopped(
    browser: Browser, served: tuple[str, Proxy, str], tmp_path: Path, language: translations.Language
) -> None:
    def translated(sentence: BilingualText) -> str:
        return sentence.zh if language == "zh" else sentence.en

    address, network, dsn = served
    context = browser.new_context(locale=LANGUAGES[language], viewport={"width": 1366, "height": 768})
    one = context.new_page()
    sign_in(one, address)
    writable = f"● {translated(health_checks.DATABASE_LABEL)} {translated(health_checks.WRITABLE_TEXT)}"
    expect(one.get_by_text(writable)).to_be_visible(timeout=SOON_MS)
    lang = one.evaluate("document.documentElement.lang")
    lost = translations.translate("connection_lost", language)
    assert (lang, lost in one.content()) == ({"en": "en-US", "zh": "zh-CN"}[language], True)

    _set_read_only(dsn, "on")
    expect(
        one.get_by_text(
            f"■ {translated(health_checks.DATABASE_LABEL)} {translated(health_checks.READ_ONLY_TEXT)}"
        )
    ).to_be_visible(timeout=SOON_MS)
    expect(one.get_by_text(translated(health_checks.READ_ONLY_ADVICE))).to_be_visible()
    expect(
        one.get_by_text(
            f"○ {translated(health_checks.BROKER_LABEL)} {translated(health_checks.UNKNOWN_TEXT)}"
        )
    ).to_be_visible()
    one.screenshot(path=tmp_path / f"read_only.{language}.png")
    _set_read_only(dsn, "off")
    expect(one.get_by_text(writable)).to_be_visible(timeout=SOON_MS)

    network.refuse()
    try:
        expect(one.get_by_text(translated(health_checks.DATABASE_AWAY_ADVICE))).to_be_visible(timeout=SOON_MS)
        expect(one.get_by_text(f"✕ {translations.translate('not_kept', language)}")).to_be_visible()
        one.screenshot(path=tmp_path / f"stopped.{language}.png")

        again = context.new_page()
        until_s = time.monotonic() + SOON_MS / 1000
        while (answer := again.goto(address.partition("/login")[0] + "/")) is None or answer.status != 503:
            assert time.monotonic() < until_s, "what is kept of the state lasts seconds"
        for text in browser_error_pages.TEXTS_BY_STATUS[503]:
            expect(again.get_by_text(text)).to_be_visible()
        again.screenshot(path=tmp_path / f"page.{language}.png")
    finally:
        network.restore()
    expect(again.locator("#now")).to_be_visible(timeout=SOON_MS)
    expect(one.get_by_text(writable)).to_be_visible(timeout=SOON_MS)
    context.close()


def test_a_database_that_is_frozen_or_killed_shows_soon_and_never_beside_its_contradiction(
    browser: Browser, served: tuple[str, Proxy, str], plain_server: PostgresServer, tmp_path: Path
) -> None:
    address, _, _ = served
    languages: tuple[translations.Language, ...] = ("en", "zh")
    pages = {
        language: browser.new_context(
            locale=LANGUAGES[language], viewport={"width": 1366, "height": 768}
        ).new_page()
        for language in languages
    }
    for one in pages.values():
        sign_in(one, address)

    def wait_until_writable() -> None:
        for language, one in pages.items():
            expect(
                one.get_by_text("● " + _database_text(language, health_checks.WRITABLE_TEXT))
            ).to_be_visible(timeout=SOON_MS)
            expect(one.get_by_text(f"✓ {translations.translate('kept', language)}")).to_be_visible(
                timeout=SOON_MS
            )

    wait_until_writable()
    with frozen(plain_server.pid):
        red_until_s = time.monotonic() + FROZEN_RED_WITHIN_S
        for language, one in pages.items():
            expect(one.get_by_text("✕ " + _database_text(language, BilingualText("", "")))).to_be_visible(
                timeout=max(1.0, 1000 * (red_until_s - time.monotonic()))
            )
            expect(one.get_by_text(f"✕ {translations.translate('not_kept', language)}")).to_be_visible()
            one.screenshot(path=tmp_path / f"frozen.{language}.png")
    wait_until_writable()

    def watch_until(shown: dict[translations.Language, str]) -> None:
        """Wait until each page shows a text; none may contradict itself until then."""
        waits_for, ends_s = set(pages), time.monotonic() + SOON_MS / 1000
        while waits_for:
            assert time.monotonic() < ends_s, f"not shown: {shown}"
            for language, one in pages.items():
                text = one.locator("body").inner_text()
                assert not _contradicts_itself(text, language), text
                if shown[language] in text:
                    waits_for.discard(language)
            one.wait_for_timeout(100)

    plain_server.kill()
    watch_until({language: "✕ " + _database_text(language, BilingualText("", "")) for language in pages})
    plain_server.start()
    watch_until(
        {language: "● " + _database_text(language, health_checks.WRITABLE_TEXT) for language in pages}
    )
    wait_until_writable()
    for one in pages.values():
        one.context.close()


def _database_text(language: translations.Language, text: BilingualText) -> str:
    label = health_checks.DATABASE_LABEL
    return f"{label.zh} {text.zh}" if language == "zh" else f"{label.en} {text.en}"


def _contradicts_itself(text: str, language: translations.Language) -> bool:
    """Whether a page states two conditions of the database, or that readings are stored without it."""

    def has(*sentences: BilingualText) -> bool:
        return any((one.zh if language == "zh" else one.en) in text for one in sentences)

    conditions = [
        "● " + _database_text(language, health_checks.WRITABLE_TEXT) in text,
        "✕ " + _database_text(language, BilingualText("", "")) in text
        or has(health_checks.DATABASE_AWAY_ADVICE, process_messages.DATABASE_AWAY_TEXT),
        has(health_checks.READ_ONLY_ADVICE, process_messages.NOT_WRITABLE_TEXT),
    ]
    is_kept = f"✓ {translations.translate('kept', language)}" in text
    return sum(conditions) > 1 or (is_kept and not conditions[0])


def test_a_browser_never_gets_json_and_a_program_always_does(served: tuple[str, Proxy, str]) -> None:
    base_url, key = served[0].partition("/login")[0], served[0].partition("#")[2]
    answers = {
        404: httpx.get(f"{base_url}/nothing", headers=HTML),
        422: httpx.get(f"{base_url}/console/language/fr", headers=HTML),
    }
    for status, answer in answers.items():
        assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert 'http-equiv="refresh"' in answer.text
        texts = browser_error_pages.TEXTS_BY_STATUS.get(status, browser_error_pages.DEFAULT_TEXT)
        assert all(text in answer.text for text in texts)
    assert httpx.get(f"{base_url}/", headers=HTML).headers["location"] == "/login"
    devices = httpx.get(f"{base_url}/console/devices?a=b", headers=HTML)
    assert devices.headers["location"] == "/login?next=/console/devices%3Fa%3Db"
    for path, headers in (("/nothing", {}), ("/v1/nothing", HTML), ("/v1/areas", HTML)):
        kind = httpx.get(f"{base_url}{path}", headers=headers).headers["content-type"]
        assert kind == "application/problem+json"
    assert httpx.get(f"{base_url}/v1/areas", headers={**HTML, "X-API-Key": key}).status_code == 200
