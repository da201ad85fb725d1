"""Make a certificate authority; issue, import, list and renew the certificates of broker and gateway.

See docs/howto/serve-tls.md. `renew` is for a timer: it replaces what ends soon, and runs a command if it did.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.settings import CommonSettings, SettingsError

if TYPE_CHECKING:
    import argparse

    from deploy.device_access.certificate_authority import CertificateAuthority
    from deploy.device_access.server_certificates import CertificateFolder, ServerCertificate

AUTHORITY_FOLDER = Path("/etc/towntwin/authority")
CERTIFICATES_FOLDER = Path("/etc/towntwin/tls")
RENEWAL_DAYS = 30.0
AUTHORITY_WARNING_DAYS = 365.0
"""All devices have to get the new authority's certificate before the old one ends."""
COMMAND_S = 60.0


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("action", choices=["init", "issue", "import", "renew", "list"])
    parser.add_argument("name", nargs="?", help="of the certificate's files: broker, gateway")
    parser.add_argument("hosts", nargs="*", metavar="HOST", help="host names and IP addresses of the server")
    parser.add_argument(
        "--authority",
        type=Path,
        metavar="FOLDER",
        default=AUTHORITY_FOLDER,
        help=f"of the authority's key (default {AUTHORITY_FOLDER})",
    )
    parser.add_argument(
        "--certificates",
        type=Path,
        metavar="FOLDER",
        default=CERTIFICATES_FOLDER,
        help=f"of the servers' certificates and keys (default {CERTIFICATES_FOLDER})",
    )
    parser.add_argument(
        "--owner", metavar="USER", help="who can read the key: the user that the server runs as"
    )
    parser.add_argument("--days", type=float, help="how long a new certificate is valid")
    parser.add_argument(
        "--within-days",
        type=float,
        default=RENEWAL_DAYS,
        help=f"renew: what ends within so many days (default {RENEWAL_DAYS:g})",
    )
    parser.add_argument(
        "--then", metavar="COMMAND", help="renew: run this (without a shell) if something was renewed"
    )
    parser.add_argument(
        "--certificate", type=Path, metavar="FILE", help="import: your own, with its chain (PEM)"
    )
    parser.add_argument("--key", type=Path, metavar="FILE", help="import: its key (PEM, not encrypted)")
    parser.add_argument("--json", action="store_true", help="list: as JSON")


def run(args: argparse.Namespace, _common: CommonSettings) -> int:
    """Run the action; return 1 if a certificate could not be renewed or can't be used."""
    from deploy.device_access.certificate_authority import CertificateAuthority, CertificateError
    from deploy.device_access.server_certificates import CertificateFolder

    try:
        if args.action == "init":
            return _init(args)
        authority = None
        if args.action == "issue" or (args.authority / "ca.key").exists():
            authority = CertificateAuthority.load(args.authority)
        return _ACTIONS[args.action](CertificateFolder(args.certificates, authority), authority, args)
    except CertificateError as error:
        raise SettingsError(str(error)) from error
    except OSError as error:
        raise SettingsError(f"ca {args.action}: {error.filename}: {error.strerror}") from error


def _init(args: argparse.Namespace) -> int:
    from deploy.device_access.certificate_authority import AUTHORITY_DAYS, CertificateAuthority

    days = AUTHORITY_DAYS if args.days is None else args.days
    CertificateAuthority.create(args.name or "towntwin", days=days).save(args.authority)
    print(f"{args.authority}: ca.crt is for everybody, ca.key for nobody else")
    return 0


def _issue(
    folder: CertificateFolder, _authority: CertificateAuthority | None, args: argparse.Namespace
) -> int:
    from deploy.device_access.certificate_authority import SERVER_DAYS

    if not args.name or not args.hosts:
        raise SettingsError(
            "ca issue: give a name and the hosts: `towntwin ca issue broker box.town 10.0.0.1`"
        )
    days = SERVER_DAYS if args.days is None else args.days
    _print_written(folder.issue(args.name, args.hosts, days=days, owner=args.owner), args.certificates)
    return 0


def _import(
    folder: CertificateFolder, _authority: CertificateAuthority | None, args: argparse.Namespace
) -> int:
    if not args.name or args.certificate is None or args.key is None:
        raise SettingsError("ca import: give a name, --certificate and --key")
    _print_written(folder.accept(args.name, args.certificate, args.key, owner=args.owner), args.certificates)
    return 0


def _renew(
    folder: CertificateFolder, authority: CertificateAuthority | None, args: argparse.Namespace
) -> int:
    renewed, problems = folder.renew(args.within_days)
    for name in renewed:
        _print_written(folder.read(name), args.certificates)
    if authority is not None:
        left_days = (authority.ends - datetime.now(UTC)).days
        if left_days < AUTHORITY_WARNING_DAYS:
            problems.append(
                f"the authority ends in {left_days} d: make another by `towntwin ca init` in a new folder,"
                " give its ca.crt to all devices, then issue the servers' certificates by it"
            )
    if renewed and args.then:
        done = subprocess.run(shlex.split(args.then), check=False, timeout=COMMAND_S)
        if done.returncode:
            problems.append(f"--then {args.then!r} ended with code {done.returncode}: servers have the old")
    for one in problems:
        print(f"towntwin ca renew: {one}", file=sys.stderr)
    return 1 if problems else 0


def _list(folder: CertificateFolder, authority: CertificateAuthority | None, args: argparse.Namespace) -> int:
    import msgspec

    found = folder.certificates()
    if args.json:
        rows = [msgspec.to_builtins(one) | {"days_left": round(one.days_left(), 2)} for one in found]
        print(msgspec.json.format(msgspec.json.encode(rows)).decode())
    else:
        if authority is not None:
            print(f"ca: until {authority.ends:%Y-%m-%d}, the authority")
        for one in found:
            until = "" if one.ends is None else f"until {one.ends:%Y-%m-%d} ({one.days_left():.0f} d), "
            source = "of the authority" if one.is_own else "your own"
            fault = f"; {one.fault}" if one.fault else ""
            print(f"{one.name}: {until}{', '.join(one.hosts)}, {source}{fault}")
    return 1 if any(one.fault for one in found) else 0


def _print_written(one: ServerCertificate, folder: Path) -> None:
    files = f"{one.name}.crt and {one.name}.key"
    print(f"{folder}: {files} are for {', '.join(one.hosts)}, until {one.ends:%Y-%m-%d}")


_ACTIONS = {"issue": _issue, "import": _import, "renew": _renew, "list": _list}
