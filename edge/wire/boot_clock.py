"""Clock that no time synchronisation sets: seconds since the start of the machine, with the time it slept."""

from __future__ import annotations

import time

_CLOCK_ID = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_clock_s() -> float:
    """Return the time since the machine started [s]."""
    return time.clock_gettime(_CLOCK_ID)
