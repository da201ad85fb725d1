"""Writes digests: one message for all notifications that wait for the same readers, within a length."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from analytics.notification.acknowledgement import PATH, AcknowledgementToken, sign_token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest_service.storage.contract.duty import Language
    from ingest_service.storage.contract.notifications import Notification

PRIORITY_NAMES = {
    "zh": {1: "紧急", 2: "重要", 3: "一般", 4: "提示"},
    "en": {1: "urgent", 2: "high", 3: "medium", 4: "low"},
}
_MARKDOWN = str.maketrans({"[": "［", "]": "］", "<": "＜", ">": "＞", "*": "＊", "`": "'", "\n": " "})


class LinkSigner(NamedTuple):
    """How links of acknowledgement are made; ``public_url`` is the gateway's address for its users.

    ``lifetime_s`` is how long a link is valid [s].
    """

    public_url: str
    secret: bytes
    lifetime_s: float

    def link(self, incident_id: int, reader: str, now_s: float) -> str:
        """Return the link with which a reader acknowledges an incident."""
        token = AcknowledgementToken(incident_id, reader, round(now_s + self.lifetime_s))
        return f"{self.public_url.rstrip('/')}{PATH}{sign_token(token, self.secret)}"


class Digest(NamedTuple):
    """A message: title (one line) and text."""

    title: str
    text: str


def newest_by_incident(notifications: Sequence[Notification]) -> list[Notification]:
    """Return one notification for each incident, the newest step, most urgent first; tests are all kept."""
    kept: dict[tuple[int | None, str], Notification] = {}
    for one in sorted(notifications, key=lambda one: one.notification_id):
        kept[one.incident_id, "" if one.incident_id is not None else one.step] = one
    return sorted(kept.values(), key=lambda one: (one.priority, one.created_s, one.notification_id))


def write_digest(
    notifications: Sequence[Notification],
    *,
    language: Language,
    reader: str,
    max_bytes: int,
    is_markdown: bool,
    links: LinkSigner | None,
    now_s: float,
) -> Digest:
    """Write the digest of some notifications; what does not fit is counted in its last line.

    Parameters
    ----------
    notifications : those that wait for the same readers
    language : of the message
    reader : ``member/…`` or ``channel/…``, who acknowledges by the links
    max_bytes : longest text (UTF-8) that the service takes
    is_markdown : whether links are written as Markdown, and its characters in texts replaced
    links : None where no public address of the gateway is set
    now_s : Unix time [s]

    """
    shown = newest_by_incident(notifications)
    title = _title(shown, language)
    lines = [
        _line(one, language, reader=reader, is_markdown=is_markdown, links=links, now_s=now_s)
        for one in shown
    ]
    text = _joined(title, lines, len(lines), language, is_markdown=is_markdown)
    count = len(lines)
    while len(text.encode()) > max_bytes and count > 0:
        count -= 1
        text = _joined(title, lines, count, language, is_markdown=is_markdown)
    return Digest(title, text.encode()[:max_bytes].decode(errors="ignore"))


def _title(shown: Sequence[Notification], language: Language) -> str:
    urgent = sum(one.priority == 1 for one in shown)
    if all(one.kind == "test" for one in shown):
        return "towntwin 测试消息" if language == "zh" else "towntwin test message"
    if language == "zh":
        return f"towntwin 事件通知：{len(shown)}件" + (f"，其中紧急{urgent}件" if urgent else "")
    return f"towntwin: {len(shown)} incident{'s'[: len(shown) != 1]}" + (
        f", {urgent} urgent" if urgent else ""
    )


def _line(
    one: Notification,
    language: Language,
    *,
    reader: str,
    is_markdown: bool,
    links: LinkSigner | None,
    now_s: float,
) -> str:
    text = one.text_zh if language == "zh" else one.text_en
    priority = PRIORITY_NAMES[language][one.priority]
    line = f"**【{priority}】** {text.translate(_MARKDOWN)}" if is_markdown else f"【{priority}】 {text}"
    if links is None or one.incident_id is None:
        return line
    link = links.link(one.incident_id, reader, now_s)
    label = "确认" if language == "zh" else "acknowledge"
    return f"{line} [{label}]({link})" if is_markdown else f"{line}\n{label}: {link}"


def _joined(title: str, lines: Sequence[str], count: int, language: Language, *, is_markdown: bool) -> str:
    heading = f"**{title}**" if is_markdown else title
    parts = [heading, *lines[:count]]
    if omitted := len(lines) - count:
        parts.append(
            f"另有{omitted}件，请在控制台查看" if language == "zh" else f"and {omitted} more: see the console"
        )
    return "\n".join(parts)
