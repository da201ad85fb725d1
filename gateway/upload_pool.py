"""Parses uploads in a pool of processes; small JSON is parsed in this process."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from gateway import uploads
from gateway.forms import MEDIA
from gateway.problems import ProblemError
from gateway.upload_worker import TOO_MUCH, Parsed, receive, send
from gateway.uploads import Posted

if TYPE_CHECKING:
    from typing import IO

WORKERS = 2
PARSE_S = 10.0  # for one body: the largest that is allowed takes less than one second
START_S = 60.0  # for a process to start: some tenths of a second, and more on a busy machine
WAIT_S = 20.0  # for a process that is free
SMALL_BYTES = 1_000_000  # of JSON: some twenty times as much in memory, for a moment
TOO_LONG = f"body: it takes longer than {PARSE_S:g} s to read: send fewer rows"
ENVIRONMENT = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"}
REPOSITORY = Path(__file__).parents[1]


class Worker(NamedTuple):
    """One process, and both ends of the way to it."""

    process: subprocess.Popen[bytes]
    to: IO[bytes]
    source: IO[bytes]

    @classmethod
    def start(cls) -> Worker:
        """Start one, and wait until it reads, which is no part of the time that a body may take.

        Raises
        ------
        ProblemError
            503 where it does not start in time.

        """
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway.upload_worker"],
            cwd=REPOSITORY,
            env=os.environ | ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what a broken file makes libraries write
        )
        if process.stdin is None or process.stdout is None:
            raise OSError("a process was started without its pipes")
        worker = cls(process, process.stdin, process.stdout)
        timer = threading.Timer(START_S, process.kill)
        timer.start()
        try:
            is_ready = receive(worker.source) is not None
        finally:
            timer.cancel()
        if not is_ready:
            worker.end()
            detail = "the process that reads posted series does not start: try again in a few seconds"
            raise ProblemError(503, detail, headers={"Retry-After": "5"})
        return worker

    def ask(self, media_type: str, body: bytes) -> Parsed | None:
        """What the process makes of a body; None where it ended over it."""
        with suppress(OSError):  # it ended while it read
            send(self.to, media_type.encode(), body)
        answer = receive(self.source)
        return None if answer is None else msgspec.msgpack.decode(answer, type=Parsed)

    def end(self) -> None:
        """Kill the process."""
        self.process.kill()
        with suppress(OSError):
            self.to.close()
        self.source.close()
        self.process.wait()


class UploadPool:
    """Some processes that are started when they are first needed, and replaced when one ends.

    Closed by `close`, or when nobody holds the pool any more.
    """

    def __init__(self, workers: int = WORKERS, parse_s: float = PARSE_S) -> None:
        self._parse_s = parse_s
        self._free: queue.LifoQueue[Worker | None] = queue.LifoQueue()
        for _ in range(workers):
            self._free.put(None)
        weakref.finalize(self, _end_all, self._free)

    def close(self) -> None:
        """End the idle processes; a pool that is used again afterwards starts new ones."""
        for _ in range(_end_all(self._free)):
            self._free.put(None)

    def read(self, body: bytes, media_type: str) -> Posted:
        """The series of a body. Raises `ProblemError` saying what is wrong, and where."""
        kind = media_type.split(";", maxsplit=1)[0].strip().lower()
        if kind not in uploads.READERS or (kind == MEDIA["json"] and len(body) <= SMALL_BYTES):
            return uploads.read(body, media_type)
        try:
            worker = self._free.get(timeout=WAIT_S)
        except queue.Empty:
            detail = "others have large series read just now: try again in a few seconds"
            raise ProblemError(503, detail, headers={"Retry-After": "5"}) from None
        kept: Worker | None = None
        try:
            if worker is None or worker.process.poll() is not None:
                if worker is not None:
                    worker.end()
                worker = Worker.start()
            answer, kept = self._asked(worker, body, kind)
        finally:
            self._free.put(kept)
        if answer.status != 200:
            raise ProblemError(answer.status, answer.detail, where=answer.where)
        return Posted(np.frombuffer(answer.time_s), np.frombuffer(answer.value), answer.left_out)

    def _asked(self, worker: Worker, body: bytes, kind: str) -> tuple[Parsed, Worker | None]:
        """The answer, and the worker, if it may be used again."""
        timer = threading.Timer(self._parse_s, worker.process.kill)
        timer.start()
        try:
            answer = worker.ask(kind, body)
        finally:
            was_killed = not timer.is_alive()
            timer.cancel()
        if answer is None or was_killed or answer.detail == TOO_MUCH:
            worker.end()
            problem = Parsed(status=413, detail=TOO_LONG if was_killed else TOO_MUCH, where="body")
            return answer or problem, None
        return answer, worker


def _end_all(free: queue.LifoQueue[Worker | None]) -> int:
    """Empty the queue and end its processes; return how many entries it held."""
    count = 0
    with suppress(queue.Empty):
        while True:
            worker = free.get_nowait()
            count += 1
            if worker is not None:
                worker.end()
    return count
