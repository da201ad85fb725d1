"""Takes a request's client address, scheme and host from the headers of trusted reverse proxies.

A proxy forwards them in ``X-Forwarded-For``, ``-Proto`` and ``-Host``, or in ``Forwarded`` (RFC 7239). Any
client can send such headers, so they count only if the connection itself comes from a network of the setting
``trusted_proxies``. `ForwardedHeaders` then writes the forwarded values into the ASGI scope, and everything
behind it (limits, audit, cookies, links) reads the scope alone. `public_base_url` builds absolute links.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from starlette.datastructures import URL, Headers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import HTTPConnection
    from starlette.types import ASGIApp, Receive, Scope, Send

    from gateway.settings import Settings

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

PEER_SCOPE_KEY = "towntwin.peer"  # scope key: the address of the connection itself, whatever was forwarded
FORWARDING_HEADERS = frozenset(
    {
        b"forwarded",
        b"x-forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-real-ip",
        b"via",
    }
)
"""Headers that show that a request passed through a proxy."""
HTTP_SCHEMES = {"http", "https"}
MAX_HOPS = 50  # elements that are read of a forwarding header, from its end
_HOST_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")
_PAIR_PATTERN = re.compile(r'\s*([A-Za-z]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s",;]*))\s*(?:;|$)')
_ELEMENT_PATTERN = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*")+')


class ForwardedHop(NamedTuple):
    """Client address, scheme and host that one proxy received; None where it forwarded none."""

    address: IpAddress | None
    scheme: str | None = None
    host: str | None = None


def parse_networks(setting_values: Sequence[str]) -> tuple[IpNetwork, ...]:
    """Return the networks of a setting, each given as an address or a CIDR block.

    Raises
    ------
    ValueError
        If one is neither; the message is for the operator.

    >>> parse_networks(["10.0.0.0/8", "::1"])
    (IPv4Network('10.0.0.0/8'), IPv6Network('::1/128'))
    """
    result: list[IpNetwork] = []
    for setting_value in setting_values:
        try:
            result.append(ipaddress.ip_network(setting_value.strip(), strict=False))
        except ValueError as error:
            raise ValueError(
                f"trusted_proxies: {setting_value!r} is no address and no CIDR block: write 10.0.0.0/8 or ::1"
            ) from error
    return tuple(result)


def parse_base_url(setting_value: str | None) -> str | None:
    """Return a public base URL without a trailing slash; None if none is set.

    Raises
    ------
    ValueError
        If it is no http or https URL; the message is for the operator.

    >>> parse_base_url("https://twin.example.org/")
    'https://twin.example.org'
    """
    if not setting_value:
        return None
    try:
        parts = urlsplit(setting_value)
        is_url = parts.scheme in HTTP_SCHEMES and _HOST_PATTERN.fullmatch(parts.netloc) is not None
    except ValueError:
        is_url = False
    if not is_url or parts.query or parts.fragment:
        raise ValueError(f"public_url: {setting_value!r} is no base address: write https://twin.example.org")
    return setting_value.rstrip("/")


def public_base_url(request: HTTPConnection) -> str:
    """Return the base URL of absolute links in responses, without a trailing slash.

    It is the setting ``public_url`` if that is set, else the scheme and host of the request, as a trusted
    proxy forwarded them.
    """
    settings: Settings = request.app.state.context.settings
    configured_url = parse_base_url(settings.public_url)
    if configured_url is not None:
        return configured_url
    scheme = {"ws": "http", "wss": "https"}.get(request.url.scheme, request.url.scheme)
    return str(URL(scheme=scheme, netloc=request.url.netloc))


class ForwardedHeaders:
    """Outermost ASGI middleware: values that trusted proxies forward replace those of the connection."""

    def __init__(self, app: ASGIApp, trusted_networks: Sequence[IpNetwork]) -> None:
        self._app = app
        self._trusted_networks = tuple(trusted_networks)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with the forwarded client, scheme and host in its scope."""
        if scope["type"] in {"http", "websocket"}:
            peer = (scope.get("client") or ("", 0))[0]
            scope[PEER_SCOPE_KEY] = peer
            if self._trusted_networks and is_within(peer, self._trusted_networks):
                scope = self._with_forwarded_values(scope)
        await self._app(scope, receive, send)

    def _with_forwarded_values(self, scope: Scope) -> Scope:
        hop = client_hop(Headers(scope=scope), self._trusted_networks)
        new_scope = dict(scope)
        if hop.address is not None:
            new_scope["client"] = (str(hop.address), 0)
        if hop.scheme is not None:
            is_websocket = scope["type"] == "websocket"
            new_scope["scheme"] = {"http": "ws", "https": "wss"}[hop.scheme] if is_websocket else hop.scheme
        if hop.host is not None:
            other_headers = [pair for pair in scope["headers"] if pair[0] != b"host"]
            new_scope["headers"] = [(b"host", hop.host.encode("ascii")), *other_headers]
        return new_scope


