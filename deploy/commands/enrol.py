"""Enrol the areas, sites, devices, channels and networks of site files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from deploy.command_resources import open_store
from deploy.settings import CommonSettings, SettingsError

if TYPE_CHECKING:
    import argparse


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="site files (TOML); see docs/demo.md"
    )


def run(args: argparse.Namespace, common: CommonSettings) -> int:
    """Enrol the site files and print how many entries are enrolled now."""
    from deploy import command_audit, site_files

    store = open_store(common, args)
    try:
        try:
            directory = site_files.load_site_files(args.files, store.directory())
        except site_files.SiteFileError as error:
            raise SettingsError(str(error)) from error
        enrolled = store.enrol(directory)
        command_audit.record_command(store, "enrol", command_audit.command_arguments(args, "files"))
    finally:
        store.close()
    print(
        f"{len(enrolled.areas)} areas, {len(enrolled.sites)} sites, {len(enrolled.devices)} devices, ", end=""
    )
    print(f"{len(enrolled.series)} series")
    return 0
