"""Opens the store, parses the broker's address and installs signal handlers, for commands."""

from __future__ import annotations

import logging
import os
import signal
import threading
from typing import TYPE_CHECKING

from deploy.settings import SettingsError, load_settings
from edge.wire import broker_address, broker_tls
from edge.wire.broker_address import TlsFiles
from edge.wire.errors import WireError
from edge.wire.topics import LEVEL_ADVICE, LEVEL_PATTERN
from ingest_service.storage.settings import Settings

if TYPE_CHECKING:
    import argparse
    from types import FrameType

    from deploy.settings import CommonSettings
    from edge.wire.broker_address import BrokerAddress
    from ingest_service.storage.postgres.store import PostgresStore

log = logging.getLogger(__name__)

EXIT_INTERRUPTED = 130
EXIT_LEEWAY_S = 1.0
COMMAND_WAIT_S = 20.0  # a restart of the database; a person or a script has to learn that it is down


def open_store(
    common: CommonSettings,
    args: argparse.Namespace,
    stop: threading.Event | None = None,
    *,
    wait_s: float | None = None,
) -> PostgresStore:
    """Open the database of the settings; wait while it is unreachable.

    Parameters
    ----------
    common, args : name the database and its settings
    stop : ends the wait of a process when it is set
    wait_s : how long to wait [s]; by default a process with ``stop`` waits for ever, and a command
        `COMMAND_WAIT_S`

    Raises
    ------
    SettingsError
        If no database is named.
    StoreError
        If it is unreachable for so long, or refuses.

    """
    if common.dsn is None:
        raise SettingsError(
            "TOWNTWIN_DSN names no database: give --dsn postgresql://user:password@host:port/name"
        )
    from ingest_service.storage.postgres.store import PostgresStore  # noqa: PLC0415 - an edge agent has no driver

    settings = load_settings(Settings, "storage", args, os.environ)
    if wait_s is None:
        wait_s = COMMAND_WAIT_S if stop is None else float("inf")
    return PostgresStore.open(common.dsn, settings=settings, stop=stop, wait_s=wait_s)


def check_topic(area: str, device: str) -> None:
    """Raise `SettingsError` if the flags ``--area`` and ``--device`` can't stand in a topic."""
    for flag, text in (("--area", area), ("--device", device)):
        if not LEVEL_PATTERN.fullmatch(text):
            raise SettingsError(f"{flag}: {text!r} can't stand in a topic: {LEVEL_ADVICE}")


def broker_of_settings(common: CommonSettings) -> BrokerAddress:
    """Return the broker address of the settings. Raises `SettingsError` if missing or invalid."""
    if common.broker is None:
        raise SettingsError("TOWNTWIN_BROKER names no broker: give --broker mqtt://host:port")
    files = TlsFiles(common.broker_ca, common.broker_certificate, common.broker_key)
    try:
        return check_tls(
            broker_address.parse_broker_address(common.broker, files, common.broker_password_file)
        )
    except WireError as error:
        raise SettingsError(f"TOWNTWIN_BROKER: {error}") from error


def check_tls(broker: BrokerAddress) -> BrokerAddress:
    """Return a broker's address once its TLS files are found usable. Raises `TlsError`."""
    if broker.tls is not None:
        broker_tls.make_context(broker.tls)
    return broker


def stop_on_signals(grace_s: float | None = None) -> threading.Event:
    """Return an event that SIGTERM or SIGINT sets; a second signal ends the process at once.

    With ``grace_s`` [s] the process is ended soon after that time, even if it still waits for a server that
    does not answer.
    """
    stop = threading.Event()

    def handle(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(EXIT_INTERRUPTED)
        stop.set()
        if grace_s is not None:
            last = threading.Timer(grace_s + EXIT_LEEWAY_S, _exit_process)
            last.daemon = True
            last.start()
        # On a separate thread: the interrupted statement of the main thread may hold the log's lock.
        threading.Thread(target=lambda: log.info("stopping"), daemon=True).start()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    return stop


def _exit_process() -> None:
    log.warning("grace_over: ending now; what was not committed was not acknowledged either")
    os._exit(0)
