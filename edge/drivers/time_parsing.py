"""Parses measured times in recorded files, and converts local times with summer time to Unix time."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

from edge.drivers.file_mapping import UNIX_SCALES
from edge.wire.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from edge.drivers.file_mapping import TimeMapping

    Direction = Literal[-1, 0, 1]

EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - epoch of local times
EPOCH_UTC = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
EARLIEST_S, LATEST_S = -6e10, 1e11  # the years 68 to 5138: Unix times beyond are in another unit
MAX_MIXED_SHARE = 0.1  # share of steps against the order, above which a file has no order
MIN_MIXED_STEPS = 2  # steps against the order that are always allowed: the repeated hour is one
DATE_TIME_PATTERN = re.compile(
    r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?"
    r"(?:[T ]+(\d{1,2})[:时](\d{1,2})(?:[:分](\d{1,2})(?:[.,](\d{1,9}))?秒?|分)?)?"
    r" *(?:(Z|UTC|GMT)|([+-])(\d\d):?(\d\d)?)?"
)


class UnreadableTimeError(EdgeError, ValueError):
    """A cell can't be parsed as a time; ``reason`` is the reason in the report."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def time_parser(time: TimeMapping) -> Callable[[object], float | dt.datetime]:
    """Build a function that parses a cell to Unix seconds [s], or to a local time without a zone.

    The function raises `UnreadableTimeError`. A time of 24:00 is the next midnight.
    """
    scale = UNIX_SCALES.get(time.format or "")
    if scale is not None:
        return lambda cell: _unix(cell, scale)
    pattern = time.format
    read: Callable[[str], dt.datetime] = (
        _parse_iso if pattern is None else lambda text: _parse_formatted(text, pattern)
    )

    def parse(cell: object) -> float | dt.datetime:
        if cell.__class__ is str:
            text = str(cell).strip()
        elif isinstance(cell, dt.datetime):
            return _to_timestamp(cell)
        elif isinstance(cell, dt.date):
            return dt.datetime.combine(cell, dt.time())
        elif cell is None:
            raise UnreadableTimeError("no-time", "it is empty")
        else:
            text = str(cell)
        try:
            parsed_time = read(text)
            return parsed_time if parsed_time.tzinfo is None else parsed_time.timestamp()
        except (ValueError, OverflowError) as error:
            raise UnreadableTimeError("no-time", f"{text[:60]!r} is no time{_format_hint(text)}") from error

    return parse


def time_direction(parsed: Iterable[float | dt.datetime]) -> Direction:
    """Return whether times increase (1) or decrease (-1) in a file, or neither (0)."""
    up = down = 0
    last: float | None = None
    for one in parsed:
        at_s = one if isinstance(one, float) else (one - EPOCH).total_seconds()
        if last is not None:
            up += at_s > last
            down += at_s < last
        last = at_s
    if up == down or min(up, down) > max(MIN_MIXED_STEPS, MAX_MIXED_SHARE * (up + down)):
        return 1 if up + down == 0 else 0
    return -1 if down > up else 1


class LocalTimes:
    """Converts local times of one zone to Unix seconds, in the order of a file.

    Parameters
    ----------
    zone : IANA name
    fold : pass of a repeated hour: by the file's order ("order"), or "first", or "second"
    order : whether times increase (1) or decrease (-1) in the file, or neither (0)

    """

    def __init__(self, zone: str, fold: str, order: Direction) -> None:
        self._zone = ZoneInfo(zone)
        self._fold = fold
        self._order = order
        self._days: dict[int, float | None] = {}

    def seconds(self, local: dt.datetime, last_s: float | None) -> float:
        """Convert to Unix seconds [s]; ``last_s`` is the time of the previous row of the same station.

        Raises `UnreadableTimeError` in the hour that summer time skips, or in a repeated hour if the pass
        can't be determined.
        """
        since = local - EPOCH
        try:
            offset_s = self._days[since.days]
        except KeyError:
            offset_s = self._days[since.days] = self._offset_of_day(local)
        local_s = since.total_seconds()
        return local_s - offset_s if offset_s is not None else self._seconds_at_change(local, local_s, last_s)

    def _offset(self, local: dt.datetime, fold: int) -> float:
        offset = local.replace(tzinfo=self._zone, fold=fold).utcoffset()
        return offset.total_seconds() if offset is not None else 0.0

    def _offset_of_day(self, local: dt.datetime) -> float | None:
        """Return the offset from UTC of a whole day [s], or None on a day on which it changes."""
        midnight = dt.datetime.combine(local.date(), dt.time())
        try:
            sampled_times = (midnight, midnight + DAY / 2, midnight + DAY)
            offsets = {self._offset(one, fold) for one in sampled_times for fold in (0, 1)}
        except OverflowError:
            return None
        return offsets.pop() if len(offsets) == 1 else None

    def _seconds_at_change(self, local: dt.datetime, local_s: float, last_s: float | None) -> float:
        first_s, second_s = (local_s - self._offset(local, fold) for fold in (0, 1))
        if first_s == second_s:
            return first_s
        if first_s > second_s:
            raise UnreadableTimeError(
                "skipped-hour",
                f"{local} does not exist in {self._zone}: a clock without summer time needs a zone "
                "like Etc/GMT+7",
            )
        if self._fold != "order":
            return first_s if self._fold == "first" else second_s
        if self._order == 0:
            raise UnreadableTimeError(
                "repeated-hour",
                f'{local} exists twice in {self._zone}: give [time] fold = "first" or "second"',
            )
        if self._order < 0:
            return second_s if last_s is None or second_s < last_s else first_s
        return first_s if last_s is None or first_s > last_s else second_s


