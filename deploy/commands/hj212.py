"""Serve HJ 212 stations over TCP, durably, or report sites to upper platforms as a station (forward).

With a database, commands that the gateway accepts by API are sent to the stations from there.
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from deploy.command_resources import broker_of_settings, check_topic, stop_on_signals
from deploy.settings import CommonSettings, SettingsError, add_flags, load_settings
from edge.agent.settings import Settings as AgentSettings
from gateway.hj212.settings import Settings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from ingest_service.storage.health.heartbeat_thread import ProgressRecorder
    from ingest_service.storage.postgres.station_commands import StationCommandLog

log = logging.getLogger(__name__)


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "mode",
        nargs="?",
        choices=("serve", "forward"),
        default="serve",
        help="serve stations (default), or forward: report sites to upper platforms",
    )
    add_flags(parser, Settings, "hj212")
    add_flags(parser, AgentSettings, "edge")


def run(args: argparse.Namespace, common: CommonSettings) -> int:
    """Serve or forward until a stop signal; what has no receipt or answer yet stays in its spool."""
    return _forward(args, common) if args.mode == "forward" else _serve(args, common)


def _serve(args: argparse.Namespace, common: CommonSettings) -> int:
    import asyncio

    from prometheus_client import start_http_server

    from edge.agent.publisher import SpoolPublisher
    from edge.agent.spool import Spool
    from gateway.hj212.command_relay import CommandRelay
    from gateway.hj212.errors import StationError
    from gateway.hj212.server import Hj212Server, SpoolWriter, run_server
    from gateway.hj212.stations import read_stations

    settings = load_settings(Settings, "hj212", args, os.environ)
    agent = load_settings(AgentSettings, "edge", args, os.environ)
    check_topic(settings.area, settings.device)
    broker = broker_of_settings(common)
    try:
        stations = read_stations(settings.stations)
        spool = Spool.open(settings.spool, agent)
    except (StationError, OSError) as error:
        raise SettingsError(str(error)) from error
    stop = stop_on_signals()
    if settings.metrics_port:
        start_http_server(settings.metrics_port, addr="127.0.0.1")
    publisher = SpoolPublisher(
        settings.area,
        settings.device,
        spool,
        broker,
        agent,
        addresses=[f"{one.area}/{one.device}" for one in stations.values()],
        has_status=settings.publish_status,
    )
    failures: list[Exception] = []

    def publish() -> None:
        try:
            publisher.run(stop)
        except Exception as error:
            failures.append(error)
            log.exception("the publisher of the stations ended")
            stop.set()  # a supervisor restarts the process; stations get no acknowledgement meanwhile

    network = threading.Thread(target=publish, name="hj212 publisher", daemon=True)
    network.start()
    writer = SpoolWriter(spool)

    async def serve(progress: ProgressRecorder) -> None:
        def record_progress() -> None:
            progress.loop_advanced()
            if publisher.connected:
                progress.role = "owner"
            else:
                progress.waiting_for("broker")

        relay = CommandRelay(lambda: _command_log(common, stop), stations) if common.dsn else None
        server = Hj212Server(
            stations, writer, idle_s=settings.idle_s, max_connections=settings.max_connections, relay=relay
        )
        await run_server(
            server, writer, host=settings.host, port=settings.port, stop=stop, on_pass=record_progress
        )

    with _heartbeats(common, settings) as progress:
        asyncio.run(serve(progress))
    network.join(1.0)
    return 1 if failures else 0


@contextmanager
def _heartbeats(common: CommonSettings, settings: Settings) -> Iterator[ProgressRecorder]:
    """Write heartbeats within the context, where there is a database; stations do not wait for it."""
    from ingest_service.storage.health import heartbeat_thread

    if common.dsn is None:
        yield heartbeat_thread.ProgressRecorder()
        return
    from ingest_service.storage.health.processes import HealthLimits, ProcessIdentity
    from ingest_service.storage.postgres.heartbeat import PostgresHeartbeat
    from ingest_service.storage.settings import Settings as StoreSettings

    identity = ProcessIdentity(kind="hj212", instance=settings.device)
    writer = PostgresHeartbeat(common.dsn, StoreSettings(connect_timeout_s=5), identity, HealthLimits())
    with heartbeat_thread.writing_heartbeats(writer) as progress:
        yield progress


def _forward(args: argparse.Namespace, common: CommonSettings) -> int:
    import asyncio

    from prometheus_client import start_http_server

    from deploy.command_resources import open_store
    from gateway.hj212.errors import Hj212Error
    from gateway.hj212.forward.process import forward
    from gateway.hj212.forward.settings import read_forward_file

    settings = load_settings(Settings, "hj212", args, os.environ)
    if common.dsn is None:
        raise SettingsError(
            "hj212 forward reads the database: give --dsn postgresql://user:password@host/name"
        )
    stop = stop_on_signals()
    if settings.metrics_port:
        start_http_server(settings.metrics_port, addr="127.0.0.1")
    try:
        found = read_forward_file(settings.platforms)
        settings.forward_spools.mkdir(parents=True, exist_ok=True)
        asyncio.run(forward(found, lambda: open_store(common, args, stop), settings.forward_spools, stop))
    except (Hj212Error, OSError) as error:
        raise SettingsError(str(error)) from error
    return 0


def _command_log(common: CommonSettings, stop: threading.Event) -> StationCommandLog:
    """Open the commands in the database; waits while it is away."""
    from ingest_service.storage.postgres.station_commands import StationCommandLog
    from ingest_service.storage.postgres.store import PostgresStore
    from ingest_service.storage.settings import Settings as StoreSettings

    settings = StoreSettings(connections=1, connect_timeout_s=5, statement_timeout_s=10, answer_timeout_s=15)
    return StationCommandLog(PostgresStore.open(common.dsn or "", settings=settings, stop=stop))
