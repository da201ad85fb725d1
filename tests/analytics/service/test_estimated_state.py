"""Tests the estimates of a quantity at nodes without sensors, and that they use no hidden sensor."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import msgspec
import numpy as np
import pytest

from analytics.errors import TwinModelError
from analytics.service import missing_results, state_inputs
from analytics.service.estimated_state import MAX_SENSORS, EstimatedState, NodeEstimate, estimate_quantity
from gateway.api.directory_cache import DirectoryCache
from gateway.auth.area_scope import scoped_to
from gateway.auth.principal import Principal, Role
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import READING, Area, Directory, Link, Node, Series, Site
from ingest_service.storage.memory.store import MemoryStore

#  two towns on one chain, 3,600 m and 1 h from node to node: u0 u1 u2 u3 | d0 d1 d2 d3; sensors at SENSORS
NODES = [f"{town}{number}" for town in ("u", "d") for number in range(4)]
SENSORS = ("u0", "u2", "u3", "d0", "d1", "d3")
AT_S = 1_790_000_100.0
LEVEL, SPREAD = 8.0, 0.2
WORDS: dict[str, Any] = {"en": "x", "zh": "x"}
PLACE: dict[str, Any] = {"lon": 120.5, "lat": 30.6, **WORDS}


def directory(
    network: Literal["river", "road"] = "river",
    quantity: str = "dissolved_oxygen",
    *,
    both_ways: bool = False,
) -> Directory:
    ends = [*pairwise(NODES), *([(head, tail) for tail, head in pairwise(NODES)] if both_ways else [])]
    return Directory(
        areas=[Area(area_id=town, level="town", **WORDS) for town in ("u", "d")],
        sites=[Site(site_id=one, area_id=one[0], kind="river_section", **PLACE) for one in SENSORS],
        series=[Series(site_id=one, quantity=quantity, interval_s=300) for one in SENSORS],
        nodes=[
            Node(
                node_id=one,
                network=network,
                area_id=one[0],
                kind="section",
                site_id=one if one in SENSORS else None,
                **PLACE,
            )
            for one in NODES
        ],
        links=[
            Link(
                link_id=tail + head,
                network=network,
                from_node=tail,
                to_node=head,
                length_m=3600.0 if network == "river" else 400.0,
                speed_m_s=1.0,
                **WORDS,
            )
            for tail, head in ends
        ],
    )


def filled_store(known: Directory, **changed: dict[str, Any]) -> MemoryStore:
    """A day of readings as expected, every 5 min until `AT_S`; ``changed`` replaces columns of a site's."""
    store = MemoryStore()
    for one in store.enrol(known).series:
        rows = np.zeros(288, READING)
        rows["series_id"] = one.series_id
        rows["time_us"] = ((AT_S - 300.0 * np.arange(288)[::-1]) * 1e6).astype(np.int64)
        rows["received_us"] = rows["time_us"]
        rows["value"] = rows["expected"] = LEVEL + 0.1 * SENSORS.index(one.site_id)
        rows["spread"], rows["quality"] = SPREAD, 1
        for name, value in changed.get(one.site_id, {}).items():
            rows[name] = value
        store.commit(Batch(fresh=rows))
    return store


def estimates(store: MemoryStore, at_s: float = AT_S, quantity: str = "dissolved_oxygen") -> EstimatedState:
    return estimate_quantity(store.directory(), store, quantity, at_s)


def by_node(state: EstimatedState) -> dict[str, NodeEstimate]:
    return {one.node_id: one for one in state.nodes}


def test_a_departure_arrives_downstream_after_the_travel_time() -> None:
    value = np.full(288, LEVEL)
    value[-18:-6] -= 5 * SPREAD  # from 90 to 30 min ago at u0, which now lies around u1
    usual, now = (
        by_node(estimates(filled_store(directory(), **changed))) for changed in ({}, {"u0": {"value": value}})
    )
    change = {one: (now[one].estimated or 0) - (usual[one].estimated or 0) for one in NODES}
    assert change["u1"] < -2 * SPREAD
    assert abs(change["u0"]) < 0.1 * SPREAD
    assert abs(change["u2"]) < 0.2 * SPREAD, "its own sensor has not measured it yet"


def test_the_deviation_grows_with_the_distance_from_sensors_and_links_have_the_mean() -> None:
    state = estimates(filled_store(directory()))
    nodes = by_node(state)
    assert [nodes[one].source for one in NODES] == [
        "measured" if one in SENSORS else "estimated" for one in NODES
    ]
    deviation = {one: nodes[one].deviation or np.inf for one in NODES}
    assert max(deviation[one] for one in SENSORS) < deviation["u1"] < 2 * SPREAD
    assert (nodes["u3"].measured, nodes["u3"].expected, nodes["u3"].age_s) == (8.2, 8.2, 0.0)
    link = next(one for one in state.links if one.link_id == "u0u1")
    ends = [nodes["u0"].estimated or 0, nodes["u1"].estimated or 0]
    assert link.estimated == pytest.approx(np.mean(ends), rel=1e-4)


def test_a_flagged_reading_is_shown_and_not_used() -> None:
    value, quality = np.full(288, 2.0), np.full(288, 4)
    usual, now = (
        by_node(estimates(filled_store(directory(), **changed)))
        for changed in ({}, {"u2": {"value": value, "quality": quality}})
    )
    assert (now["u2"].source, now["u2"].measured, now["u2"].quality) == ("estimated", 2.0, 4)
    assert now["u2"].estimated == pytest.approx(now["u2"].expected, abs=0.01)
    assert (now["u2"].deviation or 0) > 1.5 * (usual["u2"].deviation or 0)


