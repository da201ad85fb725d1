"""Tests the import and export of networks by the API and by the console, as an administrator."""

from __future__ import annotations

import io
import sys
import zipfile
from typing import TYPE_CHECKING, NamedTuple

import httpx
import pytest
from playwright.sync_api import Browser, expect

from deploy import demo
from gateway.auth import api_keys
from gateway.auth.principal import Role
from gateway.console import translations
from ingest_service.storage.postgres.api_keys import ApiKeyStore, AuditQuery
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support import howto_pages
from tests.support.chinese_texts import english_in
from tests.support.console import LANGUAGES, serve_console
from tests.support.console_pages import serious_findings, shown_texts, sign_in
from tests.support.gateway_access import gateway_dsn
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ingest_service.storage.contract.models import Directory
    from tests.support.throwaway_servers import PostgresServer

WORKER = (sys.executable, "-m", "deploy.network_worker")
HEAVY_WORKER = (sys.executable, "-m", "deploy.heavy_worker", "{}")
PATH = "/v1/twin/network"
NODES, LINKS = howto_pages.code_blocks("exchange-networks.md", "text")


class NetworkGateway(NamedTuple):
    """A gateway as it is deployed, with the demo's networks, and a client and a key of each role.

    It has a process for heavy requests, and row-level security restricts it; `store` reads every row.
    """

    base_url: str
    store: PostgresStore
    clients: dict[str, httpx.Client]
    keys: dict[str, str]


@pytest.fixture(scope="module")
def gateway(plain_server: PostgresServer) -> Iterator[NetworkGateway]:
    with fresh_database(plain_server) as dsn:
        migrate(dsn)
        store = PostgresStore.open(dsn)
        store.enrol(demo.directory())
        accounts = ApiKeyStore(store)
        areas = {"administrator": None, "of_a_town": "330483-d1"}
        keys = {
            name: api_keys.create_key(
                accounts, name=name, role=Role.ADMINISTRATOR, area_id=area, created_by="tests"
            )[1]
            for name, area in areas.items()
        }
        keys["engineer"] = api_keys.create_key(
            accounts, name="engineer", role=Role.ENGINEER, created_by="tests"
        )[1]
        restricted = PostgresStore.open(gateway_dsn(dsn))
        for address in serve_console(
            restricted, accounts=None, network_worker=WORKER, heavy_worker=HEAVY_WORKER
        ):
            base_url = address.partition("/login")[0]
            clients = {
                name: httpx.Client(base_url=base_url, headers={"X-API-Key": key}, timeout=60)
                for name, key in keys.items()
            }
            yield NetworkGateway(base_url, store, clients, keys)
            for one in clients.values():
                one.close()
        restricted.close()
        store.close()


def uploaded(**tables: str) -> list[tuple[str, tuple[str, bytes]]]:
    return [("files", (f"{name}.csv", text.encode())) for name, text in tables.items()]


def widths(directory: Directory) -> set[float | None]:
    return {one.width_m for one in directory.links if one.link_id.startswith("hb-")}


