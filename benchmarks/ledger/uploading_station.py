"""An HJ 212 station that uploads numbered readings, each again and again until the server has answered it."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

from benchmarks.ledger.counting_agent import INTERVAL_S, value_of
from gateway.hj212.frames import Frame, FrameReader
from gateway.hj212.segment import Segment, build_frame, decode_text, parse_segment

STATION, STATION_DEVICE = "LEDGER0000000001", "ledger-h1"
UPLOAD_INTERVAL_S = 0.05
ANSWER_TIMEOUT_S = 3.0
RECONNECT_S = 0.2
LOCAL_TIME_S = 8 * 3600  # of HJ 212: Beijing time
DATA_ANSWER = "9014"


class UploadingStation:
    """A station on a thread of its own.

    Parameters
    ----------
    port : of the server, on loopback
    start_s : time of measurement of the reading with number 0, Unix seconds [s]

    Attributes
    ----------
    answered : number of uploads that the server has answered; they are numbered from 0

    """

    def __init__(self, port: int, start_s: int) -> None:
        self.port, self._start_s = port, start_s
        self.answered = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="station", daemon=True)
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Begin to upload."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the upload that is under way."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def disconnect(self) -> None:
        """End the connection, in the middle of whatever goes on."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        while not self._stop.is_set():
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)) as connected:
                connected.settimeout(ANSWER_TIMEOUT_S)
                self._socket = connected
                self._upload(connected)
            self._stop.wait(RECONNECT_S)

    def _upload(self, connected: socket.socket) -> None:
        """Upload until the connection breaks or no answer comes."""
        reader = FrameReader()
        while not self._stop.wait(UPLOAD_INTERVAL_S):
            request = time.strftime("%Y%m%d%H%M%S", time.gmtime()) + f"{self.answered % 1000:03d}"
            connected.sendall(self._frame(request))
            segments: list[Segment] = []
            while not segments:
                received = connected.recv(4096)
                if not received:  # the server closed
                    return
                frames = [one for one in reader.feed(received) if isinstance(one, Frame)]
                segments = [parse_segment(decode_text(one.segment)) for one in frames]
            if any(one.command == DATA_ANSWER and one.request == request for one in segments):
                self.answered += 1

    def _frame(self, request: str) -> bytes:
        number = self.answered
        local_s = self._start_s + number * INTERVAL_S + LOCAL_TIME_S
        local = time.strftime("%Y%m%d%H%M%S", time.gmtime(local_s))
        content = f"DataTime={local};w01001-Rtd={value_of(number)},w01001-Flag=N"
        return build_frame(
            Segment(request=request, system="21", command="2011", station=STATION, flag=5, content=content)
        )
