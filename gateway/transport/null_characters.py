"""Refuses requests that contain the character NUL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.api import problems

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

NUL_DETAIL = "the character NUL (%00) stands in the {}, and nothing here has it: leave it out"


class NullCharacterFilter:
    """ASGI middleware: 400 where the path or the query holds NUL.

    PostgreSQL keeps no NUL in a text, so such a request would fail wherever it is first looked up or noted.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a problem, or pass on."""
        app = self._app
        if scope["type"] == "http":
            query: bytes = scope["query_string"]
            if "\0" in scope["path"]:
                app = problems.problem_response(400, NUL_DETAIL.format("path"), where="path")
            elif b"%00" in query or b"\0" in query:
                app = problems.problem_response(400, NUL_DETAIL.format("query"), where="query")
        await app(scope, receive, send)
