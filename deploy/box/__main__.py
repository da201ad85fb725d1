"""Makes what a machine lacks of secrets, certificates and broker users: `python -m deploy.box FOLDER HOST…`.

What exists is kept, so that a second run changes nothing; a certificate of the authority that lacks a host is
made anew. Owners of the files are set by `deploy/install.sh`.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from pathlib import Path

from deploy.box.broker_users import ROLE_BY_USER, initial_configuration
from deploy.device_access.certificate_authority import CertificateAuthority, CertificateError, write_private
from deploy.device_access.server_certificates import CertificateFolder
from edge.wire.password_file import read_password

PASSWORD_BYTES = 24
SERVERS = ("broker", "gateway")  # the names by which `towntwin ca renew` finds their certificates
USAGE_ERROR = 2


def main(argv: list[str] | None = None) -> int:
    """Make the missing files and print their names; return 2 for a folder that can't be used."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.box", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("folder", type=Path, help="the folder of the configuration, /etc/towntwin")
    parser.add_argument("hosts", nargs="+", help="names and addresses by which devices reach this machine")
    args = parser.parse_args(argv)
    try:
        made = [*prepare_certificates(args.folder, args.hosts), *prepare_users(args.folder / "secrets")]
    except (CertificateError, OSError) as error:
        print(f"towntwin: {error}", file=sys.stderr)
        return USAGE_ERROR
    print("\n".join(str(path) for path in made) or "certificates, secrets and broker users are there already")
    return 0


def prepare_certificates(folder: Path, hosts: list[str]) -> list[Path]:
    """Make the authority and the servers' certificates where they are missing; return the new files.

    A certificate that lacks one of the hosts is replaced, unless it is the owner's own: that is reported.

    Raises
    ------
    CertificateError, OSError
        If the authority is damaged, a host is no name or address, or a file can't be written.

    """
    authority_folder, tls = folder / "authority", folder / "tls"
    made: list[Path] = []
    if not (authority_folder / "ca.key").exists():
        CertificateAuthority.create("towntwin").save(authority_folder)
        made.append(authority_folder / "ca.key")
    authority = CertificateAuthority.load(authority_folder)
    tls.mkdir(parents=True, exist_ok=True)
    if not (tls / "ca.crt").exists():
        (tls / "ca.crt").write_bytes(authority.certificate_pem)
        made.append(tls / "ca.crt")
    for server in SERVERS:
        certificate_path, key_path = tls / f"{server}.crt", tls / f"{server}.key"
        if certificate_path.exists():
            made += _add_hosts(CertificateFolder(tls, authority), server, hosts, certificate_path)
            continue
        certificate, key = authority.issue_server(hosts)
        key_path.unlink(missing_ok=True)  # of a run that was cut off before the certificate
        write_private(key_path, key)
        certificate_path.write_bytes(certificate)
        made += [key_path, certificate_path]
    return made


def _add_hosts(folder: CertificateFolder, server: str, hosts: list[str], path: Path) -> list[Path]:
    try:
        return [path] if folder.add_hosts(server, hosts) else []
    except CertificateError as error:  # the owner's own, which is not ours to replace
        print(f"towntwin: {error}", file=sys.stderr)
        return []


def prepare_users(folder: Path) -> list[Path]:
    """Make the passwords of the platform's users at the broker, and the plugin's first configuration.

    The configuration, ``dynamic-security.json``, is made together with a password that is missing: it is
    for a broker that has none yet. Returns the new files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made: list[Path] = []
    for user in ROLE_BY_USER:
        path = folder / f"{user}.password"
        if not path.exists():
            write_private(path, f"{secrets.token_urlsafe(PASSWORD_BYTES)}\n".encode())
            made.append(path)
    configuration = folder / "dynamic-security.json"
    if made or not configuration.exists():
        passwords = {user: read_password(folder / f"{user}.password") for user in ROLE_BY_USER}
        configuration.unlink(missing_ok=True)
        write_private(configuration, json.dumps(initial_configuration(passwords), indent=1).encode())
        made.append(configuration)
    return made


if __name__ == "__main__":
    sys.exit(main())
