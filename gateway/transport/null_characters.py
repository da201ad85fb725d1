"""Rejects requests with the character NUL in the path or the query (400)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.api import problems

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

NUL_DETAIL = "the character NUL (%00) stands in the {}, and nothing here has it: leave it out"


class NullCharacterFilter:
    """ASGI middleware that responds with 400 if the path or the query contains NUL.

    PostgreSQL's ``text`` can't hold NUL, so such a request would fail in the first query or audit record.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond with a problem, or pass the request on."""
        app = self._app
        if scope["type"] == "http":
            query: bytes = scope["query_string"]
            if "\0" in scope["path"]:
                app = problems.problem_response(400, NUL_DETAIL.format("path"), where="path")
            elif b"%00" in query or b"\0" in query:
                app = problems.problem_response(400, NUL_DETAIL.format("query"), where="query")
        await app(scope, receive, send)
