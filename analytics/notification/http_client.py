"""Posts to messengers and webhooks by HTTP, to public addresses alone unless the settings allow others.

The address that a name resolves to is checked, and that very address is connected: a name that resolves to
another one a moment later (DNS rebinding) gains nothing. Redirects are not followed, for they would be
another destination; proxies of the environment are not used.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

import httpcore

from analytics.notification.errors import AddressRefusedError, NotificationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from httpcore import NetworkStream

MAX_RESPONSE_BYTES: Final = 65_536
TIMEOUT_S: Final = 5.0  # of connecting, and of each read and write
TOTAL_S: Final = 8.0  # a server that sends a byte now and then must not hold a thread for longer


class HttpResponse(NamedTuple):
    """Status, headers by lower-case name, and body of a response."""

    status: int
    headers: dict[str, str]
    body: bytes


class TemporaryHttpError(NotificationError):
    """No response came: the destination may be away, or may have taken the message; a retry may help."""


class _CheckedBackend(httpcore.SyncBackend):
    """Network backend that connects to checked addresses alone."""

    def __init__(self, allowed_networks: Iterable[str]) -> None:
        self._allowed = [ipaddress.ip_network(one) for one in allowed_networks]

    def connect_tcp(self, host: str, port: int, *args: Any, **options: Any) -> NetworkStream:
        """Resolve a host, check its addresses, and connect to the first one that is allowed."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(one[4][0]) for one in found]
        for address in addresses:
            if self._is_allowed(address):
                return super().connect_tcp(address, port, *args, **options)
        raise AddressRefusedError(
            f"{host} resolves to {', '.join(sorted(set(addresses)))}, which is no public address: "
            "add its network to notify_networks if it is yours"
        )

    def connect_unix_socket(self, *_args: Any, **_options: Any) -> NetworkStream:
        """Refuse sockets of the machine."""
        raise AddressRefusedError("a webhook is reached by TCP")

    def _is_allowed(self, address: str) -> bool:
        parsed = ipaddress.ip_address(address.partition("%")[0])
        mapped = getattr(parsed, "ipv4_mapped", None)
        parsed = parsed if mapped is None else mapped
        return (parsed.is_global and not parsed.is_multicast) or any(
            parsed in network for network in self._allowed if network.version == parsed.version
        )


def check_url(url: str) -> None:
    """Raise `NotificationError` if a URL is not that of a webhook; the message does not contain it."""
    try:
        parts = urlsplit(url)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError as error:
        raise NotificationError("the address of the channel is no URL") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or not port_is_valid:
        raise NotificationError(
            "the address of the channel starts with https:// (or http://), and has a host"
        )
    if parts.username is not None or parts.password is not None:
        raise NotificationError("the address of the channel holds a password: sign the messages instead")
    if not url.isascii() or any(one.isspace() for one in url):
        raise NotificationError("the address of the channel holds characters that a URL has not")


class HttpClient:
    """Client with connections of its own for every request: messages are few, and sockets get stale.

    Parameters
    ----------
    allowed_networks : networks beside the public ones, as ``10.1.0.0/16``
    trusted_certificates : PEM file of further authorities, of a town's own servers

    """

    def __init__(
        self, allowed_networks: Iterable[str] = (), *, trusted_certificates: str | None = None
    ) -> None:
        self._backend = _CheckedBackend(allowed_networks)
        self._tls = ssl.create_default_context()
        if trusted_certificates is not None:
            self._tls.load_verify_locations(trusted_certificates)

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> HttpResponse:
        """Post a body and return the response, of which 64 KB are read.

        Raises `TemporaryHttpError` if none came in time, `NotificationError` if the address is invalid or
        refused.
        """
        check_url(url)
        ends_s = time.monotonic() + TOTAL_S
        timeout = dict.fromkeys(("connect", "read", "write", "pool"), TIMEOUT_S)
        try:
            with (
                httpcore.ConnectionPool(ssl_context=self._tls, network_backend=self._backend) as pool,
                pool.stream(
                    "POST",
                    url,
                    headers=[("Host", urlsplit(url).netloc), *headers.items()],
                    content=body,
                    extensions={"timeout": timeout},
                ) as response,
            ):
                return _read(response, ends_s)
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError) as error:
            raise TemporaryHttpError(f"no response: {type(error).__name__}") from error
        except httpcore.UnsupportedProtocol as error:
            raise NotificationError("the address of the channel starts with https:// or http://") from error


def _read(response: httpcore.Response, ends_s: float) -> HttpResponse:
    body = b""
    for part in response.iter_stream():
        body += part
        if time.monotonic() > ends_s:
            raise TemporaryHttpError("no response: it took too long")
        if len(body) > MAX_RESPONSE_BYTES:
            break
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
    return HttpResponse(response.status, headers, body[:MAX_RESPONSE_BYTES])
