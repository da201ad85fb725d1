"""An upper platform as strict as HJ 212 permits: checks each frame, and keeps what came."""

from __future__ import annotations

import socketserver
import threading
from typing import TYPE_CHECKING, Any, Self

from gateway.hj212.checksum import hj212_checksum
from gateway.hj212.frames import Frame, FrameReader
from gateway.hj212.segment import Segment, build_frame, decode_text, parse_segment

if TYPE_CHECKING:
    from types import TracebackType

MAX_SEGMENT = 1024


class UpperPlatformServer:
    """Records uploads by request number; a second one under the same number has to be the same but for RF.

    Attributes
    ----------
    uploads : segment of each request number, in order of arrival
    resent : request numbers that came marked with RF=1
    repeated : how many uploads came again
    problems : what is not as the standard wants it
    unanswered : the next so many uploads get no answer
    dropped : the next so many uploads are recorded, and the connection is closed instead of an answer
    refused : the next so many uploads get 9011 with QnRtn=3

    """

    def __init__(self, port: int = 0) -> None:
        self.uploads: dict[str, Segment] = {}
        self.resent: set[str] = set()
        self.answers: list[Segment] = []
        self.repeated = 0
        self.problems: list[str] = []
        self.unanswered = self.dropped = self.refused = 0
        self._lock = threading.Lock()
        platform = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                reader = FrameReader()
                while data := self.request.recv(65_536):
                    for found in reader.feed(data):
                        if not platform._take(found, self.request):
                            return

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = daemon_threads = True

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def values(self, command: str) -> list[tuple[str, str, str]]:
        """Return station, DataTime and item of everything that came by a command, in order of arrival."""
        with self._lock:
            return [
                (segment.station, segment.content[9:23], item)
                for segment in self.uploads.values()
                if segment.command == command
                for item in segment.content.split(";")[1:]
            ]

    def _take(self, found: Any, connection: Any) -> bool:
        with self._lock:
            if not isinstance(found, Frame) or found.note or found.wrong_length:
                self.problems.append(f"not a frame: {found}")
                return True
            if found.checksum != hj212_checksum(found.segment) or len(found.segment) > MAX_SEGMENT:
                self.problems.append(f"checksum or size: {found}")
            segment = parse_segment(decode_text(found.segment))
            if segment.command.startswith("9"):
                self.answers.append(segment)
                return True
            if not segment.answer_wanted or len(segment.request) != len("20260101080000000"):
                self.problems.append(f"no QN, or no answer wanted: {segment}")
            if segment.resent:
                self.resent.add(segment.request)
            before = self.uploads.get(segment.request)
            self.repeated += before is not None
            if before is not None and before.content != segment.content:
                self.problems.append(f"another content under the same QN: {segment}")
            self.uploads.setdefault(segment.request, segment)
            for reaction in ("unanswered", "dropped", "refused"):
                left = getattr(self, reaction)
                if left:
                    setattr(self, reaction, left - 1)
                    if reaction == "refused":
                        connection.sendall(_answer(segment, "9011", "QnRtn=3"))
                    return reaction != "dropped"
        connection.sendall(_answer(segment, "9014"))
        return True


def _answer(segment: Segment, command: str, content: str = "") -> bytes:
    return build_frame(
        Segment(
            request=segment.request,
            system="91",
            command=command,
            password=segment.password,
            station=segment.station,
            flag=(segment.flag or 0) & 0b11111100,
            content=content,
        )
    )
