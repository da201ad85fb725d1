"""Run the ingest process: store and judge the readings that arrive at the broker."""

from __future__ import annotations

import gc
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from deploy.command_resources import broker_of_settings, open_store, stop_on_signals
from deploy.settings import CommonSettings, add_flags, load_settings
from ingest_service.pipeline.settings import Settings
from ingest_service.storage.contract.errors import StoreUnavailableError

if TYPE_CHECKING:
    import argparse


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_flags(parser, Settings, "ingest")


def run(args: argparse.Namespace, common: CommonSettings) -> int:
    """Serve one shard until a stop signal."""
    settings = load_settings(Settings, "ingest", args, os.environ)
    broker = broker_of_settings(common)
    stop = stop_on_signals(settings.stop_grace_s)
    gc.disable()  # imports leave no garbage; collecting during them takes a tenth of a restart
    from ingest_service.storage.postgres import store as _  # noqa: F401 - not on two threads at once

    with ThreadPoolExecutor(1, "open-store") as opening:  # the database answers during the import below
        opened = opening.submit(open_store, common, args, stop)
        from ingest_service.pipeline import process

        gc.freeze()
        gc.enable()  # each attempt at a database that is away leaves garbage
    try:
        store = opened.result()
    except StoreUnavailableError:
        if stop.is_set():
            return 0
        raise
    try:
        process.run(store, broker, settings, stop)
    finally:
        store.close()
    return 0
