"""Replay recorded files (CSV, Parquet) through agent, broker and ingest as if live; see docs/replay.md."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from deploy.settings import CommonSettings, add_flags, load_settings
from edge.agent.settings import Settings as AgentSettings

if TYPE_CHECKING:
    import argparse


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the replay of recorded files."""

    area: Annotated[
        str, Meta(description="Area that recorded sites are enrolled in, unless they are enrolled already.")
    ] = "replay"
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
    allow: Annotated[
        list[str],
        Meta(description="Reasons for which rows and readings may be left out (docs/replay.md), or all."),
    ] = []
    spool: Annotated[Path, Meta(description="Folder of the devices' spools.")] = Path("spool")
    report: Annotated[Path, Meta(description="File that says how far the replay is.")] = Path("fleet.json")
    summary: Annotated[
        Path | None, Meta(description="File that the summary is written to, beside standard output.")
    ] = None


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument(
        "--mapping", type=Path, required=True, help="which column is which site and quantity (TOML)"
    )
    parser.add_argument(
        "--enrol",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="enrol these site files first; what they change of enrolled sites is printed before",
    )
    add_flags(parser, Settings, "replay")
    add_flags(parser, AgentSettings, "edge")


def run(args: argparse.Namespace, common: CommonSettings) -> int:
    """Enrol what is missing and publish the files; the last line of stdout is the summary as JSON."""
    from deploy import replay_run

    settings = load_settings(Settings, "replay", args, os.environ)
    agent = load_settings(AgentSettings, "edge", args, os.environ)
    return replay_run.run_replay(args, common, settings, agent)