def test_a_sensor_that_fell_silent_keeps_the_level_of_its_place() -> None:
    """Its expected value was interpolated from the other sites, as if it had never measured."""
    time_us = ((AT_S - 6 * 3600 - 300.0 * np.arange(288)[::-1]) * 1e6).astype(np.int64)
    silent: dict[str, Any] = {"time_us": time_us, "value": 12.0, "expected": 12.0}
    nodes = by_node(estimates(filled_store(directory(), u2=silent)))
    assert nodes["u2"].source == "estimated"
    assert nodes["u2"].estimated == pytest.approx(12.0, abs=SPREAD)
    assert (nodes["u1"].deviation or 0) > 2 * (nodes["u2"].deviation or 0), "nothing was measured at u1"


def test_a_past_state_uses_no_later_reading_and_one_without_readings_is_empty() -> None:
    value = np.full(288, LEVEL)
    value[-12:] = 1.0
    past = AT_S - 12 * 300.0
    usual, changed = filled_store(directory()), filled_store(directory(), u0={"value": value})
    assert estimates(changed, past) == estimates(usual, past)
    assert estimates(changed) != estimates(usual)
    empty = estimates(usual, AT_S - 10 * 86_400.0)
    assert {one.source for one in empty.nodes} == {"none"}
    assert {one.estimated for one in empty.links} == {None}
    assert (empty.missing, estimates(usual).missing) == (missing_results.NO_EXPECTED, None)


def test_a_network_without_a_sensor_of_the_quantity_and_no_network_are_reasons() -> None:
    known = directory()
    unmeasured = msgspec.structs.replace(known, series=[])
    without_network = msgspec.structs.replace(known, nodes=[], links=[])
    for one, reason in (
        (unmeasured, missing_results.NO_SENSORS),
        (without_network, missing_results.NO_NETWORK),
    ):
        store = MemoryStore()
        found = estimate_quantity(store.enrol(one), store, "dissolved_oxygen", AT_S)
        assert found.missing == reason
        assert {node.estimated for node in found.nodes} <= {None}


def test_two_sensors_are_too_few_for_the_nodes_without_one() -> None:
    silent: dict[str, Any] = {one: {"expected": np.nan} for one in SENSORS[2:]}
    found = estimates(filled_store(directory(), **silent))
    assert found.missing == missing_results.too_few_sensors(2, 3)
    nodes = by_node(found)
    assert nodes["u0"].estimated is not None
    assert (nodes["u1"].source, nodes["u1"].estimated, nodes["u1"].deviation) == ("none", None, None)


def test_a_road_with_both_directions_is_estimated_as_one_with_one() -> None:
    slow: dict[str, Any] = {one: {"value": LEVEL - 4 * SPREAD} for one in ("u0", "u2", "u3")}
    one_way, both_ways = (
        by_node(
            estimates(
                filled_store(directory("road", "traffic_speed", both_ways=both), **slow),
                quantity="traffic_speed",
            )
        )
        for both in (False, True)
    )
    assert one_way == both_ways
    assert (one_way["u1"].estimated or 0) < LEVEL - 0.5 * SPREAD


def test_a_key_of_a_town_gets_its_own_nodes_by_its_own_sensors_alone() -> None:
    """Readings of the town upstream change the estimates of whoever may read both towns, and no others."""
    value = np.full(288, LEVEL - 5 * SPREAD)
    found = {}
    for name, changed in (("usual", {}), ("changed", {"u2": {"value": value}, "u3": {"value": value}})):
        store = filled_store(directory(), **changed)
        cache = DirectoryCache(store)
        for areas in (None, ("d",)):
            principal = Principal(principal_id="p", name="p", role=Role.VIEWER, areas=areas)
            reader = scoped_to(store, principal, cache)
            known = cache.directory_index(areas).directory
            found[name, areas] = estimate_quantity(known, reader, "dissolved_oxygen", AT_S)
    assert found["usual", None].nodes[-3:] != found["changed", None].nodes[-3:]
    of_town = found["usual", ("d",)]
    assert of_town == found["changed", ("d",)]
    assert [(one.node_id, one.source) for one in of_town.nodes] == [
        ("d0", "measured"),
        ("d1", "measured"),
        ("d2", "estimated"),
        ("d3", "measured"),
    ]
    assert [one.link_id for one in of_town.links] == ["d0d1", "d1d2", "d2d3"]


def test_quantities_of_no_network_and_too_many_sensors_or_readings_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(TwinModelError, match=r"rainfall is measured on no network: give one of .*ph"):
        estimates(MemoryStore(), quantity="rainfall")
    node, series = directory().nodes[0], Series(site_id="u0", quantity="ph")
    many = Directory(nodes=[node], series=[series] * (MAX_SENSORS + 1))
    with pytest.raises(TwinModelError, match="the river network has 1 nodes and 2001 sensors of ph"):
        estimate_quantity(many, MemoryStore(), "ph", AT_S)
    monkeypatch.setattr(state_inputs, "MAX_READINGS", 6 * 288 - 1)
    with pytest.raises(TwinModelError, match="6 sensors have more than 1727 readings in 24 h"):
        estimates(filled_store(directory()))
