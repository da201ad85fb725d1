"""Converts uploaded data segments of HJ 212 to readings: channel, time, value, unit and quality flag.

Sources: HJ 212-2017 tables 4 (field names), 8 (data flags) and 9 (commands). Times are local times of the
station; the time of a minute, hourly or daily value is the start of its period, as in the standard.
"""

from __future__ import annotations

import math
import re
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from edge.wire.senml import Record
from gateway.hj212 import regular_uploads
from gateway.hj212.errors import SegmentError
from gateway.hj212.stations import FactorSettings, codes_of_2005, factors, time_zone_of

if TYPE_CHECKING:
    from gateway.hj212.segment import Segment
    from gateway.hj212.stations import Station

# Command -> suffix of the channel, and the field with the value.
UPLOADS = {
    "2011": ("", "Rtd"),
    "2051": (".minute", "Avg"),
    "2061": (".hour", "Avg"),
    "2031": (".day", "Avg"),
}
# QARTOD flags of the data flags in table 8; letters that are not in it are suspect.
GOOD, NOT_EVALUATED, SUSPECT, FAIL, MISSING = 1, 2, 3, 4, 9
DATA_FLAGS = {
    "N": GOOD,
    "F": FAIL,  # instrument stopped
    "M": FAIL,  # maintenance
    "S": SUSPECT,  # entered by hand
    "D": FAIL,  # instrument fault
    "C": FAIL,  # calibration
    "T": SUSPECT,  # above the range
    "B": FAIL,  # communication fault between instrument and logger
}
_FACTOR = re.compile(r"[A-Za-z0-9]{1,16}")
_DEFAULT = FactorSettings()
_OTHER_FIELDS = {"Rtd": "Avg", "Avg": "Rtd"}  # stations in the field confuse them
_NO_SEPARATORS = bytes(byte for byte in range(256) if byte not in b"=,;")
_REGULAR = re.compile(rb"=(?:[,;]=)*")  # separators of a content whose items all have one name and one value
MAX_LAYOUTS = 64  # of a station that are kept
MAX_USUAL_LAYOUTS = 3  # of a station and command; each of them is tried on each upload
MAX_PLANS = 1_000  # factors and commands of a station that are kept; each frame may name new ones


class StationReading(msgspec.Struct, frozen=True, gc=False):
    """One value of a station.

    Attributes
    ----------
    record : its name is the factor code, with ``.minute``, ``.hour`` or ``.day`` for means over a period; its
        time the instant, or the start of the period; its unit that of the factor, or None if the factor is
        unknown; its value None if the station marks it as missing
    data_flag : letter of table 8 as sent, or ""
    quality : QARTOD flag for it

    """

    record: Record
    data_flag: str
    quality: int


class ChannelPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one factor of one station and command.

    Attributes
    ----------
    code, channel : factor code as sent, and the channel of its values
    field, other_field : field of the value by the standard, and the one that some stations send in its place
    unit, scale : unit of the values, and what they are multiplied by
    is_ignored : whether they are not published

    """

    code: str
    channel: str
    field: str
    other_field: str
    unit: str | None
    scale: float
    is_ignored: bool


class ContentLayout(NamedTuple):
    """Positions of the values in a content, which are the same in all uploads of most stations.

    Attributes
    ----------
    time_at : position of DataTime, or -1
    factors : plan, and positions of value, data flag and time of sampling (-1 if there is none), by factor

    """

    time_at: int
    factors: tuple[tuple[ChannelPlan, int, int, int], ...]


class UploadedReadings(msgspec.Struct, frozen=True):
    """Readings of one segment, sentences on the values that can't be read, and DataTime [s]."""

    readings: list[StationReading]
    faults: list[str]
    time_s: float


def uploaded_readings(
    segment: Segment, station: Station, *, earlier_time_s: float | None = None
) -> UploadedReadings:
    """Convert the content of an upload to readings.

    Parameters
    ----------
    segment, station : an upload (its command is in `UPLOADS`) and the settings of its station
    earlier_time_s : DataTime of an earlier packet of the same split transmission, used if this one has none

    Raises
    ------
    SegmentError
        If there is no usable DataTime, so that no value has a time.

    Examples
    --------
    >>> from gateway.hj212.segment import Segment
    >>> from gateway.hj212.stations import Station
    >>> upload = Segment(command="2011", station="A1",
    ...     content="DataTime=20260101080000;w01001-Rtd=7.1,w01001-Flag=N;w21003-Rtd=-,w21003-Flag=D")
    >>> found = uploaded_readings(upload, Station(station="A1", area="a", device="d"))
    >>> [(one.record.name, one.record.value, one.record.unit, one.quality) for one in found.readings]
    [('w01001', 7.1, 'pH', 1)]
    >>> found.faults
    ["w21003: '-' is not a number"]

    """
    separators = segment.content.encode().translate(None, _NO_SEPARATORS)
    tokens = segment.content.replace(";", ",").replace("=", ",").split(",")
    layout_key = (segment.command, separators, tuple(tokens[::2]))
    layout = station.layouts.get(layout_key)
    if layout is not None:
        if layout_key not in station.usual_keys:
            _keep_usual_layout(layout, layout_key, tokens[1::2], station)
        return _readings_at(layout, tokens[1::2], station, earlier_time_s)
    if len(station.layouts) < MAX_LAYOUTS and (layout := _content_layout(layout_key, station)) is not None:
        station.layouts[layout_key] = layout
    return _readings_anywhere(segment, station, earlier_time_s)


