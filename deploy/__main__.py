"""The `towntwin` command."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module

from deploy import log
from deploy.embedded.folder import EmbeddedError
from deploy.settings import Common, SettingsError, add_flags, load
from ingest_service.storage.errors import StoreError
from ingest_service.storage.settings import Settings as Storage

COMMANDS = (
    "up",
    "edge",
    "ingest",
    "service",
    "gateway",
    "key",
    "simulate",
    "replay",
    "backtest",
    "enrol",
    "db",
    "letters",
    "feedback",
    "report",
    "doctor",
    "dashboards",
    "settings",
)
USAGE_ERROR = 2


def main(argv: list[str] | None = None) -> int:
    """Run one command; 0 is success, 2 a wrong call or setting, 1 anything else."""
    args = _parser().parse_args(argv)
    try:
        common = load(Common, None, args, os.environ)
        log.configure(common)
        return int(args.run(args, common))
    except (SettingsError, EmbeddedError) as error:
        print(f"towntwin: {error}", file=sys.stderr)
        return USAGE_ERROR
    except StoreError as error:
        print(f"towntwin: the database: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="towntwin", description="A digital twin of what is measured in small towns."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = import_module(f"deploy.commands.{name}")
        one = commands.add_parser(
            name, help=(module.__doc__ or "").split("\n", 1)[0], description=module.__doc__
        )
        module.add(one)
        add_flags(one, Common, None)
        add_flags(one, Storage, "storage")
        one.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
