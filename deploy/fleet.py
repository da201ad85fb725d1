"""Many agents in one process, as threads: how a simulated or recorded town publishes."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import structlog

from edge.agent.agent import Agent
from edge.agent.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edge.agent.settings import Settings
    from edge.drivers import Driver
    from edge.wire.broker import Broker

log = structlog.get_logger()

REPORT_EVERY_S = 0.5


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """How far a fleet is; written to a file for whoever watches.

    ``taken`` readings are in a spool, ``kept`` ones have the platform's receipt, ``evicted`` ones were let
    go by a full spool; ``total`` is how many there will be, or None where there is no end. ``live_from_s``
    is when the played history meets the present [s], or None. ``epochs`` are those of the members' spools, in
    their order; ``failed`` says of each device that failed why.
    """

    taken: int
    kept: int
    evicted: int
    waiting: int
    finished: bool
    total: int | None = None
    live_from_s: float | None = None
    epochs: tuple[str, ...] = ()
    failed: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Member:
    """One device of the fleet."""

    area: str
    device: str
    driver: Driver


def run(
    members: Sequence[Member],
    *,
    folder: Path,
    broker: Broker,
    settings: Settings,
    clock: Callable[[], float],
    stop: threading.Event,
    report: Callable[[Report], None],
    total: int | None = None,
    live_from_s: float | None = None,
) -> Report:
    """Run every member until its driver ended and its spool is empty, or ``stop`` is set.

    A member that fails sets ``stop``: the others keep what they took in their spools.
    """
    names = [member.device for member in members]
    if len(set(names)) < len(names):
        raise ValueError(f"two members of a fleet are one device: {sorted(names)}")
    folder.mkdir(parents=True, exist_ok=True)
    failed: dict[str, str] = {}
    spools = [Spool.open(folder / f"{member.device}.spool", settings) for member in members]
    agents = [
        Agent(
            area=member.area,
            device=member.device,
            driver=member.driver,
            spool=spool,
            broker=broker,
            settings=settings,
            clock=clock,
        )
        for member, spool in zip(members, spools, strict=True)
    ]

    def play(agent: Agent, device: str) -> None:
        try:
            agent.run(stop)
        except Exception as error:
            log.exception("device_failed", device=device)
            failed[device] = f"{type(error).__name__}: {error}"
            stop.set()

    threads = [
        threading.Thread(target=play, args=(agent, member.device), name=member.device)
        for agent, member in zip(agents, members, strict=True)
    ]

    def look(*, finished: bool) -> Report:
        counts = [agent.counts() for agent in agents]
        return Report(
            taken=sum(one.taken for one in counts),
            kept=sum(one.receipted for one in counts),
            evicted=sum(one.evicted for one in counts),
            waiting=sum(one.waiting for one in counts),
            finished=finished,
            total=total,
            live_from_s=live_from_s,
            epochs=tuple(spool.epoch for spool in spools),
            failed=dict(failed),
        )

    for thread in threads:
        thread.start()
    try:
        while any(thread.is_alive() for thread in threads):
            report(look(finished=False))
            time.sleep(REPORT_EVERY_S)
    except BaseException:
        stop.set()  # the threads would keep the process for ever
        for thread in threads:
            thread.join()
        raise
    last = look(finished=True)
    report(last)
    for spool in spools:
        spool.close()
    log.info("fleet_finished", taken=last.taken, kept=last.kept, waiting=last.waiting)
    return last


def write_report(path: Path) -> Callable[[Report], None]:
    """Reports go to a file that is always whole."""

    def write(report: Report) -> None:
        beside = path.with_suffix(".new")
        beside.write_bytes(msgspec.json.encode(report))
        beside.replace(path)

    return write


def read_report(path: Path) -> Report | None:
    """The newest report, or None before the first."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except FileNotFoundError:
        return None
