"""Tests that links to sites of one name in two towns differ, and that a plot is served without its page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from gateway.auth import api_keys
from gateway.auth.principal import Role
from ingest_service.storage.contract.models import Series
from ingest_service.storage.memory.store import MemoryStore
from tests.support.asgi import send_request
from tests.support.gateway_access import ACCOUNTS, HEADERS, gateway_app
from tests.support.neighbouring_town import HOME_AREA, OTHER_TOWN
from tests.support.store_samples import DIRECTORY

if TYPE_CHECKING:
    from fastapi import FastAPI


@pytest.fixture(scope="module")
def app() -> FastAPI:
    store = MemoryStore()
    store.enrol(DIRECTORY)
    home = DIRECTORY.sites[0]
    other = msgspec.structs.replace(OTHER_TOWN.sites[0], en=home.en, zh=home.zh)
    areas = [msgspec.structs.replace(one, zh="魏塘") for one in OTHER_TOWN.areas]
    store.enrol(msgspec.structs.replace(OTHER_TOWN, areas=areas, sites=[other]))
    third = msgspec.structs.replace(home, site_id="s3", en="Bridge", zh="桥")
    store.enrol(
        msgspec.structs.replace(DIRECTORY, sites=[third], series=[Series(site_id="s3", quantity="ph")])
    )
    return gateway_app(store, console=True)


def get_page(app: FastAPI, path: str, **headers: str) -> Any:
    answer = send_request(app, "GET", path, headers={**HEADERS, **headers})
    assert answer.status_code == 200, answer.text
    return answer


@pytest.mark.parametrize(
    ("language", "names"),
    [("en", ["Bridge", "S (Other)", "S (Town)"]), ("zh", ["断面（镇）", "断面（魏塘）", "桥"])],
)
def test_sites_of_one_name_are_listed_with_their_towns(app: FastAPI, language: str, names: list[str]) -> None:
    text = get_page(app, "/console/sites", **{"Accept-Language": language}).text
    links = dict(re.findall(r'href="(/console/sites/\w+)">([^<]*)</a>', text))
    assert sorted(set(links.values())) == sorted(names)


def test_only_sites_of_visible_areas_share_a_name(app: FastAPI) -> None:
    _, key = api_keys.create_key(
        ACCOUNTS, name="home", role=Role.VIEWER, area_id=HOME_AREA, created_by="tests"
    )
    text = send_request(app, "GET", "/console/sites", headers={"X-API-Key": key}).text
    assert "Town)" not in text
    assert "Other" not in text


def test_a_page_that_replaces_its_plot_gets_the_plot_alone(app: FastAPI) -> None:
    whole = get_page(app, "/console/series/1")
    part = get_page(app, "/console/series/1", **{"HX-Request": "true", "HX-Target": "plot"})
    assert part.text.startswith('<div id="plot">')
    assert part.text.strip() in whole.text
    assert "HX-Target" in part.headers["vary"]
    assert "HX-Target" in whole.headers["vary"]
