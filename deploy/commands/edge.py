"""Run one device's edge agent: publish SenML packs, one per line of standard input, to the platform."""

from __future__ import annotations

import logging
import os
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.command_resources import broker_of_settings, stop_on_signals
from deploy.settings import CommonSettings, SettingsError, add_flags, load_settings
from edge.agent.agent import Agent, AgentError
from edge.agent.settings import Settings
from edge.agent.spool import Spool
from edge.drivers.line_driver import LineDriver, RefusalLog, read_chunks
from edge.wire import topics
from edge.wire.errors import TopicError
from edge.wire.topics import Topic, TopicKind

if TYPE_CHECKING:
    import argparse

log = logging.getLogger(__name__)


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--area", required=True, help="area that the device is enrolled in")
    parser.add_argument("--device", required=True, help="device id, also its MQTT user name")
    parser.add_argument(
        "--spool", type=Path, default=Path("towntwin.spool"), help="the durable spool (SQLite)"
    )
    add_flags(parser, Settings, "edge")


def run(args: argparse.Namespace, common: CommonSettings) -> int:
    """Publish until the input ends and all messages have their receipt, or until a stop signal.

    The exit code is 0 if every line read is in the spool, or has a receipt without a refusal.
    """
    settings = load_settings(Settings, "edge", args, os.environ)
    broker = broker_of_settings(common)
    try:
        topics.parse_topic(str(Topic(area=args.area, device=args.device, kind=TopicKind.DATA)))
    except TopicError as error:
        raise SettingsError(f"--area={args.area} --device={args.device}: {error}") from error
    if sys.stdin is None:
        raise SettingsError("standard input is closed: pipe SenML packs into it, one a line")
    stop = stop_on_signals()
    try:
        spool = Spool.open(args.spool, settings)
    except OSError as error:
        raise SettingsError(f"--spool={args.spool}: {error}") from error
    refusals, platform_refusals = RefusalLog(), RefusalLog()

    def on_refused(refusal_log: RefusalLog, sentence: str) -> None:
        line = refusal_log.note(sentence, time.monotonic())
        if line is not None:
            _print_error(line)

    evicted = spool.evicted_readings
    agent = Agent(
        area=args.area,
        device=args.device,
        driver=LineDriver(read_chunks(sys.stdin.fileno()), on_refused=partial(on_refused, refusals)),
        spool=spool,
        broker=broker,
        settings=settings,
        on_refused=partial(on_refused, platform_refusals),
    )
    fault = None
    try:
        agent.run(stop)
    except AgentError as error:
        fault = str(error)
        log.exception("%s: the agent ended", args.device)
    return _report_losses(fault, refusals.count, agent, evicted, args.spool)


def _report_losses(fault: str | None, refused: int, agent: Agent, evicted_before: int, spool: Path) -> int:
    """Print what did not reach the platform; return the exit code."""
    counts = agent.counts()
    evicted = counts.evicted - evicted_before
    platform_refusals = (
        f"{agent.refused:,} messages were refused by the platform: the reasons are above, and the"
    )
    loss_sentences = [
        (fault is not None, fault or ""),
        (refused > 0, f"{refused:,} lines were refused; the reasons are above"),
        (agent.refused > 0, f"{platform_refusals} messages are its dead letters (`towntwin letters list`)"),
        (agent.not_spooled > 0, f"{agent.not_spooled:,} readings could not be put into the spool {spool}"),
        (evicted > 0, f"{evicted:,} readings were let go of by the full spool; raise --spool-bytes"),
    ]
    for has_loss, sentence in loss_sentences:
        if has_loss:
            _print_error(sentence)
    if counts.waiting:
        _print_error(f"{counts.waiting:,} messages stay in the spool {spool} for the next start")
    return 1 if any(has_loss for has_loss, _ in loss_sentences) else 0


def _print_error(sentence: str) -> None:
    with suppress(OSError):  # a closed standard error must not end the agent
        print(f"towntwin: {sentence}", file=sys.stderr, flush=True)