class UsualMessage(NamedTuple):
    """SenML message of a usual upload, the number of its readings, and DataTime [s]."""

    payload: bytes
    readings: int
    time_s: float


def usual_message(segment: Segment, station: Station) -> UsualMessage | None:
    """Return the message of an upload with a known layout, plain numbers and the flag N only; else None.

    `uploaded_readings` gives the same readings, and those of other uploads.
    """
    for layout in station.usual_layouts.get(segment.command, ()):
        match = layout.pattern.fullmatch(segment.content)
        if match is None:
            continue
        time_text, *values = match.groups()
        time_s = _time_s(time_text, station.utc_offset)
        may_be_missing = "=-" in segment.content or not station.missing_is_negative
        if time_s is None or (may_be_missing and not station.missing_numbers.isdisjoint(map(float, values))):
            return None
        return UsualMessage((layout.template % (time_s, *values)).encode(), layout.readings, time_s)
    return None


def _keep_usual_layout(
    layout: ContentLayout, key: tuple[str, bytes, tuple[str, ...]], values: list[str], station: Station
) -> None:
    command, separators, names = key
    usual = regular_uploads.usual_layout(layout, separators, names, values)
    if usual is None:
        return
    station.usual_keys.add(key)  # at most `MAX_LAYOUTS`, as those of `station.layouts`
    kept = station.usual_layouts.setdefault(command, [])
    kept.insert(0, usual)
    del kept[MAX_USUAL_LAYOUTS:]


def _readings_at(
    layout: ContentLayout, values: list[str], station: Station, earlier_time_s: float | None
) -> UploadedReadings:
    """Read the values of a content with a known layout; the slow twin of this is `_readings_anywhere`."""
    time_s = _data_time_s(values[layout.time_at] if layout.time_at >= 0 else "", station, earlier_time_s)
    readings: list[StationReading] = []
    faults: list[str] = []
    for plan, value_at, flag_at, sampled_at in layout.factors:
        text = values[value_at].strip()
        if not text:
            continue
        data_flag = values[flag_at].strip() if flag_at >= 0 else ""
        sampled = values[sampled_at].strip() if sampled_at >= 0 else ""
        reading = _reading(plan, text, data_flag, sampled, station, time_s)
        if isinstance(reading, str):
            faults.append(reading)
        else:
            readings.append(reading)
    return UploadedReadings(readings, faults, time_s)


def _content_layout(key: tuple[str, bytes, tuple[str, ...]], station: Station) -> ContentLayout | None:
    """Return where the values of a content are; None if that depends on the values or is ambiguous."""
    command, separators, names = key
    if _REGULAR.fullmatch(separators) is None:
        return None
    positions: dict[str, dict[str, int]] = {}
    for position, name in enumerate(names):
        code, field = _code_and_field(name)
        if code is None or field in positions.setdefault(code, {}):
            return None
        positions[code][field] = position
    time_at = positions.pop("", {}).get("DataTime", -1)
    factors = []
    for code, fields in positions.items():
        plan = _plan(station, command, code)
        value_at = fields.get(plan.field, fields.get(plan.other_field))
        if value_at is not None and not plan.is_ignored:
            factors.append((plan, value_at, fields.get("Flag", -1), fields.get("SampleTime", -1)))
    if not factors or len({plan.channel for plan, *_ in factors}) < len(factors):
        return None
    return ContentLayout(time_at, tuple(factors))


def _readings_anywhere(segment: Segment, station: Station, earlier_time_s: float | None) -> UploadedReadings:
    """Read the values of any content."""
    fields_by_code, faults = _fields_by_code(segment.content, UPLOADS[segment.command][1])
    time_s = _data_time_s(fields_by_code.pop("", {}).get("DataTime", ""), station, earlier_time_s)
    readings: dict[str, StationReading] = {}
    has_value = False
    for code, fields in fields_by_code.items():
        plan = _plan(station, segment.command, code)
        text = fields.get(plan.field, fields.get(plan.other_field))
        has_value = has_value or text is not None
        if not text or plan.is_ignored:
            continue
        if plan.channel in readings:
            faults.append(f"{code}: {plan.channel} occurs under two codes; the first value was taken")
            continue
        reading = _reading(plan, text, fields.get("Flag", ""), fields.get("SampleTime", ""), station, time_s)
        if isinstance(reading, str):
            faults.append(reading)
        else:
            readings[plan.channel] = reading
    if not has_value and not faults:
        faults.append("the upload has no value, such as w01001-Rtd=7.1 or w01001-Avg=7.1: nothing was stored")
    return UploadedReadings(list(readings.values()), faults, time_s)


