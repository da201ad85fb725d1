"""Settings of the HJ 212 stations: which device each is, and how its frames deviate from the standard.

Stations are listed in a TOML file, one table ``[[stations]]`` each. Factor codes, their units and codes
of the 2005 edition come from ``factors.toml`` beside this module; a station may override a factor's unit.
"""

from __future__ import annotations

import re
import tomllib
from datetime import timedelta, timezone
from functools import cache, cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Literal

import msgspec

from edge.wire.topics import LEVEL_ADVICE, LEVEL_PATTERN
from gateway.hj212.ciphers import KEY_BYTES
from gateway.hj212.errors import StationError

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.hj212.readings import ChannelPlan, ContentLayout
    from gateway.hj212.regular_uploads import UsualLayout

_OFFSET = re.compile(r"([+-])(\d{2}):(\d{2})")


class Factor(msgspec.Struct, frozen=True):
    """A measured factor: unit of its values, code in the 2005 edition, labels."""

    unit: str
    en: str
    zh: str
    old: str | None = None


class FactorSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Deviations of a station in one factor: the unit, and a factor to multiply its numbers by."""

    unit: str | None = None
    scale: float = 1.0


class Station(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """Settings of one station.

    Attributes
    ----------
    station : MN, by which the station identifies itself
    area, device : ids under which its readings are published
    password : PW that its frames must have; None accepts any
    key : SM4 key, 32 hexadecimal digits, of stations that encrypt
    acknowledge : ``standard`` (ST=91 and the edition in Flag), ``as_sent`` (ST and Flag of the request, which
        some stations expect) or ``never``
    modbus_checksum : whether frames with the checksum of Modbus are accepted
    wrong_length : whether frames whose length field is wrong are accepted if their checksum is right
    utc_offset : offset of the station's clock from UTC
    missing : numbers that stand for a missing value
    ignored : factor codes that are not published
    factors : deviations by factor code

    """

    station: str
    area: str
    device: str
    password: str | None = None
    key: str | None = None
    acknowledge: Literal["standard", "as_sent", "never"] = "standard"
    modbus_checksum: bool = False
    wrong_length: bool = False
    utc_offset: str = "+08:00"
    missing: tuple[float, ...] = (-99.0, -999.0, -9999.0)
    ignored: list[str] = []
    factors: dict[str, FactorSettings] = {}

    @cached_property
    def layouts(self) -> dict[tuple[str, bytes, tuple[str, ...]], ContentLayout]:
        """Positions of the values in its uploads, by command, separators and names."""
        return {}

    @cached_property
    def usual_layouts(self) -> dict[str, list[UsualLayout]]:
        """Layouts of its usual uploads by command, the newest first."""
        return {}

    @cached_property
    def usual_keys(self) -> set[tuple[str, bytes, tuple[str, ...]]]:
        """Keys of the layouts that are, or were, among `usual_layouts`."""
        return set()

    @cached_property
    def missing_numbers(self) -> frozenset[float]:
        """The numbers that stand for a missing value."""
        return frozenset(self.missing)

    @cached_property
    def missing_is_negative(self) -> bool:
        """Whether all of them are negative, as usual, so that other values need no comparison."""
        return all(number < 0 for number in self.missing)

    @cached_property
    def address(self) -> str:
        """Area and device of its readings."""
        return f"{self.area}/{self.device}"

    @cached_property
    def channel_plans(self) -> dict[tuple[str, str], ChannelPlan]:
        """What becomes of its factors, by command and code, as far as they have occurred."""
        return {}

    @cached_property
    def key_bytes(self) -> bytes | None:
        """The SM4 key, or None."""
        if self.key is None:
            return None
        try:
            key = bytes.fromhex(self.key)
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES:
            raise StationError(f"key must be {2 * KEY_BYTES} hexadecimal digits")
        return key


class _StationFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    stations: list[Station] = []


class _FactorFile(msgspec.Struct, frozen=True):
    factors: dict[str, Factor]


@cache
def time_zone_of(utc_offset: str) -> timezone:
    """Return the time zone of an offset such as ``+08:00``. Raises `StationError` on another form."""
    match = _OFFSET.fullmatch(utc_offset)
    if match is None:
        raise StationError(f"utc_offset {utc_offset!r} is not of the form +08:00")
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return timezone(-offset if match[1] == "-" else offset)


@cache
def factors() -> dict[str, Factor]:
    """Return the known factors by code."""
    text = files("gateway.hj212").joinpath("factors.toml").read_text(encoding="utf-8")
    return msgspec.toml.decode(text, type=_FactorFile).factors


@cache
def codes_of_2005() -> dict[str, str]:
    """Return factor codes by the code of the 2005 edition."""
    return {factor.old: code for code, factor in factors().items() if factor.old is not None}


def read_stations(path: Path) -> dict[str, Station]:
    """Read the file of stations; returns them by MN.

    Raises
    ------
    StationError
        With every problem of the file, one per line.

    """
    try:
        stations = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _StationFile).stations
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise StationError(f"{path}: {error}") from error
    problems = [f"{path}: {problem}" for station in stations for problem in _problems(station)]
    for attribute in ("station", "device"):
        names = [getattr(station, attribute) for station in stations]
        problems += [
            f"{path}: {attribute} {name!r} occurs {names.count(name)} times: it must be unique"
            for name in sorted({name for name in names if names.count(name) > 1})
        ]
    if problems:
        raise StationError("\n".join(problems))
    return {station.station: station for station in stations}


def _problems(station: Station) -> list[str]:
    problems = [
        f"station {station.station}: {what} {name!r} can't stand in a topic: {LEVEL_ADVICE}"
        for what, name in (("area", station.area), ("device", station.device))
        if LEVEL_PATTERN.fullmatch(name) is None
    ]
    for check in (lambda: time_zone_of(station.utc_offset), lambda: station.key_bytes):
        try:
            check()
        except StationError as error:
            problems.append(f"station {station.station}: {error}")
    return problems
