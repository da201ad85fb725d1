"""Runs the devices of a ledger run, and the processes that bring their readings from broker to database."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, LiteralString, NamedTuple, Protocol, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict

from benchmarks.ledger.counting_agent import INTERVAL_S
from benchmarks.ledger.packet_lines import PacketLines, entered
from edge.wire import senml
from tests.support import faulty_libc
from tests.support.processes import REPOSITORY
from tests.support.tcp_proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from edge.wire.senml import Record
    from tests.support.network_namespaces import NetworkNamespace
    from tests.support.throwaway_servers import MosquittoServer, PostgresServer

AREA = "330483-d1"
DEVICES = ("ledger-1", "ledger-2", "ledger-3", "ledger-4")
START_TIMEOUT_S = 90.0
NEWEST_STORED = """
SELECT extract(epoch FROM max(r."time"))
FROM reading AS r JOIN series AS s USING (series_id) WHERE s.site_id = %(device)s
"""


class ChainLoad(NamedTuple):
    """Load of a run: readings of each device, time between two of its packs [s], and seed of the packets."""

    readings: int
    pack_interval_s: float
    seed: int


class ChainProcess(Protocol):
    """A process of the chain, which is started again when it has ended."""

    log: Path

    def start(self) -> None:
        """Start the process, also after a kill."""

    def kill(self) -> None:
        """Stop the process by SIGKILL."""

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running process."""


