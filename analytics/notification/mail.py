"""Sends a digest by e-mail (SMTP), with TLS unless the server is on this machine."""

from __future__ import annotations

import smtplib
import ssl
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from analytics.notification.outcomes import SENT, SendOutcome

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_BYTES: Final = 100_000
TIMEOUT_S: Final = 5.0
Security = Literal["starttls", "tls", "none"]


class MailServer(NamedTuple):
    """A mail server; ``certificates`` is a PEM file of further authorities. Never log it."""

    host: str
    port: int
    security: Security
    sender: str
    user: str | None = None
    password: str | None = None
    certificates: str | None = None


def compose_mail(sender: str, recipients: Sequence[str], title: str, text: str, now_s: float) -> EmailMessage:
    """Return the message. Titles cannot add headers: line ends in them become blanks."""
    message = EmailMessage()
    message["From"] = Address(addr_spec=sender)
    message["To"] = [Address(addr_spec=one) for one in recipients]
    message["Subject"] = " ".join(title.split())
    message["Date"] = format_datetime(datetime.fromtimestamp(now_s, UTC))
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2] or "towntwin")
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text, charset="utf-8", cte="base64")
    return message


def send_mail(server: MailServer, message: EmailMessage) -> SendOutcome:  # noqa: PLR0911 - one for each answer
    """Hand a message to a mail server."""
    try:
        with _connected(server) as client:
            if server.user is not None and server.password is not None:
                client.login(server.user, server.password)
            refused = client.send_message(message)
    except (smtplib.SMTPAuthenticationError, smtplib.SMTPNotSupportedError) as error:
        return SendOutcome("refused", f"the mail server refused the sign-in ({type(error).__name__})")
    except smtplib.SMTPRecipientsRefused as error:
        is_permanent = all(code >= 500 for code, _ in error.recipients.values())
        return SendOutcome("refused", "the mail server refused the recipient", is_permanent=is_permanent)
    except smtplib.SMTPResponseException as error:
        detail = f"the mail server answered {error.smtp_code}"
        if error.smtp_code in {421, 450, 451, 452}:
            return SendOutcome("limited", detail, 60.0)
        return SendOutcome("refused", detail, is_permanent=error.smtp_code >= 500)
    except (smtplib.SMTPException, OSError) as error:
        return SendOutcome("unknown", f"no response of the mail server: {type(error).__name__}")
    if refused:
        return SendOutcome("refused", "the mail server refused some recipients", is_permanent=True)
    return SENT


def _connected(server: MailServer) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if server.certificates is not None:
        context.load_verify_locations(server.certificates)
    if server.security == "tls":
        return smtplib.SMTP_SSL(server.host, server.port, timeout=TIMEOUT_S, context=context)
    client = smtplib.SMTP(server.host, server.port, timeout=TIMEOUT_S)
    if server.security == "starttls":
        try:
            client.starttls(context=context)
        except BaseException:
            client.close()
            raise
    return client
