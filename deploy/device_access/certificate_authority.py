"""A small certificate authority for the broker and its devices, by `cryptography` (X.509, ECDSA P-256)."""

from __future__ import annotations

import ipaddress
import os
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from deploy.errors import DeployError
from edge.wire.topics import LEVEL_PATTERN

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

AUTHORITY_DAYS = 3650.0
SERVER_DAYS = 825.0
DEVICE_DAYS = 825.0
CLOCK_SLACK = timedelta(hours=1)  # certificates begin earlier, for devices whose clock is behind
MAX_REQUEST_BYTES = 8192  # a request with an RSA key of 4096 bits has 1,700
RSA_BITS = (2048, 4096)
CERTIFICATE_FILE, KEY_FILE = "ca.crt", "ca.key"


class CertificateError(DeployError, ValueError):
    """A certificate can't be issued or read; the message states the remedy."""


class CertificateAuthority:
    """Signs certificates of the broker and of devices with its own key.

    Parameters
    ----------
    certificate, key : of the authority

    """

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls, name: str, *, days: float = AUTHORITY_DAYS) -> CertificateAuthority:
        """Return a new authority that signs itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _subject(name)
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        certificate = (
            _builder(subject, subject, key.public_key(), datetime.now(UTC) - CLOCK_SLACK, days)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(identifier, critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def load(cls, folder: Path) -> CertificateAuthority:
        """Read an authority from its folder. Raises `CertificateError`."""
        try:
            certificate = x509.load_pem_x509_certificate((folder / CERTIFICATE_FILE).read_bytes())
            key = serialization.load_pem_private_key((folder / KEY_FILE).read_bytes(), None)
        except OSError as error:
            raise CertificateError(
                f"{error.filename}: can't be read ({error.strerror}): name the folder of the authority"
            ) from error
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise CertificateError(
                f"{folder}: {CERTIFICATE_FILE} or {KEY_FILE} is no unencrypted PEM file: {error}"
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise CertificateError(
                f"{folder}: {KEY_FILE} is not the key of {CERTIFICATE_FILE}: give the two of one authority"
            )
        return cls(certificate, key)

    def save(self, folder: Path) -> None:
        """Write certificate and key to a folder, which has none yet. Raises `CertificateError`."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            write_private(folder / KEY_FILE, _key_pem(self._key))
        except FileExistsError as error:
            raise CertificateError(
                f"{folder} has an authority already: name another folder, since a new key would make all"
                " certificates of the old one useless"
            ) from error
        (folder / CERTIFICATE_FILE).write_bytes(self.certificate_pem)

    @property
    def certificate_pem(self) -> bytes:
        """The authority's certificate, which every client of the broker gets."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def ends(self) -> datetime:
        """When the authority's own certificate ends."""
        return self._certificate.not_valid_after_utc

    def has_issued(self, certificate: x509.Certificate) -> bool:
        """Whether a certificate is signed by this authority."""
        try:
            certificate.verify_directly_issued_by(self._certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    def issue_server(
        self, hosts: Sequence[str], *, days: float = SERVER_DAYS, start: datetime | None = None
    ) -> tuple[bytes, bytes]:
        """Return certificate and key (PEM) of a server with these host names and IP addresses."""
        if not hosts:
            raise CertificateError("a server's certificate needs a host name: give at least one")
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([_alternative_name(host) for host in hosts])
        start = datetime.now(UTC) - CLOCK_SLACK if start is None else start
        builder = _builder(
            _subject(hosts[0]), self._certificate.subject, key.public_key(), start, days
        ).add_extension(names, critical=False)
        return self._sign(builder, key.public_key(), ExtendedKeyUsageOID.SERVER_AUTH), _key_pem(key)

    def sign_request(
        self, request_pem: bytes, device: str, *, days: float = DEVICE_DAYS, start: datetime | None = None
    ) -> bytes:
        """Return the certificate (PEM) of a device for its signing request.

        Of the request only the key is used: the name is the enrolled device's, whatever the request has.

        Raises
        ------
        CertificateError
            If the request is too large, not PEM, has a wrong signature, a weak key, or another device's name.

        """
        request = check_request(request_pem, device)
        key: Any = request.public_key()  # of one of the kinds that `check_request` accepts
        start = datetime.now(UTC) - CLOCK_SLACK if start is None else start
        builder = _builder(_subject(device), self._certificate.subject, key, start, days)
        return self._sign(builder, key, ExtendedKeyUsageOID.CLIENT_AUTH)

    def revocation_list(self, serials: Iterable[int], *, days: float = 30.0) -> bytes:
        """Return the list of revoked certificates (PEM), for the broker's ``crlfile``."""
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._certificate.subject)
        builder = builder.last_update(now - CLOCK_SLACK).next_update(now + timedelta(days=days))
        for serial in serials:
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
            builder = builder.add_revoked_certificate(revoked)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _sign(self, builder: x509.CertificateBuilder, key: Any, usage: x509.ObjectIdentifier) -> bytes:
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        signed = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(issuer, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return signed.public_bytes(serialization.Encoding.PEM)


def make_request(device: str) -> tuple[bytes, bytes]:
    """Return a signing request and its new key (PEM) of a device."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = (
        x509.CertificateSigningRequestBuilder().subject_name(_subject(device)).sign(key, hashes.SHA256())
    )
    return request.public_bytes(serialization.Encoding.PEM), _key_pem(key)


def check_request(request_pem: bytes, device: str) -> x509.CertificateSigningRequest:
    """Return a signing request that may be signed. Raises `CertificateError`."""
    if len(request_pem) > MAX_REQUEST_BYTES:
        raise CertificateError(
            f"the signing request has {len(request_pem):,} bytes, and {MAX_REQUEST_BYTES:,} are enough:"
            " make it anew"
        )
    if not LEVEL_PATTERN.fullmatch(device):
        raise CertificateError(f"{device!r} is no id of a device: letters, digits and _ . : - only")
    try:
        request = x509.load_pem_x509_csr(request_pem)
        is_signed = request.is_signature_valid
        key = request.public_key()
        names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(
            f"the signing request can't be read ({error}): make it anew, in PEM"
        ) from error
    if not is_signed:
        raise CertificateError("the signing request is not signed with its own key: make it anew")
    if isinstance(key, rsa.RSAPublicKey):
        is_strong = RSA_BITS[0] <= key.key_size <= RSA_BITS[1]
    else:
        is_strong = isinstance(key, ed25519.Ed25519PublicKey) or (
            isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1)
        )
    if not is_strong:
        raise CertificateError(
            "the key of the signing request is of another kind: use ECDSA P-256 or P-384, Ed25519,"
            f" or RSA of {RSA_BITS[0]} to {RSA_BITS[1]} bits"
        )
    if [one.value for one in names] != [device]:
        raise CertificateError(
            f"the signing request is not for {device}: its common name must be the device's id"
        )
    return request


def end_of(certificate_pem: bytes) -> float:
    """Return when a certificate ends, Unix time [s]."""
    return x509.load_pem_x509_certificate(certificate_pem).not_valid_after_utc.timestamp()


def serial_of(certificate_pem: bytes) -> int:
    """Return the serial number of a certificate."""
    return x509.load_pem_x509_certificate(certificate_pem).serial_number


def write_private(path: Path, content: bytes) -> None:
    """Write a new file that its owner alone may read. Raises `OSError`, `FileExistsError` if it is there."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: Any,
    start: datetime,
    days: float,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _alternative_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", host):
        raise CertificateError(f"{host!r} is neither a host name nor an IP address")
    return x509.DNSName(host)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
