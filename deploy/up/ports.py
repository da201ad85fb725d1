"""Chooses the ports of the embedded servers (configured, default or free) and checks listen addresses."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING, NamedTuple

from deploy.embedded.server_environment import free_port
from deploy.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.up.settings import Settings

BROKER_PORT = 1883  # registered for MQTT (IANA)
BROKER_MQTT311_PORT = 1884
DATABASE_PORT = 5433  # 5432 is often a PostgreSQL of the machine's own
MAX_TRIED_PORTS = 100
LOOPBACK = "127.0.0.1"


class Ports(NamedTuple):
    """Ports of the embedded servers; 0 where a server is not needed."""

    broker: int
    broker_old: int
    database: int


class _PortRequest(NamedTuple):
    """A port to choose, with the flag that configures it and the address to listen on."""

    flag: str
    purpose: str
    named_port: int | None
    default_port: int
    host: str


def choose_ports(
    settings: Settings, print_line: Callable[[str], None], *, broker: bool, database: bool
) -> Ports:
    """Choose ports for the embedded broker and database if they are needed; else the ports are 0.

    A configured port has to be free. If a default port is taken, the next free one is used and reported by
    ``print_line``.

    Raises
    ------
    SettingsError
        If a configured port is taken.

    """
    host, new, old = settings.listen, settings.broker_port, settings.broker_old_port
    requests = (
        _PortRequest("--broker-port", "the broker for MQTT 5", new, BROKER_PORT, host),
        _PortRequest("--broker-old-port", "the broker for MQTT 3.1.1", old, BROKER_MQTT311_PORT, host),
        _PortRequest("--database-port", "the database", settings.database_port, DATABASE_PORT, LOOPBACK),
    )
    chosen = {one.named_port for one in requests if one.named_port is not None}
    ports = []
    for one, needed in zip(requests, (broker, broker, database), strict=True):
        ports.append(
            _choose_port(one, chosen, print_line, any_free=settings.ports == "free") if needed else 0
        )
        chosen.add(ports[-1])
    return Ports(*ports)


def _choose_port(
    requests: _PortRequest, chosen: set[int], print_line: Callable[[str], None], *, any_free: bool
) -> int:
    if requests.named_port is not None:
        check_free(requests.flag, requests.host, requests.named_port)
        return requests.named_port
    if any_free:
        return free_port()
    default_port = requests.default_port
    for port in range(default_port, default_port + MAX_TRIED_PORTS):
        if port not in chosen and listen_problem(requests.host, port) is None:
            if port != default_port:
                print_line(
                    f"ATTENTION: port {default_port} is taken, so {requests.purpose} listens on port {port} "
                    "in this run"
                    f" ({requests.flag} names another)"
                )
            return port
    raise SettingsError(
        f"no port from {default_port} to {default_port + MAX_TRIED_PORTS - 1} is free for "
        f"{requests.purpose}: "
        f"name one by {requests.flag}"
    )


def listen_problem(host: str, port: int) -> str | None:
    """Return the reason why a port can't be listened on, or None if it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return None


def check_free(flag: str, host: str, port: int) -> None:
    """Raise `SettingsError` if a port can't be listened on."""
    why = listen_problem(host, port)
    if why is not None:
        raise SettingsError(f"{flag}={port} is taken at {host} ({why}): name another")


def check_address(listen: str) -> None:
    """Raise `SettingsError` if ``listen`` is no IP address of this machine."""
    try:
        ipaddress.ip_address(listen)
    except ValueError as error:
        raise SettingsError(
            f"--listen={listen} is no IP address: give one of this machine, or 0.0.0.0 for all of them"
        ) from error
    why = listen_problem(listen, 0)
    if why is not None:
        raise SettingsError(f"--listen={listen} can't be used ({why}): give an address of this machine")


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_wildcard(host: str) -> bool:
    """Return whether an address stands for all addresses of the machine."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def local_host(host: str) -> str:
    """Return the address by which this machine itself reaches a server, as in a URL.

    >>> local_host("0.0.0.0"), local_host("192.0.2.7"), local_host("::")
    ('127.0.0.1', '192.0.2.7', '[::1]')
    """
    if is_wildcard(host):
        return "[::1]" if ":" in host else LOOPBACK
    return f"[{host}]" if ":" in host else host


def reachable_host(host: str) -> str:
    """Return the address by which other machines reach a server, as in a URL; a wildcard is resolved."""
    if not is_wildcard(host):
        return local_host(host)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET-1; a datagram socket sends nothing by connecting
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
