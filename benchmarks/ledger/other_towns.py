"""Adds two more towns to a ledger run, each with its own broker, database and processes, and a city above."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from benchmarks._mqtt_load import UNBOUNDED_QUEUE
from benchmarks.ledger.chain import AgentProcess
from benchmarks.ledger.counting_agent import INTERVAL_S
from benchmarks.ledger.federated_processes import (
    COUNTY,
    COUNTY_BOX,
    ForwardingBox,
    city_directory,
    forwarder,
    receiver,
)
from ingest_service.storage.contract.models import Area, Channel, Device, Directory, Series, Site
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.processes import PlatformProcess
from tests.support.throwaway_servers import MosquittoServer

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.ledger.chain import ChainLoad
    from deploy.debian_servers.installation import Installation

OTHER_TOWNS = (ForwardingBox("330483-d2", "ledger-box-2"), ForwardingBox("330483-d3", "ledger-box-3"))


class OtherDatabases(NamedTuple):
    """URLs of empty databases with the schema: of each other town, and of the city."""

    towns: tuple[str, ...]
    city: str


class OtherTowns:
    """Two towns with one agent each, without a standby and proxies, and the city.

    Parameters
    ----------
    folder : for spools and logs
    installation, user : of Mosquitto
    databases : of the towns and the city
    county_dsn, county_url : database and broker of the county
    load : what each agent publishes
    start_s : time of measurement of the readings with number 0, Unix seconds [s]

    Attributes
    ----------
    brokers : of the towns
    city_broker : that of the city
    processes : by name
    agents : one of each town

    """

    def __init__(
        self,
        folder: Path,
        installation: Installation,
        user: str,
        databases: OtherDatabases,
        *,
        county_dsn: str,
        county_url: str,
        load: ChainLoad,
        start_s: int,
    ) -> None:
        self.databases = databases
        self.city_broker = MosquittoServer(installation, user)
        self.brokers = [
            MosquittoServer(installation, user, persistence=True, lines=UNBOUNDED_QUEUE) for _ in OTHER_TOWNS
        ]
        self.processes: dict[str, PlatformProcess] = {}
        self.agents: list[AgentProcess] = []
        _enrol(databases.city, city_directory())
        for town, dsn, broker in zip(OTHER_TOWNS, databases.towns, self.brokers, strict=True):
            device = f"{town.box}-probe"
            _enrol(dsn, _directory(town.area, device))
            environ = {"TOWNTWIN_DSN": dsn, "TOWNTWIN_BROKER": broker.url}
            for kind in ("ingest", "service"):
                name = f"{kind} of {town.area}"
                self.processes[name] = PlatformProcess(kind, log=folder / f"{name}.log", **environ)
            name = f"forwarder of {town.area}"
            self.processes[name] = forwarder(folder, name, town, dsn, county_url)
            self.agents.append(
                AgentProcess(
                    folder / device,
                    device,
                    broker.url,
                    start_s,
                    load.readings,
                    load.pack_interval_s,
                    area=town.area,
                )
            )
        county = ForwardingBox(COUNTY, COUNTY_BOX)
        self.processes["forwarder of the county"] = forwarder(
            folder, "county", county, county_dsn, self.city_broker.url
        )
        self.processes["receiver of the city"] = receiver(
            folder, "city", databases.city, self.city_broker.url
        )

    def start_brokers(self) -> None:
        """Start the brokers of the towns and the city."""
        for one in (*self.brokers, self.city_broker):
            one.start()

    def remove_brokers(self) -> None:
        """Kill the brokers and delete their files."""
        for one in (*self.brokers, self.city_broker):
            one.remove()


def _enrol(dsn: str, directory: Directory) -> None:
    store = PostgresStore.open(dsn)
    store.enrol(directory)
    store.close()


def _directory(area: str, device: str) -> Directory:
    return Directory(
        areas=[Area(area_id=area, level="town", en="Ledger town", zh="账本镇")],
        sites=[
            Site(
                site_id=device, area_id=area, kind="river_section", en=device, zh="断面", lon=120.5, lat=30.7
            )
        ],
        devices=[Device(device_id=device, area_id=area)],
        series=[Series(site_id=device, quantity="ph", interval_s=INTERVAL_S)],
        channels=[Channel(device_id=device, name="ph", site_id=device, quantity="ph")],
    )
