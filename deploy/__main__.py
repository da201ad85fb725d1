"""Entry point of the `towntwin` command: parses the arguments and runs the named subcommand.

A subcommand's module is imported only when that subcommand is called. For the others, ``--help`` prints the
first line of their docstring, which is read from their source.
"""

from __future__ import annotations

import argparse
import ast
import errno
import os
import sys
from importlib import import_module
from importlib.util import find_spec

from deploy.debian_servers.installation import InstallationError
from deploy.embedded.errors import EmbeddedError
from deploy.settings import CommonSettings, SettingsError, add_flags, load_settings
from ingest_service.storage.contract.errors import StoreError
from ingest_service.storage.settings import Settings as Storage

COMMANDS = (
    "up",
    "setup",
    "edge",
    "ingest",
    "service",
    "gateway",
    "hj212",
    "federate",
    "key",
    "simulate",
    "replay",
    "backtest",
    "enrol",
    "access",
    "ca",
    "db",
    "backup",
    "letters",
    "feedback",
    "probe",
    "twin",
    "network",
    "report",
    "capacity",
    "doctor",
    "dashboards",
    "settings",
)
USAGE_ERROR = 2


def main(argv: list[str] | None = None) -> int:
    """Run one command; return 0 for success, 2 for wrong arguments or settings, 1 for other failures."""
    argv = sys.argv[1:] if argv is None else argv
    args = command_parser(argv[0] if argv else None).parse_args(argv)
    from deploy import logging_setup, running_platform  # noqa: PLC0415 - structlog takes longer to import than --help takes to print

    try:
        common = running_platform.with_running_platform(
            load_settings(CommonSettings, None, args, os.environ), str(args.command)
        )
        logging_setup.configure(common)
        return int(args.run(args, common))
    except (SettingsError, EmbeddedError, InstallationError) as error:
        print(f"towntwin: {error}", file=sys.stderr)
        return USAGE_ERROR
    except StoreError as error:
        print(f"towntwin: the database: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        print(
            f"towntwin: {args.command}: another program has the port on which it has to listen"
            f" ({error.strerror}): end that program, or set another port (docs/settings.md, …_PORT)",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        return 130


def command_parser(called: str | None) -> argparse.ArgumentParser:
    """Return the parser of the called command with its flags; without one, of all commands without theirs."""
    parser = argparse.ArgumentParser(
        prog="towntwin", description="A digital twin of what is measured in small towns."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in [called] if called in COMMANDS else COMMANDS:
        docstring = _docstring(name)
        one = commands.add_parser(name, help=docstring.partition("\n")[0], description=docstring)
        if name == called:
            module = import_module(f"deploy.commands.{name}")
            module.add(one)
            add_flags(one, CommonSettings, None)
            add_flags(one, Storage, "storage")
            one.set_defaults(run=module.run, command=name)
    return parser


def _docstring(name: str) -> str:
    """Return the docstring of a command's module without importing it."""
    spec = find_spec(f"deploy.commands.{name}")
    source = getattr(spec and spec.loader, "get_source", lambda _: None)(f"deploy.commands.{name}")
    return ast.get_docstring(ast.parse(source or "")) or ""


if __name__ == "__main__":
    sys.exit(main())
