"""Enrol what site files name: areas, sites, devices, channels, networks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from deploy.settings import Common, SettingsError
from deploy.wiring import open_store

if TYPE_CHECKING:
    import argparse


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="site files (TOML); see docs/demo.md"
    )


def run(args: argparse.Namespace, common: Common) -> int:
    """Enrol, and say what is known now."""
    from deploy import audit, sites

    try:
        wanted = sites.load(args.files)
    except sites.SiteFileError as error:
        raise SettingsError(str(error)) from error
    store = open_store(common, args)
    try:
        known = store.enrol(wanted)
        audit.note(store, "enrol", audit.told(args, "files"))
    finally:
        store.close()
    print(f"{len(known.areas)} areas, {len(known.sites)} sites, {len(known.devices)} devices, ", end="")
    print(f"{len(known.series)} series")
    return 0
