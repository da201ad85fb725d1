"""Forward a town's data to its county, or receive at the county what towns forward.

`send` runs at the town with the address of the county's broker, or of its gateway (--county-url), `receive`
at the county. `enrol` proposes the town to the county and collects its certificate, `renew` the renewed one.
`end` stops noting changes at a town that shall not forward any more. See docs/federation.md.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from deploy.command_resources import broker_of_settings, open_store, stop_on_signals
from deploy.enrolment_settings import EnrolSettings
from deploy.settings import CommonSettings, SettingsError, add_flags, load_settings
from ingest_service.federation.settings import Settings
from ingest_service.storage.contract.errors import StoreUnavailableError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from ingest_service.federation.https_publisher import CountyAddress

STOP_S = 5.0


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "mode",
        choices=("send", "receive", "enrol", "renew", "end"),
        help="send at a town, receive at its county; enrol: get the county's certificate, beside the policy;"
        " renew: collect it anew; end: note no more changes for the county",
    )
    add_flags(parser, Settings, "federate")
    add_flags(parser, EnrolSettings, "edge_enrol")


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
    if args.mode in {"enrol", "renew"}:
        return _enrol_or_renew(args, settings)
    try:
        county = _county_of(settings) if args.mode == "send" else None
        address = county or broker_of_settings(common)
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
            receive_process.run(store, broker_of_settings(common), settings, stop)
        else:
            forward_process.run(store, address, policy, settings, stop, put_dashboard=dashboard_putter(args))
    except FederationError as error:
        raise SettingsError(str(error)) from error
    finally:
        store.close()
    return 0


def _county_of(settings: Settings) -> CountyAddress | None:
    """Return the address for HTTPS, if one is set. Raises `FederationError`."""
    from ingest_service.federation.https_publisher import CountyAddress, check_address

    if not settings.county_url:
        return None
    return check_address(CountyAddress(settings.county_url, settings.county_ca, settings.county_key_file))


def dashboard_putter(args: argparse.Namespace) -> Callable[[dict[str, Any]], str] | None:
    """Return what saves a dashboard of the county in this town's Grafana; None without a token for it."""
    from dashboards.settings import Settings as GrafanaSettings

    grafana = load_settings(GrafanaSettings, "grafana", args, os.environ)
    if grafana.token is None:
        return None
    from dashboards.push.county_dashboard import put_county_dashboard
    from dashboards.push.grafana_connection import GrafanaAwayError, PushError
    from ingest_service.federation.errors import DashboardsAwayError

    def put(dashboard: dict[str, Any]) -> str:
        try:
            put_county_dashboard(grafana, dashboard)
        except GrafanaAwayError as error:
            raise DashboardsAwayError(str(error)) from error
        except PushError as error:
            return str(error)
        return ""

    return put


def _enrol_or_renew(args: argparse.Namespace, settings: Settings) -> int:
    from deploy.device_enrolment import enrol_forwarder, renew_forwarder
    from ingest_service.federation.errors import FederationError
    from ingest_service.federation.policy import read_policy

    enrolment, folder = load_settings(EnrolSettings, "edge_enrol", args, os.environ), settings.policy.parent
    if args.mode == "renew":
        return renew_forwarder(folder, enrolment)
    try:
        policy = read_policy(settings.policy)
    except FederationError as error:
        raise SettingsError(str(error)) from error
    return enrol_forwarder(folder, policy.area, policy.device, enrolment, stop_on_signals())
