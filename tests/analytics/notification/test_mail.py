"""Tests e-mail against a real SMTP server (aiosmtpd) with TLS, sign-in and refusals."""

from __future__ import annotations

import email
import ssl
from datetime import UTC, datetime, timedelta
from email import policy
from typing import TYPE_CHECKING, Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from analytics.notification.mail import MailServer, compose_mail, send_mail
from deploy.embedded.server_environment import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSWORD = "of-the-tests"  # noqa: S105 - of a server that exists for one test
NOW_S = 1_795_000_000.0


class _Inbox:
    """Handler that keeps what it receives, and refuses some recipients."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        """Refuse ``full`` for now, and ``gone`` for good."""
        if address.startswith("full"):
            return "452 4.2.2 mailbox full"
        if address.startswith("gone"):
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        """Keep a message."""
        self.messages.append(email.message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of localhost with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("mail") / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


@pytest.fixture(scope="module")
def served(certificate: Path) -> Iterator[tuple[_Inbox, MailServer]]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    def authenticate(*arguments: Any) -> AuthResult:
        given = arguments[4]
        assert isinstance(given, LoginPassword)
        return AuthResult(success=given.password == PASSWORD.encode())

    inbox = _Inbox()
    port = free_port()
    controller = Controller(
        inbox,
        hostname="127.0.0.1",
        port=port,
        tls_context=context,
        require_starttls=True,
        authenticator=authenticate,
        auth_required=True,
    )
    controller.start()
    yield (
        inbox,
        MailServer("localhost", port, "starttls", "twin@example.org", "twin", PASSWORD, str(certificate)),
    )
    controller.stop()


def test_a_digest_arrives_with_its_text(served: tuple[_Inbox, MailServer]) -> None:
    inbox, server = served
    title, text = "towntwin 事件通知：2件\r\nBcc: x@example.org", "【紧急】 #1 疑似污水\n确认: https://twin"
    outcome = send_mail(server, compose_mail(server.sender, ["wang@example.org"], title, text, NOW_S))
    assert outcome.result == "sent"
    message = inbox.messages[-1]
    assert message["Subject"] == "towntwin 事件通知：2件 Bcc: x@example.org"
    assert message["Bcc"] is None
    assert message.get_content().replace("\r\n", "\n").rstrip() == text


@pytest.mark.parametrize(
    ("recipient", "is_permanent"), [("full@example.org", False), ("gone@example.org", True)]
)
def test_a_refused_recipient_is_tried_again_only_where_it_may_help(
    served: tuple[_Inbox, MailServer], recipient: str, *, is_permanent: bool
) -> None:
    message = compose_mail("twin@example.org", [recipient], "x", "x", NOW_S)
    outcome = send_mail(served[1], message)
    assert (outcome.result, outcome.is_permanent) == ("refused", is_permanent)


def test_a_wrong_password_and_a_wrong_certificate_are_reported_without_the_password(
    served: tuple[_Inbox, MailServer],
) -> None:
    message = compose_mail("twin@example.org", ["wang@example.org"], "x", "x", NOW_S)
    for changed in ({"password": "wrong-one"}, {"certificates": None}):
        outcome = send_mail(served[1]._replace(**changed), message)
        assert outcome.result in {"refused", "unknown"}
        assert "wrong-one" not in outcome.detail
    away = send_mail(served[1]._replace(port=9, host="127.0.0.1"), message)
    assert away.result == "unknown"
