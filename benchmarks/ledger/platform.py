"""Starts broker, database, ingest with standby, service, gateway and agents, and restarts what ends."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from benchmarks.ledger.counting_agent import INTERVAL_S
from benchmarks.ledger.packet_lines import PacketLines, entered
from benchmarks.ledger.uploading_station import STATION, STATION_DEVICE, UploadingStation
from deploy.embedded.server_environment import free_port
from edge.wire.federation import DEVICE_KIND
from ingest_service.storage.contract.models import Area, Channel, Device, Directory, Series, Site
from ingest_service.storage.postgres.store import PostgresStore
from tests.support import faulty_libc
from tests.support.processes import REPOSITORY, PlatformProcess, wait_until
from tests.support.tcp_proxy import Proxy
from tests.support.throwaway_servers import MosquittoServer

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from tests.support.network_namespaces import NetworkNamespace
    from tests.support.throwaway_servers import PostgresServer

AREA = "330483-d1"
DEVICES = ("ledger-1", "ledger-2", "ledger-3", "ledger-4")
BOX = "ledger-box"
STATION_SPOOL = "hj212/spool"
START_TIMEOUT_S = 90.0
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


def county_directory() -> Directory:
    """Return the directory of the county: the town's area, and the device that forwards for it."""
    return Directory(
        areas=[Area(area_id=AREA, level="town", en="Ledger town", zh="账本镇")],
        devices=[Device(device_id=BOX, area_id=AREA, kind=DEVICE_KIND)],
    )


