"""Serve the HTTP API and the console."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import msgspec

from deploy.command_resources import open_store
from deploy.settings import CommonSettings, SettingsError, add_flags, load_settings
from gateway.settings import Settings

if TYPE_CHECKING:
    import argparse


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_flags(parser, Settings, "gateway")


def run(args: argparse.Namespace, common: CommonSettings) -> int:
    """Serve until a stop signal, which the server handles."""
    from gateway import server
    from gateway.transport import forwarded_headers
    from gateway.transport.tls_certificate import TlsCertificateError

    settings = load_settings(Settings, "gateway", args, os.environ)
    try:
        forwarded_headers.parse_networks(settings.trusted_proxies)
        forwarded_headers.parse_base_url(settings.public_url)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    store = open_store(common, args, wait_s=float("inf"))
    try:
        server.serve(store, settings, _heavy_worker(common), [sys.executable, "-m", "deploy.network_worker"])
    except TlsCertificateError as error:
        raise SettingsError(f"TOWNTWIN_GATEWAY_TLS_CERT: {error}") from error
    finally:
        store.close()
    return 0


def _heavy_worker(common: CommonSettings) -> list[str]:
    """Return the command line of the heavy-request process; secrets are passed by its standard input."""
    logs = CommonSettings(log_format=common.log_format, log_level=common.log_level)
    return [sys.executable, "-m", "deploy.heavy_worker", msgspec.json.encode(logs).decode()]
