"""Maps sites, devices, series and readings to SensorThings entities within the principal's area scope."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from edge.wire.quantities import QUANTITIES
from gateway.sensorthings import entity_properties
from gateway.sensorthings.entity_types import (
    DATASTREAM,
    FEATURE_OF_INTEREST,
    HISTORICAL_LOCATION,
    LOCATION,
    OBSERVATION,
    OBSERVED_PROPERTY,
    SENSOR,
    THING,
    EntityType,
)
from ingest_service.storage.contract.filter_terms import Constant, SeriesScope
from ingest_service.storage.contract.filter_terms import Operation as Condition
from ingest_service.storage.postgres.observations import Observation, SeriesExtent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.api.directory_cache import DirectoryIndex
    from ingest_service.storage.contract.models import Site
    from ingest_service.storage.postgres.observations import ObservationReader

EntityId: TypeAlias = int | str
NO_DEVICE_ID = "none"


@dataclass(frozen=True, slots=True)
class Entity:
    """One entity: its type, its id, and the reading of an Observation."""

    kind: EntityType
    id: EntityId
    reading: Observation | None = field(default=None, compare=False)


class EntityModel:
    """Entities and their links for one request.

    Parameters
    ----------
    directory_index : sites, devices and series within the principal's area scope
    observations : reads the readings

    """

    def __init__(self, directory_index: DirectoryIndex, observations: ObservationReader) -> None:
        self.directory_index = directory_index
        self.observations = observations
        self.sensors_of: dict[int, str] = {}
        for channel in directory_index.directory.channels:
            if channel.series_id in directory_index.series:
                self.sensors_of.setdefault(channel.series_id, channel.device_id)
        self._extents: dict[int, SeriesExtent | None] = {}
        self._values: dict[tuple[str, EntityId], Mapping[str, Any]] = {}

    @cached_property
    def series_of_site(self) -> dict[str, list[int]]:
        """Ids of the series of each site, in order."""
        return self._group_series(
            {one.series_id: one.site_id for one in self.directory_index.series.values()}
        )

    @cached_property
    def series_of_sensor(self) -> dict[str, list[int]]:
        """Ids of the series of each sensor, in order."""
        return self._group_series(
            {one: self.sensors_of.get(one, NO_DEVICE_ID) for one in self.directory_index.series}
        )

    @cached_property
    def series_of_quantity(self) -> dict[str, list[int]]:
        """Ids of the series of each quantity, in order."""
        return self._group_series(
            {one.series_id: one.quantity for one in self.directory_index.series.values()}
        )

    @cached_property
    def sensors(self) -> list[str]:
        """Ids of all devices, and `NO_DEVICE_ID` if a series has no enrolled device."""
        return sorted(
            {one.device_id for one in self.directory_index.directory.devices} | self.series_of_sensor.keys()
        )

    def ids(self, kind: EntityType) -> Sequence[EntityId]:
        """Return all ids of an entity type, in order; not of Observations."""
        if kind is DATASTREAM:
            return sorted(self.directory_index.series)
        if kind is SENSOR:
            return self.sensors
        if kind is OBSERVED_PROPERTY:
            return list(QUANTITIES)
        if kind is HISTORICAL_LOCATION:
            return [one for one in sorted(self.directory_index.sites) if self.location_known_since(one)]
        return sorted(self.directory_index.sites)

    def entities(self, kind: EntityType) -> list[Entity]:
        """Return all entities of a type, ordered by id; not Observations."""
        return [Entity(kind, one) for one in self.ids(kind)]

    def find_entity(self, kind: EntityType, entity_id: EntityId) -> Entity | None:
        """Return the entity with an id; None if there is none within the area scope."""
        if kind is OBSERVATION:
            return self._observation(entity_id)
        typed_id = str(entity_id) if kind is not DATASTREAM else entity_id
        available_ids: Any = self.directory_index.sites
        if kind is DATASTREAM:
            available_ids = self.directory_index.series
        elif kind is SENSOR:
            available_ids = self.sensors
        elif kind is OBSERVED_PROPERTY:
            available_ids = QUANTITIES
        if kind is HISTORICAL_LOCATION:
            self.load_extents(self.series_of_site.get(str(typed_id), []))
        result = typed_id in available_ids and (
            kind is not HISTORICAL_LOCATION or self.location_known_since(str(typed_id)) is not None
        )
        return Entity(kind, typed_id) if result else None

    def follow(self, entity: Entity, link: str) -> list[Entity]:
        """Return the linked entities; for Observations use `series_ids_of`."""
        kind, key = entity.kind, entity.id
        if kind is OBSERVATION:
            series = self.directory_index.series[entity.reading.series_id]  # type: ignore[union-attr]
            if link == "Datastream":
                return [Entity(DATASTREAM, series.series_id)]
            return [Entity(FEATURE_OF_INTEREST, series.site_id)]
        if kind is DATASTREAM:
            return [self._entity_of_datastream(int(key), link)]
        if link == "Datastreams":
            return [Entity(DATASTREAM, one) for one in self.series_ids_of(entity)]
        if link == "HistoricalLocations":
            return [Entity(HISTORICAL_LOCATION, key)] if self.location_known_since(str(key)) else []
        return [Entity(LOCATION if link == "Locations" else THING, key)]

    def _entity_of_datastream(self, series_id: int, link: str) -> Entity:
        series = self.directory_index.series[series_id]
        match link:
            case "Thing":
                return Entity(THING, series.site_id)
            case "Sensor":
                return Entity(SENSOR, self.sensors_of.get(series_id, NO_DEVICE_ID))
        return Entity(OBSERVED_PROPERTY, series.quantity)

    def series_ids_of(self, entity: Entity) -> list[int]:
        """Return the ids of the series of an entity, in order."""
        if entity.kind is DATASTREAM:
            return [int(entity.id)]
        if entity.kind is SENSOR:
            return self.series_of_sensor.get(str(entity.id), [])
        if entity.kind is OBSERVED_PROPERTY:
            return self.series_of_quantity.get(str(entity.id), [])
        return self.series_of_site.get(str(entity.id), [])

    def load_extents(self, series_ids: Iterable[int]) -> None:
        """Read the time extents of some series in one query, unless they are loaded already."""
        missing = [one for one in series_ids if one not in self._extents]
        if missing:
            result = self.observations.extents(missing)
            self._extents |= {one: result.get(one) for one in missing}

    def extent(self, series_id: int) -> SeriesExtent | None:
        """Return the time extent of the readings of a series; None if it has none."""
        if series_id not in self._extents:
            self.load_extents(self.directory_index.series)
        return self._extents[series_id]

    def location_known_since(self, site_id: str) -> dt.datetime | None:
        """Return the time of a site's first reading, since which its location is known; None without any."""
        extents = [self.extent(one) for one in self.series_of_site.get(site_id, [])]
        return min((one.first for one in extents if one is not None), default=None)

    def values(self, entity: Entity) -> Mapping[str, Any]:
        """Return the properties of an entity as Python values, for filters and rendering."""
        if entity.reading is not None:
            return entity_properties.observation_properties(entity.reading)
        key = (entity.kind.name, entity.id)
        if key not in self._values:
            self._values[key] = self._properties_of(entity)
        return self._values[key]

    def site(self, entity: Entity) -> Site:
        """Return the site of a Thing, Location, HistoricalLocation or FeatureOfInterest."""
        return self.directory_index.sites[str(entity.id)]

    def _properties_of(self, entity: Entity) -> Mapping[str, Any]:
        kind = entity.kind
        if kind is DATASTREAM:
            series = self.directory_index.series[int(entity.id)]
            site = self.directory_index.sites[series.site_id]
            return entity_properties.datastream_properties(
                series, site, lambda: self.extent(series.series_id)
            )
        if kind is SENSOR:
            device = next(
                (one for one in self.directory_index.directory.devices if one.device_id == entity.id), None
            )
            return entity_properties.sensor_properties(str(entity.id), device)
        if kind is OBSERVED_PROPERTY:
            return entity_properties.observed_property_properties(QUANTITIES[str(entity.id)])
        if kind is HISTORICAL_LOCATION:
            return {"id": entity.id, "time": self.location_known_since(str(entity.id))}
        property_builders = {
            THING.name: entity_properties.thing_properties,
            LOCATION.name: entity_properties.location_properties,
        }
        return property_builders.get(kind.name, entity_properties.feature_properties)(self.site(entity))

    def _observation(self, entity_id: EntityId) -> Entity | None:
        series_and_time = entity_properties.parse_observation_id(str(entity_id))
        if series_and_time is None or series_and_time[0] not in self.directory_index.series:
            return None
        series_id, measured_time = series_and_time
        where = Condition("is_at", (Constant(series_id), Constant(measured_time)))
        rows = self.observations.page(SeriesScope([series_id]), where, (), limit=1)
        return observation_entity(rows[0]) if rows else None

    def _group_series(self, keys: dict[int, str]) -> dict[str, list[int]]:
        result: dict[str, list[int]] = {}
        for series_id in sorted(keys):
            result.setdefault(keys[series_id], []).append(series_id)
        return result


def observation_entity(row: Observation) -> Entity:
    """Return a reading as an Observation entity."""
    return Entity(OBSERVATION, f"{row.series_id}-{row.time_us}", row)
