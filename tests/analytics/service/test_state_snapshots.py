"""Tests that the service stores the state of the networks, as it estimates it, for the dashboards."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from analytics.service.estimated_state import estimate_quantity
from analytics.service.service_state import ServiceState
from analytics.service.settings import Settings
from analytics.service.state_snapshots import store_states
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.state_estimates import StateEstimates
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.traced_river import add_cloud, traced_river

if TYPE_CHECKING:
    from collections.abc import Iterator

NODES = """
SELECT node_id, source, estimated, deviation, measured, extract(epoch FROM now() - measured_at)::float8
FROM node_estimate_view WHERE quantity = 'ammonia_nitrogen' ORDER BY node_id
"""
LINKS = "SELECT link_id, estimated, deviation FROM link_estimate_view WHERE quantity = 'ammonia_nitrogen'"


@pytest.fixture
def store(plain_dsn: str) -> Iterator[PostgresStore]:
    """A river of three sections that measure, three nodes that do not, and a cloud that has just passed."""
    migrate(plain_dsn)
    opened = PostgresStore.open(plain_dsn)
    opened.enrol(traced_river())
    now_s = time.time()
    add_cloud(opened, passed_s=now_s - 3600, now_s=now_s)
    yield opened
    opened.close()


def rows(store: PostgresStore, query: str) -> list[tuple[Any, ...]]:
    with store.transaction() as connection:
        return connection.execute(query.encode()).fetchall()


def test_each_node_and_link_has_the_value_that_the_api_gives_it(store: PostgresStore) -> None:
    state = ServiceState()
    store_states(store, Settings(state_every_s=0))
    assert rows(store, NODES) == [], "the task is off"
    store_states(store, Settings(), service_state=state)
    stored = {one[0]: one[1:] for one in rows(store, NODES)}
    computed = estimate_quantity(store.directory(), store, "ammonia_nitrogen", time.time())
    assert {one.node_id for one in computed.nodes} == set(stored) > {"a-in", "a-o", "a-p"}
    for one in computed.nodes:
        source, estimated, deviation, measured, age_s = stored[one.node_id]
        assert (source, measured) == (one.source, one.measured)
        assert (estimated, deviation) == pytest.approx((one.estimated, one.deviation), rel=0.05)
        assert (age_s is None) == (one.age_s is None)
        assert age_s is None or age_s == pytest.approx(one.age_s, abs=60)
    assert stored["a-in"][0] == "estimated"
    assert stored["a-in"][2] > stored["a-r0"][2] > 0, "less certain than where it is measured"
    links = {one[0]: one[1:] for one in rows(store, LINKS)}
    mean = (stored["a-r1"][1] + stored["a-r2"][1]) / 2
    assert links["a-r1:a-r2"][0] == pytest.approx(mean)
    assert len(links) == len(store.directory().links) - count_of_roads(store)

    with store.for_area("b").transaction() as connection:
        assert connection.execute("SELECT count(*) FROM node_estimate_view").fetchone() == (0,)
    with store.transaction() as connection:
        connection.execute("UPDATE state_estimate SET estimated = 99")
    store_states(store, Settings(), service_state=state)
    assert {one[2] for one in rows(store, NODES)} == {99.0}, "it is not due yet"
    StateEstimates(store).replace("ammonia_nitrogen", time.time(), [])
    assert rows(store, NODES) == []


def count_of_roads(store: PostgresStore) -> int:
    return sum(one.network == "road" for one in store.directory().links)
