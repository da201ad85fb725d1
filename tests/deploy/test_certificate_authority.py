"""Tests the certificate authority: what it signs, what it refuses, and its files."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.__main__ import main
from deploy.device_access.certificate_authority import (
    MAX_REQUEST_BYTES,
    CertificateAuthority,
    CertificateError,
    check_request,
    make_request,
    serial_of,
)

if TYPE_CHECKING:
    from pathlib import Path

AUTHORITY = CertificateAuthority.create("tests")
ROOT = x509.load_pem_x509_certificate(AUTHORITY.certificate_pem)


def request_of(
    name: str, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    )
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.PEM)


def test_a_device_gets_a_client_certificate_of_its_name_and_nothing_more() -> None:
    request, key = make_request("wz-01")
    signed = x509.load_pem_x509_certificate(AUTHORITY.sign_request(request, "wz-01"))
    private = serialization.load_pem_private_key(key, None)
    assert signed.public_key() == private.public_key()
    assert signed.subject.rfc4514_string() == "CN=wz-01"
    signed.verify_directly_issued_by(ROOT)
    constraints = signed.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert not constraints.ca
    usage = signed.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH]
    with pytest.raises(x509.ExtensionNotFound):
        signed.extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_keys_of_the_usual_kinds_are_signed_and_weak_ones_are_not() -> None:
    for key in (
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65_537, 2048),
    ):
        assert AUTHORITY.sign_request(request_of("d", key), "d")
    weak_rsa = rsa.generate_private_key(65_537, 1024)  # noqa: S505 - refused
    for weak in (weak_rsa, ec.generate_private_key(ec.SECP224R1())):
        with pytest.raises(CertificateError, match="is of another kind"):
            AUTHORITY.sign_request(request_of("d", weak), "d")


def test_hostile_signing_requests_are_refused() -> None:
    request, _ = make_request("wz-01")
    lines = request.decode().splitlines()
    broken = lines[1][:40] + ("A" if lines[1][40] != "A" else "B") + lines[1][41:]
    for content, device, sentence in (
        (request, "wz-02", "is not for wz-02"),
        (request, "wz/#", "is no id of a device"),
        (request + b"x" * MAX_REQUEST_BYTES, "wz-01", "8,192 are enough"),
        (b"", "wz-01", "can't be read"),
        (AUTHORITY.certificate_pem, "wz-01", "can't be read"),
        ("\n".join([lines[0], broken, *lines[2:]]).encode(), "wz-01", "signing request"),
    ):
        with pytest.raises(CertificateError, match=sentence):
            AUTHORITY.sign_request(content, device)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=400), st.integers(min_value=0, max_value=10))
def test_any_bytes_are_a_request_or_an_error(noise: bytes, cut: int) -> None:
    request, _ = make_request("wz-01")
    for content in (noise, request[: -cut - 1] + noise, request[:60] + noise + request[60:]):
        try:
            check_request(content, "wz-01")
        except CertificateError as error:
            assert str(error)  # noqa: PT017 - either outcome is right


def test_a_list_of_revoked_certificates_has_their_numbers() -> None:
    signed = AUTHORITY.sign_request(make_request("wz-01")[0], "wz-01")
    revoked = x509.load_pem_x509_crl(AUTHORITY.revocation_list([serial_of(signed)]))
    assert revoked.is_signature_valid(ROOT.public_key())  # type: ignore[arg-type]
    assert [one.serial_number for one in revoked] == [serial_of(signed)]


def test_certificates_begin_and_end_as_wanted_and_name_hosts_and_addresses() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    signed = x509.load_pem_x509_certificate(AUTHORITY.issue_server(["h.town", "::1"], days=5, start=start)[0])
    assert signed.not_valid_after_utc - signed.not_valid_before_utc == timedelta(days=5)
    names = signed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(one.value) for one in names] == ["h.town", "::1"]
    for hosts in ([], ["a b"], ["*.town"], ["-"]):
        with pytest.raises(CertificateError, match="host name"):
            AUTHORITY.issue_server(hosts)


def test_the_commands_make_an_authority_and_a_server_certificate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "ca"
    assert main(["access", "--init-authority", str(folder)]) == 0
    assert (folder / "ca.key").stat().st_mode & 0o077 == 0
    assert (
        main(["access", "--authority", str(folder), "--server-certificate", "broker.town", "10.0.0.1"]) == 0
    )
    assert (folder / "broker.key").stat().st_mode & 0o077 == 0
    found = CertificateAuthority.load(folder)
    assert found.certificate_pem == (folder / "ca.crt").read_bytes()
    capsys.readouterr()
    (tmp_path / "empty").mkdir()
    for arguments, sentence in (
        (["--init-authority", str(folder)], "has an authority already"),
        (["--authority", str(folder), "--server-certificate", "h"], "remove the old one first"),
        (["--server-certificate", "h"], "name the folder of the authority"),
        (["--authority", str(tmp_path / "empty"), "--server-certificate", "h"], "can't be read"),
        (["--authority", str(folder), "--server-certificate", "*"], "is neither a host name"),
        ([], "TOWNTWIN_ACCESS_ADMIN names no broker"),
        (["--admin", "mqtts://admin:secret@h"], "list of processes"),
        (["--kind", "rabbitmq", "--admin", "mqtts://admin@h"], "is no address of RabbitMQ's management"),
    ):
        assert main(["access", *arguments]) == 2
        output = capsys.readouterr().err
        assert sentence in output
        assert "secret" not in output
    (folder / "ca.key").write_bytes(make_request("x")[1])
    with pytest.raises(CertificateError, match="is not the key of"):
        CertificateAuthority.load(folder)


def test_openssl_accepts_what_is_signed(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(AUTHORITY.certificate_pem)
    (tmp_path / "d.crt").write_bytes(AUTHORITY.sign_request(make_request("d")[0], "d"))
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", "ca.crt", "d.crt"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
