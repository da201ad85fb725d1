"""Install dashboards, data source and alert rules into Grafana: `towntwin dashboards push`, `provision DIR`.

`push` uses Grafana's HTTP API; `provision` writes the files from which a Grafana reads the same at its start.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dashboards.settings import Settings
from deploy.running_platform import grafana_settings_of_platform
from deploy.settings import SettingsError, add_flags, load_settings

if TYPE_CHECKING:
    import argparse

    from deploy.settings import CommonSettings


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("action", choices=["push", "provision"])
    parser.add_argument(
        "directory", nargs="?", type=Path, metavar="DIR", help="for provision: folder for the files"
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would change, and change nothing")
    parser.add_argument(
        "--force", action="store_true", help="overwrite what a person changed in Grafana, too"
    )
    parser.add_argument(
        "--grafana-version",
        metavar="VERSION",
        help="for provision: version of the Grafana that reads the files; without one they suit 9.4 to 12",
    )
    add_flags(parser, Settings, "grafana")


def run(args: argparse.Namespace, common: CommonSettings) -> int:
    """Push or write files; return 1 if that fails, or would overwrite a manual change in Grafana."""
    # A database in the environment may have another address where Grafana runs; it is not guessed.
    known = {} if os.environ.get("TOWNTWIN_DSN") else grafana_settings_of_platform(common)
    environ = {f"TOWNTWIN_GRAFANA_{name.upper()}": value for name, value in known.items()} | os.environ
    settings = load_settings(Settings, "grafana", args, environ)
    return _push(args, settings) if args.action == "push" else _provision(args, settings)


def _push(args: argparse.Namespace, settings: Settings) -> int:
    from rich.console import Console

    from dashboards.push import PushError, push

    if args.directory is not None:
        raise SettingsError(
            f"push takes no folder, and {args.directory} is given: name one for provision only"
        )
    try:
        push(settings, Console(), dry_run=args.dry_run, force=args.force)
    except PushError as error:
        print(f"towntwin: {error}", file=sys.stderr)
        return 1
    return 0


def _provision(args: argparse.Namespace, settings: Settings) -> int:
    from dashboards.grafana_versions import COMMON_FEATURES, features_of, is_supported, parse_version
    from dashboards.provisioning_files import write_stack_files

    if args.directory is None:
        raise SettingsError("provision needs a folder for the files: towntwin dashboards provision DIR")
    features = COMMON_FEATURES
    if args.grafana_version is not None:
        version = parse_version(args.grafana_version)
        if not is_supported(version):
            raise SettingsError(
                f"--grafana-version={args.grafana_version} can't be used: the files are for Grafana 9.4 to 12"
            )
        features = features_of(version)
    folder = args.directory.absolute()
    try:
        written = write_stack_files(folder, settings, features)
    except OSError as error:
        print(f"towntwin: {error.filename}: {error.strerror}: name another folder", file=sys.stderr)
        return 1
    password = (
        "its password" if settings.db_password else "no password (Grafana takes it from its environment)"
    )
    print(
        f"{len(written)} files written to {folder}: database {settings.db_name} at {settings.db_host}, user"
        f" {settings.db_user}, {password}, TLS/SSL mode {settings.db_sslmode}\n"
        f"start Grafana with GF_PATHS_PROVISIONING={folder}, or copy its folders into Grafana's provisioning"
        " folder (the dashboards' JSON stays where it is)\n"
        "files with secrets are readable by their owner alone: make Grafana's user their owner"
    )
    return 0
