"""Forwards heavy requests to a process of their own with a lower priority (decision 0032).

The gateway admits, queues and audits them as all others. In its own process they would hold the interpreter,
for which every short request waits some milliseconds at each of its steps.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from starlette.exceptions import HTTPException

from gateway import heavy_protocol as protocol
from gateway.access import visit as visits
from gateway.heavy_protocol import Began, BodyPart, BodyRefused, HeavyRequest, Sent
from gateway.problems import ProblemError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Message, Receive, Scope, Send

    from gateway.access.visit import Visit
    from gateway.known import Directories
    from gateway.settings import Settings
    from ingest_service.storage.postgres import PostgresStore

log = structlog.get_logger()

REPOSITORY = Path(__file__).parents[1]
BACKLOG = 100  # connections that wait while the process starts
AGAIN_S, LONGEST_S = 0.5, 30.0  # between an end and the next start: twice as long each time
FORGIVE_S = 60.0  # a process that ran for so long is started again after the shortest wait
END_S = 5.0
GONE = (OSError, asyncio.IncompleteReadError)


class Started(msgspec.Struct, frozen=True):
    """What the process gets on its standard input: no argument, for arguments can be read by everybody."""

    dsn: str
    storage: dict[str, Any]
    settings: dict[str, Any]


class EndedError(Exception):
    """The process ended, or failed, in the middle of an answer."""


class HeavyProcess:
    """An ASGI application that has a process of its own answer; the process is started again where it ended.

    Parameters
    ----------
    store : whose database the process opens
    command : starts the process; the number of the socket that it listens on is added

    """

    def __init__(
        self, store: PostgresStore, settings: Settings, directories: Directories, command: Sequence[str]
    ) -> None:
        dsn, storage = store.opened_with
        self._started = msgspec.msgpack.encode(
            Started(dsn, msgspec.to_builtins(storage), msgspec.to_builtins(settings))
        )
        self._directories = directories
        self._command = command
        self._folder = Path(tempfile.mkdtemp(prefix="towntwin-gateway-"))  # for its owner alone
        self._address = self._folder / "heavy"
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self._address))
        self._listening.listen(BACKLOG)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed = False
        self._again_s = AGAIN_S

    @property
    def pid(self) -> int | None:
        """Of the process; None before its first start."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process, if it does not run; until it listens, connections wait in the backlog."""
        with self._lock:
            if self._is_closed or (self._process is not None and self._process.poll() is None):
                return
            number = self._listening.fileno()
            self._process = subprocess.Popen(
                [*self._command, str(number)],
                cwd=REPOSITORY,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=[number],
            )
            assert self._process.stdin is not None  # noqa: S101 - it is a pipe
            with suppress(OSError):
                self._process.stdin.write(struct.pack(">I", len(self._started)) + self._started)
                self._process.stdin.flush()  # and it stays open: the process ends with this one
        threading.Thread(target=self._watch, args=(self._process,), daemon=True, name="heavy_process").start()

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """Start the process again where it ended by itself: requests may wait for it in the backlog."""
        began_s = time.monotonic()
        code = process.wait()
        if process.stdin is not None:
            with suppress(OSError):
                process.stdin.close()
        if not self._is_closed:
            if time.monotonic() - began_s > FORGIVE_S:
                self._again_s = AGAIN_S
            log.warning("heavy_process_ended", exit_code=code, next_start_in_s=self._again_s)
            time.sleep(self._again_s)
            self._again_s = min(LONGEST_S, 2 * self._again_s)
            self.start()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._is_closed = True
        if self._process is not None:
            if self._process.stdin is not None:
                with suppress(OSError):
                    self._process.stdin.close()
            try:
                self._process.wait(END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._listening.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that was let in.

        Raises
        ------
        ProblemError
            503 where the process ended before the answer began.
        EndedError
            Where it ended later.

        """
        if self._process is None:
            self.start()
        reader, writer = await asyncio.open_unix_connection(self._address)
        listening = asyncio.create_task(self._listen(scope, receive, writer))
        has_begun = False
        try:
            message: Began | Sent
            while True:
                message = await protocol.read(reader, Began | Sent)  # type: ignore[arg-type]
                has_begun = True
                if await _answered(message, scope, send):
                    return
        except GONE as error:
            if has_begun:
                raise EndedError("the process for heavy requests ended in the middle of an answer") from error
            detail = "the process for heavy requests ended: try again in a few seconds"
            raise ProblemError(503, detail, headers={"Retry-After": "5"}) from error
        finally:
            listening.cancel()
            writer.close()

    async def _listen(self, scope: Scope, receive: Receive, writer: asyncio.StreamWriter) -> None:
        """Send the request, and then what comes from the client; the end where the client is gone."""
        with suppress(OSError):
            await protocol.write(writer, _request(scope, self._directories.changes))
            while True:
                try:
                    message = await receive()
                except HTTPException as error:
                    refused = BodyRefused(error.status_code, error.detail, dict(error.headers or {}))
                    await protocol.write(writer, refused)
                    return
                if message["type"] == "http.disconnect":
                    writer.write_eof()
                    return
                part = BodyPart(message.get("body", b""), message.get("more_body", False))
                await protocol.write(writer, part)


def _request(scope: Scope, changes: int) -> HeavyRequest:
    visit: Visit = scope[visits.KEY]
    assert visit.principal is not None  # noqa: S101 - heavy requests need a key
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
        principal=visit.principal,
        address=visit.address,
        directory_changes=changes,
    )


async def _answered(message: Began | Sent, scope: Scope, send: Send) -> bool:
    """Pass a part of the answer on; True for the last one."""
    visit: Visit = scope[visits.KEY]
    visit.rows, visit.is_export = message.noted.rows, message.noted.is_export
    visit.detail.update(message.noted.detail)
    part: Message
    if isinstance(message, Began):
        scope["route"] = SimpleNamespace(path=message.route or "other")  # requests are counted by route
        part = {"type": "http.response.start", "status": message.status, "headers": message.headers}
        await send(part)
        return False
    await send({"type": "http.response.body", "body": message.body, "more_body": message.more})
    return not message.more