def client_hop(headers: Headers, trusted_networks: Sequence[IpNetwork]) -> ForwardedHop:
    """Return the hop that the trusted proxy nearest to the client received.

    If both ``Forwarded`` and ``X-Forwarded-For`` are present and disagree on the client, the client itself
    sent one of them, and it can't be decided which: neither counts.

    >>> headers = Headers({"x-forwarded-for": "203.0.113.9, 10.0.0.2", "x-forwarded-proto": "https"})
    >>> client_hop(headers, parse_networks(["10.0.0.0/8"]))
    ForwardedHop(address=IPv4Address('203.0.113.9'), scheme='https', host=None)
    """
    x_forwarded_hops, rfc7239_hops = _x_forwarded_hops(headers), _rfc7239_hops(headers)
    if not x_forwarded_hops or not rfc7239_hops:
        return _last_untrusted_hop(x_forwarded_hops or rfc7239_hops, trusted_networks)
    x_hop, rfc7239_hop = (
        _last_untrusted_hop(x_forwarded_hops, trusted_networks),
        _last_untrusted_hop(rfc7239_hops, trusted_networks),
    )
    if x_hop.address != rfc7239_hop.address:
        return ForwardedHop(None)
    return ForwardedHop(x_hop.address, x_hop.scheme or rfc7239_hop.scheme, x_hop.host or rfc7239_hop.host)


def is_within(address: str, trusted_networks: Sequence[IpNetwork]) -> bool:
    """Whether an address lies in one of some networks.

    >>> is_within("::ffff:10.1.2.3", parse_networks(["10.0.0.0/8"]))
    True
    >>> is_within("testclient", parse_networks(["::/0"]))
    False
    """
    result = _parse_address(address)
    return result is not None and any(result in network for network in trusted_networks)


def is_loopback(address: str) -> bool:
    """Whether an address is a loopback address.

    >>> is_loopback("::ffff:127.0.0.1"), is_loopback("192.0.2.1")
    (True, False)
    """
    result = _parse_address(address)
    return result is not None and result.is_loopback


def _last_untrusted_hop(hops: list[ForwardedHop], trusted_networks: Sequence[IpNetwork]) -> ForwardedHop:
    """Return the last hop whose address is no trusted proxy; the client may have forged earlier ones."""
    result = ForwardedHop(None)
    for hop in reversed(hops):
        if hop.address is None:  # a proxy hides the address, or the value is no address
            return result if result.address is not None else hop
        result = hop
        if not any(hop.address in network for network in trusted_networks):
            return hop
    return result


def _x_forwarded_hops(headers: Headers) -> list[ForwardedHop]:
    """Return the hops of ``X-Forwarded-For``; shorter lists of schemes and hosts belong to the last hops."""
    addresses = _header_values(headers, "x-forwarded-for")
    schemes, hosts = _header_values(headers, "x-forwarded-proto"), _header_values(headers, "x-forwarded-host")
    if not addresses and (schemes or hosts):
        addresses = ["unknown"]
    hops = []
    for hops_from_end in range(len(addresses), 0, -1):
        scheme = schemes[-min(hops_from_end, len(schemes))].lower() if schemes else None
        host = hosts[-min(hops_from_end, len(hosts))] if hosts else None
        hops.append(_parse_hop(addresses[-hops_from_end], scheme, host))
    return hops


def _rfc7239_hops(headers: Headers) -> list[ForwardedHop]:
    """Return the hops of ``Forwarded`` (RFC 7239)."""
    hops = []
    for element in _ELEMENT_PATTERN.findall(",".join(headers.getlist("forwarded")))[-MAX_HOPS:]:
        pairs = {
            name.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain
            for name, quoted, plain in _PAIR_PATTERN.findall(element)
        }
        scheme = pairs.get("proto")
        hops.append(_parse_hop(pairs.get("for", ""), scheme.lower() if scheme else None, pairs.get("host")))
    return hops


def _header_values(headers: Headers, name: str) -> list[str]:
    return [x_hop.strip() for x_hop in ",".join(headers.getlist(name)).split(",") if x_hop.strip()][
        -MAX_HOPS:
    ]


def _parse_hop(address: str, scheme: str | None, host: str | None) -> ForwardedHop:
    return ForwardedHop(
        _parse_address(address),
        scheme if scheme in HTTP_SCHEMES else None,
        host if host is not None and _HOST_PATTERN.fullmatch(host) else None,
    )


def _parse_address(text: str) -> IpAddress | None:
    """Parse an address with or without a port; an IPv4-mapped IPv6 address becomes an IPv4 address.

    >>> _parse_address("[2001:db8::1]:4711"), _parse_address("192.0.2.1:80"), _parse_address("unknown")
    (IPv6Address('2001:db8::1'), IPv4Address('192.0.2.1'), None)
    """
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        result = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = result.ipv4_mapped if isinstance(result, ipaddress.IPv6Address) else None
    return mapped or result
