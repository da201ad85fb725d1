"""Start the whole platform on this machine: embedded broker and database, every process, and the demo towns.

Three main jobs: the demo (default), recorded files (--replay), or your own sites (--sites), whose
database is kept from one start to the next. A database or broker that is named is used instead; with
--timescaledb, as root on Debian, Debian's TimescaleDB and Mosquitto are.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from deploy.command_resources import stop_on_signals
from deploy.embedded.server_environment import free_port
from deploy.settings import CommonSettings, SettingsError, add_flags, load_settings
from deploy.up.settings import Settings
from gateway.settings import Settings as GatewaySettings

if TYPE_CHECKING:
    import argparse

    from deploy.up.jobs import Job


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "--for",
        dest="for_s",
        type=_seconds,
        metavar="SECONDS",
        help="run so long, then print a summary and end",
    )
    job = parser.add_mutually_exclusive_group()
    job.add_argument(
        "--replay", nargs="+", type=Path, metavar="FILE", help="play recorded files instead of the demo"
    )
    job.add_argument(
        "--sites", nargs="+", type=Path, metavar="FILE", help="enrol your own sites instead of the demo"
    )
    parser.add_argument(
        "--mapping", type=Path, help="for --replay: which column is which site and quantity (TOML)"
    )
    parser.add_argument(
        "--allow",
        metavar="REASONS",
        help="for --replay: reasons for which rows and readings may be left out (see docs/replay.md)",
    )
    parser.add_argument(
        "--once",
        action="store_true",
        help="for --replay: end with the files, also on a terminal (without a terminal it always does)",
    )
    add_flags(parser, Settings, "up")
    add_flags(parser, GatewaySettings, "gateway")


def run(args: argparse.Namespace, common: CommonSettings) -> int:
    """Start the platform, supervise it and stop it; return 0 only if the outcome is as expected."""
    from deploy.up import supervisor as up_run

    settings = load_settings(Settings, "up", args, os.environ)
    gateway = _gateway(args, settings)
    return up_run.run_up(
        _job(args), common, gateway, settings, for_s=args.for_s, once=args.once, stop=stop_on_signals()
    )


def _gateway(args: argparse.Namespace, settings: Settings) -> GatewaySettings:
    """Return the gateway's settings; address and port follow those of `up` where they are not set."""
    from deploy.up import ports

    ports.check_address(settings.listen)
    gateway = load_settings(GatewaySettings, "gateway", args, os.environ)
    if gateway.tls_cert is not None or gateway.tls_key is not None:
        raise SettingsError(
            "TOWNTWIN_GATEWAY_TLS_CERT: `up` serves HTTP: unset it and its key,"
            " or start `towntwin gateway` alone"
        )
    if args.gateway__host is None and "TOWNTWIN_GATEWAY_HOST" not in os.environ:
        gateway = msgspec.structs.replace(gateway, host=settings.listen)
    named = args.gateway__port is not None or "TOWNTWIN_GATEWAY_PORT" in os.environ
    if settings.ports == "free" and not named:
        gateway = msgspec.structs.replace(gateway, port=free_port())
    return gateway


def _job(args: argparse.Namespace) -> Job:
    from deploy.up.jobs import DemoJob, OwnSitesJob, ReplayJob

    if args.sites:
        return OwnSitesJob(args.sites)
    if not args.replay:
        return DemoJob()
    if args.mapping is None:
        raise SettingsError(
            "--replay needs --mapping FILE: which column is which site and quantity (see docs/replay.md)"
        )
    from deploy import replay_run

    replay_run.check_allowed_reasons((args.allow or "").split(",") if args.allow else [])
    job = ReplayJob(args.replay, args.mapping, args.allow)
    job.check()
    return job


def _seconds(text: str) -> float:
    seconds = float(text)
    if seconds <= 0:
        raise ValueError(text)
    return seconds
