"""Serves TLS by a certificate and key in files, and loads them again when they change.

New connections get the new certificate; open ones keep theirs, as OpenSSL copies the certificate into each
connection when it begins.
"""

from __future__ import annotations

import logging
import ssl
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POLL_S = 1.0

log = logging.getLogger(__name__)


class TlsCertificateError(GatewayError, ValueError):
    """The certificate or key can't be used; the message names the file and the remedy."""


class ReloadingTlsContext:
    """A TLS context of a server whose certificate is replaced while it serves.

    Parameters
    ----------
    certificate, key : PEM files; the certificate is followed by its chain, the key is not encrypted

    Raises
    ------
    TlsCertificateError
        If they can't be used.

    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate, self._key = certificate, key
        self._loaded = self._file_identity()
        self.context = self._new_context()

    def reload_if_changed(self) -> bool:
        """Load the files if they changed since; return whether the context has a new certificate.

        Files that can't be used are logged, and the context keeps the certificate that it has.
        """
        found = self._file_identity()
        if found == self._loaded or not found:
            return False
        try:
            self._new_context()  # a pair that does not match must not get into the one that serves
            self.context.load_cert_chain(self._certificate, self._key)
        except (TlsCertificateError, OSError) as error:
            log.warning("the gateway keeps its certificate: %s", error)
            return False
        self._loaded = found
        log.info("the gateway serves the renewed certificate of %s", self._certificate)
        return True

    @contextmanager
    def reloading(self, poll_s: float = POLL_S) -> Iterator[None]:
        """Look for changed files every ``poll_s`` seconds on a thread, until the block ends."""
        stop = threading.Event()

        def poll() -> None:
            while not stop.wait(poll_s):
                self.reload_if_changed()

        thread = threading.Thread(target=poll, name="tls_certificate", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _file_identity(self) -> tuple[tuple[int, int, int], ...]:
        """Return inode, size and time of change of both files; nothing if one is away."""
        try:
            states = [path.stat() for path in (self._certificate, self._key)]
        except OSError:
            return ()
        return tuple((one.st_ino, one.st_size, one.st_mtime_ns) for one in states)

    def _new_context(self) -> ssl.SSLContext:
        """Return a context with the files' certificate: TLS 1.2 or later, ciphers as OpenSSL prefers them."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self._certificate, self._key, password=_refuse_encrypted_key)
        except OSError as error:  # `ssl.SSLError` is one
            raise TlsCertificateError(
                f"{self._certificate} and {self._key} can't be used ({error.strerror or error}):"
                " give the certificate and its key as PEM files that the gateway's"
                " user can read (`towntwin ca list`)"
            ) from error
        return context


def _refuse_encrypted_key() -> str:
    """Raise an error where OpenSSL would wait for a password at the terminal."""
    raise TlsCertificateError(
        "the key is encrypted: give it without a password, readable by the gateway alone"
    )
