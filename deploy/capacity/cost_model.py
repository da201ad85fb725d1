"""Calculates processor time, memory and disk from measured costs per message and reading."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import NamedTuple

import msgspec

COSTS_FILE = Path(__file__).with_name("measured_costs.toml")
TLS_CONNECTION_BYTES = 24.3e3  # of the broker for each device (`make bench NAME=connections`)
FILE_HANDLES = 65_536  # of the broker, by `deploy/install.sh`; systemd's default is 1,024
OWN_FILE_HANDLES = 16  # of the broker: its listeners, log, database; platform's own connections
GB = 1e9
YEAR_S = 365 * 86_400.0
MAX_COMMITS_PER_S = 20.0  # a commit waits 0.05 s for further messages (setting BATCH_WAIT_S of ingest)
MAX_UTILISATION = 0.5  # of a core by one process: the rest is for the backlog of an outage
ROLLUP_WIDTHS_S = (900.0, 3600.0, 86_400.0)
MINUTE_S = 60.0  # rollups of a minute are made of what is measured more often


class ProcessCosts(msgspec.Struct, frozen=True):
    """Processor time of a process: idle [cores], per commit, per message and per reading [s]."""

    idle: float
    per_commit_s: float
    per_message_s: float
    per_reading_s: float


class MeasuredCosts(msgspec.Struct, frozen=True):
    """Costs that ``make bench NAME=capacity`` measures.

    Attributes
    ----------
    measured : date and machine
    processes : costs by process: ingest, database, broker
    reading_bytes, rollup_bytes : disk of a reading and of a row of a rollup, with indexes [bytes]
    ingest_bytes : resident memory of ingest without series [bytes]
    series_bytes : detector state of a series [bytes]

    """

    measured: str
    processes: dict[str, ProcessCosts]
    reading_bytes: float
    rollup_bytes: float
    ingest_bytes: float
    series_bytes: float


class Load(NamedTuple):
    """Readings that devices send.

    Attributes
    ----------
    devices, quantities : number of devices, and of quantities that each measures
    interval_s : time between two readings of a quantity [s]
    readings_per_message : readings that are sent together

    """

    devices: int
    quantities: int
    interval_s: float
    readings_per_message: float

    @property
    def series(self) -> int:
        """Number of series."""
        return self.devices * self.quantities

    @property
    def readings_per_s(self) -> float:
        """Readings in a second [1/s]."""
        return self.series / self.interval_s

    @property
    def messages_per_s(self) -> float:
        """Messages in a second [1/s]."""
        return self.readings_per_s / self.readings_per_message


class Machine(NamedTuple):
    """Resources of the machine that limit the number of devices.

    Attributes
    ----------
    memory_bytes : for ingest, and for the broker's connections by TLS [bytes]
    file_handles : that the broker may open, one for each device
    disk_bytes : for the database's growth of a year [bytes]; None if no disk is named

    """

    memory_bytes: float = 8 * GB
    file_handles: int = FILE_HANDLES
    disk_bytes: float | None = None


class Limit(NamedTuple):
    """Number of devices at which a resource is used up, the resource, and a sentence with what to do then."""

    devices: int
    resource: str
    sentence: str


class Capacity(NamedTuple):
    """What a load needs.

    Attributes
    ----------
    cores : used by each process [cores]
    shards : ingest processes that share the load
    memory_bytes : resident memory of all ingest processes [bytes]
    disk_bytes_per_year : growth of the database [bytes per year]
    limits : in the order in which they come

    """

    cores: dict[str, float]
    shards: int
    memory_bytes: float
    disk_bytes_per_year: float
    limits: list[Limit]


def read_costs(path: Path = COSTS_FILE) -> MeasuredCosts:
    """Read the measured costs from their TOML file."""
    return msgspec.convert(tomllib.loads(path.read_text()), MeasuredCosts)


def cores_used(costs: MeasuredCosts, load: Load) -> dict[str, float]:
    """Return the cores that each process uses under a load."""
    commits_per_s = min(load.messages_per_s, MAX_COMMITS_PER_S)
    return {
        name: one.idle
        + one.per_commit_s * commits_per_s
        + one.per_message_s * load.messages_per_s
        + one.per_reading_s * load.readings_per_s
        for name, one in costs.processes.items()
    }


def calculate(costs: MeasuredCosts, load: Load, machine: Machine = Machine()) -> Capacity:  # noqa: B008 - immutable
    """Return what a load needs."""
    cores = cores_used(costs, load)
    shards = max(1, math.ceil(cores["ingest"] / MAX_UTILISATION))
    memory_bytes = shards * costs.ingest_bytes + load.series * costs.series_bytes
    disk_bytes = _disk_bytes_per_s(costs, load) * YEAR_S
    return Capacity(cores, shards, memory_bytes, disk_bytes, _limits(costs, load, machine))


def _disk_bytes_per_s(costs: MeasuredCosts, load: Load) -> float:
    """Return the growth of the database [bytes/s]."""
    widths_s = [*ROLLUP_WIDTHS_S, *([MINUTE_S] if load.interval_s < MINUTE_S else [])]
    rollup_rows_per_s = sum(load.series / max(one, load.interval_s) for one in widths_s)
    return load.readings_per_s * costs.reading_bytes + rollup_rows_per_s * costs.rollup_bytes


def devices_at_limit(costs: MeasuredCosts, load: Load, process: str) -> int:
    """Return the number of devices like those of a load at which a process reaches `MAX_UTILISATION`."""
    one = costs.processes[process]
    messages_per_s = load.messages_per_s / load.devices
    readings_per_s = load.readings_per_s / load.devices
    rest = MAX_UTILISATION - one.idle - one.per_commit_s * MAX_COMMITS_PER_S
    return max(0, int(rest / (one.per_message_s * messages_per_s + one.per_reading_s * readings_per_s)))


REMEDIES = {
    "ingest": "a second ingest shard, with areas of its own",
    "database": "a machine of its own for the database, then one database per county",
    "broker": "a RabbitMQ cluster, or one broker per county",
}


def _limits(costs: MeasuredCosts, load: Load, machine: Machine) -> list[Limit]:
    limits = [
        Limit(devices, name, f"{name} uses half a core; beyond it, {REMEDIES[name]}")
        for name in costs.processes
        for devices in [devices_at_limit(costs, load, name)]
    ]
    device_bytes = load.quantities * costs.series_bytes + TLS_CONNECTION_BYTES
    limits.append(
        Limit(
            max(0, int((machine.memory_bytes - costs.ingest_bytes) / device_bytes)),
            "memory",
            f"ingest and the broker's connections by TLS take {machine.memory_bytes / GB:,.4g} GB of memory;"
            " beyond it, more memory (--memory)",
        )
    )
    limits.append(
        Limit(
            max(0, machine.file_handles - OWN_FILE_HANDLES),
            "file handles",
            f"the broker has no more of its {machine.file_handles:,} file handles; beyond it, a larger"
            " LimitNOFILE of its unit (--file-handles)",
        )
    )
    if machine.disk_bytes is not None:
        device_disk_bytes = _disk_bytes_per_s(costs, load) * YEAR_S / load.devices
        limits.append(
            Limit(
                int(machine.disk_bytes / device_disk_bytes),
                "disk",
                f"a year fills {machine.disk_bytes / GB:,.4g} GB of disk; beyond it, compress, or keep"
                " readings for fewer days (TOWNTWIN_SERVICE_KEEP_READINGS_DAYS)",
            )
        )
    return sorted(limits)
