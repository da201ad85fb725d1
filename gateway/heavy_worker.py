"""Worker process for heavy requests (exports, plots, …): serves the gateway's routes at low priority.

Not meant to be run by hand: `gateway.heavy_process` starts it by ``python -m deploy.heavy_worker``. It serves
an inherited Unix socket, which only the gateway can reach, with a database connection pool of its own, and
ends when its standard input is closed.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import struct
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from starlette.exceptions import HTTPException

from gateway import compile_steps, heavy_protocol
from gateway.app import create_worker_app
from gateway.auth import request_auth
from gateway.auth.request_auth import RequestAuth
from gateway.heavy_process import CONNECTION_ERRORS, WorkerStartup
from gateway.heavy_protocol import (
    BodyPart,
    BodyRejection,
    HeavyRequest,
    ResponseAuditData,
    ResponseBody,
    ResponseStart,
)
from gateway.settings import Settings
from ingest_service.storage.contract.errors import StoreUnavailableError
from ingest_service.storage.postgres.store import PostgresStore
from ingest_service.storage.settings import Settings as Storage

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import Message, Scope

    from gateway.auth.authorization import RouteRights

log = structlog.get_logger()

# A third of the processor share of a process of normal priority; the upload parsers inherit it.
WORKER_NICENESS = 5
GC_THRESHOLD = 50_000  # as in `gateway.server`
LINGER_S = 5.0  # for the gateway to close a connection whose response is complete
DRAIN_CHUNK_BYTES = 1 << 16


def main(socket_fd: int) -> None:
    """Serve heavy requests on the inherited socket ``socket_fd`` until standard input ends."""
    for one in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # the gateway stops this process, after the last responses
        signal.signal(one, signal.SIG_IGN)
    (length,) = struct.unpack(">I", sys.stdin.buffer.read(4))
    startup = msgspec.msgpack.decode(sys.stdin.buffer.read(length), type=WorkerStartup)
    end = threading.Event()
    threading.Thread(target=_watch_input, args=(end,), daemon=True, name="input").start()
    try:
        store = PostgresStore.open(startup.dsn, settings=msgspec.convert(startup.storage, Storage), stop=end)
    except StoreUnavailableError:  # the gateway ended while the database was away
        os._exit(0)
    settings = msgspec.convert(startup.settings, Settings, dec_hook=_decode_path)
    app = create_worker_app(store, settings, startup.network_worker)
    os.nice(WORKER_NICENESS)  # only now: requests may be waiting until this process is ready
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    app.state.judge_loader.start_if_quick()
    compile_steps.start_loading()  # beside the first requests, which would do so otherwise
    asyncio.run(HeavyWorker(app).serve(socket.socket(fileno=socket_fd), end))
    os._exit(0)  # skips joining threads that may wait for an unreachable database; no state to save


def _watch_input(end: threading.Event) -> None:
    """Set ``end`` when the gateway closes this process' standard input, or ends."""
    sys.stdin.buffer.read()
    end.set()


def _decode_path(kind: type, text: Any) -> Any:
    """Return the text of a setting as its type, which is a path."""
    return kind(text)


class HeavyWorker:
    """Serves connections of the gateway with an ASGI application, one request each."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._directory_changes = 0

    async def serve(self, listening_socket: socket.socket, end: threading.Event) -> None:
        """Accept connections until ``end`` is set."""
        server = await asyncio.start_unix_server(self._on_connection, sock=listening_socket)
        async with server:
            await asyncio.to_thread(end.wait)

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await heavy_protocol.read_message(reader, HeavyRequest)
            if request.directory_changes != self._directory_changes:
                self._directory_changes = request.directory_changes
                self._app.state.context.directories.invalidate()
            await self._handle_request(request, reader, writer)
            # Closing the socket while the gateway still sends the body would reset the connection, and lose
            # the part of the response that the gateway has not read yet.
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER_S):
                    while await reader.read(DRAIN_CHUNK_BYTES):
                        pass
        except CONNECTION_ERRORS:
            pass
        except Exception:
            log.exception("heavy_request_failed")
        finally:
            writer.close()

    async def _handle_request(
        self, request: HeavyRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        scope = _asgi_scope(request, self._app.state.route_rights)
        auth: RequestAuth = scope[request_auth.AUTH_SCOPE_KEY]

        async def receive() -> Message:
            part: BodyPart | BodyRejection
            try:
                part = await heavy_protocol.read_message(reader, BodyPart | BodyRejection)  # type: ignore[arg-type]
            except CONNECTION_ERRORS:
                return {"type": "http.disconnect"}
            if isinstance(part, BodyRejection):
                raise HTTPException(part.status, part.detail, part.headers)
            return {"type": "http.request", "body": part.body, "more_body": part.has_more}

        pending_start: list[ResponseStart] = []

        async def send(message: Message) -> None:
            audit_data = ResponseAuditData(auth.rows, auth.is_export, auth.detail, auth.uncharged_s)
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", None)
                headers = list(message.get("headers", []))
                pending_start.append(
                    ResponseStart(message["status"], headers, route, audit_data)
                )  # sent together with the first part of the body, in one write
            else:
                body, has_more = message.get("body", b""), message.get("more_body", False)
                response_start, pending_start[:] = pending_start[:], []
                await heavy_protocol.write_messages(
                    writer, *response_start, ResponseBody(body, has_more, audit_data)
                )

        await self._app(scope, receive, send)


def _asgi_scope(request: HeavyRequest, route_rights: RouteRights) -> Scope:
    matched_route = route_rights.match(request.method, request.path)
    assert matched_route is not None  # noqa: S101 - the gateway has matched it before
    auth: Any = RequestAuth(matched_route, request.address, principal=request.principal)
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": request.http_version,
        "method": request.method,
        "scheme": request.scheme,
        "path": request.path,
        "raw_path": request.raw_path,
        "query_string": request.query_string,
        "root_path": "",
        "headers": request.headers,
        "server": request.server,
        "client": request.client,
        request_auth.AUTH_SCOPE_KEY: auth,
    }
