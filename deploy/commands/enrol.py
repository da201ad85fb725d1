"""Enrol the areas, sites, devices, channels and networks of site files, or a fleet of devices from CSV.

`towntwin enrol --code AREA --url https://HOST` makes a code for technicians (docs/howto/enrol-a-device.md).
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from deploy import argument_bounds
from deploy.command_resources import open_store
from deploy.settings import CommonSettings, SettingsError
from ingest_service.storage.contract import bounds

if TYPE_CHECKING:
    import argparse

    from ingest_service.storage.contract.models import Directory
    from ingest_service.storage.postgres.store import PostgresStore

PASSWORD_BYTES = 24


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="site files (TOML); see docs/demo.md"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="a fleet, one channel a line")
    parser.add_argument("--dry-run", action="store_true", help="print what would change, and change nothing")
    parser.add_argument(
        "--credentials",
        type=Path,
        metavar="FILE",
        help="give each device of --csv a password at the broker, and write them to this new file",
    )
    parser.add_argument("--code", metavar="AREA", help="make an enrolment code for devices of this area")
    parser.add_argument("--url", help="address of the gateway, as devices reach it, for --code")
    parser.add_argument(
        "--devices",
        type=argument_bounds.bounded_integer(*bounds.CODE_DEVICES),
        default=1,
        help="devices that the code enrols at most",
    )
    parser.add_argument(
        "--hours",
        type=argument_bounds.bounded_number(*bounds.CODE_HOURS),
        default=24.0,
        help="how long the code is valid [h]",
    )


def run(args: argparse.Namespace, common: CommonSettings) -> int:
    """Enrol what the files have and print how many entries are enrolled now; or make a code."""
    if args.code is not None:
        return _make_code(args, common)
    if bool(args.files) == (args.csv is not None):
        raise SettingsError("enrol: give site files, or a fleet by --csv, or --code AREA")
    if args.credentials is not None and args.csv is None:
        raise SettingsError("--credentials: belongs to --csv")
    from deploy import command_audit

    store = open_store(common, args)
    try:
        enrolled = store.directory()
        directory = _read(args, enrolled)
        _print_changes(args, enrolled, directory)
        if args.dry_run:
            return 0
        passwords = _write_passwords(args.credentials, directory)
        enrolled = store.enrol(directory)
        _add_credentials(store, passwords)
        command_audit.record_command(
            store, "enrol", command_audit.command_arguments(args, "files", "csv", "credentials")
        )
    finally:
        store.close()
    print(
        f"{len(enrolled.areas)} areas, {len(enrolled.sites)} sites, {len(enrolled.devices)} devices, ", end=""
    )
    print(f"{len(enrolled.series)} series")
    return 0


def _read(args: argparse.Namespace, enrolled: Directory) -> Directory:
    from deploy import fleet_table, site_files

    try:
        if args.csv is not None:
            return fleet_table.read_fleet(args.csv, enrolled)
        return site_files.load_site_files(args.files, enrolled)
    except site_files.SiteFileError as error:
        raise SettingsError(str(error)) from error


def _print_changes(args: argparse.Namespace, enrolled: Directory, directory: Directory) -> None:
    """Print what would change: all of it for a dry run, else the changes of a fleet in short."""
    from deploy import enrolment_changes

    sentences = enrolment_changes.enrolment_differences(enrolled, directory)
    if args.dry_run:
        print("\n".join([*sentences, f"dry run: {len(sentences)} changes, none made"]))
    elif args.csv is not None:
        print("\n".join(enrolment_changes.summarise_changes(sentences)))


def _write_passwords(path: Path | None, directory: Directory) -> list[tuple[str, str, str]]:
    """Make a password for each device, and write them to a new file that its owner alone may read."""
    if path is None:
        return []
    passwords = [
        (one.area_id, one.device_id, secrets.token_urlsafe(PASSWORD_BYTES)) for one in directory.devices
    ]
    lines = ["area_id,device_id,password", *(",".join(one) for one in passwords)]
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write("\n".join(lines) + "\n")
    except OSError as error:
        raise SettingsError(f"--credentials={path}: {error.strerror}: name a new file") from error
    return passwords


def _add_credentials(store: PostgresStore, passwords: list[tuple[str, str, str]]) -> None:
    from deploy import command_audit
    from ingest_service.storage.postgres.enrolments import EnrolmentStore

    if not passwords:
        return
    taken = EnrolmentStore(store).add_confirmed(passwords, who=command_audit.command_principal())
    for device in taken:
        print(
            f"device {device} is enrolled already and keeps its credential: the file's password is of no use",
            file=sys.stderr,
        )


def _make_code(args: argparse.Namespace, common: CommonSettings) -> int:
    """Make an enrolment code, and show it as text and as QR code."""
    from deploy import command_audit
    from deploy.terminal_qr import draw_qr_code
    from gateway.auth import enrolment_codes
    from ingest_service.storage.postgres.enrolments import EnrolmentStore

    if args.url is None or not args.url.startswith(("http://", "https://")):
        raise SettingsError(
            "--code: give the address of the gateway, as devices reach it: --url https://HOST"
        )
    store = open_store(common, args)
    try:
        if args.code not in {one.area_id for one in store.directory().areas}:
            raise SettingsError(f"--code: there is no area {args.code!r}: enrol it first, by a site file")
        code, text = enrolment_codes.make_code(
            args.url,
            area_id=args.code,
            devices=args.devices,
            expires_s=time.time() + args.hours * 3600.0,
            created_by=command_audit.command_principal(),
        )
        EnrolmentStore(store).create_code(code)
        command_audit.record_command(
            store, "enrol code", command_audit.command_arguments(args, "code", "devices", "hours")
        )
    finally:
        store.close()
    if sys.stdout.isatty():
        print(draw_qr_code(text), end="")
    print(text)
    return 0
