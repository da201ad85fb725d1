"""Makes the secrets and configurations of the containers of `deploy/compose.yaml`.

``python -m deploy.box.container_files ORIGIN VOLUMES HOST...``

Every container gets a folder of its own (a volume), owned by the user that its process runs as, with its
own password, the certificate of the authority and nothing else. What exists is kept: a second run changes
nothing.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from dashboards.grafana_versions import COMMON_FEATURES
from dashboards.provisioning_files import write_stack_files
from dashboards.settings import Settings as GrafanaSettings
from deploy.box.__main__ import PASSWORD_BYTES, prepare_certificates, prepare_users
from deploy.device_access.certificate_authority import CertificateAuthority, CertificateError, write_private
from edge.wire.password_file import read_password

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

USAGE_ERROR = 2
DATABASE = "towntwin"
SUPERUSER, OWNER = "postgres", "towntwin-admin"
GROUP_BY_ACCOUNT = {
    "ingest": "towntwin_ingest",
    "service": "towntwin_analytics",
    "gateway": "towntwin_gateway",
    "access": "towntwin_access",
    "hj212": "towntwin_ingest",
    "federate-receive": "towntwin_ingest",
    "federate-send": "towntwin_ingest",
    "grafana": "towntwin_grafana",
}
BROKER_USER_BY_ACCOUNT = {
    "ingest": "towntwin-ingest",
    "hj212": "towntwin-hj212",
    "access": "admin",
    "federate-receive": "towntwin-federate-receive",
}
# Users of the pinned images: postgres (Alpine), mosquitto, grafana; the Dockerfile makes that of towntwin.
UID_BY_FOLDER = {"database": 70, "broker": 1883, "broker-data": 1883, "grafana": 472}
TOWNTWIN_UID = 10001
FOLDERS = (*UID_BY_FOLDER, "admin", *(one for one in GROUP_BY_ACCOUNT if one != "grafana"))


def main(argv: list[str] | None = None) -> int:
    """Make the missing files and print their names; return 2 for a folder that can't be used."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.box.container_files", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("origin", type=Path, help="folder of all secrets, mounted here alone")
    parser.add_argument(
        "volumes", type=Path, help="folder in which each container's volume is mounted by its name"
    )
    parser.add_argument("hosts", nargs="+", help="names and addresses by which devices reach the broker")
    args = parser.parse_args(argv)
    try:
        made = prepare_containers(args.origin, args.volumes, args.hosts)
    except (CertificateError, OSError) as error:
        print(f"towntwin: {error}", file=sys.stderr)
        return USAGE_ERROR
    print("\n".join(map(str, made)) or "the files of all containers are there already")
    return 0


def prepare_containers(
    origin: Path,
    volumes: Path,
    hosts: Sequence[str],
    *,
    database: str = "database:5432",
    uids: Mapping[str, int] | None = None,
) -> list[Path]:
    """Make what the containers lack, and return the new files.

    Parameters
    ----------
    origin : folder of all secrets and of the authority
    volumes : folder with a folder for each of `FOLDERS`
    hosts : names and addresses of the broker in its certificate, beside its name in the network
    database : host and port of the database in the network
    uids : owner of each folder; by default those of the images

    Raises
    ------
    CertificateError, OSError
        If the authority is damaged, a host is no name or address, or a file can't be written.

    """
    database_host = database.rpartition(":")[0]
    made = prepare_origin(origin, hosts, database_host=database_host)
    for folder in FOLDERS:
        target = volumes / folder
        target.mkdir(parents=True, exist_ok=True)
        files = folder_contents(folder, origin, database)
        new = {name: content for name, content in files.items() if not (target / name).exists()}
        for name, content in new.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            write_private(target / name, content)
        if folder == "grafana" and not (target / "datasources").exists():
            write_stack_files(target, grafana_settings(origin, database), COMMON_FEATURES)
            new["datasources"] = b""
        made += [target / name for name in new]
        _give(target, UID_BY_FOLDER.get(folder, TOWNTWIN_UID) if uids is None else uids[folder])
    return made


def prepare_origin(origin: Path, hosts: Sequence[str], *, database_host: str = "database") -> list[Path]:
    """Make the authority, certificates and passwords that a folder lacks, and return the new files.

    Raises
    ------
    CertificateError, OSError
        If the authority is damaged, a host is no name or address, or a file can't be written.

    """
    return [
        *prepare_certificates(origin, ["broker", "localhost", *hosts]),
        *prepare_users(origin / "secrets"),
        *_server_secrets(origin, database_host),
    ]


