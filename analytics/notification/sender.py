"""Sends a digest over its channel, and gives every destination a key that holds no secret."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from analytics.notification import mail, webhook
from analytics.notification.digests import LinkSigner, write_digest
from analytics.notification.errors import NotificationError
from analytics.notification.http_client import HttpClient, TemporaryHttpError
from analytics.notification.outcomes import SENT, SendOutcome
from analytics.notification.robots import OTHER_RATE, ROBOTS, RateLimit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from analytics.notification.delivery_plan import PlannedDigest
    from analytics.notification.mail import MailServer
    from analytics.notification.secret_files import SecretReader
    from ingest_service.storage.contract.duty import TeamMember
    from ingest_service.storage.contract.notifications import NotificationChannel

CONSOLE_RATE = RateLimit(1.0, 10.0)


class ResolvedChannel(NamedTuple):
    """A channel with its secrets; never log it.

    ``destination`` identifies what the rate limit is about: two channels of one robot share it.
    """

    channel: NotificationChannel
    destination: str
    url: str | None
    key: str | None

    @property
    def rate(self) -> RateLimit:
        """Messages that the destination takes."""
        if self.channel.kind == "console":
            return CONSOLE_RATE
        robot = ROBOTS.get(self.channel.kind)
        return OTHER_RATE if robot is None else robot.rate

    def __repr__(self) -> str:
        return f"ResolvedChannel({self.channel.channel_id!r}, {self.destination!r})"


def resolve_channel(channel: NotificationChannel, secrets: SecretReader) -> ResolvedChannel:
    """Read the secrets of a channel. Raises `NotificationError` if one is missing."""
    if channel.kind in {"email", "console"}:
        return ResolvedChannel(channel, channel.kind, None, None)
    url = channel.url
    if channel.url_secret is not None:
        url = secrets.read(channel.area_id, channel.url_secret)
    if not url:
        raise NotificationError(f"channel {channel.channel_id}: give url or url_secret")
    key = None if channel.sign_secret is None else secrets.read(channel.area_id, channel.sign_secret)
    destination = f"{channel.kind}/{hashlib.sha256(url.encode()).hexdigest()[:20]}"
    return ResolvedChannel(channel, destination, url, key)


@dataclass(frozen=True, slots=True)
class Sender:
    """Everything that sending needs, the same for all channels.

    Attributes
    ----------
    client : HTTP client with the allowed networks
    mail_server : None where none is set
    links : signer of links; None without a public address
    members : members by id, for addresses and languages

    """

    client: HttpClient
    mail_server: MailServer | None
    links: LinkSigner | None
    members: Mapping[str, TeamMember]

    def send(self, resolved: ResolvedChannel, digest: PlannedDigest, now_s: float) -> SendOutcome:
        """Send a digest. Every failure is an outcome, whose detail holds no secret."""
        try:
            return self._send(resolved, digest, now_s)
        except TemporaryHttpError as error:
            return SendOutcome("unknown", str(error))
        except NotificationError as error:
            return SendOutcome("refused", str(error))

    def _send(self, resolved: ResolvedChannel, planned: PlannedDigest, now_s: float) -> SendOutcome:
        channel = resolved.channel
        robot = ROBOTS.get(channel.kind)
        if channel.kind == "console":
            return SENT  # the outbox is what the consoles read
        if channel.kind == "email":
            return self._send_mail(planned, now_s)
        digest = write_digest(
            planned.notifications,
            language=channel.language,
            reader=planned.reader,
            max_bytes=webhook.MAX_BYTES if robot is None else robot.max_bytes,
            is_markdown=robot is not None,
            links=self.links,
            now_s=now_s,
        )
        url = resolved.url or ""
        if robot is not None:
            request = robot.request(url, resolved.key, digest.title, digest.text, now_s)
            json_type = {"Content-Type": "application/json; charset=utf-8"}
            return robot.outcome(self.client.post(request.url, json_type, request.body))
        body = webhook.webhook_body(digest.title, digest.text, planned.notifications)
        headers = webhook.signed_headers(body, resolved.key, now_s)
        headers["Idempotency-Key"] = webhook.idempotency_key(planned.notifications)
        return webhook.webhook_outcome(self.client.post(url, headers, body))

    def _send_mail(self, planned: PlannedDigest, now_s: float) -> SendOutcome:
        member = self.members.get(planned.reader.removeprefix("member/"))
        if self.mail_server is None:
            return SendOutcome("refused", "no mail server is set: TOWNTWIN_SERVICE_SMTP_HOST")
        if member is None or not member.email:
            return SendOutcome("refused", "the member has no e-mail address", is_permanent=True)
        digest = write_digest(
            planned.notifications,
            language=member.language,
            reader=planned.reader,
            max_bytes=mail.MAX_BYTES,
            is_markdown=False,
            links=self.links,
            now_s=now_s,
        )
        message = mail.compose_mail(self.mail_server.sender, [member.email], digest.title, digest.text, now_s)
        return mail.send_mail(self.mail_server, message)
