"""Group robots of WeCom (企业微信), DingTalk (钉钉) and Feishu (飞书): requests, signatures, limits.

Limits: WeCom takes 20 messages a minute and robot, text of 2,048 bytes and Markdown of 4,096. DingTalk takes
20 a minute, and blocks the robot for ten minutes beyond that (errcode 130101). Feishu takes 100 a minute and
5 a second, and requests of 20 KB (open.feishu.cn, guide to custom bots; at full and half hours it may answer
11232 below these rates). A bucket of ``burst`` tokens filled by ``per_s`` lets through at most
``burst + 60 per_s`` messages in any minute, so both together are 19 here, one below the limit.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from analytics.notification.outcomes import SENT, SendOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from analytics.notification.http_client import HttpResponse

BLOCKED_BY_DINGTALK_S: Final = 600.0
RETRY_LIMITED_S: Final = 60.0


class RateLimit(NamedTuple):
    """Messages that a service takes: ``burst`` at once, refilled by ``per_s``."""

    per_s: float
    burst: float


class RobotRequest(NamedTuple):
    """URL and body of a message to a robot."""

    url: str
    body: bytes


class Robot(NamedTuple):
    """A kind of robot.

    Attributes
    ----------
    max_bytes : length of a message's text (UTF-8)
    rate : messages that it takes
    request : builds a request from URL, signing key (None: not signed), title, text and time [Unix s]
    outcome : reads a response

    """

    max_bytes: int
    rate: RateLimit
    request: Callable[[str, str | None, str, str, float], RobotRequest]
    outcome: Callable[[HttpResponse], SendOutcome]


def dingtalk_signature(key: str, timestamp_ms: int) -> str:
    """Return the signature of DingTalk: HMAC-SHA256 by the key, of time and key, in Base64.

    >>> dingtalk_signature("SEC0", 1700000000000)
    'grq97xXoTUjTHFvKaCG7ayUVYZj98Kc7erzY+P9gZxg='
    """
    message = f"{timestamp_ms}\n{key}".encode()
    return base64.b64encode(hmac.digest(key.encode(), message, hashlib.sha256)).decode()


def feishu_signature(key: str, timestamp_s: int) -> str:
    """Return the signature of Feishu: HMAC-SHA256 of nothing, by time and key, in Base64.

    >>> feishu_signature("demo", 1599360473)
    'l1N0gAcBjdwBvGm1xMjOF0XSyaLRpR7tuO5dHfhAYc8='
    """
    by = f"{timestamp_s}\n{key}".encode()
    return base64.b64encode(hmac.digest(by, b"", hashlib.sha256)).decode()


def _wecom_request(url: str, _key: str | None, _title: str, text: str, _now_s: float) -> RobotRequest:
    return RobotRequest(url, _json({"msgtype": "markdown", "markdown": {"content": text}}))


def _dingtalk_request(url: str, key: str | None, title: str, text: str, now_s: float) -> RobotRequest:
    body = _json({"msgtype": "markdown", "markdown": {"title": title, "text": text.replace("\n", "\n\n")}})
    if key is None:
        return RobotRequest(url, body)
    timestamp_ms = round(now_s * 1000)
    signed = {"timestamp": str(timestamp_ms), "sign": dingtalk_signature(key, timestamp_ms)}
    parts = urlsplit(url)
    return RobotRequest(
        urlunsplit(parts._replace(query=urlencode([*parse_qsl(parts.query), *signed.items()]))), body
    )


def _feishu_request(url: str, key: str | None, title: str, text: str, now_s: float) -> RobotRequest:
    content: dict[str, Any] = {
        "msg_type": "interactive",
        "card": {
            "header": {"title": {"tag": "plain_text", "content": title}},
            "elements": [{"tag": "markdown", "content": text}],
        },
    }
    if key is not None:
        timestamp_s = round(now_s)
        content = {"timestamp": str(timestamp_s), "sign": feishu_signature(key, timestamp_s), **content}
    return RobotRequest(url, _json(content))


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _outcome_by_codes(
    response: HttpResponse, *, code_name: str, limited: Mapping[int, float], permanent: frozenset[int]
) -> SendOutcome:
    """Return the outcome of a response whose JSON has a code, 0 being success."""
    if response.status == 429:
        return SendOutcome("limited", "HTTP status 429", RETRY_LIMITED_S)
    if response.status >= 500:
        return SendOutcome("unknown", f"HTTP status {response.status}")
    try:
        content = json.loads(response.body)
        code = int(content[code_name])
    except (ValueError, KeyError, TypeError):
        is_error = response.status >= 400
        return SendOutcome(
            "refused" if is_error else "unknown",
            f"HTTP status {response.status}, without a code: check that the address is that of a robot",
            is_permanent=is_error,
        )
    if code == 0:
        return SENT
    detail = f"{code_name} {code}: {str(content.get('errmsg', content.get('msg', '')))[:200]}"
    if code in limited:
        return SendOutcome("limited", detail, limited[code])
    return SendOutcome("refused", detail, is_permanent=code in permanent)


def _wecom_outcome(response: HttpResponse) -> SendOutcome:
    # 45009, 45033: too many; 93000: no such robot; 40058: text too long; 40008: no such type of message
    return _outcome_by_codes(
        response,
        code_name="errcode",
        limited={45009: RETRY_LIMITED_S, 45033: RETRY_LIMITED_S},
        permanent=frozenset({93000, 40058, 40008}),
    )


def _dingtalk_outcome(response: HttpResponse) -> SendOutcome:
    # 130101: too many, the robot is blocked; 310000: neither signature nor keyword matches; 300001: no token
    return _outcome_by_codes(
        response,
        code_name="errcode",
        limited={130101: BLOCKED_BY_DINGTALK_S, 660026: BLOCKED_BY_DINGTALK_S},
        permanent=frozenset({310000, 300001, 400101, 460101}),
    )


def _feishu_outcome(response: HttpResponse) -> SendOutcome:
    # 11232: too many; 9499: wrong form or longer than 20 KB, but "too many request" at older robots; 19021:
    # signature, or a time more than an hour off; 19001: no such robot; 19022: address; 19024: keyword
    is_too_many = b"too many" in response.body.lower()
    return _outcome_by_codes(
        response,
        code_name="code",
        limited={11232: RETRY_LIMITED_S} | ({9499: RETRY_LIMITED_S} if is_too_many else {}),
        permanent=frozenset({9499, 19001, 19021, 19022, 19024}),
    )


ROBOTS: Final[dict[str, Robot]] = {
    "wecom": Robot(4_096, RateLimit(0.25, 4.0), _wecom_request, _wecom_outcome),
    "dingtalk": Robot(16_000, RateLimit(0.25, 4.0), _dingtalk_request, _dingtalk_outcome),
    # of 20 KB for the request: quotes and line ends take two bytes in JSON, and there is the card around it
    "feishu": Robot(9_000, RateLimit(0.25, 4.0), _feishu_request, _feishu_outcome),
}
OTHER_RATE: Final = RateLimit(0.25, 4.0)
"""Rate of webhooks and mail servers, whose own limits are not known."""
