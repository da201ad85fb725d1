"""Play recorded files (CSV, Parquet) through the very way of live readings."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from deploy import audit, fleet, recorded
from deploy.settings import Common, add_flags, load
from deploy.wiring import named_broker, open_store, stop_on_signals
from edge.agent.settings import Settings as AgentSettings

if TYPE_CHECKING:
    import argparse


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How recorded files are played."""

    area: Annotated[str, Meta(description="Area that the recorded sites are enrolled in.")] = "replay"
    speed: Annotated[float, Meta(description="Times as fast as recorded; 0 is as fast as can be.", ge=0)] = (
        0.0
    )
    shift: Annotated[
        str,
        Meta(
            description="Keep the recorded times, or shift them so that the last is now.",
            pattern="^(keep|now)$",
        ),
    ] = "keep"
    spool: Annotated[Path, Meta(description="Folder of the devices' spools.")] = Path("spool")
    report: Annotated[Path, Meta(description="File that says how far the replay is.")] = Path("fleet.json")


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument(
        "--mapping", type=Path, required=True, help="which column is which site and quantity (TOML)"
    )
    add_flags(parser, Settings, "replay")
    add_flags(parser, AgentSettings, "edge")


def run(args: argparse.Namespace, common: Common) -> int:
    """Enrol what the files hold, then play them to their end."""
    settings = load(Settings, "replay", args, os.environ)
    agent = load(AgentSettings, "edge", args, os.environ)
    broker = named_broker(common)
    recordings = recorded.open_all(args.files, args.mapping)
    stop = stop_on_signals()
    store = open_store(common, args, stop)
    try:
        store.enrol(recorded.directory(recordings, settings.area))
        audit.note(store, "replay", audit.told(args, "files", "mapping"))
    finally:
        store.close()
    plan = recorded.plan(recordings, speed=settings.speed, shift=settings.shift)
    last = fleet.run(
        [fleet.Member(settings.area, device, driver) for device, driver in plan.drivers],
        folder=settings.spool,
        broker=broker,
        settings=agent,
        clock=plan.clock,
        stop=stop,
        report=fleet.write_report(settings.report),
        total=plan.total,
    )
    for why, count in plan.skipped().items():
        print(f"left out: {count:,} {why}", file=sys.stderr)
    for fault in last.faults:
        print(f"towntwin: {fault}", file=sys.stderr)
    return 0 if last.waiting == 0 and not last.faults else 1