@dataclass(slots=True)
class AgentProcess:
    """The process of one edge agent, with its spool in a folder."""

    folder: Path
    device_id: str
    broker_url: str
    start_s: int
    readings: int
    pack_interval_s: float
    environ: dict[str, str] = field(default_factory=dict)
    namespace: NetworkNamespace | None = None
    process: subprocess.Popen[bytes] | None = field(init=False, default=None)
    _progress: int = field(init=False, default=0)

    def start(self) -> None:
        """Start the agent, also after a kill."""
        self.folder.mkdir(exist_ok=True)
        command = [
            sys.executable,
            "-m",
            "benchmarks.ledger.counting_agent",
            str(self.folder),
            AREA,
            self.device_id,
        ]
        command += [self.broker_url, *map(str, (self.start_s, self.readings, self.pack_interval_s))]
        with entered(self.namespace), (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env={**os.environ, **self.environ},
                stdin=subprocess.DEVNULL,
                stderr=log,
            )

    def kill(self) -> None:
        """Stop the agent by SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    @property
    def has_finished(self) -> bool:
        """Whether all its readings have receipts."""
        return self.process is not None and self.process.poll() == 0

    @property
    def progress(self) -> int:
        """Number of the next reading; a loss of power may have emptied the file with it."""
        with suppress(OSError, ValueError):  # not written yet, or being written
            self._progress = max(self._progress, int((self.folder / "progress").read_text() or 0))
        return self._progress


class LedgerPlatform:
    """The platform of a run: servers, proxies, processes and agents.

    Parameters
    ----------
    folder : for spools and logs
    database, broker : running servers
    dsn, county_dsn : URLs of empty databases with the schema, for the town and its county
    readings : number of readings of each device
    pack_interval_s : time between two packs of a device [s]
    seed : of what happens to packets
    filler : file that fills the disk of the database up; None if it has no disk of its own

    Attributes
    ----------
    database_network, broker_network : proxies between ingest and its servers
    device_network, county_network : proxies of the agents to the broker, of the forwarder to the county's
    ingest, others : the platform's processes by name
    agents : the edge agents
    station : uploads to the HJ 212 server, which is one of the others
    library : drops unsynced writes and shifts clocks; None where there is no compiler
    clocks : files with the shift of a process' clock, by the name of process or device
    supervision : held while processes are restarted, and by a fault that needs a process to stay ended
    lines : below TCP, in network namespaces; None where there are none
    powered : the database, if a loss of its power can be caused
    start_s : time of measurement of the readings with number 0, Unix seconds [s]
    readings : number of readings of all devices
    restarts : number of processes that were restarted

    """

    def __init__(
        self,
        folder: Path,
        database: PostgresServer,
        broker: MosquittoServer,
        dsn: str,
        county_dsn: str,
        *,
        readings: int,
        pack_interval_s: float,
        seed: int,
        filler: Path | None = None,
    ) -> None:
        self.powered = database if "FAULTY_UNDO" in database.environ else None
        self.folder, self.database, self.broker, self.dsn = folder, database, broker, dsn
        self.county_dsn = county_dsn
        self.county_broker = MosquittoServer(broker.installation, broker.user)
        self.filler = filler
        self.library = faulty_libc.build(folder)
        self.clocks = {one: folder / f"{one}.clock" for one in (*DEVICES, *INGEST_NAMES, "service")}
        for clock in self.clocks.values():
            faulty_libc.set_clock(clock, 0)
        with self.connect() as connection:
            for name in INGEST_NAMES:
                connection.execute(f"DROP ROLE IF EXISTS {name}")
                connection.execute(f"CREATE ROLE {name} SUPERUSER LOGIN")
        for one, enrolled in ((dsn, directory()), (county_dsn, county_directory())):
            store = PostgresStore.open(one)
            store.enrol(enrolled)
            store.close()
        address = conninfo_to_dict(dsn)
        self.lines = PacketLines.created(seed)
        host, port = str(address["host"]), int(str(address["port"]))
        if self.lines is None:
            self.database_network = Proxy(host, port)
            self.broker_network = Proxy(broker.host, broker.port)
            self.device_network = Proxy(broker.host, broker.port)
            self.county_network = Proxy(self.county_broker.host, self.county_broker.port)
        else:
            self.lines.devices.reach(port)  # for the HJ 212 server
            self.database_network = Proxy(host, port, listener=self.lines.ingest_listener())
            self.broker_network = Proxy(broker.host, broker.port, listener=self.lines.ingest_line_listener())
            self.device_network = Proxy(broker.host, broker.port, listener=self.lines.device_line_listener())
            self.county_network = Proxy(
                self.county_broker.host,
                self.county_broker.port,
                listener=self.lines.ingest_line_listener(),
            )
        self.gateway_port = free_port()
        self.start_s = int(time.time()) - (readings + 60) * INTERVAL_S  # the last reading is of the present
        self.ingest = {name: self._ingest(name) for name in INGEST_NAMES}
        self.others = {
            "service": self._process("service"),
            "gateway": self._process("gateway", "--port", str(self.gateway_port)),
        }
        self.others |= self._federation()
        url = f"mqtt://{self.device_network.host}:{self.device_network.port}"
        self.station = UploadingStation(free_port(), self.start_s)
        self.others["hj212"] = self._station_server(url)
        self.agents = [
            AgentProcess(
                folder / one,
                one,
                url,
                self.start_s,
                readings,
                pack_interval_s,
                self._faulty(one, folder=folder / one),
                self.lines and self.lines.devices,
            )
            for one in DEVICES
        ]
        self.readings = readings * len(self.agents)
        self.supervision = threading.Lock()
        self._stop = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor")
        self.restarts = 0

    def connect(self) -> psycopg.Connection[Any]:
        """Return a new autocommit connection as superuser, past the proxy."""
        return psycopg.connect(self.dsn, autocommit=True, connect_timeout=10)

    @property
    def processes(self) -> dict[str, PlatformProcess]:
        """The platform's processes by name."""
        return {**self.ingest, **self.others}

    def progress(self) -> int:
        """Return the number of readings taken so far by all agents."""
        return sum(one.progress for one in self.agents)

    def shard_owner(self) -> tuple[str, int] | None:
        """Return the name of the ingest process that owns the shard and the pid of its lock's backend."""
        with suppress(psycopg.OperationalError), self.connect() as connection:
            row = connection.execute(SHARD_OWNER).fetchone()
            return None if row is None else (str(row[0]), int(row[1]))
        return None

    def __enter__(self) -> Self:
        self.county_broker.start()
        for name in self.processes:
            self._start(name)
        wait_until(self._are_subscribed, within_s=START_TIMEOUT_S, what="ingest is subscribed")
        for agent in self.agents:
            agent.start()
        self._supervisor.start()
        with entered(self.lines and self.lines.devices):
            self.station.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._supervisor.join()
        self.station.stop()
        for agent in self.agents:
            agent.kill()
        for process in self.processes.values():
            if error is not None:
                print(f"--- {process.log.name}\n{process.log.read_text()[-3000:]}")
            process.kill()
        for proxy in (
            self.database_network,
            self.broker_network,
            self.device_network,
            self.county_network,
        ):
            proxy.close()
        self.county_broker.remove()
        if self.lines is not None:
            self.lines.close()

    def _start(self, name: str) -> None:
        """Start a process, where there are namespaces in its own."""
        namespace = None
        if self.lines is not None:
            namespaces = dict.fromkeys((*INGEST_NAMES, "forwarder"), self.lines.ingest) | {
                "hj212": self.lines.devices
            }
            namespace = namespaces.get(name)
        with entered(namespace):
            self.processes[name].start()

    def _are_subscribed(self) -> bool:
        return any("subscribed" in one.log.read_text() for one in self.ingest.values())

    def _supervise(self) -> None:
        """Restart each process that has ended, as systemd does on an installed machine."""
        while not self._stop.wait(0.2):
            with self.supervision:
                for name, process in self.processes.items():
                    if process.process.poll() is not None:
                        self.restarts += 1
                        self._start(name)
                for agent in self.agents:
                    if agent.process is not None and agent.process.poll() not in {None, 0}:
                        self.restarts += 1
                        agent.start()

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
        policy, network = self.folder / "federation.toml", self.county_network
        policy.write_text(f'area = "{AREA}"\ndevice = "{BOX}"\nhistory_days = 36500\n')
        forwarder = PlatformProcess(
            "federate",
            "send",
            log=self.folder / "forwarder.log",
            TOWNTWIN_DSN=make_conninfo(
                self.dsn, host=self.database_network.host, port=self.database_network.port
            ),
            TOWNTWIN_BROKER=f"mqtt://{network.host}:{network.port}",
            TOWNTWIN_FEDERATE_POLICY=str(policy),
            TOWNTWIN_FEDERATE_SPOOL=str(self.folder / "forwarder.spool"),
            TOWNTWIN_FEDERATE_BACKLOG_READINGS_PER_S="0",
        )
        receiver = PlatformProcess(
            "federate",
            "receive",
            log=self.folder / "receiver.log",
            TOWNTWIN_DSN=self.county_dsn,
            TOWNTWIN_BROKER=self.county_broker.url,
        )
        return {"forwarder": forwarder, "receiver": receiver}

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

    def _faulty(self, name: str, *, folder: Path | None = None) -> dict[str, str]:
        """Return the variables with which a process can lose power or have its clock shifted."""
        if self.library is None:
            return {}
        return faulty_libc.environment(self.library, folder=folder, clock=self.clocks.get(name))
