"""Lists the requirements of SensorThings 1.1 (18-088) that the API meets, by URI."""

from __future__ import annotations

REQUIREMENTS_URI = "http://www.opengis.net/spec/iot_sensing/1.1/req"

ENTITY_REQUIREMENTS = (
    "thing",
    "location",
    "historical-location",
    "datastream",
    "sensor",
    "observed-property",
    "observation",
    "feature-of-interest",
)
REQUEST_REQUIREMENTS = (
    "status-code",
    "query-status-code",
    "order",
    "expand",
    "select",
    "orderby",
    "top",
    "skip",
    "count",
    "filter",
    "built-in-filter-operations",
    "built-in-query-functions",
    "pagination",
)

IMPLEMENTED_REQUIREMENTS = [
    f"{REQUIREMENTS_URI}/datamodel",
    f"{REQUIREMENTS_URI}/resource-path",
    f"{REQUIREMENTS_URI}/request-data",
    f"{REQUIREMENTS_URI}/datamodel/entity-control-information/common-control-information",
    *(
        f"{REQUIREMENTS_URI}/datamodel/{entity}/{part}"
        for entity in ENTITY_REQUIREMENTS
        for part in ("properties", "relations")
    ),
    f"{REQUIREMENTS_URI}/resource-path/resource-path-to-entities",
    *(f"{REQUIREMENTS_URI}/request-data/{one}" for one in REQUEST_REQUIREMENTS),
]
"""Read-only: without create-update-delete, and without data-array, of which only reading is implemented."""
