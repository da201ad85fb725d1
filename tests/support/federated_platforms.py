"""Platforms of towns, counties and cities that forward and receive on threads of the test's process."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from edge.wire.federation import DEVICE_KIND
from ingest_service.federation import forward_process, receive_process
from ingest_service.federation.policy import Policy
from ingest_service.federation.settings import Settings
from ingest_service.storage.contract.models import Area, Device, Directory, Series
from tests.support.federated_towns import site
from tests.support.federation_rows import opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edge.wire.broker_address import BrokerAddress
    from ingest_service.federation.https_publisher import CountyAddress
    from ingest_service.storage.postgres.store import PostgresStore
    from tests.support.network_namespaces import NetworkNamespace

CITY, COUNTY = "3304", "330483"
TOWNS = ("330483-d1", "330483-d2", "330483-d3")
COUNTY_BOX = "county-box"
STOP_S = 20.0


def box_of(town: str) -> str:
    return f"box-{town[-2:]}"


def site_of(town: str) -> str:
    return f"{town[-2:]}-s1"


def town_directory(town: str, **site_fields: Any) -> Directory:
    return Directory(
        areas=[_area(CITY), _area(COUNTY, CITY), _area(town, COUNTY)],
        sites=[site(site_of(town), town, **site_fields)],
        devices=[Device(device_id=f"{town[-2:]}-d1", area_id=town)],
        series=[Series(site_id=site_of(town), quantity=quantity) for quantity in ("ph", "turbidity")],
    )


def county_directory() -> Directory:
    return Directory(
        areas=[_area(CITY), _area(COUNTY, CITY), *(_area(one, COUNTY) for one in TOWNS)],
        devices=[Device(device_id=box_of(one), area_id=one, kind=DEVICE_KIND) for one in TOWNS],
    )


def city_directory() -> Directory:
    return Directory(
        areas=[_area(CITY), _area(COUNTY, CITY), _area("330402", CITY)],
        devices=[Device(device_id=COUNTY_BOX, area_id=COUNTY, kind=DEVICE_KIND)],
    )


def _area(area_id: str, parent: str | None = None) -> Area:
    level: Any = {4: "city", 6: "county"}.get(len(area_id), "town")
    return Area(area_id=area_id, parent=parent, level=level, en=f"Area {area_id}", zh="区域")


@contextmanager
def forwarding(
    dsn: str,
    broker: BrokerAddress | CountyAddress,
    folder: Path,
    area: str,
    device: str,
    *,
    namespace: NetworkNamespace | None = None,
    **policy: Any,
) -> Iterator[None]:
    """Forward from a platform while the context lasts, with its connections in a network namespace."""
    spool = folder / f"{device}-{time.monotonic_ns()}.spool"
    settings = Settings(spool=spool, poll_s=0.1, backlog_readings_per_s=0)
    usual: dict[str, Any] = {"area": area, "device": device, "history_days": 36_500.0}
    found = Policy(**usual | policy)
    with _running(
        dsn, lambda store, stop: forward_process.run(store, broker, found, settings, stop), namespace
    ):
        yield


@contextmanager
def receiving(
    dsn: str, broker: BrokerAddress, *, namespace: NetworkNamespace | None = None
) -> Iterator[None]:
    """Receive at a platform while the context lasts, with its connections in a network namespace."""
    with _running(dsn, lambda store, stop: receive_process.run(store, broker, Settings(), stop), namespace):
        yield


@contextmanager
def _running(
    dsn: str, run: Callable[[PostgresStore, threading.Event], None], namespace: NetworkNamespace | None
) -> Iterator[None]:
    stop = threading.Event()
    with opened(dsn) as store:

        def run_in_namespace() -> None:
            with namespace.entered() if namespace else nullcontext():
                run(store, stop)

        thread = threading.Thread(target=run_in_namespace)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(STOP_S)
            assert not thread.is_alive(), "it stops in time"
