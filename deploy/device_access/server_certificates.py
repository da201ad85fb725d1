"""Issues, imports, lists and renews the certificates of servers (broker, gateway) in a folder."""

from __future__ import annotations

import os
import re
import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from deploy.device_access.certificate_authority import (
    CERTIFICATE_FILE,
    SERVER_DAYS,
    CertificateAuthority,
    CertificateError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NAME_PATTERN = re.compile(r"(?!ca$)[a-z0-9][a-z0-9_-]{0,62}")
KEY_MODE = 0o600
CERTIFICATE_MODE = 0o644
GROUP_READ_MODE = 0o640  # the most that a renewed key keeps of the mode of the old one
DAY = timedelta(days=1)


class ServerCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """A server's certificate in the folder.

    Attributes
    ----------
    name : of its files, NAME.crt and NAME.key
    hosts : host names and IP addresses that it is valid for
    begins, ends : of its validity
    is_own : whether the authority issued it
    fault : why it can't be used as it is; empty if it can

    """

    name: str
    hosts: list[str] = msgspec.field(default_factory=list)
    begins: datetime | None = None
    ends: datetime | None = None
    is_own: bool = False
    fault: str = ""

    def days_left(self, now: datetime | None = None) -> float:
        """Return the time until it ends [d]; 0 without a certificate that can be read."""
        return 0.0 if self.ends is None else (self.ends - (now or datetime.now(UTC))) / DAY


class CertificateFolder:
    """The certificates of this machine's servers: ``ca.crt``, and NAME.crt and NAME.key of each.

    Parameters
    ----------
    folder : of the files; it is created by the first certificate
    authority : issues and renews certificates; None where all are the owner's own

    """

    def __init__(self, folder: Path, authority: CertificateAuthority | None) -> None:
        self._folder = folder
        self._authority = authority

    def issue(
        self, name: str, hosts: Sequence[str], *, days: float = SERVER_DAYS, owner: str | None = None
    ) -> ServerCertificate:
        """Issue a certificate with a new key, whose file only ``owner`` (a user; else the caller) can read.

        Raises
        ------
        CertificateError
            If the name is taken or invalid, a host is invalid, or there is no authority or no such user.
        OSError
            If the files can't be written.

        """
        self._check_new(name)
        self._write_pair(name, *self._issued(hosts, days), owner=owner)
        return self.read(name)

    def add_hosts(self, name: str, hosts: Sequence[str]) -> bool:
        """Replace a certificate of the authority that lacks some of the hosts by one for all; return whether.

        Raises
        ------
        CertificateError
            If it is the owner's own, is damaged, or a host is invalid.
        OSError
            If the files can't be written.

        """
        found = self.read(name)
        missing = [one for one in hosts if one not in found.hosts]
        if not missing:
            return False
        if not found.is_own or found.fault or found.begins is None or found.ends is None:
            raise CertificateError(
                f"{self._path(name, 'crt')} is not for {', '.join(missing)}"
                f" ({found.fault or 'it is your own'}): replace it by `towntwin ca import {name}`"
            )
        self._write_pair(name, *self._issued([*found.hosts, *missing], (found.ends - found.begins) / DAY))
        return True

    def accept(
        self, name: str, certificate: Path, key: Path, *, owner: str | None = None
    ) -> ServerCertificate:
        """Copy the owner's own certificate (its chain after it) and key; one of the same name is replaced.

        Raises `CertificateError` if they do not belong together, have ended, or name no host; `OSError`.
        """
        self._check_name(name)
        pair = certificate.read_bytes(), key.read_bytes()
        found = _describe(name, *pair, self._authority)
        fault = found.fault or ("" if found.hosts else "it names no host (subject alternative name)")
        if fault:
            raise CertificateError(f"{certificate}: {fault}")
        self._write_pair(name, *pair, owner=owner)
        return found

    def read(self, name: str) -> ServerCertificate:
        """Return one certificate; what is wrong with its files is in ``fault``."""
        try:
            pair = self._path(name, "crt").read_bytes(), self._path(name, "key").read_bytes()
        except OSError as error:
            return ServerCertificate(name=name, fault=f"{error.filename} can't be read: {error.strerror}")
        return _describe(name, *pair, self._authority)

    def certificates(self) -> list[ServerCertificate]:
        """Return all certificates, those that end first before the others."""
        names = sorted(one.stem for one in self._folder.glob("*.crt") if NAME_PATTERN.fullmatch(one.stem))
        return sorted((self.read(name) for name in names), key=lambda one: one.days_left())

    def renew(self, within_days: float) -> tuple[list[str], list[str]]:
        """Renew what the authority issued and ends soon, or lost its key; return the names, and problems.

        The new certificate has the hosts and the duration of the old one, and a new key with the owner of
        the old key. Files are replaced by renaming, the key before the certificate: a server that reads
        them between the two finds a pair that does not match, and has to read again.
        """
        renewed, problems = [], []
        for one in self.certificates():
            if one.days_left() > within_days and not one.fault:
                continue
            if not one.is_own or one.begins is None or one.ends is None or self._authority is None:
                reason = one.fault or f"ends in {one.days_left():.0f} d and is not of this authority"
                problems.append(f"{one.name}: {reason}: replace it by `towntwin ca import {one.name}`")
                continue
            pair = self._issued(one.hosts, (one.ends - one.begins) / DAY)
            self._write_pair(one.name, *pair)
            renewed.append(one.name)
        return renewed, problems

    def _issued(self, hosts: Sequence[str], days: float) -> tuple[bytes, bytes]:
        if self._authority is None:
            raise CertificateError("there is no authority: make one by `towntwin ca init`")
        left_days = (self._authority.ends - datetime.now(UTC)) / DAY
        if left_days <= 0:
            raise CertificateError(
                "the authority has ended: make a new one by `towntwin ca init` in another folder, and give"
                " its ca.crt to all devices"
            )
        return self._authority.issue_server(hosts, days=min(days, left_days))

    def _check_name(self, name: str) -> None:
        if not NAME_PATTERN.fullmatch(name):
            raise CertificateError(
                f"{name!r} is no name of a certificate: lower-case letters, digits, _ and -"
            )

    def _check_new(self, name: str) -> None:
        self._check_name(name)
        if self._path(name, "crt").exists() or self._path(name, "key").exists():
            raise CertificateError(
                f"{self._path(name, 'crt')} is there already: `towntwin ca renew` renews it; to change its"
                " hosts, remove NAME.crt and NAME.key first"
            )

    def _path(self, name: str, kind: str) -> Path:
        return self._folder / f"{name}.{kind}"

    def _write_pair(self, name: str, certificate: bytes, key: bytes, *, owner: str | None = None) -> None:
        if not self._folder.exists():
            self._folder.mkdir(parents=True)
            self._folder.chmod(0o755)
        replace_file(self._path(name, "key"), key, KEY_MODE, owner)
        replace_file(self._path(name, "crt"), certificate, CERTIFICATE_MODE, owner)
        if self._authority is not None:
            replace_file(self._folder / CERTIFICATE_FILE, self._authority.certificate_pem, CERTIFICATE_MODE)


def replace_file(path: Path, content: bytes, mode: int, owner: str | None = None) -> None:
    """Write a file as a whole by renaming; an old one passes on its owner and restricts the mode.

    Raises `CertificateError` for an unknown owner, and `OSError`.
    """
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, KEY_MODE), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        if owner is not None:
            shutil.chown(new, owner)
        elif path.exists():
            old = path.stat()
            if (old.st_uid, old.st_gid) != (new.stat().st_uid, new.stat().st_gid):
                os.chown(new, old.st_uid, old.st_gid)
            mode = (old.st_mode & GROUP_READ_MODE | KEY_MODE) if mode == KEY_MODE else mode
        new.chmod(mode)
        new.replace(path)
    except LookupError as error:
        new.unlink()
        raise CertificateError(f"{owner} is no user of this machine: create it first") from error


