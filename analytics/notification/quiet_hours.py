"""Chooses the channels of a member by preference, and applies quiet hours."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from ingest_service.storage.contract.notifications import CONSOLE_CHANNEL, MemberPreferences, Preference

if TYPE_CHECKING:
    from collections.abc import Sequence

LOCAL_ZONE = ZoneInfo("Asia/Shanghai")


def preference_for(
    preferences: MemberPreferences | None, priority: int, team_channels: Sequence[str]
) -> Preference:
    """Return the preference of a member for a priority.

    Without one, the channels of the team, or the console where the team has none, at any time.
    """
    for one in preferences.preferences if preferences is not None else ():
        if one.priority == priority:
            return one
    return Preference(priority=priority, channels=list(team_channels) or [CONSOLE_CHANNEL])


def send_time(preference: Preference, now_s: float) -> float:
    """Return when a notification may be sent: now, or when the quiet hours are over [Unix s].

    >>> night = datetime(2026, 11, 28, 23, 0, tzinfo=LOCAL_ZONE).timestamp()
    >>> quiet = Preference(priority=3, channels=[], quiet_from="22:00", quiet_to="07:00")
    >>> datetime.fromtimestamp(send_time(quiet, night), LOCAL_ZONE).isoformat()
    '2026-11-29T07:00:00+08:00'
    """
    if preference.quiet_from is None or preference.quiet_to is None:
        return now_s
    now = datetime.fromtimestamp(now_s, LOCAL_ZONE)
    begins, ends = time.fromisoformat(preference.quiet_from), time.fromisoformat(preference.quiet_to)
    for day in (now.date() - timedelta(days=1), now.date()):
        from_time = datetime.combine(day, begins, LOCAL_ZONE)
        to_time = datetime.combine(day, ends, LOCAL_ZONE)
        if to_time <= from_time:
            to_time += timedelta(days=1)
        if from_time <= now < to_time:
            return to_time.timestamp()
    return now_s
