"""Parses the address of an MQTT broker: ``mqtt://[user:password@]host[:port]``."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import msgspec

from edge.wire.errors import WireError

DEFAULT_PORT = 1883
MAX_PORT = 65_535


class BrokerAddress(msgspec.Struct, frozen=True):
    """Host, port and credentials of a broker; ``str`` and ``repr`` omit the credentials."""

    host: str
    port: int = DEFAULT_PORT
    user: str | None = None
    password: str | None = None

    def __str__(self) -> str:
        return f"mqtt://{self.host}:{self.port}"

    def __repr__(self) -> str:
        return str(self)


def parse_broker_address(address: str) -> BrokerAddress:
    """Parse a broker address.

    Raises
    ------
    WireError
        With the expected form of an address; the message does not contain the password.

    Examples
    --------
    >>> parse_broker_address("mqtt://wz-01:secret@broker.town:1884")
    mqtt://broker.town:1884

    """
    expected_form = "a broker's address looks like mqtt://user:password@host:1883"
    parts = urlsplit(address)
    if parts.scheme != "mqtt":
        raise WireError(f"scheme {parts.scheme!r} is not mqtt: {expected_form}")
    try:
        port = DEFAULT_PORT if parts.port is None else parts.port
    except ValueError as error:
        raise WireError(f"{error}: {expected_form}") from error
    if not parts.hostname or not 0 < port <= MAX_PORT:
        raise WireError(f"host or port is missing: {expected_form}")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise WireError(f"nothing may follow the port: {expected_form}")
    user = None if parts.username is None else unquote(parts.username)
    password = None if parts.password is None else unquote(parts.password)
    return BrokerAddress(parts.hostname, port, user, password)
