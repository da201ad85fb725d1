"""Defines the platform of a ledger run: ingest with standby, service, gateway, HJ 212 server, federation."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from benchmarks.ledger.chain import AREA, DEVICES, START_TIMEOUT_S, Chain
from benchmarks.ledger.counting_agent import INTERVAL_S
from benchmarks.ledger.federated_processes import ForwardingBox, county_directory, forwarder, receiver
from benchmarks.ledger.other_towns import OTHER_TOWNS, OtherTowns
from benchmarks.ledger.packet_lines import entered
from benchmarks.ledger.uploading_station import STATION, STATION_DEVICE, UploadingStation
from deploy.embedded.server_environment import free_port
from ingest_service.storage.contract.models import Area, Channel, Device, Directory, Series, Site
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.processes import PlatformProcess, wait_until
from tests.support.tcp_proxy import Proxy
from tests.support.throwaway_servers import MosquittoServer

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from benchmarks.ledger.chain import AgentProcess, ChainLoad
    from benchmarks.ledger.other_towns import OtherDatabases
    from tests.support.network_namespaces import NetworkNamespace
    from tests.support.throwaway_servers import PostgresServer

BOX = "ledger-box"
STATION_SPOOL = "hj212/spool"
INGEST_NAMES = ("ingest_a", "ingest_b")
# By its key's first half the shard's lock differs from those of commits; the service has a shard of its own.
SHARD_OWNER = (
    "SELECT usename, pid FROM pg_locks JOIN pg_stat_activity USING (pid)"
    " WHERE locktype = 'advisory' AND granted AND datname = current_database()"
    " AND classid = (hashtext('towntwin shard')::bigint & 4294967295)::oid AND objsubid = 2"
    " AND usename IN ('ingest_a', 'ingest_b')"
)


def directory() -> Directory:
    """Return the directory to enrol: devices and a station with one pH probe each, at sites of one town."""
    sites = (*DEVICES, STATION_DEVICE)
    names = dict.fromkeys(DEVICES, "ph") | {STATION_DEVICE: "w01001"}
    return Directory(
        areas=[Area(area_id=AREA, level="town", en="Ledger town", zh="账本镇")],
        sites=[
            Site(site_id=one, area_id=AREA, kind="river_section", en=one, zh="断面", lon=120.5, lat=30.7)
            for one in sites
        ],
        devices=[Device(device_id=one, area_id=AREA) for one in sites],
        series=[Series(site_id=one, quantity="ph", interval_s=INTERVAL_S) for one in sites],
        channels=[
            Channel(device_id=one, name=name, site_id=one, quantity="ph") for one, name in names.items()
        ],
    )


class LedgerPlatform(Chain):
    """The platform of a run: servers, proxies, processes and agents; parameters as of `Chain`, and one.

    Parameters
    ----------
    county_dsn : URL of an empty database with the schema, as ``dsn`` is, for the county
    other_databases : those of other towns and a city; without them there are none

    Attributes
    ----------
    county_network : proxy of the forwarder to the county's broker
    ingest, others : the platform's processes by name
    other_towns : with the city; None without them
    station : uploads to the HJ 212 server, which is one of the others

    """

    def __init__(
        self,
        folder: Path,
        database: PostgresServer,
        broker: MosquittoServer,
        dsn: str,
        load: ChainLoad,
        *,
        county_dsn: str,
        other_databases: OtherDatabases | None = None,
        filler: Path | None = None,
    ) -> None:
        super().__init__(
            folder, database, broker, dsn, load, filler=filler, clock_names=(*INGEST_NAMES, "service")
        )
        self.county_dsn = county_dsn
        self.county_broker = MosquittoServer(broker.installation, broker.user)
        with self.connect() as connection:
            for name in INGEST_NAMES:
                connection.execute(f"DROP ROLE IF EXISTS {name}")
                connection.execute(f"CREATE ROLE {name} SUPERUSER LOGIN")
        towns = [ForwardingBox(AREA, BOX), *(OTHER_TOWNS if other_databases else ())]
        for one, enrolled in ((dsn, directory()), (county_dsn, county_directory(towns))):
            store = PostgresStore.open(one)
            store.enrol(enrolled)
            store.close()
        if self.lines is not None:
            self.lines.devices.reach(int(str(conninfo_to_dict(dsn)["port"])))  # for the HJ 212 server
        self.county_network = Proxy(
            self.county_broker.host,
            self.county_broker.port,
            listener=self.lines and self.lines.ingest_line_listener(),
        )
        self.gateway_port = free_port()
        self.ingest = {name: self._ingest(name) for name in INGEST_NAMES}
        self.others = {
            "service": self._process("service"),
            "gateway": self._process("gateway", "--port", str(self.gateway_port)),
        }
        self.others |= self._federation()
        self.station = UploadingStation(free_port(), self.start_s)
        self.others["hj212"] = self._station_server(self.device_url)
        self.other_towns = other_databases and OtherTowns(
            folder,
            broker.installation,
            broker.user,
            other_databases,
            county_dsn=county_dsn,
            county_url=self.county_broker.url,
            load=load,
            start_s=self.start_s,
        )

    @property
    def processes(self) -> dict[str, PlatformProcess]:
        """The platform's processes by name."""
        further = self.other_towns.processes if self.other_towns else {}
        return {**self.ingest, **self.others, **further}

    @property
    def all_agents(self) -> list[AgentProcess]:
        """The agents, and those of other towns."""
        return [*self.agents, *(self.other_towns.agents if self.other_towns else ())]

    @property
    def town_databases(self) -> dict[str, list[AgentProcess]]:
        """Agents by the URL of the database of their town; the first one is that with the proxies."""
        found = {self.dsn: self.agents}
        if self.other_towns:
            agents = self.other_towns.agents
            found |= {dsn: [one] for dsn, one in zip(self.other_towns.databases.towns, agents, strict=True)}
        return found

    def shard_owner(self) -> tuple[str, int] | None:
        """Return the name of the ingest process that owns the shard and the pid of its lock's backend."""
        with suppress(psycopg.OperationalError), self.connect() as connection:
            row = connection.execute(SHARD_OWNER).fetchone()
            return None if row is None else (str(row[0]), int(row[1]))
        return None

    def __enter__(self) -> Self:
        self.county_broker.start()
        if self.other_towns:
            self.other_towns.start_brokers()
        super().__enter__()
        with entered(self.lines and self.lines.devices):
            self.station.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.station.stop()
        super().__exit__(kind, error, trace)
        self.county_network.close()
        self.county_broker.remove()
        if self.other_towns:
            self.other_towns.remove_brokers()

    def _namespace(self, name: str) -> NetworkNamespace | None:
        if self.lines is None:
            return None
        namespaces = dict.fromkeys((*INGEST_NAMES, "forwarder"), self.lines.ingest)
        return {**namespaces, "hj212": self.lines.devices}.get(name)

    def _wait_until_subscribed(self) -> None:
        further = [one for name, one in self.processes.items() if name.startswith("ingest of ")]
        wait_until(
            lambda: (
                any("subscribed" in one.log.read_text() for one in self.ingest.values())
                and all("subscribed" in one.log.read_text() for one in further)
            ),
            within_s=START_TIMEOUT_S,
            what="ingest is subscribed",
        )

    def _ingest(self, name: str) -> PlatformProcess:
        network = self.database_network
        dsn = make_conninfo(self.dsn, host=network.host, port=network.port, user=name)
        environ = {
            "TOWNTWIN_BROKER": f"mqtt://{self.broker_network.host}:{self.broker_network.port}",
            "TOWNTWIN_STORAGE_ANSWER_TIMEOUT_S": "3",
            **self._faulty(name),
        }
        return PlatformProcess("ingest", log=self.folder / f"{name}.log", TOWNTWIN_DSN=dsn, **environ)

    def _process(self, name: str, *arguments: str) -> PlatformProcess:
        environ = {"TOWNTWIN_DSN": self.dsn, "TOWNTWIN_BROKER": self.broker.url, **self._faulty(name)}
        return PlatformProcess(name, *arguments, log=self.folder / f"{name}.log", **environ)

    def _federation(self) -> dict[str, PlatformProcess]:
        """Return the town's forwarder, and the receiver of its county."""
        database, network = self.database_network, self.county_network
        dsn = make_conninfo(self.dsn, host=database.host, port=database.port)
        url = f"mqtt://{network.host}:{network.port}"
        return {
            "forwarder": forwarder(self.folder, "forwarder", ForwardingBox(AREA, BOX), dsn, url),
            "receiver": receiver(self.folder, "receiver", self.county_dsn, self.county_broker.url),
        }

    def _station_server(self, broker_url: str) -> PlatformProcess:
        stations, environ = self.folder / "stations.toml", {"TOWNTWIN_DSN": self.dsn}
        stations.write_text(
            f'[[stations]]\nstation = "{STATION}"\narea = "{AREA}"\ndevice = "{STATION_DEVICE}"\n'
        )
        flags = ["--port", str(self.station.port), "--stations", str(stations)]
        flags += ["--spool", str(self.folder / STATION_SPOOL)]
        (self.folder / STATION_SPOOL).parent.mkdir()
        environ |= self._faulty("hj212", folder=(self.folder / STATION_SPOOL).parent)
        return PlatformProcess(
            "hj212", *flags, log=self.folder / "hj212.log", TOWNTWIN_BROKER=broker_url, **environ
        )
