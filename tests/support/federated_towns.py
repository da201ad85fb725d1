"""A county with two towns, and messages of their forwarders, for tests of federation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge.wire import federation
from ingest_service.storage.contract.federation import ForwarderIdentity
from ingest_service.storage.contract.models import Area, Device, Directory, Series, Site
from ingest_service.storage.postgres.federated_rows import FederatedRows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ingest_service.storage.contract.store import Database

COUNTY, TOWN, OTHER_TOWN = "330483", "330483-d1", "330483-d2"
BOX, OTHER_BOX = "box-1", "box-2"
AREAS = [
    Area(area_id=COUNTY, level="county", en="Tongxiang", zh="桐乡市"),
    Area(area_id=TOWN, parent=COUNTY, level="town", en="Town", zh="镇"),
    Area(area_id=OTHER_TOWN, parent=COUNTY, level="town", en="Other town", zh="邻镇"),
]


def site(site_id: str, area_id: str = TOWN) -> Site:
    return Site(
        site_id=site_id, area_id=area_id, kind="river_section", en="S", zh="断面", lon=120.5, lat=30.7
    )


COUNTY_DIRECTORY = Directory(
    areas=AREAS,
    sites=[site("county-site", OTHER_TOWN)],
    devices=[
        Device(device_id=BOX, area_id=TOWN, kind=federation.DEVICE_KIND),
        Device(device_id=OTHER_BOX, area_id=OTHER_TOWN, kind=federation.DEVICE_KIND),
        Device(device_id="sonde", area_id=TOWN),
    ],
    series=[Series(site_id="county-site", quantity="ph")],
)


def definitions(
    *, block: int = 1, forwarder: int = 1, area: str = TOWN, prefix: str = "", **changed: Any
) -> federation.Definitions:
    """Return the definitions of a town with one site, device and series, or with changed ones."""
    usual: dict[str, Any] = {
        "sites": [
            federation.ForwardedSite(
                site_id=f"{prefix}s1", area_id=area, kind="river_section", en="S", zh="断面", lon=120, lat=30
            )
        ],
        "devices": [federation.ForwardedDevice(device_id=f"{prefix}d1", area_id=area, kind="agent")],
        "series": [
            federation.ForwardedSeries(site_id=f"{prefix}s1", quantity="ph", interval_s=300.0),
            federation.ForwardedSeries(site_id=f"{prefix}s1", quantity="turbidity", interval_s=300.0),
        ],
    }
    return federation.Definitions(**header(block, forwarder), **{**usual, **changed})


def header(block: int = 1, forwarder: int = 1) -> dict[str, Any]:
    return {"version": federation.FORMAT_VERSION, "forwarder": forwarder, "block": block, "release": "0.3.0"}


def sender(
    block: int | None = 1, forwarder: int = 1, *, device: str = BOX, area: str = TOWN
) -> ForwarderIdentity:
    return ForwarderIdentity(device, area, forwarder, block, "0.3.0")


def columns(
    rows: NDArray[np.void], *, site_id: str = "s1", quantity: str = "ph"
) -> federation.ReadingColumns:
    """Return READING rows as they are forwarded."""
    lists = {name: rows[name].tolist() for name in rows.dtype.names or () if name != "series_id"}
    for name in ("expected", "spread"):
        lists[name] = [None if value != value else value for value in lists[name]]  # noqa: PLR0124 - NaN
    return federation.ReadingColumns(site_id=site_id, quantity=quantity, **lists)


def forwarded_anomaly(**changed: Any) -> federation.ForwardedAnomaly:
    usual: dict[str, Any] = {
        "anomaly_id": 7,
        "revision": 70,
        "subject": "series",
        "site_id": "s1",
        "quantity": "ph",
        "detector": "residual",
        "version": "1",
        "state": "open",
        "severity": 2,
        "start_us": 1_790_000_000_000_000,
        "peak_us": 1_790_000_000_000_000,
        "observed": 9.5,
        "score": 20.0,
        "n_readings": 1,
        "reason_en": "high",
        "reason_zh": "偏高",
    }
    return federation.ForwardedAnomaly(**{**usual, **changed})


def add_example_town(store: Database) -> None:
    """Enrol a town with one forwarded site, far from those of the demo."""
    town, box = "330424-shendang", "shendang-box"
    store.enrol(
        Directory(
            areas=[
                Area(area_id="330424", level="county", en="Haiyan", zh="海盐县"),
                Area(area_id=town, parent="330424", level="town", en="Shendang", zh="沈荡镇"),
            ],
            devices=[Device(device_id=box, area_id=town, kind=federation.DEVICE_KIND)],
        )
    )
    forwarded = federation.ForwardedSite(
        site_id="shendang-r01", area_id=town, kind="river_section", en="Weir", zh="堰", lon=120.82, lat=30.57
    )
    series = federation.ForwardedSeries(site_id="shendang-r01", quantity="ph", interval_s=300.0)
    FederatedRows(store).store_definitions(
        ForwarderIdentity(box, town, 1, 1, "0.3.0"),
        federation.Definitions(sites=[forwarded], series=[series], **header()),
    )


def forwarded_incident(incident_id: int, **changed: Any) -> federation.ForwardedIncident:
    usual: dict[str, Any] = {
        "incident_id": incident_id,
        "revision": 1,
        "opened_s": 1.79e9 + incident_id,
        "area_id": TOWN,
        "area_ids": [TOWN],
        "main_site_id": "s1",
        "incident": {
            "kind": "water",
            "cause": "sewage",
            "priority": 2,
            "started_s": 1.79e9,
            "last_s": 1.79e9,
            "active": True,
        },
    }
    return federation.ForwardedIncident(**{**usual, **changed})
