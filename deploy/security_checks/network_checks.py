"""Checks what is reachable from the network without TLS, and whether the broker accepts anybody."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from deploy.broker_probe import SILENT, mqtt_refusal
from deploy.security_checks.file_checks import CERTIFICATE_DAYS
from edge.wire import broker_tls
from edge.wire.broker_address import TlsFiles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.security_checks.finding import SecurityReport
    from edge.wire.broker_address import BrokerAddress
    from gateway.settings import Settings as GatewaySettings

CONNECT_S = 3.0
MIN_PASSWORD_CHARS = 12
DEFAULT_PASSWORDS = frozenset({"password", "admin", "guest", "mosquitto", "towntwin", "123456"})
LISTENING = "0A"  # TCP_LISTEN in /proc/net/tcp
PLAIN_MQTT_PORT = 1883


def check_broker(report: SecurityReport, broker: BrokerAddress) -> None:
    """Connect without a credential; check the transport, the password and the broker's certificate."""
    files = TlsFiles(ca=broker.tls.ca) if broker.tls is not None else None
    refusal = mqtt_refusal(
        msgspec.structs.replace(broker, user=None, password=None, tls=files), within_s=CONNECT_S
    )
    if not refusal:
        report.add("broker_anonymous", str(broker))
    elif SILENT in refusal or "Connection refused" in refusal:
        report.add_unchecked("broker", refusal)
    if broker.tls is None and not is_loopback(broker.host):
        report.add("broker_plain", str(broker))
    if broker.password is not None and _is_weak(broker.password, broker.user or ""):
        report.add("broker_password", broker.user or "")
    if broker.tls is not None:
        _check_served_certificate(report, broker)


def check_plain_mqtt_port(report: SecurityReport, ports: set[int]) -> None:
    """Find ports of MQTT without TLS on which this machine listens beyond loopback."""
    for port in sorted(ports | {PLAIN_MQTT_PORT}):
        report.add(
            "broker_plain", *(f"{host}:{port}" for host in listening_hosts(port) if not is_loopback(host))
        )


def check_gateway(report: SecurityReport, settings: GatewaySettings) -> None:
    """Check by its settings, and by what listens, whether the gateway serves HTTP to the network."""
    if settings.broker_access == "none":
        report.add("broker_unmanaged", "TOWNTWIN_GATEWAY_BROKER_ACCESS=none")
    if (settings.public_url or "").startswith("http:") and "://localhost" not in str(settings.public_url):
        report.add("gateway_plain", str(settings.public_url))
    if settings.tls_cert is None:
        hosts = {settings.host, *listening_hosts(settings.port)}
        report.add(
            "gateway_plain", *(f"{one}:{settings.port}" for one in sorted(hosts) if not is_loopback(one))
        )


def listening_hosts(port: int, tables: tuple[str, ...] = ("tcp", "tcp6")) -> Iterator[str]:
    """Yield the addresses on which this machine listens at a TCP port, by /proc/net (Linux; else none)."""
    for table in tables:
        path = Path("/proc/net") / table
        lines = path.read_text("ascii").splitlines()[1:] if path.exists() else []
        for line in lines:
            local, state = line.split()[1], line.split()[3]
            address, _, hex_port = local.partition(":")
            if state == LISTENING and int(hex_port, 16) == port:
                yield _decode_address(address)


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own loopback; an unknown name is not."""
    try:
        found = {one[4][0] for one in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return all(ipaddress.ip_address(str(one).partition("%")[0]).is_loopback for one in found)


def _decode_address(text: str) -> str:
    """Return an address of /proc/net: words of four bytes in the machine's order, little-endian here.

    >>> _decode_address("0100007F"), _decode_address("00000000000000000000000001000000")
    ('127.0.0.1', '::1')
    """
    raw = bytes.fromhex(text)
    words = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    return str(ipaddress.ip_address(words))


def _is_weak(password: str, user: str) -> bool:
    return len(password) < MIN_PASSWORD_CHARS or password.lower() in {user.lower(), *DEFAULT_PASSWORDS}


def _check_served_certificate(report: SecurityReport, broker: BrokerAddress) -> None:
    assert broker.tls is not None  # noqa: S101 - the caller has checked it
    try:
        context = broker_tls.make_context(broker.tls)
        with (
            socket.create_connection((broker.host, broker.port), timeout=CONNECT_S) as plain,
            context.wrap_socket(plain, server_hostname=broker.host) as connection,
        ):
            certificate = connection.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        if error.verify_code == broker_tls.EXPIRED:
            report.add("certificate_ends", str(broker))
        else:
            report.add_unchecked("broker", broker_tls.describe_failure(error, broker))
        return
    except (OSError, broker_tls.TlsError) as error:
        report.add_unchecked("broker", broker_tls.describe_failure(error, broker))
        return
    ends_s = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
    if ends_s - time.time() < CERTIFICATE_DAYS.total_seconds():
        report.add("certificate_ends", str(broker))
