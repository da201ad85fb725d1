"""Limits how long one task of the service may run in one round."""

from __future__ import annotations

import math
import threading
import time


class TimeSlice:
    """A time budget that starts now; a task checks it between two pieces of its work.

    Unfinished work continues in the task's next turn. The budget is not used up at the first check, so every
    turn does at least one piece, unless the service is stopping.

    Parameters
    ----------
    stop : set when the service is to stop
    duration_s : length of the slice [s]

    """

    def __init__(self, stop: threading.Event, duration_s: float) -> None:
        self._stop = stop
        self._ends_s = time.monotonic() + duration_s

    @property
    def is_over(self) -> bool:
        """Whether the task must return to let the other tasks run."""
        return self._stop.is_set() or time.monotonic() >= self._ends_s


UNLIMITED = TimeSlice(threading.Event(), math.inf)
"""For a task that runs outside of the rounds."""
