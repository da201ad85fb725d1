"""Forwards heavy requests (exports, plots, SensorThings, …) to a low-priority worker process (decision 0032).

The gateway authenticates, queues and audits heavy requests like all others. Run in the gateway's own process,
they would hold the interpreter lock, and every short request would wait some milliseconds at each step.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from starlette.exceptions import HTTPException

from gateway import heavy_protocol
from gateway.api.problems import ProblemError
from gateway.auth import request_auth
from gateway.errors import GatewayError
from gateway.heavy_protocol import BodyPart, BodyRejection, HeavyRequest, ResponseBody, ResponseStart
from gateway.socket_folder import SocketFolder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Message, Receive, Scope, Send

    from gateway.api.directory_cache import DirectoryCache
    from gateway.auth.request_auth import RequestAuth
    from gateway.settings import Settings
    from ingest_service.storage.contract.store import Database

log = structlog.get_logger()

REPOSITORY = Path(__file__).parents[1]
MAX_WAITING_CONNECTIONS = 100  # listen backlog: connections that wait while the process starts
MIN_RESTART_WAIT_S, MAX_RESTART_WAIT_S = 0.5, 30.0  # between exit and restart; doubled each time
STABLE_AFTER_S = 60.0  # a process that ran for so long is restarted after the minimum wait
STOP_TIMEOUT_S = 5.0
CONNECTION_ERRORS = (OSError, asyncio.IncompleteReadError)


class WorkerStartup(msgspec.Struct, frozen=True):
    """Start message on the process' standard input; arguments would be visible to all users, with the DSN."""

    dsn: str
    storage: dict[str, Any]
    settings: dict[str, Any]
    network_worker: list[str] = []


class HeavyProcessEndedError(GatewayError):
    """The process ended, or failed, after the response had started."""