def _data_time_s(text: str, station: Station, earlier_time_s: float | None) -> float:
    time_s = _time_s(text.strip(), station.utc_offset)
    if time_s is None:
        time_s = earlier_time_s
    if time_s is None:
        raise SegmentError("the upload has no DataTime=YYYYMMDDhhmmss: its values have no time")
    return time_s


def _plan(station: Station, command: str, code: str) -> ChannelPlan:
    """Return what becomes of a factor of a station; it is computed once and kept with the station."""
    plan = station.channel_plans.get((command, code))
    if plan is not None:
        return plan
    suffix, field = UPLOADS[command]
    factor_code = codes_of_2005().get(code, code)
    factor = factors().get(factor_code)
    settings = station.factors.get(code) or station.factors.get(factor_code) or _DEFAULT
    plan = ChannelPlan(
        code=code,
        channel=factor_code + suffix,
        field=field,
        other_field=_OTHER_FIELDS[field],
        unit=settings.unit or (factor.unit if factor else None),
        scale=settings.scale,
        is_ignored=code in station.ignored or factor_code in station.ignored,
    )
    if len(station.channel_plans) < MAX_PLANS:
        station.channel_plans[command, code] = plan
    return plan


def _reading(
    plan: ChannelPlan, text: str, data_flag: str, sampled: str, station: Station, time_s: float
) -> StationReading | str:
    """Return the reading, or a sentence on why there is none."""
    try:
        number = float(text)
    except ValueError:
        return f"{plan.code}: {text[:40]!r} is not a number"
    if not math.isfinite(number) or "_" in text:
        return f"{plan.code}: {text[:40]!r} is not a finite number"
    sampled_s = _time_s(sampled, station.utc_offset) if sampled else None
    missing = number in station.missing
    return StationReading(
        Record(
            name=plan.channel,
            time_s=time_s if sampled_s is None else sampled_s,
            value=None if missing else number * plan.scale,
            unit=plan.unit,
        ),
        data_flag[:4],
        MISSING if missing else DATA_FLAGS.get(data_flag[:4], SUSPECT) if data_flag else GOOD,
    )


def _fields_by_code(content: str, value_field: str) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Return the fields by factor code, those of no factor under "", and sentences on what is ambiguous.

    ``w01001-Rtd=7.1`` is the field ``Rtd`` of ``w01001``. The fields of a factor are collected wherever they
    are: the standard joins them by "," and separates factors by ";", and stations confuse the two, so that a
    flag may stand in another group than its value.
    """
    by_code: dict[str, dict[str, str]] = {}
    faults: list[str] = []
    for part in content.replace(";", ",").split(","):
        name, equals, value = part.partition("=")
        if not equals:
            continue
        code, field = _code_and_field(name)
        if code is None:
            if field == value_field:
                faults.append(f"{name.strip()[:40]!r} is not the name of a factor's value")
            continue
        fields = by_code.get(code)
        if fields is None:
            fields = by_code[code] = {}
        text = value.strip()
        if field not in fields:
            fields[field] = text
        elif field == value_field and fields[field] != text:
            faults.append(f"{code}: it occurs more than once; the first value was taken")
    return by_code, faults


@lru_cache(maxsize=4096)
def _code_and_field(name: str) -> tuple[str | None, str]:
    """Split the name of an item: ("w01001", "Rtd"), ("", "DataTime"), or (None, "Rtd") for a bad code."""
    code, dash, field = name.strip().rpartition("-")
    if not dash:
        return "", field
    return (code if _FACTOR.fullmatch(code) else None), field


def _time_s(text: str, utc_offset: str) -> float | None:
    """Convert a local time, 14 digits and possibly milliseconds; None if it is no time."""
    if len(text) not in {14, 17} or not (text.isascii() and text.isdigit()):
        return None
    day_s = _day_s(text[:8], utc_offset)
    hour, minute, second = int(text[8:10]), int(text[10:12]), int(text[12:14])
    if day_s is None or hour > 23 or minute > 59 or second > 59:
        return None
    return day_s + 3600 * hour + 60 * minute + second


@lru_cache(maxsize=4096)
def _day_s(text: str, utc_offset: str) -> float | None:
    """Return the start of a local day, eight digits, Unix seconds [s]; None if there is no such day."""
    try:
        local = datetime(int(text[:4]), int(text[4:6]), int(text[6:]), tzinfo=time_zone_of(utc_offset))
        return local.timestamp()
    except (ValueError, OverflowError):
        return None
