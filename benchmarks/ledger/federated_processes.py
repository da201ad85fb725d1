"""Starts forwarders and receivers of a ledger run, and defines what county and city have enrolled."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from edge.wire.federation import DEVICE_KIND
from ingest_service.storage.contract.models import Area, Device, Directory
from tests.support.processes import PlatformProcess

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

COUNTY, COUNTY_BOX = "330483", "ledger-county-box"


class ForwardingBox(NamedTuple):
    """An area, and the device of its platform that forwards it."""

    area: str
    box: str


def county_directory(towns: Sequence[ForwardingBox]) -> Directory:
    """Return the directory of the county: itself, its towns, and the devices that forward for them."""
    return Directory(
        areas=[
            Area(area_id=COUNTY, level="county", en="Ledger county", zh="账本县"),
            *(
                Area(area_id=one.area, parent=COUNTY, level="town", en="Ledger town", zh="账本镇")
                for one in towns
            ),
        ],
        devices=[Device(device_id=one.box, area_id=one.area, kind=DEVICE_KIND) for one in towns],
    )


def city_directory() -> Directory:
    """Return the directory of the city: the county, and the device that forwards for it."""
    return Directory(
        areas=[Area(area_id=COUNTY, level="county", en="Ledger county", zh="账本县")],
        devices=[Device(device_id=COUNTY_BOX, area_id=COUNTY, kind=DEVICE_KIND)],
    )


def forwarder(
    folder: Path, name: str, forwarded: ForwardingBox, dsn: str, broker_url: str
) -> PlatformProcess:
    """Return the process that forwards an area from a database to the broker of the level above."""
    policy = folder / f"{name}.toml"
    policy.write_text(f'area = "{forwarded.area}"\ndevice = "{forwarded.box}"\nhistory_days = 36500\n')
    return PlatformProcess(
        "federate",
        "send",
        log=folder / f"{name}.log",
        TOWNTWIN_DSN=dsn,
        TOWNTWIN_BROKER=broker_url,
        TOWNTWIN_FEDERATE_POLICY=str(policy),
        TOWNTWIN_FEDERATE_SPOOL=str(folder / f"{name}.spool"),
        TOWNTWIN_FEDERATE_BACKLOG_READINGS_PER_S="0",
    )


def receiver(folder: Path, name: str, dsn: str, broker_url: str) -> PlatformProcess:
    """Return the process that receives what lower levels forward to a broker."""
    return PlatformProcess(
        "federate",
        "receive",
        log=folder / f"{name}.log",
        TOWNTWIN_DSN=dsn,
        TOWNTWIN_BROKER=broker_url,
    )
