"""Run the periodic service: rollups, silent devices, late readings, assessments."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from analytics.service.settings import Settings
from deploy.command_resources import open_store, stop_on_signals
from deploy.settings import CommonSettings, SettingsError, add_flags, load_settings
from ingest_service.storage.contract.errors import StoreUnavailableError

if TYPE_CHECKING:
    import argparse


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_flags(parser, Settings, "service")


def run(args: argparse.Namespace, common: CommonSettings) -> int:
    """Run until a stop signal."""
    from analytics.duty import policy
    from analytics.duty.errors import DutyError
    from analytics.notification.http_client import HttpClient
    from analytics.service import process
    from analytics.service.monthly_assessment import index_weights

    settings = load_settings(Settings, "service", args, os.environ)
    try:
        index_weights.read_index_rules(settings.index_file)
    except index_weights.IndexRulesError as error:
        raise SettingsError(f"TOWNTWIN_SERVICE_INDEX_FILE: {error}") from error
    try:
        policy.read_policy(settings.duty_policy_file)
    except DutyError as error:
        raise SettingsError(f"TOWNTWIN_SERVICE_DUTY_POLICY_FILE: {error}") from error
    try:
        HttpClient(settings.notify_networks)
    except ValueError as error:
        raise SettingsError(f"TOWNTWIN_SERVICE_NOTIFY_NETWORKS: {error}") from error
    stop = stop_on_signals(settings.stop_grace_s)
    try:
        store = open_store(common, args, stop)
    except StoreUnavailableError:
        if stop.is_set():
            return 0
        raise
    try:
        process.run(store, settings, stop)
    finally:
        store.close()
    return 0
