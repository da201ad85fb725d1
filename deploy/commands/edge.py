"""Run one device's edge agent: publish SenML packs, one per line of standard input, to the platform.

``towntwin edge run SITE.toml`` runs the drivers of a site file instead (docs/howto/put-a-pi-in-the-field.md),
``towntwin edge enrol SITE.toml`` enrols its device, ``towntwin edge renew SITE.toml`` collects its renewed
certificate (docs/howto/enrol-a-device.md).
"""

from __future__ import annotations

import logging
import os
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from deploy.command_resources import broker_of_settings, check_tls, check_topic, stop_on_signals
from deploy.enrolment_settings import EnrolSettings
from deploy.settings import CommonSettings, SettingsError, add_flags, load_settings
from edge.agent.agent import Agent, AgentError
from edge.agent.clock_sync import ClockSync
from edge.agent.settings import Settings
from edge.agent.spool import Spool
from edge.drivers.line_driver import LineDriver, RefusalLog, read_chunks
from edge.drivers.site_drivers import DeviceFileError, build_drivers, read_site_file, site_broker
from edge.wire.errors import WireError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from edge.drivers import Driver
    from edge.wire.broker_address import BrokerAddress

log = logging.getLogger(__name__)


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "action",
        nargs="?",
        choices=["run", "enrol", "renew"],
        help="run the drivers of a site file, enrol its device, or collect its renewed certificate",
    )
    parser.add_argument("site", nargs="?", type=Path, help="the site file (TOML)")
    parser.add_argument("--area", help="area that the device is enrolled in")
    parser.add_argument("--device", help="device id, also its MQTT user name")
    parser.add_argument("--spool", type=Path, help="the durable spool (SQLite); default towntwin.spool")
    add_flags(parser, Settings, "edge")
    add_flags(parser, EnrolSettings, "edge_enrol")


def run(args: argparse.Namespace, common: CommonSettings) -> int:
    """Publish until the input ends and all messages have their receipt, or until a stop signal.

    The exit code is 0 if every line read is in the spool, or has a receipt without a refusal.
    """
    settings = load_settings(Settings, "edge", args, os.environ)
    if args.action in {"enrol", "renew"}:
        return _enrol_or_renew(args)
    refusals, platform_refusals = RefusalLog(), RefusalLog()

    def on_refused(refusal_log: RefusalLog, sentence: str) -> None:
        line = refusal_log.note(sentence, time.monotonic())
        if line is not None:
            _print_error(line)

    device = (
        _site_device(args, partial(on_refused, refusals))
        if args.action
        else _piped_device(args, partial(on_refused, refusals))
    )
    broker = _broker_of_device(args, common, device)
    stop = stop_on_signals()
    try:
        spool = Spool.open(device.spool, settings)
    except OSError as error:
        raise SettingsError(f"--spool={device.spool}: {error}") from error
    evicted = spool.evicted_readings
    agent = Agent(
        area=device.area,
        device=device.device,
        driver=device.driver,
        spool=spool,
        broker=broker,
        settings=settings,
        on_refused=partial(on_refused, platform_refusals),
        # Not for a pipe: its program may have a clock of its own.
        clock_sync=ClockSync() if args.action and settings.clock_wait_s else None,
    )
    fault = None
    try:
        agent.run(stop)
    except AgentError as error:
        fault = str(error)
        log.exception("%s: the agent ended", device.device)
    return _report_losses(fault, refusals.count, agent, evicted, device.spool)


def _enrol_or_renew(args: argparse.Namespace) -> int:
    if args.site is None:
        raise SettingsError(f"edge {args.action}: name a site file: towntwin edge {args.action} site.toml")
    from deploy.device_enrolment import enrol_device, renew_certificate  # an agent has no HTTP client

    settings = load_settings(EnrolSettings, "edge_enrol", args, os.environ)
    if args.action == "renew":
        return renew_certificate(args.site, settings)
    return enrol_device(args.site, settings, stop_on_signals())


class _DeviceSource(NamedTuple):
    """What the agent runs: ids of the device, path of its spool, and its driver."""

    area: str
    device: str
    spool: Path
    driver: Driver
    broker: BrokerAddress | None = None


def _broker_of_device(
    args: argparse.Namespace, common: CommonSettings, device: _DeviceSource
) -> BrokerAddress:
    """Return the broker of a flag or variable, else that of the site file, else that of a running `up`."""
    is_configured = args.common__broker is not None or "TOWNTWIN_BROKER" in os.environ
    if device.broker is None or is_configured:
        return broker_of_settings(common)
    try:
        return check_tls(device.broker)
    except WireError as error:
        raise SettingsError(f"{args.site}, table broker: {error}") from error


def _site_device(args: argparse.Namespace, on_refused: Callable[[str], None]) -> _DeviceSource:
    """Return the device of a site file; flags take precedence."""
    if args.site is None:
        raise SettingsError("edge run: name a site file: towntwin edge run site.toml")
    try:
        site = read_site_file(args.site)
        check_topic(args.area or site.area, args.device or site.device)
        driver = build_drivers(site, args.site.parent, on_refused)
        broker = site_broker(site, args.site.parent)
    except DeviceFileError as error:
        raise SettingsError(str(error)) from error
    except WireError as error:
        raise SettingsError(f"{args.site}, table broker: {error}") from error
    return _DeviceSource(
        args.area or site.area, args.device or site.device, args.spool or Path(site.spool), driver, broker
    )


def _piped_device(args: argparse.Namespace, on_refused: Callable[[str], None]) -> _DeviceSource:
    """Return the device of the flags, whose readings are lines of standard input."""
    if args.area is None or args.device is None:
        raise SettingsError("edge: give --area and --device, or a site file: towntwin edge run site.toml")
    check_topic(args.area, args.device)
    if sys.stdin is None:
        raise SettingsError("standard input is closed: pipe SenML packs into it, one a line")
    driver = LineDriver(read_chunks(sys.stdin.fileno()), on_refused=on_refused)
    return _DeviceSource(args.area, args.device, args.spool or Path("towntwin.spool"), driver)


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
