"""Clock of a simulated town: runs fast through the history up to the present, then in real time."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

DAY_S = 86_400.0
LAST_DAY_SHARE = 0.4  # share of the catch-up time given to the last day, slow enough to watch


@dataclass(frozen=True, slots=True)
class PlayClock:
    """Simulated Unix time as a function of the wall clock.

    Parameters
    ----------
    started_s : wall time at which the replay of the history starts [s]
    history_s : length of the history [s]
    catch_up_s : wall time in which the history is replayed [s]
    wall_clock : source of the wall time [s]

    Examples
    --------
    >>> clock = PlayClock(started_s=1000.0, history_s=7 * DAY_S, catch_up_s=30.0, wall_clock=lambda: 1030.0)
    >>> clock() == clock.live_from_s == 1030.0
    True

    """

    started_s: float
    history_s: float
    catch_up_s: float
    wall_clock: Callable[[], float] = field(default=time.time)

    @property
    def live_from_s(self) -> float:
        """Time at which the history reaches the present [s]."""
        return self.started_s + self.catch_up_s

    @property
    def history_start_s(self) -> float:
        """Start of the history [s]."""
        return self.live_from_s - self.history_s

    def __call__(self) -> float:
        """Return the simulated current time, Unix seconds [s]."""
        now_s = self.wall_clock()
        if now_s >= self.live_from_s:
            return now_s
        last_s = min(DAY_S, self.history_s / 2)
        elapsed_share = max(0.0, now_s - self.started_s) / self.catch_up_s
        first_share = 1 - LAST_DAY_SHARE
        if elapsed_share < first_share:
            return self.history_start_s + (self.history_s - last_s) * elapsed_share / first_share
        return self.live_from_s - last_s * (1 - elapsed_share) / LAST_DAY_SHARE
