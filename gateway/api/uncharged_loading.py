"""Chooses the judge of a request; the time in which it is compiled is not charged to the key."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from gateway.api.problems import ProblemError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from analytics.quality.compiled_judge_loader import CompiledJudgeLoader
    from gateway.auth.request_auth import RequestAuth

MAX_NUMPY_READINGS: Final = 1_000  # NumPy takes 2 ms of a core for each
CACHED_LOAD_S: Final = 1.0  # machine code takes milliseconds, the cache of Numba 0.7 s
MAX_WAIT_S: Final = 45.0  # from the start of loading: clients commonly wait for an answer for a minute
RETRY_AFTER_S: Final = 15


@contextmanager
def judge_for(
    loader: CompiledJudgeLoader, auth: RequestAuth | None, readings: int | None = None
) -> Iterator[bool]:
    """Yield whether to use the compiled judge for so many ``readings`` (None: not known yet, many).

    The first request starts loading it. While it is compiled, NumPy judges up to `MAX_NUMPY_READINGS`, and
    requests with more wait for the same end. What a request takes meanwhile is not charged to its key.

    Raises
    ------
    ProblemError
        503 if the judge is not compiled `MAX_WAIT_S` after loading began, and there are more readings.

    """
    begun_s = time.monotonic()
    was_finished = loader.is_finished
    loader.start()
    try:
        is_small = readings is not None and readings <= MAX_NUMPY_READINGS
        if not loader.wait_after_start(CACHED_LOAD_S if is_small else MAX_WAIT_S) and not is_small:
            raise ProblemError(
                503,
                f"the judge is being compiled, once for each version: try again in {RETRY_AFTER_S} s"
                + ("" if readings is None else f", or send up to {MAX_NUMPY_READINGS:,} rows"),
                headers={"Retry-After": str(RETRY_AFTER_S)},
            )
        yield loader.is_usable
    finally:
        if auth is not None and not was_finished:
            auth.uncharged_s += time.monotonic() - begun_s