def _to_timestamp(parsed_time: dt.datetime) -> float | dt.datetime:
    return parsed_time if parsed_time.tzinfo is None else parsed_time.timestamp()


def _unix(cell: object, scale: float) -> float:
    try:
        seconds = float(str(cell)) / scale
    except ValueError as error:
        raise UnreadableTimeError("no-time", f"{str(cell)[:60]!r} is no Unix time") from error
    if not EARLIEST_S < seconds < LATEST_S:
        raise UnreadableTimeError(
            "no-time", f"{str(cell)[:60]!r} is no Unix time in this unit{_format_hint(str(cell))}"
        )
    return seconds


def _parse_iso(text: str) -> dt.datetime:
    """Parse ISO 8601 and variants of it: slashes, single digits, 24:00."""
    if text.isdigit() and len(text) > 8:
        raise ValueError(text)  # a number that the basic format of ISO 8601 would parse as a year long ago
    try:
        return dt.datetime.fromisoformat(text)
    except ValueError:
        match_found = DATE_TIME_PATTERN.fullmatch(text)
        if match_found is None:
            raise
    year, month, day, hour, minute, second = (int(part or 0) for part in match_found.groups()[:6])
    utc, sign, hours, minutes = match_found.groups()[7:]
    micro = int((match_found.group(7) or "0")[:6].ljust(6, "0"))
    zone = dt.UTC if utc else None
    if sign:
        zone = dt.timezone(
            (1 if sign == "+" else -1) * dt.timedelta(hours=int(hours), minutes=int(minutes or 0))
        )
    if hour == 24 and not minute and not second and not micro:
        return dt.datetime(year, month, day, tzinfo=zone) + DAY
    return dt.datetime(year, month, day, hour, minute, second, micro, tzinfo=zone)


def _parse_formatted(text: str, pattern: str) -> dt.datetime:
    """Parse a time in a strptime format; hour 24 is the next midnight."""
    try:
        return dt.datetime.strptime(text, pattern)  # noqa: DTZ007 - the zone follows
    except ValueError:
        for match_found in re.finditer("24", text):
            midnight = _next_midnight(text, pattern, match_found.start())
            if midnight is not None:
                return midnight
        raise


def _next_midnight(text: str, pattern: str, at: int) -> dt.datetime | None:
    """Return the next midnight if the "24" at a position is the hour: 01 there is an hour after 00."""
    try:
        zero, one = (
            dt.datetime.strptime(f"{text[:at]}{hour}{text[at + 2 :]}", pattern)  # noqa: DTZ007
            for hour in ("00", "01")
        )
    except ValueError:
        return None
    is_hour = one - zero == dt.timedelta(hours=1) and zero.time() == dt.time()
    return zero + DAY if is_hour else None


def _format_hint(text: str) -> str:
    """Suggest a key for the mapping, from the form of a cell."""
    digits = text.partition(".")[0]
    if not digits.isdigit():
        return ": write [time] format, like %d.%m.%Y %H:%M" if any(map(str.isdigit, text)) else ""
    if len(digits) in {12, 14} and digits.startswith(("19", "20")):
        return f': it looks like [time] format = "%Y%m%d%H%M{"%S" if len(digits) == 14 else ""}"'
    for name, scale in UNIX_SCALES.items():
        if 1e8 <= float(digits) / scale < 1e10:  # from 1973 to 2286
            return f': it looks like [time] format = "{name}"'
    return ""
