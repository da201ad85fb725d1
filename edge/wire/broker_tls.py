"""Makes the TLS context of a broker connection, and describes failures of TLS with their remedies."""

from __future__ import annotations

import ssl
import time
from typing import TYPE_CHECKING

from edge.wire.errors import WireError

if TYPE_CHECKING:
    from pathlib import Path

    from paho.mqtt.client import Client

    from edge.wire.broker_address import BrokerAddress, TlsFiles

# Codes of X509_STORE_CTX_get_error(3).
EXPIRED = 10
NOT_YET_VALID = 9
UNKNOWN_ISSUER = frozenset({2, 18, 19, 20, 21})
OTHER_HOST = frozenset({62, 64})
REVOKED = 23


class TlsError(WireError):
    """A TLS connection can't be prepared: a file is missing, unusable or does not match another."""


class _HandshakeSocket(ssl.SSLSocket):
    """A socket that closes itself where its handshake fails, which paho leaves to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - the signature of `SSLSocket`
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def secure_client(client: Client, broker: BrokerAddress) -> None:
    """Give a client the TLS context of a broker, if its address has TLS. Raises `TlsError`."""
    if broker.tls is not None:
        client.tls_set_context(make_context(broker.tls))


def make_context(files: TlsFiles) -> ssl.SSLContext:
    """Return a context that verifies the broker's certificate and host name. Raises `TlsError`."""
    if files.ca is not None:
        _check_file(files.ca, "CA")
    try:
        context = ssl.create_default_context(cafile=files.ca)
    except (OSError, ValueError) as error:
        raise TlsError(
            f"CA file {files.ca}: holds no certificate in PEM format ({_reason(error)}): give the"
            " certificate of the authority that signed the broker's"
        ) from error
    context.sslsocket_class = _HandshakeSocket
    if files.certificate is not None and files.key is not None:
        _load_client_certificate(context, files.certificate, files.key)
    return context


def _load_client_certificate(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    _check_file(certificate, "certificate")
    if b"ENCRYPTED" in _check_file(key, "key"):
        raise TlsError(f"key file {key}: is encrypted, and nobody is there to type a passphrase: decrypt it")
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:
        mismatch = "KEY_VALUES_MISMATCH" in _reason(error)
        what = "the key does not belong to the certificate" if mismatch else "they are not in PEM format"
        raise TlsError(
            f"client certificate {certificate} with key {key}: {what} ({_reason(error)}): give the two"
            " files that were made together"
        ) from error


def _check_file(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsError(
            f"{what} file {path}: can't be read ({error.strerror}): check path and permissions"
        ) from error


def describe_early_end(broker: BrokerAddress) -> str:
    """Return what the end of a TLS connection before CONNACK may mean, as paho drops the alert.

    The text is empty for a connection without TLS.
    """
    if broker.tls is None:
        return ""
    if broker.tls.certificate is None:
        return (
            "over TLS, a broker ends a connection so where it requires a client certificate, and none is"
            " set: set TOWNTWIN_BROKER_CERTIFICATE and TOWNTWIN_BROKER_KEY, or certificate and key in the"
            " site file"
        )
    return (
        f"over TLS, a broker ends a connection so where it refuses the client certificate"
        f" {broker.tls.certificate} (expired, revoked, of another authority): see the broker's log, and issue"
        " the certificate again"
    )


def describe_failure(error: Exception, broker: BrokerAddress) -> str:
    """Return a sentence on why a connection failed; of errors outside TLS, their text."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _describe_certificate(error, broker)
    reason = _reason(error)
    is_reset = broker.tls is not None and isinstance(error, ConnectionResetError)
    if is_reset or isinstance(error, ssl.SSLEOFError) or reason == "WRONG_VERSION_NUMBER":
        return (
            f"the broker does not use TLS on port {broker.port}: write its port for TLS (often 8883),"
            " or mqtt:// where it has none"
        )
    if "ALERT" in reason:
        return f"the broker ended the TLS handshake ({reason}): {describe_early_end(broker)}"
    if broker.tls is not None and isinstance(error, TimeoutError):
        return f"{error}: the host does not answer, or the port is not one for TLS"
    return str(error)


def _describe_certificate(error: ssl.SSLCertVerificationError, broker: BrokerAddress) -> str:
    code = error.verify_code
    clock = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    if code == EXPIRED:
        return (
            f"the broker's certificate has expired: renew it (the clock here shows {clock}: check that, too)"
        )
    if code == NOT_YET_VALID:
        return f"the broker's certificate is not valid yet by the clock here, which shows {clock}: set it"
    if code in OTHER_HOST:
        return (
            f"the broker's certificate is not for {broker.host}: write a host that it names, or issue it"
            f" for {broker.host}"
        )
    if code in UNKNOWN_ISSUER:
        ca = broker.tls.ca if broker.tls is not None and broker.tls.ca is not None else "this system"
        return (
            f"the broker's certificate is not signed by an authority of {ca}: set TOWNTWIN_BROKER_CA to the"
            " certificate of the authority that signed it"
        )
    if code == REVOKED:
        return "the broker's certificate is revoked: issue another one"
    return f"the broker's certificate can't be verified: {error.verify_message}"


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or str(error)
