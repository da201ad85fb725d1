"""Run one device's agent: SenML packs, a line each, from standard input to the platform."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.settings import Common, SettingsError, add_flags, load
from deploy.wiring import named_broker, stop_on_signals
from edge.agent.agent import Agent
from edge.agent.settings import Settings
from edge.agent.spool import Spool
from edge.drivers.lines import Lines

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
    """Publish until the input ends and everything has its receipt, or until told to stop."""
    settings = load(Settings, "edge", args, os.environ)
    broker = named_broker(common)
    stop = stop_on_signals()
    try:
        spool = Spool.open(args.spool, settings)
    except OSError as error:
        raise SettingsError(f"--spool={args.spool}: {error}") from error
    lines = Lines(sys.stdin.buffer)
    Agent(
        area=args.area, device=args.device, driver=lines, spool=spool, broker=broker, settings=settings
    ).run(stop)
    for reason in lines.refused:
        print(f"towntwin: {reason}", file=sys.stderr)
    return 1 if lines.refused else 0
