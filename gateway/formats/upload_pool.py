"""Parses uploaded series in a pool of worker processes with limits; small JSON is parsed in this process."""

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

from gateway.api.problems import ProblemError
from gateway.formats.negotiation import MEDIA_TYPES
from gateway.formats.upload_protocol import (
    OUT_OF_MEMORY_DETAIL,
    ParsedUpload,
    UploadedSeries,
    receive_part,
    send_parts,
)

if TYPE_CHECKING:
    from typing import IO

N_WORKERS = 2
PARSE_TIMEOUT_S = 10.0  # for one body: the largest allowed takes less than 1 s
START_TIMEOUT_S = 60.0  # for a process to start: some tenths of a second, and more on a busy machine
FREE_WORKER_TIMEOUT_S = 20.0  # to wait for a free worker
MAX_IN_PROCESS_BYTES = 1_000_000  # of JSON, which takes some twenty times as much memory while it is parsed
TIMEOUT_DETAIL = f"body: it takes longer than {PARSE_TIMEOUT_S:g} s to read: send fewer rows"
WORKER_ENVIRONMENT = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"}
REPOSITORY = Path(__file__).parents[2]


class UploadWorker(NamedTuple):
    """One worker process and its pipes."""

    process: subprocess.Popen[bytes]
    request_pipe: IO[bytes]
    response_pipe: IO[bytes]

    @classmethod
    def start(cls) -> UploadWorker:
        """Start a worker and wait until it is ready; the start is no part of a body's time-out.

        Raises
        ------
        ProblemError
            503 if it does not start within `START_TIMEOUT_S`.

        """
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway.formats.upload_worker"],
            cwd=REPOSITORY,
            env=os.environ | WORKER_ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # libraries write warnings about broken files
        )
        if process.stdin is None or process.stdout is None:
            raise OSError("a process was started without its pipes")
        worker = cls(process, process.stdin, process.stdout)
        timer = threading.Timer(START_TIMEOUT_S, process.kill)
        timer.start()
        try:
            is_ready = receive_part(worker.response_pipe) is not None
        finally:
            timer.cancel()
        if not is_ready:
            worker.stop()
            detail = "the process that reads posted series does not start: try again in a few seconds"
            raise ProblemError(503, detail, headers={"Retry-After": "5"})
        return worker

    def parse(self, media_type: str, body: bytes) -> ParsedUpload | None:
        """Return the parsed body; None if the process ended while parsing it."""
        with suppress(OSError):  # the process ended while it read the body
            send_parts(self.request_pipe, media_type.encode(), body)
        answer = receive_part(self.response_pipe)
        return None if answer is None else msgspec.msgpack.decode(answer, type=ParsedUpload)

    def stop(self) -> None:
        """Kill the process."""
        self.process.kill()
        with suppress(OSError):
            self.request_pipe.close()
        self.response_pipe.close()
        self.process.wait()


class UploadPool:
    """Pool of worker processes that are started at first use, and replaced when one ends.

    Closed by `close`, or when the pool is garbage-collected.
    """

    def __init__(self, workers: int = N_WORKERS, parse_s: float = PARSE_TIMEOUT_S) -> None:
        self._parse_s = parse_s
        self._idle_workers: queue.LifoQueue[UploadWorker | None] = queue.LifoQueue()
        for _ in range(workers):
            self._idle_workers.put(None)
        weakref.finalize(self, _end_workers, self._idle_workers)

    def close(self) -> None:
        """End the idle processes; a pool that is used again afterwards starts new ones."""
        for _ in range(_end_workers(self._idle_workers)):
            self._idle_workers.put(None)

    def read(self, body: bytes, media_type: str) -> UploadedSeries:
        """Return the series of a body. Raises `ProblemError` (415, 422, 413, 503)."""
        from gateway.formats import uploads  # noqa: PLC0415 - pyarrow takes 36 MB

        base_media_type = media_type.split(";", maxsplit=1)[0].strip().lower()
        if base_media_type not in uploads.READERS or (
            base_media_type == MEDIA_TYPES["json"] and len(body) <= MAX_IN_PROCESS_BYTES
        ):
            return uploads.parse_series(body, media_type)
        try:
            worker = self._idle_workers.get(timeout=FREE_WORKER_TIMEOUT_S)
        except queue.Empty:
            detail = "others have large series read just now: try again in a few seconds"
            raise ProblemError(503, detail, headers={"Retry-After": "5"}) from None
        reusable_worker: UploadWorker | None = None
        try:
            if worker is None or worker.process.poll() is not None:
                if worker is not None:
                    worker.stop()
                worker = UploadWorker.start()
            answer, reusable_worker = self._parse_with(worker, body, base_media_type)
        finally:
            self._idle_workers.put(reusable_worker)
        if answer.status != 200:
            raise ProblemError(answer.status, answer.detail, where=answer.where)
        return UploadedSeries(np.frombuffer(answer.time_s), np.frombuffer(answer.value), answer.left_out)

    def _parse_with(
        self, worker: UploadWorker, body: bytes, base_media_type: str
    ) -> tuple[ParsedUpload, UploadWorker | None]:
        """Return the parsed body, and the worker if it may be used again."""
        timer = threading.Timer(self._parse_s, worker.process.kill)
        timer.start()
        try:
            answer = worker.parse(base_media_type, body)
        finally:
            was_killed = not timer.is_alive()
            timer.cancel()
        if answer is None or was_killed or answer.detail == OUT_OF_MEMORY_DETAIL:
            worker.stop()
            problem = ParsedUpload(
                status=413, detail=TIMEOUT_DETAIL if was_killed else OUT_OF_MEMORY_DETAIL, where="body"
            )
            return answer or problem, None
        return answer, worker


def _end_workers(idle_workers: queue.LifoQueue[UploadWorker | None]) -> int:
    """Empty the queue and end its processes; return how many entries it held."""
    count = 0
    with suppress(queue.Empty):
        while True:
            worker = idle_workers.get_nowait()
            count += 1
            if worker is not None:
                worker.stop()
    return count
