"""Replaces JSON problem responses by HTML error pages (Chinese and English) when a browser opens a page.

A browser's page request accepts ``text/html``. If its response is a problem (RFC 9457), this middleware sends
a self-reloading page with the same status instead. Other clients, the API below ``/v1`` and ``/sta``, and the
paths that load balancers and Prometheus read keep their JSON.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse

from gateway.api.problems import PROBLEM_MEDIA_TYPE

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

JSON_PATHS = ("/v1/", "/sta/", "/openapi.json", "/metrics", "/healthz", "/readyz")
BODY_HEADERS = ("content-type", "content-length", "content-encoding", "content-security-policy")
# A fault may pass by itself; a rejection lasts until the user or an administrator acts.
FAULT_RELOAD_S, REJECTION_RELOAD_S = 5, 30


class ErrorPageText(NamedTuple):
    """Text of an error page, cause and remedy, in both languages."""

    en: str
    zh: str


TEXTS_BY_STATUS: dict[int, ErrorPageText] = {
    401: ErrorPageText(
        "You are not signed in, or your key has ended. Sign in again.", "尚未登录或密钥已失效，请重新登录。"
    ),
    403: ErrorPageText(
        "Your key does not give access to this page. Ask an administrator for one that does.",
        "当前密钥无权访问此页面，请向管理员申请相应权限的密钥。",
    ),
    404: ErrorPageText("There is no such page. Go to the console.", "页面不存在，请返回运行监测页面。"),
    429: ErrorPageText(
        "Too many requests or open pages. Close pages that are not needed; this one tries again by itself.",
        "请求过于频繁或打开的页面过多，请关闭不需要的页面；本页将自动重试。",
    ),
    500: ErrorPageText(
        "The gateway failed. This page tries again by itself; if it stays, see the gateway's log.",
        "网关出现故障，本页将自动重试；如持续出现，请查看网关日志。",
    ),
    503: ErrorPageText(
        "The database does not answer. Check first that it runs, then its disk, then the network to it."
        " Devices keep their readings meanwhile. This page tries again by itself.",
        "数据库无应答。请依次检查：数据库是否运行、磁盘是否已满、网络是否通畅。期间读数保留在设备中。本页将自动重试。",
    ),
    504: ErrorPageText(
        "The database took too long. This page tries again by itself.", "数据库响应超时，本页将自动重试。"
    ),
}
DEFAULT_TEXT = ErrorPageText("The request was refused.", "请求被拒绝。")

PAGE_STYLE = """
body { background: #0b1420; color: #dbe4ee; font-family: system-ui, "Noto Sans CJK SC", sans-serif;
       display: grid; place-items: center; min-height: 95vh; margin: 0; }
main { background: #121f2f; border: 1px solid #1f3147; border-radius: 10px; padding: 24px; margin: 12px;
       max-width: 520px; }
h1 { font-size: 18px; margin: 0 0 12px; } p { line-height: 1.6; margin: 8px 0; }
a { color: #7ec8ff; margin-right: 16px; } .small { color: #8fa3b8; font-size: 13px; }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(PAGE_STYLE.encode()).digest()).decode()
PAGE_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; base-uri 'none'; form-action "
    "'none';"
    " frame-ancestors 'none'"
)


class BrowserErrorPages:
    """ASGI middleware that replaces problem responses to page requests of browsers by HTML pages."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; replace its response if that is a problem."""
        if not is_page_request(scope):
            await self._app(scope, receive, send)
            return
        is_started = is_replaced = False

        async def send_replacing(message: Message) -> None:
            nonlocal is_started, is_replaced
            if message["type"] == "http.response.start":
                headers = Headers(raw=message["headers"])
                if headers.get("content-type", "").startswith(PROBLEM_MEDIA_TYPE):
                    is_replaced = True
                    await _error_page(message["status"], headers)(scope, receive, send)
            if not is_replaced:
                is_started = True
                await send(message)

        try:
            await self._app(scope, receive, send_replacing)
        except Exception:
            if not is_started and not is_replaced:
                response = HTMLResponse(error_page_html(500), 500, {"content-security-policy": PAGE_POLICY})
                await response(scope, receive, send)
            raise  # to the handler of the application, which logs it


def is_page_request(scope: Scope) -> bool:
    """Whether a request is a browser's request for a page."""
    return (
        scope["type"] == "http"
        and scope["method"] in {"GET", "HEAD"}
        and not scope["path"].startswith(JSON_PATHS)
        and "text/html" in Headers(scope=scope).get("accept", "")
    )


def _error_page(status: int, problem: Headers) -> HTMLResponse:
    """Return the page with the problem's own headers, except those that describe its body."""
    kept_headers = {name: value for name, value in problem.items() if name not in BODY_HEADERS}
    return HTMLResponse(
        error_page_html(status), status, {**kept_headers, "content-security-policy": PAGE_POLICY}
    )


def error_page_html(status: int) -> str:
    """Return the HTML page of a status; it reloads by ``<meta>`` refresh, as its policy allows no script."""
    texts = TEXTS_BY_STATUS.get(status, DEFAULT_TEXT)
    reload_s = FAULT_RELOAD_S if status >= 500 or status == 429 else REJECTION_RELOAD_S
    return f"""<!doctype html><html lang="zh-CN"><head><meta charset="utf-8"><title>towntwin</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="{reload_s}">\
<link rel="icon" href="data:,"><style>{PAGE_STYLE}</style></head>
<body><main><h1>towntwin · {status}</h1><p>{escape(texts.zh)}</p><p lang="en">{escape(texts.en)}</p>
<p><a href="/">运行监测 · Console</a><a href="/login">登录 · Sign in</a></p>
<p class="small">{reload_s}秒后自动重试 · <span lang="en">tries again in {reload_s} s</span></p>
</main></body></html>"""
