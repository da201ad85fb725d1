"""Push dashboards, data source and alert rules to a Grafana: `towntwin dashboards push`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dashboards.settings import Settings
from deploy.settings import add_flags, load_settings

if TYPE_CHECKING:
    import argparse

    from deploy.settings import CommonSettings


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("action", choices=["push"])
    parser.add_argument("--dry-run", action="store_true", help="show what would change, and change nothing")
    parser.add_argument(
        "--force", action="store_true", help="overwrite what a person changed in Grafana, too"
    )
    add_flags(parser, Settings, "grafana")


def run(args: argparse.Namespace, common: CommonSettings) -> int:
    """Push; return 1 if Grafana refuses, or a manual change in Grafana would be overwritten."""
    from rich.console import Console

    from dashboards.push import PushError, push

    settings = load_settings(Settings, "grafana", args, {**_of_running_up(common), **os.environ})
    try:
        push(settings, Console(), dry_run=args.dry_run, force=args.force)
    except PushError as error:
        print(f"towntwin: {error}", file=sys.stderr)
        return 1
    return 0


def _of_running_up(common: CommonSettings) -> dict[str, str]:
    """Return the database settings for Grafana of a running `up` on this machine; empty where none runs."""
    if common.dsn is None or os.environ.get("TOWNTWIN_DSN"):
        return {}
    parts = urlsplit(common.dsn)
    return {
        "TOWNTWIN_GRAFANA_DB_HOST": f"{parts.hostname}:{parts.port}",
        "TOWNTWIN_GRAFANA_DB_NAME": parts.path.lstrip("/"),
        "TOWNTWIN_GRAFANA_DB_SSLMODE": "disable",  # the embedded database has no certificate
    }
