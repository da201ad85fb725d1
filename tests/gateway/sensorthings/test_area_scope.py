"""Tests that a town's key gets only its town over SensorThings: sets, ids, links, filters, counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.api.directory_cache import DirectoryIndex
from gateway.sensorthings import name_binding, resource_path
from gateway.sensorthings.entity_model import EntityModel
from gateway.sensorthings.entity_types import DATASTREAM, ENTITY_TYPES, OBSERVATION, OBSERVED_PROPERTY
from gateway.sensorthings.expression_parser import ExpressionParser
from gateway.sensorthings.paging import Pager
from gateway.sensorthings.query_options import QueryOptions
from ingest_service.storage.contract.models import Directory

if TYPE_CHECKING:
    from gateway.sensorthings.entity_model import Entity
    from gateway.sensorthings.entity_types import EntityType

TOWN = "330483-d1"


@pytest.fixture(scope="module")
def town(world: EntityModel) -> EntityModel:
    """The world of a key for one town."""
    whole = world.directory_index.directory
    sites = [one for one in whole.sites if one.area_id == TOWN]
    names = {one.site_id for one in sites}
    return EntityModel(
        DirectoryIndex(
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


def found(world: EntityModel, kind: EntityType, text: str | None = None) -> list[Entity]:
    node = None if text is None else name_binding.bind_filter(ExpressionParser(text).parse_expression(), kind)
    return (
        Pager(world).page(resource_path.all_entities(kind, world), QueryOptions(filter=node), 10_000).entities
    )


@pytest.mark.parametrize("plural", sorted(set(ENTITY_TYPES) - {"ObservedProperties"}))
def test_sets_and_ids(plural: str, town: EntityModel, world: EntityModel) -> None:
    kind = ENTITY_TYPES[plural]
    own, all_there = found(town, kind), found(world, kind)
    assert set(own) < set(all_there)
    assert own
    for foreign in list(set(all_there) - set(own))[:20]:
        assert town.find_entity(kind, foreign.id) is None
    for one in own[:20]:
        assert town.find_entity(kind, one.id) == one
        for link in kind.links:
            there = resource_path.follow_link(one, link, town)
            if isinstance(there, resource_path.EntitySet):
                assert set(there.entities) <= set(world.entities(there.kind) if there.entities else [])
                assert set(there.series_ids) <= town.directory_index.series.keys()


def test_filters_reach_no_further(town: EntityModel, world: EntityModel) -> None:
    foreign = next(
        one
        for one in world.directory_index.series.values()
        if one.series_id not in town.directory_index.series
    )
    assert found(world, OBSERVATION, f"Datastream/id eq {foreign.series_id}")
    assert found(town, OBSERVATION, f"Datastream/id eq {foreign.series_id}") == []
    name = world.directory_index.sites[foreign.site_id].en.replace("'", "''")
    reaching = f"Datastreams/Thing/name eq '{name}' and Datastreams/Thing/id eq '{foreign.site_id}'"
    assert found(world, OBSERVED_PROPERTY, reaching)
    assert found(town, OBSERVED_PROPERTY, reaching) == []
    far = f"Datastreams/Observations/FeatureOfInterest/id eq '{foreign.site_id}'"
    assert found(world, OBSERVED_PROPERTY, far)
    assert found(town, OBSERVED_PROPERTY, far) == []
    page = Pager(town).page(resource_path.all_entities(OBSERVATION, town), QueryOptions(count=True), 0)
    assert page.count == sum(
        Pager(world).page(resource_path.EntitySet(OBSERVATION, [one], []), QueryOptions(count=True), 0).count
        or 0
        for one in town.directory_index.series
    )
    assert len(found(town, DATASTREAM)) == len(town.directory_index.series)