def test_files_are_imported_exported_and_audited_and_errors_have_their_lines(gateway: NetworkGateway) -> None:
    client, before = gateway.clients["administrator"], gateway.store.directory()
    wrong = LINKS.replace("8,2.5,0.03,CIM-0452", "8,2.5,3,CIM-0452")
    refused = client.post(f"{PATH}/imports", files=uploaded(nodes=NODES, links=wrong))
    assert refused.status_code == 422
    assert "links.csv, line 3, column manning_n: link 'hb-2:330483-d1-k01' has manning_n 3" in refused.text
    dry = client.post(f"{PATH}/imports", params={"dry_run": True}, files=uploaded(nodes=NODES)).json()
    assert [one["action"] for one in dry["changes"]] == ["adds"] * 2, "the enrolled ones are as they were"
    assert [one["check"] for one in dry["findings"]] == ["not_connected"] * 2
    assert gateway.store.directory() == before

    for name in ("of_a_town", "engineer"):
        forbidden = gateway.clients[name].post(f"{PATH}/imports", files=uploaded(nodes=NODES, links=LINKS))
        assert forbidden.status_code == 403
    named = {"files": ("..", b"x")}
    assert client.post(f"{PATH}/imports", files=named).status_code == 422
    twice = client.post(f"{PATH}/imports", files=[*uploaded(nodes=NODES), *uploaded(nodes=NODES)])
    assert (twice.status_code, "two have the same name" in twice.text) == (422, True)
    unnamed = client.post(f"{PATH}/imports", files=uploaded(nodes=NODES.replace("hb-1,", "hb/1,")))
    assert (unnamed.status_code, "has node_id 'hb/1', which addresses" in unnamed.text) == (422, True)
    nowhere = NODES.replace("120.6000,", "nan,")
    not_read = client.post(f"{PATH}/imports", files=uploaded(nodes=nowhere, links=LINKS))
    assert (not_read.status_code, "lies at lon nan" in not_read.text) == (422, True), not_read.text
    too_large = [("files", ("nodes.csv", b"x" * 9_000_000))]
    assert client.post(f"{PATH}/imports", files=too_large).status_code == 413

    assert client.post(f"{PATH}/imports", files=uploaded(nodes=NODES, links=LINKS)).status_code == 200
    assert widths(gateway.store.directory()) == {8.0}
    line = next(
        one for one in ApiKeyStore(gateway.store).audit(AuditQuery(limit=20)) if "sha256" in one.detail
    )
    assert (line.detail["files"], line.detail["changes"]) == (["nodes.csv", "links.csv"], 4)

    since = {"valid_from": "2026-04-01T00:00:00Z"}
    wider = LINKS.replace(",8,2.5", ",10,2.5")
    changed = client.post(f"{PATH}/imports", params=since, files=uploaded(links=wider)).json()
    assert changed["changes"][0]["fields"] == {"width_m": ["8.0", "10.0"]}
    export = {"format": "csv", "network": "river", "area": "330483-d1"}
    for at, width in (("2026-03-31T00:00:00Z", "8.0"), ("2026-04-02T00:00:00Z", "10.0")):
        archive = client.get(f"{PATH}/export", params=export | {"at": at}).content
        links = zipfile.ZipFile(io.BytesIO(archive)).read("links.csv").decode()
        assert f",{width},2.5," in next(one for one in links.splitlines() if one.startswith("hb-1:hb-2"))
    swmm = gateway.clients["of_a_town"].get(f"{PATH}/export", params={"format": "swmm", "network": "river"})
    assert "[CONDUITS]" in swmm.text
    assert "330402" not in swmm.text, "of another county"


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_administrator_checks_files_and_confirms_the_change(
    browser: Browser, gateway: NetworkGateway, tmp_path: Path, language: str
) -> None:
    nodes, links = (text.replace("hb-", f"{language}-") for text in (NODES, LINKS))
    for name, text in (("nodes.csv", nodes), ("links.csv", links), ("wrong.csv", links.replace("0.03", "3"))):
        (tmp_path / name).write_text(text, "utf-8")
    context = browser.new_context(
        locale=LANGUAGES[language], bypass_csp=True, viewport={"width": 1366, "height": 900}
    )
    page = context.new_page()
    sign_in(page, f"{gateway.base_url}/login#{gateway.keys['administrator']}")
    page.goto(f"{gateway.base_url}/console/settings/networks")
    check = page.get_by_role("button", name=translations.translate("networks_check", language))  # type: ignore[arg-type]
    if language == "zh":
        page.locator("input[type=file]").set_input_files([tmp_path / "nodes.csv", tmp_path / "wrong.csv"])
        check.click()
        expect(page.locator("#network-outcome ol")).to_contain_text("wrong.csv, line 2, column manning_n")
        page.screenshot(path=tmp_path / f"errors.{language}.png", full_page=True)
    page.locator("input[type=file]").set_input_files([tmp_path / "nodes.csv", tmp_path / "links.csv"])
    check.click()
    expect(page.locator("#changes tbody tr")).to_have_count(4)
    assert not any(one.node_id == f"{language}-1" for one in gateway.store.directory().nodes)
    page.screenshot(path=tmp_path / f"changes.{language}.png", full_page=True)
    page.locator("#network-outcome button").click()
    expect(page.locator("#network-outcome h3").first).to_contain_text("✓")
    assert any(one.node_id == f"{language}-1" for one in gateway.store.directory().nodes)
    assert serious_findings(page) == []
    if language == "zh":
        lines = [line for shown in shown_texts(page) for line in shown.splitlines()]
        assert {word for line in lines for word in english_in(line)} - {"English", "administrator"} == set()
    with page.expect_download() as download:
        page.get_by_role("button", name=translations.translate("networks_export", language)).click()  # type: ignore[arg-type]
    assert download.value.suggested_filename == "networks.geojson"
    context.close()
