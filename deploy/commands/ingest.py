"""Take readings from the broker to the database."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from deploy.settings import Common, add_flags, load
from deploy.wiring import named_broker, open_store, stop_on_signals
from ingest_service.pipeline.settings import Settings
from ingest_service.storage.errors import StoreUnavailable

if TYPE_CHECKING:
    import argparse


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_flags(parser, Settings, "ingest")


def run(args: argparse.Namespace, common: Common) -> int:
    """Serve one shard until told to stop."""
    from ingest_service.pipeline import process

    settings = load(Settings, "ingest", args, os.environ)
    broker = named_broker(common)
    stop = stop_on_signals(settings.stop_grace_s)
    try:
        store = open_store(common, args, stop)
    except StoreUnavailable:
        if stop.is_set():
            return 0
        raise
    try:
        process.run(store, broker, settings, stop)
    finally:
        store.close()
    return 0
