"""Who sees one town sees one town, by every way: sets, ids, links, filters, counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.known import Known
from gateway.sta import bind, path
from gateway.sta.grammar import Parser
from gateway.sta.kinds import DATASTREAM, KINDS, OBSERVATION, OBSERVED_PROPERTY
from gateway.sta.options import Query
from gateway.sta.pages import Pager
from gateway.sta.world import World
from ingest_service.storage.model import Directory

if TYPE_CHECKING:
    from gateway.sta.kinds import Kind
    from gateway.sta.world import Entity

TOWN = "330483-d1"


@pytest.fixture(scope="module")
def town(world: World) -> World:
    """The world of a key for one town."""
    whole = world.known.directory
    sites = [one for one in whole.sites if one.area_id == TOWN]
    names = {one.site_id for one in sites}
    return World(
        Known(
            Directory(
                areas=whole.areas,
                sites=sites,
                devices=[one for one in whole.devices if one.area_id == TOWN],
                series=[one for one in whole.series if one.site_id in names],
                channels=[one for one in whole.channels if one.site_id in names],
            )
        ),
        world.observations,
    )


def found(world: World, kind: Kind, text: str | None = None) -> list[Entity]:
    node = None if text is None else bind.condition(Parser(text).expression(), kind)
    return Pager(world).page(path.everything(kind, world), Query(filter=node), 10_000).entities


@pytest.mark.parametrize("plural", sorted(set(KINDS) - {"ObservedProperties"}))
def test_sets_and_ids(plural: str, town: World, world: World) -> None:
    kind = KINDS[plural]
    own, all_there = found(town, kind), found(world, kind)
    assert set(own) < set(all_there)
    assert own
    for foreign in list(set(all_there) - set(own))[:20]:
        assert town.find(kind, foreign.id) is None
    for one in own[:20]:
        assert town.find(kind, one.id) == one
        for link in kind.links:
            there = path.below(one, link, town)
            if isinstance(there, path.Source):
                assert set(there.entities) <= set(world.entities(there.kind) if there.entities else [])
                assert set(there.series_ids) <= town.known.series.keys()


def test_filters_reach_no_further(town: World, world: World) -> None:
    foreign = next(one for one in world.known.series.values() if one.series_id not in town.known.series)
    assert found(world, OBSERVATION, f"Datastream/id eq {foreign.series_id}")
    assert found(town, OBSERVATION, f"Datastream/id eq {foreign.series_id}") == []
    name = world.known.sites[foreign.site_id].en.replace("'", "''")
    reaching = f"Datastreams/Thing/name eq '{name}' and Datastreams/Thing/id eq '{foreign.site_id}'"
    assert found(world, OBSERVED_PROPERTY, reaching)
    assert found(town, OBSERVED_PROPERTY, reaching) == []
    far = f"Datastreams/Observations/FeatureOfInterest/id eq '{foreign.site_id}'"
    assert found(world, OBSERVED_PROPERTY, far)
    assert found(town, OBSERVED_PROPERTY, far) == []
    page = Pager(town).page(path.everything(OBSERVATION, town), Query(count=True), 0)
    assert page.count == sum(
        Pager(world).page(path.Source(OBSERVATION, [one], []), Query(count=True), 0).count or 0
        for one in town.known.series
    )
    assert len(found(town, DATASTREAM)) == len(town.known.series)
