"""Tests that the links in responses behind a TLS proxy are those that clients can reach."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from httpx import ASGITransport, AsyncClient

from gateway.settings import Settings
from tests.support.gateway_access import HEADERS, gateway_app

if TYPE_CHECKING:
    from ingest_service.storage.postgres.store import PostgresStore

FORWARDED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "twin.example.org",
}


def links(store: PostgresStore, settings: dict[str, Any], headers: dict[str, str]) -> set[str]:
    """Where the selfLink, the nextLink and the service document point, without what follows the version."""
    app = gateway_app(store, settings=Settings(requests_burst=1_000_000, **settings))

    async def ask() -> list[Any]:
        transport = ASGITransport(app, client=("10.0.0.2", 4711))
        async with AsyncClient(
            transport=transport, base_url="http://inner:8080", headers=HEADERS | headers
        ) as one:
            return [(await one.get(path)).json() for path in ("/sta/v1.1/Datastreams?$top=1", "/sta/v1.1")]

    page, service = asyncio.run(ask())
    found = [page["value"][0]["@iot.selfLink"], page["@iot.nextLink"], service["value"][0]["url"]]
    return {one.partition("/v1.1")[0] for one in found}


@pytest.mark.parametrize(
    ("settings", "headers", "root"),
    [
        ({}, {}, "http://inner:8080/sta"),
        ({}, FORWARDED, "http://inner:8080/sta"),
        ({"trusted_proxies": ["10.0.0.0/8"]}, FORWARDED, "https://twin.example.org/sta"),
        ({"trusted_proxies": ["192.0.2.0/24"]}, FORWARDED, "http://inner:8080/sta"),
        ({"public_url": "https://towns.example.org/twin/"}, {}, "https://towns.example.org/twin/sta"),
    ],
)
def test_links_have_the_scheme_and_the_host_that_clients_use(
    settings: dict[str, Any], headers: dict[str, str], root: str, filled: PostgresStore
) -> None:
    assert links(filled, settings, headers) == {root}
