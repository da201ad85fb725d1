"""Pass the access of enrolled devices on to the broker (Mosquitto or RabbitMQ), until it is stopped.

See docs/howto/enrol-a-device.md. `towntwin access --init-authority FOLDER` makes a certificate authority.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.command_resources import open_store, stop_on_signals
from deploy.device_access.settings import Settings
from deploy.settings import CommonSettings, SettingsError, add_flags, load_settings

if TYPE_CHECKING:
    import argparse

    from deploy.device_access.broker_access import BrokerAccess

STOP_S = 5.0
STUCK_S = 60.0  # a broker may take 10 s for each of several requests


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--init-authority", type=Path, metavar="FOLDER", help="make an authority, and end")
    parser.add_argument(
        "--server-certificate",
        nargs="+",
        metavar="HOST",
        help="issue the broker's certificate for these hosts into the folder of the authority, and end",
    )
    add_flags(parser, Settings, "access")


def run(args: argparse.Namespace, common: CommonSettings) -> int:
    """Apply decisions until a stop signal."""
    from prometheus_client import start_http_server

    from deploy.device_access.access_process import AccessProcess
    from deploy.device_access.certificate_authority import CertificateAuthority, CertificateError
    from ingest_service.storage.health.heartbeat_thread import sending_heartbeats
    from ingest_service.storage.health.processes import HealthLimits, ProcessIdentity
    from ingest_service.storage.postgres.enrolments import EnrolmentStore

    settings = load_settings(Settings, "access", args, os.environ)
    try:
        if args.init_authority is not None:
            CertificateAuthority.create("towntwin").save(args.init_authority)
            print(f"{args.init_authority}: ca.crt is for everybody, ca.key for nobody else")
            return 0
        if args.server_certificate is not None:
            return _issue_server_certificate(settings.authority, args.server_certificate)
        authority = None if settings.authority is None else CertificateAuthority.load(settings.authority)
    except CertificateError as error:
        raise SettingsError(str(error)) from error
    stop = stop_on_signals(STOP_S)
    broker = _open_broker(common, settings)
    store = open_store(common, args, stop)
    try:
        if settings.metrics_port:
            start_http_server(settings.metrics_port, addr="127.0.0.1")
        identity = ProcessIdentity(kind="access", instance=settings.kind)
        with sending_heartbeats(store, identity, HealthLimits(stuck_s=STUCK_S)) as progress:
            AccessProcess(EnrolmentStore(store), broker, authority, settings, progress).run(stop)
    finally:
        broker.close()
        store.close()
    return 0


def _issue_server_certificate(folder: Path | None, hosts: list[str]) -> int:
    from deploy.device_access.certificate_authority import CertificateAuthority, write_private

    if folder is None:
        raise SettingsError("--server-certificate: name the folder of the authority by --authority")
    certificate, key = CertificateAuthority.load(folder).issue_server(hosts)
    try:
        write_private(folder / "broker.key", key)
        (folder / "broker.crt").write_bytes(certificate)
    except OSError as error:
        raise SettingsError(f"{error.filename}: {error.strerror}: remove the old one first") from error
    print(f"{folder}: broker.crt and broker.key are for {', '.join(hosts)}")
    return 0


def _open_broker(common: CommonSettings, settings: Settings) -> BrokerAccess:
    """Return the adapter of the broker. Raises `SettingsError`."""
    from deploy.device_access.broker_access import BrokerAccessError

    if settings.admin is None:
        raise SettingsError(
            "TOWNTWIN_ACCESS_ADMIN names no broker: give --admin mqtts://user@host:port, and its password by"
            " --admin-password-file (the embedded broker of `towntwin up` has no access control)"
        )
    from edge.wire.errors import WireError

    try:
        if settings.kind == "rabbitmq":
            return _open_rabbitmq(settings, settings.admin)
        return _open_mosquitto(common, settings, settings.admin)
    except (WireError, BrokerAccessError) as error:
        raise SettingsError(f"TOWNTWIN_ACCESS_ADMIN: {error}") from error


def _open_mosquitto(common: CommonSettings, settings: Settings, admin: str) -> BrokerAccess:
    from deploy.device_access.dynamic_security import DynamicSecurity
    from edge.wire.broker_address import TlsFiles, parse_broker_address

    files = TlsFiles(common.broker_ca, common.broker_certificate, common.broker_key)
    files = files if admin.startswith("mqtts:") else TlsFiles()
    return DynamicSecurity(parse_broker_address(admin, files, settings.admin_password_file))


def _open_rabbitmq(settings: Settings, admin: str) -> BrokerAccess:
    from urllib.parse import unquote, urlsplit

    from deploy.device_access.rabbitmq import RabbitMq
    from edge.wire.password_file import read_password

    parts = urlsplit(admin)
    password = unquote(parts.password or "")
    if settings.admin_password_file is not None:
        password = read_password(settings.admin_password_file)
    url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return RabbitMq(url, unquote(parts.username or ""), password, settings.vhost)
