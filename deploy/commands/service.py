"""Do what is periodic: rollups, silence of devices, late readings, assessments."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from analytics.service.settings import Settings
from deploy.settings import Common, SettingsError, add_flags, load
from deploy.wiring import open_store, stop_on_signals
from ingest_service.storage.errors import StoreUnavailable

if TYPE_CHECKING:
    import argparse


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_flags(parser, Settings, "service")


def run(args: argparse.Namespace, common: Common) -> int:
    """Run until told to stop."""
    from analytics.service import process
    from analytics.service.assessing import rules

    settings = load(Settings, "service", args, os.environ)
    try:
        rules.read(settings.index_file)
    except rules.RulesError as error:
        raise SettingsError(f"TOWNTWIN_SERVICE_INDEX_FILE: {error}") from error
    stop = stop_on_signals(settings.stop_grace_s)
    try:
        store = open_store(common, args, stop)
    except StoreUnavailable:
        if stop.is_set():
            return 0
        raise
    try:
        process.run(store, settings, stop)
    finally:
        store.close()
    return 0
