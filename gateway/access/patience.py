"""HTTP protocol with time-outs: ends connections without a whole head, and those that read nothing.

Heads are bounded while they come, before anybody's key is looked at: httptools joins the parts of a header
value that comes in many reads, in time that grows with the square of its length, and calls back only when
the value is whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

    from gateway.settings import Settings

HEAD_BYTES = (
    64 * 1024
)  # request line and headers; also the trailers, and what stands between two parts of a body
MOST_HEADERS = 200  # of one head
PIPELINED = 100  # requests of one connection that wait for the answers to earlier ones
PIECE_BYTES = 16 * 1024  # parsed at once, so that a head which is too long is noticed at most so much later
TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n"
    b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n\r\n%s"
)
TOO_LARGE_DETAIL = b"the head of a request may have %d bytes and %d headers: send fewer" % (
    HEAD_BYTES,
    MOST_HEADERS,
)
TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol with two timers, which `patient` sets, and a bound for heads.

    Bytes are counted from one call of the parser to the next that shows progress: the begin of a message,
    the end of its head, a part of its body, its end. So one count bounds the head, the trailers and the
    extensions of chunks.
    """

    head_s = 10.0
    stalled_s = 60.0
    _counted_bytes = 0  # since the parser last got on
    _has_progress = False  # in the piece that is parsed now
    _is_refused = False
    _head: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """A connection: its first head is awaited."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Some bytes: the next head begins where nothing is under way."""
        if self._head is None and (self.cycle is None or self.cycle.response_complete):
            self._await_head()
        whole = memoryview(data)
        for at in range(0, len(data), PIECE_BYTES):
            self._parse(bytes(whole[at : at + PIECE_BYTES]))
            if self._is_refused or self.transport.is_closing() or self.transport.get_protocol() is not self:
                return  # a WebSocket has a protocol of its own

    def on_message_begin(self) -> None:
        """A head begins."""
        self._progress()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer; those beyond the bound are not kept."""
        if len(self.headers) >= MOST_HEADERS:
            self._is_refused = True
        else:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._forget()
        self._progress()
        if not self._is_refused:
            super().on_headers_complete()
            self._is_refused = len(self.pipeline) > PIPELINED

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._progress()
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The message is whole."""
        self._progress()
        if not self._is_refused:
            super().on_message_complete()

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        super().pause_writing()
        self._stalled = self.loop.call_later(self.stalled_s, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads on."""
        if self._stalled is not None:
            self._stalled.cancel()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        self._forget()
        if self._stalled is not None:
            self._stalled.cancel()
        super().connection_lost(exc)

    def _progress(self) -> None:
        self._has_progress, self._counted_bytes = True, 0

    def _parse(self, piece: bytes) -> None:
        self._has_progress = False
        super().data_received(piece)
        if not self._has_progress:
            self._counted_bytes += len(piece)
        if self._is_refused or self._counted_bytes > HEAD_BYTES:
            self._refuse()

    def _refuse(self) -> None:
        """Answer 431, unless an answer to an earlier request is under way, and close the connection."""
        self._is_refused = True
        self._forget()
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(TOO_LARGE % (len(TOO_LARGE_DETAIL), TOO_LARGE_DETAIL))
        self.transport.close()

    def _await_head(self) -> None:
        self._head = self.loop.call_later(self.head_s, self._give_up)

    def _forget(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _give_up(self) -> None:
        self._head = None
        self.transport.write(TOO_SLOW)
        self.transport.close()


def patient(settings: Settings) -> type[PatientProtocol]:
    """The protocol with the times that the settings name."""
    times = {"head_s": settings.head_s, "stalled_s": settings.stalled_s}
    return type("PatientProtocol", (PatientProtocol,), times)
