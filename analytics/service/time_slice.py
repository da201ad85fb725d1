"""The time budget of one task in one round of the service."""

from __future__ import annotations

import math
import threading
import time


class TimeSlice:
    """A slice of time that begins now; a task looks at it between two pieces of its work.

    What a task does not finish goes on in its next turn. It finds the slice fresh at its first look, so that
    every turn does one piece at least, unless the service was asked to stop.

    Parameters
    ----------
    stop : set when the service shall stop
    lasts_s : how long the slice is [s]

    """

    def __init__(self, stop: threading.Event, duration_s: float) -> None:
        self._stop = stop
        self._ends_s = time.monotonic() + duration_s

    @property
    def is_over(self) -> bool:
        """Whether the task shall let the others work."""
        return self._stop.is_set() or time.monotonic() >= self._ends_s


UNLIMITED = TimeSlice(threading.Event(), math.inf)
"""For a task that is run by itself."""