def _describe(
    name: str, certificate: bytes, key: bytes, authority: CertificateAuthority | None
) -> ServerCertificate:
    """Return a certificate with its fault, if it has one."""
    try:
        first, *chain = x509.load_pem_x509_certificates(certificate)
    except ValueError as error:
        return ServerCertificate(name=name, fault=f"the certificate is no PEM file: {error}")
    return ServerCertificate(
        name=name,
        hosts=_hosts(first),
        begins=first.not_valid_before_utc,
        ends=first.not_valid_after_utc,
        is_own=authority is not None and authority.has_issued(first),
        fault=_fault(first, chain, key),
    )


def _hosts(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(one.value) for one in names]


def _fault(certificate: x509.Certificate, chain: Sequence[x509.Certificate], key: bytes) -> str:
    try:
        private = serialization.load_pem_private_key(key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        return f"the key is no unencrypted PEM file: {error}"
    if private.public_key() != certificate.public_key():
        return "the key is not that of the certificate"
    if certificate.not_valid_after_utc <= datetime.now(UTC):
        return f"it ended on {certificate.not_valid_after_utc:%Y-%m-%d}"
    for signed, issuer in zip([certificate, *chain], chain, strict=False):
        try:
            signed.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            return "the certificates of its chain are not in order: each must be followed by its issuer"
    return ""