@dataclass(slots=True)
class AgentProcess:
    """The process of one edge agent, with its spool in a folder; ``module`` is the program."""

    folder: Path
    device_id: str
    broker_url: str
    start_s: int
    readings: int
    pack_interval_s: float
    environ: dict[str, str] = field(default_factory=dict)
    namespace: NetworkNamespace | None = None
    module: str = "benchmarks.ledger.counting_agent"
    area: str = AREA
    process: subprocess.Popen[bytes] | None = field(init=False, default=None)
    _progress: int = field(init=False, default=0)

    def start(self) -> None:
        """Start the agent, also after a kill."""
        self.folder.mkdir(exist_ok=True)
        command = [
            sys.executable,
            "-m",
            self.module,
            str(self.folder),
            self.area,
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


class Chain(ABC):
    """Devices, broker and database of a run, and the processes between them; a base class.

    Parameters
    ----------
    folder : for spools and logs
    database, broker : running servers
    dsn : URL of the database that holds the readings in the end
    load : what the devices publish
    filler : file that fills the disk of the database up; None if it has no disk of its own
    clock_names : processes besides the agents whose clock can be shifted
    agent_module : program of the agents

    Attributes
    ----------
    database_network, broker_network : proxies between the processes and their servers
    device_network : proxy of the agents to the broker
    agents : the edge agents
    library : drops unsynced writes and shifts clocks; None where there is no compiler
    clocks : files with the shift of a process' clock, by the name of process or device
    supervision : held while processes are restarted, and by a fault that needs a process to stay ended
    lines : below TCP, in network namespaces; None where there are none
    powered : the database, if a loss of its power can be caused
    start_s : time of measurement of the readings with number 0, Unix seconds [s]
    readings : number of readings of all devices
    restarts : number of processes that were restarted
    newest_stored : query of the time of a device's newest reading

    """

    newest_stored: ClassVar[LiteralString] = NEWEST_STORED

    def __init__(
        self,
        folder: Path,
        database: PostgresServer,
        broker: MosquittoServer,
        dsn: str,
        load: ChainLoad,
        *,
        filler: Path | None = None,
        clock_names: Sequence[str] = (),
        agent_module: str = "benchmarks.ledger.counting_agent",
    ) -> None:
        self.powered = database if "FAULTY_UNDO" in database.environ else None
        self.folder, self.database, self.broker, self.dsn = folder, database, broker, dsn
        self.filler = filler
        self.library = faulty_libc.build(folder)
        self.clocks = {one: folder / f"{one}.clock" for one in (*DEVICES, *clock_names)}
        for clock in self.clocks.values():
            faulty_libc.set_clock(clock, 0)
        address = conninfo_to_dict(dsn)
        self.lines = PacketLines.created(load.seed)
        host, port = str(address["host"]), int(str(address["port"]))
        lines = self.lines
        self.database_network = Proxy(host, port, listener=lines and lines.ingest_listener())
        self.broker_network = Proxy(broker.host, broker.port, listener=lines and lines.ingest_line_listener())
        self.device_network = Proxy(broker.host, broker.port, listener=lines and lines.device_line_listener())
        self.start_s = (
            int(time.time()) - (load.readings + 60) * INTERVAL_S
        )  # the last reading is of the present
        self.agents = [
            AgentProcess(
                folder / one,
                one,
                self.device_url,
                self.start_s,
                load.readings,
                load.pack_interval_s,
                self._faulty(one, folder=folder / one),
                lines and lines.devices,
                agent_module,
            )
            for one in DEVICES
        ]
        self.readings = load.readings * len(self.agents)
        self.supervision = threading.Lock()
        self._stop = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor")
        self.restarts = 0

    @property
    def device_url(self) -> str:
        """Address of the broker as devices reach it."""
        return f"mqtt://{self.device_network.host}:{self.device_network.port}"

    @property
    @abstractmethod
    def processes(self) -> Mapping[str, ChainProcess]:
        """The processes by name."""

    @property
    def all_agents(self) -> list[AgentProcess]:
        """The agents, and those of other towns."""
        return self.agents

    def connect(self) -> psycopg.Connection[Any]:
        """Return a new autocommit connection as superuser, past the proxy."""
        return psycopg.connect(self.dsn, autocommit=True, connect_timeout=10)

    def encode(self, records: list[Record]) -> bytes:
        """Return the payload of a pack."""
        return senml.encode_json(records)

    def newest_stored_s(self, device_id: str) -> int | None:
        """Return the time of measurement of a device's newest stored reading, Unix seconds [s]."""
        with suppress(psycopg.OperationalError), self.connect() as connection:
            row = connection.execute(self.newest_stored, {"device": device_id}).fetchone()
            return None if row is None or row[0] is None else int(row[0])
        return None

    def progress(self) -> int:
        """Return the number of readings taken so far by all agents."""
        return sum(one.progress for one in self.agents)

    def __enter__(self) -> Self:
        for name in self.processes:
            self._start(name)
        self._wait_until_subscribed()
        for agent in self.all_agents:
            agent.start()
        self._supervisor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._supervisor.join()
        for agent in self.all_agents:
            agent.kill()
        for process in self.processes.values():
            if error is not None:
                print(f"--- {process.log.name}\n{process.log.read_text()[-3000:]}")
            process.kill()
        for proxy in (self.database_network, self.broker_network, self.device_network):
            proxy.close()
        if self.lines is not None:
            self.lines.close()

    @abstractmethod
    def _wait_until_subscribed(self) -> None:
        """Wait until what the agents publish is queued for the processes."""

    @abstractmethod
    def _namespace(self, name: str) -> NetworkNamespace | None:
        """Return the network namespace of a process."""

    def _start(self, name: str) -> None:
        """Start a process, where there are namespaces in its own."""
        with entered(self._namespace(name)):
            self.processes[name].start()

    def _supervise(self) -> None:
        """Restart each process that has ended, as systemd does on an installed machine."""
        while not self._stop.wait(0.2):
            with self.supervision:
                for name, process in self.processes.items():
                    if process.process.poll() is not None:
                        self.restarts += 1
                        self._start(name)
                for agent in self.all_agents:
                    if agent.process is not None and agent.process.poll() not in {None, 0}:
                        self.restarts += 1
                        agent.start()

    def _faulty(self, name: str, *, folder: Path | None = None) -> dict[str, str]:
        """Return the variables with which a process can lose power or have its clock shifted."""
        if self.library is None:
            return {}
        return faulty_libc.environment(self.library, folder=folder, clock=self.clocks.get(name))
