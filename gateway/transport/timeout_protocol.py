"""uvicorn HTTP protocol with time-outs and size limits for request heads, and for clients that read nothing.

The head's size is limited while it arrives, before authentication: httptools concatenates the parts of a
header value that arrives in many reads, in time quadratic in its length, and calls back only when the value
is complete.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

    from gateway.settings import Settings

MAX_HEAD_BYTES = 64 * 1024  # request line and headers; also trailers, and chunk extensions within a body
MAX_HEADERS = 200  # of one head
MAX_PIPELINED = 100  # requests of one connection that wait for the responses to earlier ones
PARSE_CHUNK_BYTES = 16 * 1024  # parsed at once: a head that is too long is detected at most so much later
RESPONSE_431 = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n"
    b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n\r\n%s"
)
RESPONSE_431_DETAIL = b"the head of a request may have %d bytes and %d headers: send fewer" % (
    MAX_HEAD_BYTES,
    MAX_HEADERS,
)
RESPONSE_408 = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class TimeoutHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol with two timers, which `protocol_with_timeouts` sets, and a size limit for heads.

    Bytes are counted from one progress callback of the parser to the next: start of a message, end of its
    head, a part of its body, its end. So one count limits the head, the trailers and the chunk extensions.
    """

    head_s = 10.0
    stalled_s = 60.0
    _bytes_without_progress = 0  # since the parser's last progress callback
    _has_progress = False  # in the chunk that is parsed now
    _is_rejected = False
    _head_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the timer for the first head of a connection."""
        super().connection_made(transport)
        self._start_head_timer()

    def data_received(self, data: bytes) -> None:
        """Parse received bytes; start the head timer if no request is in progress."""
        if self._head_timer is None and (self.cycle is None or self.cycle.response_complete):
            self._start_head_timer()
        view = memoryview(data)
        for offset in range(0, len(data), PARSE_CHUNK_BYTES):
            self._parse_chunk(bytes(view[offset : offset + PARSE_CHUNK_BYTES]))
            if self._is_rejected or self.transport.is_closing() or self.transport.get_protocol() is not self:
                return  # a WebSocket has a protocol of its own

    def on_message_begin(self) -> None:
        """Note the start of a message."""
        self._note_progress()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header or a trailer; reject the request beyond `MAX_HEADERS`."""
        if len(self.headers) >= MAX_HEADERS:
            self._is_rejected = True
        else:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Stop the head timer; the request starts unless it is rejected."""
        self._cancel_head_timer()
        self._note_progress()
        if not self._is_rejected:
            super().on_headers_complete()
            self._is_rejected = len(self.pipeline) > MAX_PIPELINED

    def on_body(self, body: bytes) -> None:
        """Pass a part of the body on unless the request is rejected."""
        self._note_progress()
        if not self._is_rejected:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Note the end of the message."""
        self._note_progress()
        if not self._is_rejected:
            super().on_message_complete()

    def pause_writing(self) -> None:
        """Start the stall timer: the client does not read."""
        super().pause_writing()
        self._stall_timer = self.loop.call_later(self.stalled_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop the stall timer: the client reads again."""
        if self._stall_timer is not None:
            self._stall_timer.cancel()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop both timers."""
        self._cancel_head_timer()
        if self._stall_timer is not None:
            self._stall_timer.cancel()
        super().connection_lost(exc)

    def _note_progress(self) -> None:
        self._has_progress, self._bytes_without_progress = True, 0

    def _parse_chunk(self, chunk: bytes) -> None:
        self._has_progress = False
        super().data_received(chunk)
        if not self._has_progress:
            self._bytes_without_progress += len(chunk)
        if self._is_rejected or self._bytes_without_progress > MAX_HEAD_BYTES:
            self._reject()

    def _reject(self) -> None:
        """Respond with 431, unless an earlier response is in progress, and close the connection."""
        self._is_rejected = True
        self._cancel_head_timer()
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(RESPONSE_431 % (len(RESPONSE_431_DETAIL), RESPONSE_431_DETAIL))
        self.transport.close()

    def _start_head_timer(self) -> None:
        self._head_timer = self.loop.call_later(self.head_s, self._on_head_timeout)

    def _cancel_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _on_head_timeout(self) -> None:
        self._head_timer = None
        self.transport.write(RESPONSE_408)
        self.transport.close()


def protocol_with_timeouts(settings: Settings) -> type[TimeoutHttpProtocol]:
    """Return the protocol class with the time-outs of the settings."""
    timeouts = {"head_s": settings.head_s, "stalled_s": settings.stalled_s}
    return type("PatientProtocol", (TimeoutHttpProtocol,), timeouts)
