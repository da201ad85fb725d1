"""Defines the SensorThings entity types with their properties and navigation links (18-088, clause 8)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class ValueType(Enum):
    """Static type of an expression, as far as it is known before evaluation."""

    BOOLEAN = auto()
    NUMBER = auto()
    TEXT = auto()
    DATETIME = auto()
    INTERVAL = auto()
    DATE = auto()
    TIME_OF_DAY = auto()
    DURATION = auto()
    GEOMETRY = auto()
    JSON = auto()  # an object, with members of any type
    ANY = auto()
    ID = auto()  # an id, which may be compared with a text or a number
    NULL = auto()


@dataclass(frozen=True, slots=True, eq=False)
class EntityType:
    """An entity type: name, name of its entity set, properties, and links with the set that each leads to."""

    name: str
    plural: str
    properties: dict[str, ValueType]
    links: dict[str, str]

    @property
    def with_article(self) -> str:
        """The name in a sentence: ``an Observation``, ``a Thing``."""
        return f"{'an' if self.name[0] in 'AEIOU' else 'a'} {self.name}"

    def to_many(self, link: str) -> bool:
        """Whether a link leads to a set. Raises KeyError if there is no such link."""
        return self.links[link] == link


_NAME_PROPERTIES = {"name": ValueType.TEXT, "description": ValueType.TEXT}
_ENCODED_PROPERTIES = {**_NAME_PROPERTIES, "encodingType": ValueType.TEXT}
_FREE_PROPERTIES = {"properties": ValueType.JSON}


def _entity_type(
    name: str, plural: str, properties: dict[str, ValueType], to_one: str, to_many: str
) -> EntityType:
    links = {link: _SET_NAMES[link] for link in to_one.split()} | {link: link for link in to_many.split()}
    return EntityType(name, plural, {"id": ValueType.ID, **properties}, links)


_SET_NAMES = {
    "Thing": "Things",
    "Sensor": "Sensors",
    "ObservedProperty": "ObservedProperties",
    "Datastream": "Datastreams",
    "FeatureOfInterest": "FeaturesOfInterest",
}

THING = _entity_type(
    "Thing",
    "Things",
    {**_NAME_PROPERTIES, **_FREE_PROPERTIES},
    "",
    "Locations HistoricalLocations Datastreams",
)
LOCATION = _entity_type(
    "Location",
    "Locations",
    {**_ENCODED_PROPERTIES, "location": ValueType.GEOMETRY, **_FREE_PROPERTIES},
    "",
    "Things HistoricalLocations",
)
HISTORICAL_LOCATION = _entity_type(
    "HistoricalLocation", "HistoricalLocations", {"time": ValueType.DATETIME}, "Thing", "Locations"
)
DATASTREAM = _entity_type(
    "Datastream",
    "Datastreams",
    {
        "id": ValueType.NUMBER,
        **_NAME_PROPERTIES,
        "observationType": ValueType.TEXT,
        "unitOfMeasurement": ValueType.JSON,
        "observedArea": ValueType.GEOMETRY,
        "phenomenonTime": ValueType.INTERVAL,
        "resultTime": ValueType.INTERVAL,
        **_FREE_PROPERTIES,
    },
    "Thing Sensor ObservedProperty",
    "Observations",
)
SENSOR = _entity_type(
    "Sensor",
    "Sensors",
    {**_ENCODED_PROPERTIES, "metadata": ValueType.TEXT, **_FREE_PROPERTIES},
    "",
    "Datastreams",
)
OBSERVED_PROPERTY = _entity_type(
    "ObservedProperty",
    "ObservedProperties",
    {**_NAME_PROPERTIES, "definition": ValueType.TEXT, **_FREE_PROPERTIES},
    "",
    "Datastreams",
)
OBSERVATION = _entity_type(
    "Observation",
    "Observations",
    {
        "phenomenonTime": ValueType.DATETIME,
        "result": ValueType.ANY,
        "resultTime": ValueType.DATETIME,
        "resultQuality": ValueType.JSON,
        "validTime": ValueType.INTERVAL,
        "parameters": ValueType.JSON,
    },
    "Datastream FeatureOfInterest",
    "",
)
FEATURE_OF_INTEREST = _entity_type(
    "FeatureOfInterest",
    "FeaturesOfInterest",
    {**_ENCODED_PROPERTIES, "feature": ValueType.GEOMETRY, **_FREE_PROPERTIES},
    "",
    "Observations",
)

ENTITY_TYPES = {
    kind.plural: kind
    for kind in (
        THING,
        LOCATION,
        HISTORICAL_LOCATION,
        DATASTREAM,
        SENSOR,
        OBSERVED_PROPERTY,
        OBSERVATION,
        FEATURE_OF_INTEREST,
    )
}
"""Entity types by the names of their sets, in the order of the service document."""


def linked_type(kind: EntityType, link: str) -> EntityType:
    """Return the entity type that a link leads to."""
    return ENTITY_TYPES[kind.links[link]]
