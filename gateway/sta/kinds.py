"""Entity types, their properties and their navigation (18-088, clause 8)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Type(Enum):
    """What a value is, as far as it is known before the query runs."""

    TRUTH = auto()
    NUMBER = auto()
    TEXT = auto()
    MOMENT = auto()
    SPAN = auto()
    DAY = auto()
    CLOCK = auto()
    DURATION = auto()
    SHAPE = auto()
    JSON = auto()  # an object: its parts are of any type
    ANY = auto()
    KEY = auto()  # an id, which may be compared as text and as number
    NULL = auto()


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """A kind of entity: its name, the name of its set, its properties, and its links."""

    name: str
    plural: str
    properties: dict[str, Type]
    links: dict[str, str]

    def many(self, link: str) -> bool:
        """Whether a link leads to a set. Raises KeyError where there is no such link."""
        return self.links[link] == link


_NAMED = {"name": Type.TEXT, "description": Type.TEXT}
_ENCODED = {**_NAMED, "encodingType": Type.TEXT}
_FREE = {"properties": Type.JSON}


def _kind(name: str, plural: str, properties: dict[str, Type], one: str, many: str) -> Kind:
    links = {link: _PLURALS[link] for link in one.split()} | {link: link for link in many.split()}
    return Kind(name, plural, {"id": Type.KEY, **properties}, links)


_PLURALS = {
    "Thing": "Things",
    "Sensor": "Sensors",
    "ObservedProperty": "ObservedProperties",
    "Datastream": "Datastreams",
    "FeatureOfInterest": "FeaturesOfInterest",
}

THING = _kind("Thing", "Things", {**_NAMED, **_FREE}, "", "Locations HistoricalLocations Datastreams")
LOCATION = _kind(
    "Location", "Locations", {**_ENCODED, "location": Type.SHAPE, **_FREE}, "", "Things HistoricalLocations"
)
HISTORICAL_LOCATION = _kind(
    "HistoricalLocation", "HistoricalLocations", {"time": Type.MOMENT}, "Thing", "Locations"
)
DATASTREAM = _kind(
    "Datastream",
    "Datastreams",
    {
        "id": Type.NUMBER,
        **_NAMED,
        "observationType": Type.TEXT,
        "unitOfMeasurement": Type.JSON,
        "observedArea": Type.SHAPE,
        "phenomenonTime": Type.SPAN,
        "resultTime": Type.SPAN,
        **_FREE,
    },
    "Thing Sensor ObservedProperty",
    "Observations",
)
SENSOR = _kind("Sensor", "Sensors", {**_ENCODED, "metadata": Type.TEXT, **_FREE}, "", "Datastreams")
OBSERVED_PROPERTY = _kind(
    "ObservedProperty", "ObservedProperties", {**_NAMED, "definition": Type.TEXT, **_FREE}, "", "Datastreams"
)
OBSERVATION = _kind(
    "Observation",
    "Observations",
    {
        "phenomenonTime": Type.MOMENT,
        "result": Type.ANY,
        "resultTime": Type.MOMENT,
        "resultQuality": Type.JSON,
        "validTime": Type.SPAN,
        "parameters": Type.JSON,
    },
    "Datastream FeatureOfInterest",
    "",
)
FEATURE_OF_INTEREST = _kind(
    "FeatureOfInterest",
    "FeaturesOfInterest",
    {**_ENCODED, "feature": Type.SHAPE, **_FREE},
    "",
    "Observations",
)

KINDS = {
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
"""Kinds by the names of their sets, in the order of the service document."""


def target(kind: Kind, link: str) -> Kind:
    """The kind that a link leads to."""
    return KINDS[kind.links[link]]
