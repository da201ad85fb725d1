"""Runs many edge agents as threads of one process, to publish simulated towns or recorded files."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog

from edge.agent.agent import Agent
from edge.agent.spool import Spool, SpoolError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edge.agent.agent import AgentCounts
    from edge.agent.settings import Settings
    from edge.drivers import Driver
    from edge.wire.broker_address import BrokerAddress

log = structlog.get_logger()

PROGRESS_INTERVAL_S = 0.5
AGENT_GRACE_S = 3.0  # time to end after the stop signal: many devices share a processor


class FleetProgress(msgspec.Struct, frozen=True, kw_only=True):
    """Progress of a fleet; written to a file that other processes read.

    ``taken`` readings were put into a spool, ``kept`` ones have the platform's receipt, ``evicted`` ones were
    dropped by a full spool; ``waiting`` messages have no receipt yet; ``total`` is the number of readings to
    publish, or None where there is no end. ``live_from_s`` is the time at which the replayed history reaches
    the present [s], or None. ``epochs`` are those of the members' spools. ``faults`` are sentences, one for
    each member that ended with an exception; the other members continued.
    """

    taken: int
    kept: int
    evicted: int
    waiting: int
    finished: bool
    total: int | None = None
    live_from_s: float | None = None
    epochs: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FleetMember:
    """One device of the fleet: its area, its id and the driver that produces its readings."""

    area: str
    device: str
    driver: Driver


class FleetStation(Protocol):
    """A device of the fleet that does not publish by itself, but through a server."""

    @property
    def name(self) -> str:
        """Id of the device."""
        ...

    def run(self, stop: threading.Event) -> None:
        """Run until ``stop`` is set."""
        ...

    def counts(self) -> AgentCounts:
        """Return the current counts, also from another thread."""
        ...


def run_fleet(
    members: Sequence[FleetMember],
    *,
    stations: Sequence[FleetStation] = (),
    folder: Path,
    broker: BrokerAddress,
    settings: Settings,
    clock: Callable[[], float],
    stop: threading.Event,
    report: Callable[[FleetProgress], None],
    total: int | None = None,
    live_from_s: float | None = None,
) -> FleetProgress:
    """Run every member until its driver ended and its spool is empty, or ``stop`` is set.

    Stations run until ``stop`` is set. A member that ends with an exception is logged and reported; the other
    members continue. ``report`` is called with the progress every ``PROGRESS_INTERVAL_S``; the last one is
    returned.
    """
    names = [member.device for member in members]
    if len(set(names)) < len(names):
        raise ValueError(f"two members of a fleet are one device: {sorted(names)}")
    folder.mkdir(parents=True, exist_ok=True)
    faults: list[str] = []
    agents: list[Agent] = []
    spools: list[Spool] = []
    threads: list[threading.Thread] = []
    for member in members:
        try:
            spool = Spool.open(folder / f"{member.device}.spool", settings)
        except SpoolError as error:
            _record_fault(faults, member.device, error)
            continue
        agent = Agent(
            area=member.area,
            device=member.device,
            driver=member.driver,
            spool=spool,
            broker=broker,
            settings=settings,
            clock=clock,
            grace_s=AGENT_GRACE_S,
            # By the fast clock of a history every message is live: the newest ones would overtake it, and the
            # platform judges no reading that is measured before one that it has judged.
            in_order=True,
        )
        spools.append(spool)
        agents.append(agent)
        threads.append(
            threading.Thread(
                target=_run_member, args=(agent, member.device, stop, faults), name=member.device, daemon=True
            )
        )

    threads += [
        threading.Thread(target=_run_member, args=(one, one.name, stop, faults), name=one.name, daemon=True)
        for one in stations
    ]

    def current_progress(*, finished: bool) -> FleetProgress:
        counts = [*(one.counts() for one in agents), *(one.counts() for one in stations)]
        return FleetProgress(
            taken=sum(one.taken for one in counts),
            kept=sum(one.receipted for one in counts),
            evicted=sum(one.evicted for one in counts),
            waiting=sum(one.waiting for one in counts),
            finished=finished,
            total=total,
            live_from_s=live_from_s,
            epochs=tuple(spool.epoch for spool in spools),
            faults=tuple(faults),
        )

    def publish_progress(now: FleetProgress) -> None:
        try:
            report(now)
        except OSError as error:
            log.warning("report_not_written", error=str(error), action="the devices go on; trying again")

    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        publish_progress(current_progress(finished=False))
        time.sleep(PROGRESS_INTERVAL_S)
    last = current_progress(finished=True)
    publish_progress(last)
    for spool in spools:
        spool.close()
    log.info(
        "fleet_finished", taken=last.taken, kept=last.kept, waiting=last.waiting, faults=len(last.faults)
    )
    return last


def _run_member(agent: Agent | FleetStation, device: str, stop: threading.Event, faults: list[str]) -> None:
    try:
        agent.run(stop)
    except Exception as error:  # noqa: BLE001 - any exception: the other members continue
        _record_fault(faults, device, error)


def _record_fault(faults: list[str], device: str, error: Exception) -> None:
    faults.append(str(error))
    log.error("member_ended", device=device, error=str(error), exc_info=error)


def progress_writer(path: Path) -> Callable[[FleetProgress], None]:
    """Return a function that writes progress to a file atomically: readers never see half a report."""

    def write(report: FleetProgress) -> None:
        staging_path = path.with_suffix(".new")
        staging_path.write_bytes(msgspec.json.encode(report))
        staging_path.replace(path)

    return write


def read_progress(path: Path) -> FleetProgress | None:
    """Return the newest progress in a file, or None before the first."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=FleetProgress)
    except FileNotFoundError:
        return None
