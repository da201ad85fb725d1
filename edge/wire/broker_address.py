"""Parses the address of an MQTT broker: ``mqtt://[user:password@]host[:port]``, or ``mqtts://`` for TLS."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - msgspec reads the annotations
from urllib.parse import unquote, urlsplit

import msgspec

from edge.wire.errors import WireError
from edge.wire.password_file import read_password

DEFAULT_PORT = 1883
DEFAULT_TLS_PORT = 8883
MAX_PORT = 65_535
EXPECTED_FORM = (
    "a broker's address looks like mqtt://user:password@host:1883, or mqtts:// with TLS (port 8883)"
)


class TlsFiles(msgspec.Struct, frozen=True):
    """Files of a TLS connection; without ``ca`` the authorities of the operating system are trusted."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no file is named."""
        return self == TlsFiles()


class BrokerAddress(msgspec.Struct, frozen=True):
    """Host, port and credentials of a broker; ``str`` and ``repr`` omit the credentials.

    ``tls`` is None for a connection without TLS.
    """

    host: str
    port: int = DEFAULT_PORT
    user: str | None = None
    password: str | None = None
    tls: TlsFiles | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtt' if self.tls is None else 'mqtts'}://{host}:{self.port}"

    def __repr__(self) -> str:
        return str(self)

    def login_user(self, device: str) -> str | None:
        """Return the user name that a device sends; None where its certificate alone is the credential.

        RabbitMQ (`ssl_cert_login`) refuses a user name without a password, whatever the certificate is.
        """
        has_certificate = self.tls is not None and self.tls.certificate is not None
        if self.user is None and self.password is None and has_certificate:
            return None
        return self.user or device


def parse_broker_address(
    address: str, files: TlsFiles | None = None, password_file: Path | None = None
) -> BrokerAddress:
    """Parse a broker address.

    Parameters
    ----------
    address : ``mqtt://…`` or ``mqtts://…``
    files : files of the TLS connection; only with ``mqtts://``
    password_file : file of the password, in its first line; only where the address has none

    Raises
    ------
    WireError
        With the expected form of an address; the message does not contain the password.

    Examples
    --------
    >>> parse_broker_address("mqtt://wz-01:secret@broker.town:1884")
    mqtt://broker.town:1884
    >>> parse_broker_address("mqtts://broker.town")
    mqtts://broker.town:8883

    """
    files = files or TlsFiles()
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:  # its text may contain the password
        raise WireError(f"host or port can't be parsed: {EXPECTED_FORM}") from error
    if parts.scheme not in {"mqtt", "mqtts"}:
        raise WireError(f"scheme {parts.scheme!r} is neither mqtt nor mqtts: {EXPECTED_FORM}")
    is_tls = parts.scheme == "mqtts"
    if port is None:
        port = DEFAULT_TLS_PORT if is_tls else DEFAULT_PORT
    if not parts.hostname or not 0 < port <= MAX_PORT:
        raise WireError(f"host or port is missing: {EXPECTED_FORM}")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise WireError(f"nothing may follow the port: {EXPECTED_FORM}")
    if not is_tls and not files.is_empty:
        raise WireError("files for TLS are given, and mqtt:// is without TLS: write mqtts://")
    if (files.certificate is None) != (files.key is None):
        raise WireError("a client certificate and its key belong together: give both files, or neither")
    user = None if parts.username is None else unquote(parts.username)
    password = None if parts.password is None else unquote(parts.password)
    if password_file is not None:
        if password is not None:
            raise WireError("a password is in the address and in a file: give one of them")
        password = read_password(password_file)
    return BrokerAddress(parts.hostname, port, user, password, files if is_tls else None)
