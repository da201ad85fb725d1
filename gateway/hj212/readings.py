"""Converts uploaded data segments of HJ 212 to readings: channel, time, value, unit and quality flag.

Sources: HJ 212-2017 tables 4 (field names), 8 (data flags) and 9 (commands). Times are local times of the
station; the time of a minute, hourly or daily value is the start of its period, as in the standard.
"""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from gateway.hj212.errors import SegmentError
from gateway.hj212.segment import content_groups
from gateway.hj212.stations import FactorSettings, codes_of_2005, factors

if TYPE_CHECKING:
    from gateway.hj212.segment import Item, Segment
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
_TIME = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})(?:[0-9]{3})?")
_FACTOR = re.compile(r"[A-Za-z0-9]{1,16}")
_DEFAULT = FactorSettings()


class StationReading(msgspec.Struct, frozen=True):
    """One value of a station.

    Attributes
    ----------
    channel : factor code, with ``.minute``, ``.hour`` or ``.day`` for means over a period
    time_s : instant, or start of the period, Unix seconds [s]
    value : number in ``unit``; None if the station marks it as missing
    unit : unit of the factor, or None if the factor is unknown
    data_flag : letter of table 8 as sent, or ""
    quality : QARTOD flag for it

    """

    channel: str
    time_s: float
    value: float | None
    unit: str | None
    data_flag: str
    quality: int


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
    >>> found.readings
    [StationReading(channel='w01001', time_s=1767225600.0, value=7.1, unit='pH', data_flag='N', quality=1)]
    >>> found.faults
    ["w21003: '-' is not a number"]

    """
    groups = list(content_groups(segment.content))
    time_s = _data_time_s(groups, station)
    if time_s is None:
        time_s = earlier_time_s
    if time_s is None:
        raise SegmentError("the upload has no DataTime=YYYYMMDDhhmmss: its values have no time")
    channel_suffix, value_field = UPLOADS[segment.command]
    faults: list[str] = []
    readings = []
    channels: set[str] = set()
    for group in groups:
        for code, fields in _factors_of(group).items():
            text = fields.get(value_field)
            if text is None or code in station.ignored:
                continue
            channel = codes_of_2005().get(code, code) + channel_suffix
            if channel in channels:
                faults.append(f"{code}: it occurs more than once; the first value was taken")
                continue
            channels.add(channel)
            reading = _reading(channel, code, text, fields, station, time_s)
            if isinstance(reading, str):
                faults.append(reading)
            else:
                readings.append(reading)
    return UploadedReadings(readings, faults, time_s)


def _reading(
    channel: str, code: str, text: str, fields: dict[str, str], station: Station, time_s: float
) -> StationReading | str:
    """Return the reading, or a sentence on why there is none."""
    try:
        number = float(text)
    except ValueError:
        return f"{code}: {text[:40]!r} is not a number"
    if not math.isfinite(number) or "_" in text:
        return f"{code}: {text[:40]!r} is not a finite number"
    sampled_s = _time_s(fields.get("SampleTime", ""), station)
    factor_code = codes_of_2005().get(code, code)
    factor = factors().get(factor_code)
    settings = station.factors.get(code) or station.factors.get(factor_code) or _DEFAULT
    missing = number in station.missing
    data_flag = fields.get("Flag", "")[:4]
    return StationReading(
        channel=channel,
        time_s=time_s if sampled_s is None else sampled_s,
        value=None if missing else number * settings.scale,
        unit=settings.unit or (factor.unit if factor else None),
        data_flag=data_flag,
        quality=MISSING if missing else DATA_FLAGS.get(data_flag, SUSPECT) if data_flag else GOOD,
    )


def _factors_of(group: list[Item]) -> dict[str, dict[str, str]]:
    """Return the fields of a group by factor code: ``w01001-Rtd=7.1`` is field ``Rtd`` of ``w01001``."""
    by_code: dict[str, dict[str, str]] = {}
    for name, value in group:
        code, dash, field = name.rpartition("-")
        if dash and _FACTOR.fullmatch(code):
            by_code.setdefault(code, {}).setdefault(field, value)
    return by_code


def _data_time_s(groups: list[list[Item]], station: Station) -> float | None:
    for group in groups:
        for name, value in group:
            if name == "DataTime":
                return _time_s(value, station)
    return None


def _time_s(text: str, station: Station) -> float | None:
    """Convert a local time, 14 digits and possibly milliseconds; None if it is no time."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups())
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=station.time_zone).timestamp()
    except (ValueError, OverflowError):
        return None
