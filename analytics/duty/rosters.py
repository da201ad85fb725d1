"""Who is on duty at a time: rotations of a roster, with overrides over them.

Shifts are computed on the local clock of the towns (Asia/Shanghai), which has no daylight saving time.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, NamedTuple

from analytics.duty.errors import DutyError
from analytics.duty.working_calendar import LOCAL_ZONE, is_working_day, local_datetime, local_time

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ingest_service.storage.contract.duty import Roster, RosterOverride, Rotation

MAX_SHIFT_HOURS = 24 * 366.0


class Shift(NamedTuple):
    """The duty of a member in ``[from_s, to_s)`` [Unix s]; ``override_id`` if an override gave it."""

    roster_id: str
    member_id: str
    from_s: float
    to_s: float
    override_id: int | None = None


def check_roster(roster: Roster, members: Collection[str]) -> None:
    """Raise `DutyError` if a rotation is invalid or names somebody who is not in the team."""
    for number, rotation in enumerate(roster.rotations, 1):
        where = f"rotation {number}"
        if not rotation.members:
            raise DutyError(f"{where}: name one member at least")
        unknown = sorted(set(rotation.members) - set(members))
        if unknown:
            raise DutyError(f"{where}: {unknown[0]!r} is no member of the team {roster.team_id!r}")
        if not 0 < rotation.shift_hours <= MAX_SHIFT_HOURS:
            raise DutyError(f"{where}: shift_hours is more than 0 and {MAX_SHIFT_HOURS:g} at most")
        _first_start(rotation, where)
        if (rotation.from_time is None) != (rotation.until_time is None):
            raise DutyError(f"{where}: give from_time and until_time, or neither")
        for clock in (rotation.from_time, rotation.until_time):
            try:
                time.fromisoformat(clock or "00:00")
            except ValueError as error:
                raise DutyError(f"{where}: {clock!r} is no time of the day: write HH:MM") from error


def shift_at(roster: Roster, overrides: Iterable[RosterOverride], at_s: float) -> Shift | None:
    """Return who has the duty of a roster at a time [Unix s]; None if nobody has.

    The newest override of the roster wins; one without a member restores the rotation. Otherwise the first
    rotation that applies at the time decides.
    """
    if not roster.enabled:
        return None
    ours = [one for one in overrides if one.roster_id == roster.roster_id and one.from_s <= at_s < one.to_s]
    newest = max(ours, key=lambda one: one.override_id, default=None)
    if newest is not None and newest.member_id is not None:
        return Shift(roster.roster_id, newest.member_id, newest.from_s, newest.to_s, newest.override_id)
    for rotation in roster.rotations:
        found = _shift_of_rotation(roster.roster_id, rotation, at_s)
        if found is not None:
            return found
    return None


def _shift_of_rotation(roster_id: str, rotation: Rotation, at_s: float) -> Shift | None:
    first_s, shift_s = _first_start(rotation, roster_id).timestamp(), rotation.shift_hours * 3600
    window = _window_at(rotation, at_s)
    if at_s < first_s or window is None:
        return None
    number = int((at_s - first_s) // shift_s)
    from_s = first_s + number * shift_s
    return Shift(
        roster_id,
        rotation.members[number % len(rotation.members)],
        max(from_s, window[0]),
        min(from_s + shift_s, window[1]),
    )


def _window_at(rotation: Rotation, at_s: float) -> tuple[float, float] | None:
    """Return the time around ``at_s`` in which a rotation is on duty, by its days and times of the day."""
    today = local_datetime(at_s).date()
    for day in (today, today - timedelta(days=1)):  # a window may end on the day after
        if rotation.days == "all" or is_working_day(day) == (rotation.days == "working"):
            from_s, to_s = _window_of_day(rotation, day)
            if from_s <= at_s < to_s:
                return from_s, to_s
    return None


def _window_of_day(rotation: Rotation, day: date) -> tuple[float, float]:
    if rotation.from_time is None or rotation.until_time is None:
        if rotation.days == "all":
            return float("-inf"), float("inf")
        return local_time(day, "00:00").timestamp(), local_time(day + timedelta(days=1), "00:00").timestamp()
    from_s = local_time(day, rotation.from_time).timestamp()
    to_s = local_time(day, rotation.until_time).timestamp()
    return from_s, to_s if to_s > from_s else to_s + 86_400.0


def _first_start(rotation: Rotation, where: str) -> datetime:
    try:
        starts = datetime.fromisoformat(rotation.starts)
    except ValueError as error:
        raise DutyError(f"{where}: starts is a time as 2026-11-23T08:00:00+08:00") from error
    return starts if starts.tzinfo is not None else starts.replace(tzinfo=LOCAL_ZONE)
