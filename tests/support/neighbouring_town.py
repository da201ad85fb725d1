"""Sample directory and anomaly of a second town, for tests of area isolation."""

from __future__ import annotations

from typing import Any

from ingest_service.storage.contract.models import Area, Channel, Device, Directory, Series, Site

HOME_AREA, OTHER_AREA = "330483-d1", "330421-d1"
OTHER_TOWN = Directory(
    areas=[
        Area(area_id="330421", parent="330400", level="county", en="Jiashan", zh="嘉善县"),
        Area(area_id=OTHER_AREA, parent="330421", level="town", en="Other", zh="镇"),
    ],
    sites=[
        Site(site_id="s9", area_id=OTHER_AREA, kind="river_section", en="T", zh="断面", lon=120.9, lat=30.8)
    ],
    devices=[Device(device_id="d9", area_id=OTHER_AREA)],
    series=[Series(site_id="s9", quantity="ph")],
    channels=[Channel(device_id="d9", name="ph", site_id="s9", quantity="ph")],
)
OTHER_TOWN_ANOMALY: dict[str, Any] = {
    "subject": "series/3",
    "site_id": "s9",
    "series_id": 3,
    "device_id": "d9",
}
"""Fields of an anomaly in the other town, for `tests.support.store_samples.anomaly`."""
