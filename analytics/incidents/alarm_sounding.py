"""Limits how many alarms sound in 10 minutes: less urgent ones wait before more urgent ones do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from analytics.incidents.grouping_rules import GroupingRules

WINDOW_S: Final = 600.0


class AlarmSounding:
    """The annunciations of the last 10 minutes, and whether there is room for one more.

    Parameters
    ----------
    rules : limits by priority, and the number of operators
    times_s : annunciations of the last 10 minutes, Unix seconds [s]

    Examples
    --------
    >>> from analytics.incidents.grouping_rules import GroupingRules
    >>> sounding = AlarmSounding(GroupingRules(operators=1), [0.0, 1.0, 2.0])
    >>> sounding.has_room(4, 10.0), sounding.has_room(1, 10.0), sounding.has_room(4, 600.5)
    (False, True, True)
    """

    def __init__(self, rules: GroupingRules, times_s: Iterable[float] = ()) -> None:
        self._rules = rules
        self._times_s = sorted(times_s)

    def has_room(self, priority: int, now_s: float) -> bool:
        """Whether an alarm of this priority may sound now."""
        self._times_s = [one for one in self._times_s if one > now_s - WINDOW_S]
        limit = self._rules.flood_limits[priority - 1] * self._rules.operators
        return len(self._times_s) < limit

    def sounded(self, now_s: float) -> None:
        """Count an alarm that sounded."""
        self._times_s.append(now_s)
