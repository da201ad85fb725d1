"""The requirements of 18-088 that are met, by URI."""

from __future__ import annotations

BASE = "http://www.opengis.net/spec/iot_sensing/1.1/req"

ENTITIES = (
    "thing",
    "location",
    "historical-location",
    "datastream",
    "sensor",
    "observed-property",
    "observation",
    "feature-of-interest",
)
REQUESTS = (
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

CONFORMANCE = [
    f"{BASE}/datamodel",
    f"{BASE}/resource-path",
    f"{BASE}/request-data",
    f"{BASE}/datamodel/entity-control-information/common-control-information",
    *(f"{BASE}/datamodel/{entity}/{part}" for entity in ENTITIES for part in ("properties", "relations")),
    f"{BASE}/resource-path/resource-path-to-entities",
    *(f"{BASE}/request-data/{one}" for one in REQUESTS),
]
"""Reading only: neither create-update-delete, nor data-array (of which only the reading half is here)."""
