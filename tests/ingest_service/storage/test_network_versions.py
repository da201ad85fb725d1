"""Tests changes of the networks by valid time, in every store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from gateway.api.directory_cache import restricted_to_areas
from ingest_service.storage.contract.models import Area, Directory, Link, Node
from ingest_service.storage.contract.network_changes import NetworkChange, NetworkChangeError
from tests.support.store_samples import DIRECTORY

if TYPE_CHECKING:
    from ingest_service.storage.contract.store import Store

MARCH_S, APRIL_S, MAY_S = 1_772_323_200.0, 1_775_001_600.0, 1_777_593_600.0
FIRST, SECOND = DIRECTORY.nodes
REACH = DIRECTORY.links[0]
MOUTH = msgspec.structs.replace(
    SECOND, node_id="n3", kind="mouth", site_id=None, lon=120.6, external_id="CIM-3"
)
NEW_REACH = msgspec.structs.replace(
    REACH,
    link_id="l2",
    from_node="n2",
    to_node="n3",
    direction="both",
    section_shape="trapezoidal",
    width_m=12.5,
    depth_m=3.0,
    side_slope=1.5,
    manning_n=0.03,
    structure="sluice",
    external_id="CIM-L2",
)


def of_link(link: Link, **changed: Any) -> Link:
    return msgspec.structs.replace(link, **changed)


def network(directory: Directory) -> tuple[list[Node], list[Link]]:
    """Return the nodes and links, without the time since when they are valid."""
    return (
        [msgspec.structs.replace(one, valid_from_s=None) for one in directory.nodes],
        [msgspec.structs.replace(one, valid_from_s=None) for one in directory.links],
    )


def test_a_change_holds_from_its_time_on_and_what_was_before_stays(store: Store) -> None:
    before = store.directory()
    widened = of_link(REACH, width_m=20.0, speed_m_s=0.2)
    changed = store.change_network(
        NetworkChange(nodes=[MOUTH], links=[widened, NEW_REACH], valid_from_s=APRIL_S)
    )
    assert changed.version == before.version + 1 == store.directory_version()
    assert network(changed) == ([FIRST, SECOND, MOUTH], [widened, NEW_REACH])
    assert [one.valid_from_s for one in changed.links] == [APRIL_S, APRIL_S]
    assert network(changed.valid_at(MARCH_S)) == ([FIRST, SECOND], [REACH])
    assert network(changed.valid_at(APRIL_S)) == network(changed)

    ended = store.change_network(
        NetworkChange(ended_nodes=["n3"], ended_links=["l2"], links=[REACH], valid_from_s=MAY_S)
    )
    assert ended == store.directory()
    assert network(ended) == ([FIRST, SECOND], [REACH])
    assert network(ended.valid_at(APRIL_S + 1)) == network(changed)
    assert network(ended.valid_at(MARCH_S)) == ([FIRST, SECOND], [REACH])
    assert ended.series == before.series


def test_a_correction_leaves_no_past_version(store: Store) -> None:
    corrected = of_link(REACH, length_m=950.0)
    changed = store.change_network(NetworkChange(links=[corrected]))
    assert network(changed.valid_at(MARCH_S)) == ([FIRST, SECOND], [corrected])
    assert (changed.past_links, changed.past_nodes) == ([], [])
    again = store.change_network(NetworkChange(links=[corrected], valid_from_s=APRIL_S))
    assert again.version == changed.version, "what doesn't differ is no change"


def test_enrolling_a_site_file_again_keeps_since_when_a_version_is_valid(store: Store) -> None:
    changed = store.change_network(NetworkChange(links=[of_link(REACH, width_m=9.0)], valid_from_s=APRIL_S))
    again = store.enrol(Directory(links=[of_link(REACH, width_m=10.0)]))
    assert [(one.width_m, one.valid_from_s) for one in again.links] == [(10.0, APRIL_S)]
    assert again.past_links == changed.past_links
    assert store.enrol(Directory(links=[of_link(REACH, width_m=10.0)])).version == again.version


REFUSED = (
    (NetworkChange(links=[of_link(REACH, lanes=2)], valid_from_s=time.time() + 9e6), "in the future"),
    (NetworkChange(links=[of_link(REACH, lanes=2)], valid_from_s=MARCH_S), "link 'l1' has changed"),
    (NetworkChange(ended_links=["l1"], valid_from_s=APRIL_S), "link 'l1' has changed"),
    (NetworkChange(ended_links=["l9"]), "link 'l9' ends, but is not enrolled"),
    (NetworkChange(ended_nodes=["n1"]), "link 'l1' would end at node 'n1'"),
    (NetworkChange(links=[of_link(NEW_REACH)]), "link 'l2' would end at node 'n3'"),
)


def test_a_change_that_contradicts_the_network_changes_nothing(store: Store) -> None:
    before = store.change_network(NetworkChange(links=[of_link(REACH, width_m=9.0)], valid_from_s=APRIL_S))
    for change, sentence in REFUSED:
        with pytest.raises(NetworkChangeError, match=sentence):
            store.change_network(change)
        assert store.directory() == before


def test_a_reader_of_one_town_gets_the_past_of_that_town_alone(store: Store) -> None:
    other = Area(area_id="330483-d2", parent="330483", level="town", en="Other", zh="邻镇")
    there = [msgspec.structs.replace(one, node_id=f"{one.node_id}b", area_id=other.area_id, site_id=None)
             for one in (FIRST, SECOND)]  # fmt: skip
    link = of_link(REACH, link_id="lb", from_node="n1b", to_node="n2b")
    store.change_network(NetworkChange(areas=[other], nodes=there, links=[link]))
    full = store.change_network(
        NetworkChange(
            nodes=[msgspec.structs.replace(one, elevation_m=1.0) for one in [*there, FIRST]],
            links=[of_link(link, width_m=3.0), of_link(REACH, width_m=4.0)],
            valid_from_s=APRIL_S,
        )
    )
    seen_by_town = restricted_to_areas(full, ["330483-d1"]).directory
    assert [one.node.node_id for one in seen_by_town.past_nodes] == ["n1"]
    assert [one.link.link_id for one in seen_by_town.past_links] == ["l1"]
    if store.database is not None:
        scoped = store.for_area("330483-d1").directory()
        assert [one.link.link_id for one in scoped.past_links] == ["l1"], "row-level security"
