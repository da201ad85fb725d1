"""Serves strict fakes of WeCom, DingTalk and Feishu robots and of a signed webhook by HTTP on loopback.

The real services cannot be run in the tests, so this is an exception to the rule that nothing is mocked. They
enforce what the services document: signatures and their age, sizes in bytes, messages per minute, DingTalk's
block of ten minutes, and the error codes that clients have to understand. Their clock is the test's.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGN_KEY = "SEC-of-the-tests"
MINUTE_S, BLOCK_S = 60.0, 600.0
TOO_LONG = "content exceed max length"


@dataclass
class FakeMessengers:
    """State of the fakes.

    Attributes
    ----------
    now_s : their clock, Unix time [s]
    requests : number of requests of each robot
    messages : texts that were accepted, by robot, each with its time
    refusals : error codes that were returned, by robot
    away : robots that close the connection without a response
    hanging : robots that respond only after ``released``
    """

    url: str = ""
    now_s: float = 1_790_000_000.0
    requests: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    messages: dict[str, list[tuple[float, str]]] = field(default_factory=lambda: defaultdict(list))
    refusals: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    keys: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    away: set[str] = field(default_factory=set)
    hanging: set[str] = field(default_factory=set)
    released: threading.Event = field(default_factory=threading.Event)
    _times: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    _blocked_until_s: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reset(self) -> None:
        """Forget everything, as if the robots were new."""
        for one in (
            self.requests,
            self.messages,
            self.refusals,
            self.keys,
            self._times,
            self._blocked_until_s,
        ):
            one.clear()
        self.away.clear()
        self.hanging.clear()
        self.released.clear()

    def wecom(self, robot: str) -> str:
        """Return the address of a WeCom robot."""
        return f"{self.url}/cgi-bin/webhook/send?key={robot}"

    def dingtalk(self, robot: str) -> str:
        """Return the address of a DingTalk robot."""
        return f"{self.url}/robot/send?access_token={robot}"

    def feishu(self, robot: str) -> str:
        """Return the address of a Feishu robot."""
        return f"{self.url}/open-apis/bot/v2/hook/{robot}"

    def webhook(self, name: str) -> str:
        """Return the address of a webhook."""
        return f"{self.url}/hook/{name}"

    def answer(self, target: str, headers: Any, body: bytes) -> tuple[int, dict[str, Any]] | None:
        """Return status and content of a response; None closes the connection."""
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        robot = query.get("key") or query.get("access_token") or parts.path.rpartition("/")[2]
        with self._lock:
            self.requests[robot] += 1
        if robot in self.hanging:
            self.released.wait(20)
        if robot in self.away:
            return None
        with self._lock:
            if parts.path == "/cgi-bin/webhook/send":
                code, message = self._wecom(robot, body)
                return 200, {"errcode": code, "errmsg": message}
            if parts.path == "/robot/send":
                code, message = self._dingtalk(robot, query, headers, body)
                return 200, {"errcode": code, "errmsg": message}
            if parts.path.startswith("/open-apis/bot/v2/hook/"):
                code, message = self._feishu(robot, body)
                return (400 if code == 9499 else 200), {"code": code, "msg": message, "data": {}}
            if parts.path.startswith("/hook/"):
                return self._webhook(robot, headers, body), {}
        return 404, {}

    def _wecom(self, robot: str, body: bytes) -> tuple[int, str]:
        if self._exceeds(robot, 20):
            return self._refused(robot, 45009), "api freq out of limit"
        content = json.loads(body)
        kind = content.get("msgtype")
        if kind not in {"text", "markdown"}:
            return self._refused(robot, 40008), "invalid message type"
        text = content[kind]["content"]
        if len(text.encode()) > {"text": 2048, "markdown": 4096}[kind] or not text:
            return self._refused(robot, 40058), TOO_LONG
        return self._accepted(robot, text), "ok"

    def _dingtalk(self, robot: str, query: dict[str, str], headers: Any, body: bytes) -> tuple[int, str]:  # noqa: PLR0911
        if self.now_s < self._blocked_until_s.get(robot, 0.0):
            return self._refused(robot, 130101), "send too fast, exceed 20 times per minute"
        if self._exceeds(robot, 20):
            self._blocked_until_s[robot] = self.now_s + BLOCK_S
            return self._refused(robot, 130101), "send too fast, exceed 20 times per minute"
        stamp = query.get("timestamp", "0")
        expected = hmac.new(SIGN_KEY.encode(), f"{stamp}\n{SIGN_KEY}".encode(), hashlib.sha256).digest()
        if query.get("sign") != base64.b64encode(expected).decode():
            return self._refused(robot, 310000), "sign not match"
        if abs(int(stamp) / 1000 - self.now_s) > 3600:
            return self._refused(robot, 310000), "invalid timestamp"
        if "application/json" not in headers.get("Content-Type", ""):
            return self._refused(robot, 43004), "content type is not json"
        content = json.loads(body)["markdown"]
        if not content["title"] or len(body) > 20_000:
            return self._refused(robot, 460101), TOO_LONG
        return self._accepted(robot, content["text"]), "ok"

    def _feishu(self, robot: str, body: bytes) -> tuple[int, str]:
        content = json.loads(body)
        recent = [one for one in self._times[robot] if one > self.now_s - 1.0]
        if self._exceeds(robot, 100) or len(recent) >= 5:
            return self._refused(robot, 11232), "frequency limited"
        stamp = content.get("timestamp", "0")
        expected = hmac.new(f"{stamp}\n{SIGN_KEY}".encode(), digestmod=hashlib.sha256).digest()
        is_signed = content.get("sign") == base64.b64encode(expected).decode()
        if not is_signed or abs(int(stamp) - self.now_s) > 3600:
            return self._refused(robot, 19021), "sign match fail or timestamp is not within one hour"
        if len(body) > 20 * 1024:
            return self._refused(robot, 9499), "Bad Request"
        return self._accepted(robot, content["card"]["elements"][0]["content"]), "success"

    def _webhook(self, robot: str, headers: Any, body: bytes) -> int:
        stamp = headers.get("X-Towntwin-Timestamp", "0")
        expected = hmac.new(SIGN_KEY.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
        if headers.get("X-Towntwin-Signature") != f"v1={expected}" or abs(int(stamp) - self.now_s) > 300:
            self._refused(robot, 401)
            return 401
        self.keys[robot].add(headers["Idempotency-Key"])
        self._accepted(robot, json.loads(body)["text"])
        return 204

    def _exceeds(self, robot: str, per_minute: int) -> bool:
        """Whether a message more than ``per_minute`` came in a minute; those refused count, too."""
        self._times[robot].append(self.now_s)
        return sum(one > self.now_s - MINUTE_S for one in self._times[robot]) > per_minute

    def _accepted(self, robot: str, text: str) -> int:
        self.messages[robot].append((self.now_s, text))
        return 0

    def _refused(self, robot: str, code: int) -> int:
        self.refusals[robot].append(code)
        return code


@contextmanager
def serve_messengers() -> Iterator[FakeMessengers]:
    """Serve the fakes on a free port of loopback."""
    fakes = FakeMessengers()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = fakes.answer(self.path, self.headers, body)
            if answer is None:
                self.close_connection = True
                return
            content = json.dumps(answer[1]).encode()
            self.send_response(answer[0])
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "0" if answer[0] == 204 else str(len(content)))
            self.end_headers()
            if answer[0] != 204:
                self.wfile.write(content)

        def log_message(self, *_args: Any) -> None:
            """Write nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fakes.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield fakes
    finally:
        fakes.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