def _server_secrets(origin: Path, host: str) -> list[Path]:
    """Make the database's certificate and the passwords of its users and of Grafana's administrator."""
    made = []
    accounts = [f"database-{one}" for one in (SUPERUSER, "admin", *GROUP_BY_ACCOUNT)]
    for account in (*accounts, "grafana-admin"):
        path = origin / "secrets" / f"{account}.password"
        if not path.exists():
            write_private(path, f"{secrets.token_urlsafe(PASSWORD_BYTES)}\n".encode())
            made.append(path)
    certificate, key = origin / "tls/database.crt", origin / "tls/database.key"
    if not certificate.exists():
        key.unlink(missing_ok=True)  # of a run that was cut off before the certificate
        issued = CertificateAuthority.load(origin / "authority").issue_server([host])
        write_private(key, issued[1])
        certificate.write_bytes(issued[0])
        made += [key, certificate]
    return made


def folder_contents(folder: str, origin: Path, database: str = "database:5432") -> dict[str, bytes]:
    """Return the files of a container's folder by their names, except what Grafana is provisioned with.

    Parameters
    ----------
    folder : one of `FOLDERS`
    origin : folder of all secrets, as `prepare_origin` makes it
    database : host and port of the database in the network

    """
    tls, authority = origin / "tls", {"ca.crt": (origin / "tls/ca.crt").read_bytes()}
    match folder:
        case "grafana":
            return {"admin.password": (origin / "secrets/grafana-admin.password").read_bytes()}
        case "broker-data":
            return {"dynamic-security.json": (origin / "secrets/dynamic-security.json").read_bytes()}
        case "broker":
            return authority | {name: (tls / name).read_bytes() for name in ("broker.crt", "broker.key")}
        case "database":
            return {
                "database.crt": (tls / "database.crt").read_bytes(),
                "database.key": (tls / "database.key").read_bytes(),
                "superuser.password": _password(origin, SUPERUSER).encode(),
                "initialise.sql": initial_sql(
                    {account: _password(origin, account) for account in ("admin", *GROUP_BY_ACCOUNT)}
                ).encode(),
            }
    files = authority | {"dsn": _address(origin, folder, database).encode()}
    if folder in BROKER_USER_BY_ACCOUNT:
        user = BROKER_USER_BY_ACCOUNT[folder]
        files["broker.password"] = (origin / "secrets" / f"{user}.password").read_bytes()
    if folder == "access":
        files |= {
            f"authority/{name}": (origin / "authority" / name).read_bytes() for name in ("ca.crt", "ca.key")
        }
    return files


def initial_sql(password_by_account: Mapping[str, str]) -> str:
    """Return the SQL that makes the database, its owner and a user for each process, with its group's rights.

    The groups are made here rather than by the migrations, so that the users are in them from the beginning.
    """
    groups = sorted(set(GROUP_BY_ACCOUNT.values()))
    lines = [
        f"""CREATE ROLE "{OWNER}" LOGIN CREATEROLE PASSWORD '{password_by_account["admin"]}';""",
        f'GRANT pg_read_all_stats TO "{OWNER}";',  # the migrations sign area scopes by what it may read
        *(f'CREATE ROLE {group} NOLOGIN ADMIN "{OWNER}";' for group in groups),
        *(
            f'CREATE ROLE "towntwin-{account}" LOGIN'
            f" PASSWORD '{password_by_account[account]}' IN ROLE {group};"
            for account, group in GROUP_BY_ACCOUNT.items()
        ),
        f"""CREATE DATABASE {DATABASE} OWNER "{OWNER}" ENCODING 'UTF8' TEMPLATE template0;""",
        f"REVOKE CONNECT ON DATABASE {DATABASE} FROM PUBLIC;",
        *(f'GRANT CONNECT ON DATABASE {DATABASE} TO "towntwin-{account}";' for account in GROUP_BY_ACCOUNT),
        f"\\connect {DATABASE}",
        "CREATE EXTENSION IF NOT EXISTS timescaledb;",
    ]
    return "\n".join(lines) + "\n"


def _address(origin: Path, account: str, database: str) -> str:
    user, password = f"towntwin-{account}", quote(_password(origin, account), safe="")
    certificate = quote("/etc/towntwin/ca.crt", safe="")
    return f"postgresql://{user}:{password}@{database}/{DATABASE}?sslmode=verify-full&sslrootcert={certificate}\n"


def grafana_settings(origin: Path, database: str = "database:5432") -> GrafanaSettings:
    """Return the settings with which Grafana's files are written: it reads views, over TLS."""
    return GrafanaSettings(
        db_host=database,
        db_name=DATABASE,
        db_user="towntwin-grafana",
        db_password=_password(origin, "grafana"),
        db_sslmode="require",
    )


def _password(origin: Path, account: str) -> str:
    return read_password(origin / "secrets" / f"database-{account}.password")


def _give(folder: Path, uid: int) -> None:
    """Let a user own a folder with all in it, and nobody else read it."""
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, uid, uid)
        path.chmod(0o700 if path.is_dir() else 0o600)


if __name__ == "__main__":
    sys.exit(main())
