"""The entities of one request, restricted to what its principal may see."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from edge.wire.quantities import QUANTITIES
from gateway.sta import describe
from gateway.sta.kinds import (
    DATASTREAM,
    FEATURE_OF_INTEREST,
    HISTORICAL_LOCATION,
    LOCATION,
    OBSERVATION,
    OBSERVED_PROPERTY,
    SENSOR,
    THING,
    Kind,
)
from ingest_service.storage.sensorthings import Extent, Observed
from ingest_service.storage.terms import Call as Condition
from ingest_service.storage.terms import Scope, Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.known import Known
    from ingest_service.storage.model import Site
    from ingest_service.storage.sensorthings import SensorThings

Id: TypeAlias = int | str
NO_DEVICE = "none"


@dataclass(frozen=True, slots=True)
class Entity:
    """One entity: what it is, its id, and for an observation the reading."""

    kind: Kind
    id: Id
    reading: Observed | None = field(default=None, compare=False)


class World:
    """Entities and how they hang together, for one caller."""

    def __init__(self, known: Known, observations: SensorThings) -> None:
        self.known = known
        self.observations = observations
        self.sensors_of: dict[int, str] = {}
        for channel in known.directory.channels:
            if channel.series_id in known.series:
                self.sensors_of.setdefault(channel.series_id, channel.device_id)
        self._extents: dict[int, Extent | None] = {}
        self._values: dict[tuple[str, Id], Mapping[str, Any]] = {}

    @cached_property
    def series_of_site(self) -> dict[str, list[int]]:
        """Series of each site, by id."""
        return self._grouped({one.series_id: one.site_id for one in self.known.series.values()})

    @cached_property
    def series_of_sensor(self) -> dict[str, list[int]]:
        """Series of each sensor, by id."""
        return self._grouped({one: self.sensors_of.get(one, NO_DEVICE) for one in self.known.series})

    @cached_property
    def series_of_quantity(self) -> dict[str, list[int]]:
        """Series of each quantity, by id."""
        return self._grouped({one.series_id: one.quantity for one in self.known.series.values()})

    @cached_property
    def sensors(self) -> list[str]:
        """Devices, and the one that stands where no device is enrolled."""
        return sorted({one.device_id for one in self.known.directory.devices} | self.series_of_sensor.keys())

    def ids(self, kind: Kind) -> Sequence[Id]:
        """Every id of a kind, in order; not of observations."""
        if kind is DATASTREAM:
            return sorted(self.known.series)
        if kind is SENSOR:
            return self.sensors
        if kind is OBSERVED_PROPERTY:
            return list(QUANTITIES)
        if kind is HISTORICAL_LOCATION:
            return [one for one in sorted(self.known.sites) if self.placed(one)]
        return sorted(self.known.sites)

    def entities(self, kind: Kind) -> list[Entity]:
        """Every entity of a kind, by id; not of observations."""
        return [Entity(kind, one) for one in self.ids(kind)]

    def find(self, kind: Kind, entity_id: Id) -> Entity | None:
        """The entity with an id, where there is one that the caller may see."""
        if kind is OBSERVATION:
            return self._observation(entity_id)
        wanted = str(entity_id) if kind is not DATASTREAM else entity_id
        there: Any = self.known.sites
        if kind is DATASTREAM:
            there = self.known.series
        elif kind is SENSOR:
            there = self.sensors
        elif kind is OBSERVED_PROPERTY:
            there = QUANTITIES
        if kind is HISTORICAL_LOCATION:
            self.load(self.series_of_site.get(str(wanted), []))
        found = wanted in there and (kind is not HISTORICAL_LOCATION or self.placed(str(wanted)) is not None)
        return Entity(kind, wanted) if found else None

    def follow(self, entity: Entity, link: str) -> list[Entity]:
        """The entities that a link leads to; not observations, which `series_below` leads to."""
        kind, key = entity.kind, entity.id
        if kind is OBSERVATION:
            series = self.known.series[entity.reading.series_id]  # type: ignore[union-attr]
            if link == "Datastream":
                return [Entity(DATASTREAM, series.series_id)]
            return [Entity(FEATURE_OF_INTEREST, series.site_id)]
        if kind is DATASTREAM:
            return [self._of_datastream(int(key), link)]
        if link == "Datastreams":
            return [Entity(DATASTREAM, one) for one in self.series_below(entity)]
        if link == "HistoricalLocations":
            return [Entity(HISTORICAL_LOCATION, key)] if self.placed(str(key)) else []
        return [Entity(LOCATION if link == "Locations" else THING, key)]

    def _of_datastream(self, series_id: int, link: str) -> Entity:
        series = self.known.series[series_id]
        match link:
            case "Thing":
                return Entity(THING, series.site_id)
            case "Sensor":
                return Entity(SENSOR, self.sensors_of.get(series_id, NO_DEVICE))
        return Entity(OBSERVED_PROPERTY, series.quantity)

    def series_below(self, entity: Entity) -> list[int]:
        """The series of an entity, by id."""
        if entity.kind is DATASTREAM:
            return [int(entity.id)]
        if entity.kind is SENSOR:
            return self.series_of_sensor.get(str(entity.id), [])
        if entity.kind is OBSERVED_PROPERTY:
            return self.series_of_quantity.get(str(entity.id), [])
        return self.series_of_site.get(str(entity.id), [])

    def load(self, series_ids: Iterable[int]) -> None:
        """Ask for stretches of time at once that will be needed."""
        missing = [one for one in series_ids if one not in self._extents]
        if missing:
            found = self.observations.extents(missing)
            self._extents |= {one: found.get(one) for one in missing}

    def extent(self, series_id: int) -> Extent | None:
        """When the readings of a series begin and end; None where there are none."""
        if series_id not in self._extents:
            self.load(self.known.series)
        return self._extents[series_id]

    def placed(self, site_id: str) -> dt.datetime | None:
        """When a site is known to stand where it stands: since its first reading."""
        extents = [self.extent(one) for one in self.series_of_site.get(site_id, [])]
        return min((one.first for one in extents if one is not None), default=None)

    def values(self, entity: Entity) -> Mapping[str, Any]:
        """The properties of an entity, as values that filters work on."""
        if entity.reading is not None:
            return describe.observation(entity.reading)
        key = (entity.kind.name, entity.id)
        if key not in self._values:
            self._values[key] = self._described(entity)
        return self._values[key]

    def site(self, entity: Entity) -> Site:
        """The site of an entity that is a site in this world."""
        return self.known.sites[str(entity.id)]

    def _described(self, entity: Entity) -> Mapping[str, Any]:
        kind = entity.kind
        if kind is DATASTREAM:
            series = self.known.series[int(entity.id)]
            site = self.known.sites[series.site_id]
            return describe.datastream(series, site, lambda: self.extent(series.series_id))
        if kind is SENSOR:
            device = next((one for one in self.known.directory.devices if one.device_id == entity.id), None)
            return describe.sensor(str(entity.id), device)
        if kind is OBSERVED_PROPERTY:
            return describe.observed_property(QUANTITIES[str(entity.id)])
        if kind is HISTORICAL_LOCATION:
            return {"id": entity.id, "time": self.placed(str(entity.id))}
        described = {THING.name: describe.thing, LOCATION.name: describe.location}
        return described.get(kind.name, describe.feature_of_interest)(self.site(entity))

    def _observation(self, entity_id: Id) -> Entity | None:
        place = describe.place_of(str(entity_id))
        if place is None or place[0] not in self.known.series:
            return None
        series_id, moment = place
        where = Condition("is_at", (Value(series_id), Value(moment)))
        rows = self.observations.page(Scope([series_id]), where, (), limit=1)
        return observed(rows[0]) if rows else None

    def _grouped(self, keys: dict[int, str]) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for series_id in sorted(keys):
            found.setdefault(keys[series_id], []).append(series_id)
        return found


def observed(row: Observed) -> Entity:
    """An observation as an entity."""
    return Entity(OBSERVATION, f"{row.series_id}-{row.time_us}", row)