class HeavyProcess:
    """ASGI application that forwards requests to a worker process, which it starts and restarts.

    Parameters
    ----------
    database : the worker opens the same database
    settings : the worker runs with the same settings
    directories : its change count tells the worker when its own directory cache is out of date
    command : starts the worker; the file descriptor of its listening socket is appended
    network_worker : command of the process with which the worker reads and writes files of networks

    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        directories: DirectoryCache,
        command: Sequence[str],
        network_worker: Sequence[str] = (),
    ) -> None:
        dsn, storage = database.opened_with
        self._startup_message = msgspec.msgpack.encode(
            WorkerStartup(
                dsn,
                msgspec.to_builtins(storage),
                msgspec.to_builtins(settings, enc_hook=str),
                list(network_worker),
            )
        )
        self._directories = directories
        self._command = command
        self._socket_folder = SocketFolder()
        self._socket_path = self._socket_folder.path / "heavy"
        self._listening_socket = socket.socket(socket.AF_UNIX)
        self._listening_socket.bind(str(self._socket_path))
        self._listening_socket.listen(MAX_WAITING_CONNECTIONS)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed = False
        self._restart_wait_s = MIN_RESTART_WAIT_S

    @property
    def pid(self) -> int | None:
        """Process id of the worker; None before its first start."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the worker unless it runs; connections wait in the socket's backlog until it accepts them."""
        with self._lock:
            if self._is_closed or (self._process is not None and self._process.poll() is None):
                return
            socket_number = self._listening_socket.fileno()
            self._process = subprocess.Popen(
                [*self._command, str(socket_number)],
                cwd=REPOSITORY,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=[socket_number],
            )
            assert self._process.stdin is not None  # noqa: S101 - it is a pipe
            with suppress(OSError):
                self._process.stdin.write(
                    struct.pack(">I", len(self._startup_message)) + self._startup_message
                )
                self._process.stdin.flush()  # stays open: the worker ends with this process
        threading.Thread(target=self._watch, args=(self._process,), daemon=True, name="heavy_process").start()

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """Restart the worker after an unexpected exit; requests may be waiting in the backlog."""
        started_at_s = time.monotonic()
        code = process.wait()
        if process.stdin is not None:
            with suppress(OSError):
                process.stdin.close()
        if not self._is_closed:
            if time.monotonic() - started_at_s > STABLE_AFTER_S:
                self._restart_wait_s = MIN_RESTART_WAIT_S
            log.warning("heavy_process_ended", exit_code=code, next_start_in_s=self._restart_wait_s)
            time.sleep(self._restart_wait_s)
            self._restart_wait_s = min(MAX_RESTART_WAIT_S, 2 * self._restart_wait_s)
            self.start()

    def close(self) -> None:
        """Stop the worker: close its standard input, and kill it after `STOP_TIMEOUT_S`."""
        with self._lock:
            self._is_closed = True
        if self._process is not None:
            if self._process.stdin is not None:
                with suppress(OSError):
                    self._process.stdin.close()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._listening_socket.close()
        self._socket_folder.remove()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward an authenticated request to the worker, and its response to the client.

        Raises
        ------
        ProblemError
            503 if the worker ended before the response started.
        HeavyProcessEndedError
            If it ended later.

        """
        if self._process is None:
            self.start()
        reader, writer = await asyncio.open_unix_connection(self._socket_path)
        forwarding_task = asyncio.create_task(self._forward_request(scope, receive, writer))
        has_started = False
        try:
            message: ResponseStart | ResponseBody
            while True:
                message = await heavy_protocol.read_message(reader, ResponseStart | ResponseBody)  # type: ignore[arg-type]
                has_started = True
                if await _forward_response(message, scope, send):
                    return
        except CONNECTION_ERRORS as error:
            if has_started:
                raise HeavyProcessEndedError(
                    "the process for heavy requests ended in the middle of an answer"
                ) from error
            detail = "the process for heavy requests ended: try again in a few seconds"
            raise ProblemError(503, detail, headers={"Retry-After": "5"}) from error
        finally:
            forwarding_task.cancel()
            writer.close()

    async def _forward_request(self, scope: Scope, receive: Receive, writer: asyncio.StreamWriter) -> None:
        """Send the request and the parts of its body; send end of file once the client disconnects."""
        with suppress(OSError):
            await heavy_protocol.write_messages(writer, _heavy_request(scope, self._directories.change_count))
            while True:
                try:
                    message = await receive()
                except HTTPException as error:
                    body_error = BodyRejection(error.status_code, error.detail, dict(error.headers or {}))
                    await heavy_protocol.write_messages(writer, body_error)
                    return
                if message["type"] == "http.disconnect":
                    writer.write_eof()
                    return
                message_part = BodyPart(message.get("body", b""), message.get("more_body", False))
                await heavy_protocol.write_messages(writer, message_part)


def _heavy_request(scope: Scope, change_count: int) -> HeavyRequest:
    auth: RequestAuth = scope[request_auth.AUTH_SCOPE_KEY]
    assert auth.principal is not None  # noqa: S101 - heavy requests need a key
    return HeavyRequest(
        method=scope["method"],
        path=scope["path"],
        raw_path=scope.get("raw_path") or b"",
        query_string=scope["query_string"],
        headers=scope["headers"],
        scheme=scope["scheme"],
        http_version=scope["http_version"],
        server=scope.get("server"),
        client=scope.get("client"),
        principal=auth.principal,
        address=auth.address,
        directory_changes=change_count,
    )


async def _forward_response(message: ResponseStart | ResponseBody, scope: Scope, send: Send) -> bool:
    """Send a part of the response to the client and copy its audit data; True for the last part."""
    auth: RequestAuth = scope[request_auth.AUTH_SCOPE_KEY]
    auth.rows, auth.is_export = message.audit_data.rows, message.audit_data.is_export
    auth.detail.update(message.audit_data.detail)
    auth.uncharged_s = message.audit_data.uncharged_s
    message_part: Message
    if isinstance(message, ResponseStart):
        scope["route"] = SimpleNamespace(path=message.route or "other")  # metrics are labelled by route
        message_part = {"type": "http.response.start", "status": message.status, "headers": message.headers}
        await send(message_part)
        return False
    await send({"type": "http.response.body", "body": message.body, "more_body": message.has_more})
    return not message.has_more
