"""Run one device's agent: SenML packs, a line each, from standard input to the platform."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.settings import Common, SettingsError, add_flags, load
from deploy.wiring import named_broker, stop_on_signals
from edge.agent.agent import Agent, AgentError
from edge.agent.settings import Settings
from edge.agent.spool import Spool
from edge.drivers.lines import Lines, Refusals, read_chunks
from edge.wire import topics
from edge.wire.errors import TopicError
from edge.wire.topics import Kind, Topic

if TYPE_CHECKING:
    import argparse


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--area", required=True, help="area that the device is enrolled in")
    parser.add_argument("--device", required=True, help="device id, also its MQTT user name")
    parser.add_argument(
        "--spool", type=Path, default=Path("towntwin.spool"), help="the durable spool (SQLite)"
    )
    add_flags(parser, Settings, "edge")


def run(args: argparse.Namespace, common: Common) -> int:
    """Publish until the input ends and everything has its receipt, or until told to stop.

    The exit code is 0 where every line that was read is in the spool, or has a receipt that refuses nothing.
    """
    settings = load(Settings, "edge", args, os.environ)
    broker = named_broker(common)
    try:
        topics.parse(str(Topic(area=args.area, device=args.device, kind=Kind.DATA)))
    except TopicError as error:
        raise SettingsError(f"--area={args.area} --device={args.device}: {error}") from error
    if sys.stdin is None:
        raise SettingsError("standard input is closed: pipe SenML packs into it, one a line")
    stop = stop_on_signals()
    try:
        spool = Spool.open(args.spool, settings)
    except OSError as error:
        raise SettingsError(f"--spool={args.spool}: {error}") from error
    refusals, by_platform = Refusals(), Refusals()

    def refuse(by: Refusals, sentence: str) -> None:
        shown = by.note(sentence, time.monotonic())
        if shown is not None:
            _tell(shown)

    evicted = spool.evicted_readings
    agent = Agent(
        area=args.area,
        device=args.device,
        driver=Lines(read_chunks(sys.stdin.fileno()), refuse=partial(refuse, refusals)),
        spool=spool,
        broker=broker,
        settings=settings,
        refuse=partial(refuse, by_platform),
    )
    fault = None
    try:
        agent.run(stop)
    except AgentError as error:
        fault = str(error)
        import structlog

        structlog.get_logger().exception("agent_ended", device=args.device)
    return _close(fault, refusals.count, agent, evicted, args.spool)


def _close(fault: str | None, refused: int, agent: Agent, evicted_before: int, spool: Path) -> int:
    """Tell what did not reach the platform; returns the exit code."""
    counts = agent.counts()
    evicted = counts.evicted - evicted_before
    by_platform = f"{agent.refused:,} messages were refused by the platform: the reasons are above, and the"
    losses = [
        (fault is not None, fault or ""),
        (refused > 0, f"{refused:,} lines were refused; the reasons are above"),
        (agent.refused > 0, f"{by_platform} messages are its dead letters (`towntwin letters list`)"),
        (agent.untaken > 0, f"{agent.untaken:,} readings could not be put into the spool {spool}"),
        (evicted > 0, f"{evicted:,} readings were let go of by the full spool; raise --spool-bytes"),
    ]
    for happened, sentence in losses:
        if happened:
            _tell(sentence)
    if counts.waiting:
        _tell(f"{counts.waiting:,} messages stay in the spool {spool} for the next start")
    return 1 if any(happened for happened, _ in losses) else 0


def _tell(sentence: str) -> None:
    with suppress(OSError):  # nobody reads standard error any more: that must not end the agent
        print(f"towntwin: {sentence}", file=sys.stderr, flush=True)
