"""Calculates processor time, memory and disk from measured costs per message and reading."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import NamedTuple

import msgspec

COSTS_FILE = Path(__file__).with_name("measured_costs.toml")
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


class Capacity(NamedTuple):
    """What a load needs.

    Attributes
    ----------
    cores : used by each process [cores]
    shards : ingest processes that share the load
    memory_bytes : resident memory of all ingest processes [bytes]
    disk_bytes_per_year : growth of the database [bytes per year]
    limits : sentences on the limits in the order in which they come, with the number of devices

    """

    cores: dict[str, float]
    shards: int
    memory_bytes: float
    disk_bytes_per_year: float
    limits: list[str]


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


def calculate(costs: MeasuredCosts, load: Load) -> Capacity:
    """Return what a load needs."""
    cores = cores_used(costs, load)
    shards = max(1, math.ceil(cores["ingest"] / MAX_UTILISATION))
    widths_s = [*ROLLUP_WIDTHS_S, *([MINUTE_S] if load.interval_s < MINUTE_S else [])]
    rollup_rows_per_s = sum(load.series / max(one, load.interval_s) for one in widths_s)
    disk_bytes_per_s = load.readings_per_s * costs.reading_bytes + rollup_rows_per_s * costs.rollup_bytes
    return Capacity(
        cores=cores,
        shards=shards,
        memory_bytes=shards * costs.ingest_bytes + load.series * costs.series_bytes,
        disk_bytes_per_year=disk_bytes_per_s * YEAR_S,
        limits=_limits(costs, load),
    )


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


def _limits(costs: MeasuredCosts, load: Load) -> list[str]:
    at = sorted((devices_at_limit(costs, load, name), name) for name in costs.processes)
    return [
        f"{devices:,} devices: {name} uses half a core; beyond it, {REMEDIES[name]}" for devices, name in at
    ]
