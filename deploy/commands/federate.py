"""Forward a town's data to its county, or receive at the county what towns forward.

`send` runs at the town with the address of the county's broker, `receive` at the county. `end` stops noting
changes at a town that shall not forward any more. See docs/federation.md.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from deploy.command_resources import broker_of_settings, open_store, stop_on_signals
from deploy.settings import CommonSettings, SettingsError, add_flags, load_settings
from ingest_service.federation.settings import Settings
from ingest_service.storage.contract.errors import StoreUnavailableError

if TYPE_CHECKING:
    import argparse

STOP_S = 5.0


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "mode",
        choices=("send", "receive", "end"),
        help="send at a town, receive at its county; end: note no more changes for the county",
    )
    add_flags(parser, Settings, "federate")


def run(args: argparse.Namespace, common: CommonSettings) -> int:
    """Forward or receive until a stop signal."""
    from ingest_service.federation import forward_process, receive_process
    from ingest_service.federation.errors import FederationError
    from ingest_service.federation.policy import read_policy
    from ingest_service.storage.postgres.federation_feed import FederationFeed

    settings = load_settings(Settings, "federate", args, os.environ)
    if args.mode == "end":
        store = open_store(common, args)
        FederationFeed(store).end()
        store.close()
        return 0
    broker = broker_of_settings(common)
    try:
        policy = read_policy(settings.policy) if args.mode == "send" else None
    except FederationError as error:
        raise SettingsError(str(error)) from error
    stop = stop_on_signals(STOP_S)
    try:
        store = open_store(common, args, stop)
    except StoreUnavailableError:
        if stop.is_set():
            return 0
        raise
    try:
        if policy is None:
            receive_process.run(store, broker, settings, stop)
        else:
            forward_process.run(store, broker, policy, settings, stop)
    except FederationError as error:
        raise SettingsError(str(error)) from error
    finally:
        store.close()
    return 0
