"""Reads from a TOML file which sites are reported to which upper platforms, and how."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from gateway.hj212.ciphers import KEY_BYTES
from gateway.hj212.errors import StationError
from gateway.hj212.stations import time_zone_of

if TYPE_CHECKING:
    from pathlib import Path

MAX_PLATFORMS = 8
_KEY = re.compile(rf"[0-9A-Fa-f]{{{2 * KEY_BYTES}}}")
Upload = Literal["2011", "2051", "2061", "2031"]


class UpperPlatform(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An upper platform.

    Attributes
    ----------
    name : also of its spool file
    host, port : where it listens
    edition : of the frames: 2017, or 2025 with RF=1 in what is sent again
    key : SM4 key, 32 hexadecimal digits, with which content is encrypted (2025)
    uploads : real-time 2011, ten-minute means 2051, hourly means 2061, daily means 2031
    over_time_s, re_count : time for an answer to one attempt [s], and attempts after the first
    utc_offset : of the times in frames
    max_frames : frames in its spool; the oldest beyond them are evicted, and counted
    history_s : how far back it begins at its first start [s]

    """

    name: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,40}$")]
    host: str
    port: Annotated[int, Meta(ge=1, le=65535)]
    edition: Literal[2017, 2025] = 2017
    key: str | None = None
    uploads: tuple[Upload, ...] = ("2011", "2061", "2031")
    over_time_s: Annotated[float, Meta(gt=0, le=600)] = 10.0
    re_count: Annotated[int, Meta(ge=0, le=10)] = 3
    utc_offset: str = "+08:00"
    max_frames: Annotated[int, Meta(ge=100)] = 1_000_000
    history_s: Annotated[float, Meta(ge=0, le=3.2e7)] = 0.0

    @property
    def key_bytes(self) -> bytes | None:
        """The SM4 key, or None."""
        return None if self.key is None else bytes.fromhex(self.key)


class ReportedStation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A site that is reported as a station.

    Attributes
    ----------
    station, system, password : MN, ST and PW in its frames
    site : site of this platform
    factors : factor codes by quantity, where they deviate from the registry's; "" leaves a quantity out
    platforms : names of the platforms that it is reported to; empty for all

    """

    station: Annotated[str, Meta(min_length=1, max_length=24)]
    site: str
    system: str = "21"
    password: str = "123456"  # noqa: S105 - what stations have that nobody gave another one
    factors: dict[str, str] = {}
    platforms: list[str] = []


class ForwardFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Content of the file."""

    platforms: list[UpperPlatform]
    stations: list[ReportedStation]

    def stations_of(self, platform: UpperPlatform) -> list[ReportedStation]:
        """Return the stations that are reported to a platform."""
        return [one for one in self.stations if not one.platforms or platform.name in one.platforms]


def read_forward_file(path: Path) -> ForwardFile:
    """Read the file. Raises `StationError` with every problem, one per line."""
    try:
        found = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), ForwardFile)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise StationError(f"{path}: {error}") from error
    problems = list(_problems(found))
    if problems:
        raise StationError("\n".join(f"{path}: {problem}" for problem in problems))
    return found


def _problems(found: ForwardFile) -> list[str]:
    names = [one.name for one in found.platforms]
    problems = [
        f"platform {name!r} occurs twice" for name in sorted({n for n in names if names.count(n) > 1})
    ]
    if not 1 <= len(names) <= MAX_PLATFORMS:
        problems.append(f"there are {len(names)} platforms: name 1 to {MAX_PLATFORMS}")
    for platform in found.platforms:
        try:
            time_zone_of(platform.utc_offset)
        except StationError as error:
            problems.append(f"platform {platform.name}: {error}")
        if platform.key is not None and _KEY.fullmatch(platform.key) is None:
            problems.append(f"platform {platform.name}: key must be {2 * KEY_BYTES} hexadecimal digits")
    for station in found.stations:
        problems += [
            f"station {station.station}: platform {name!r} is not in the file"
            for name in station.platforms
            if name not in names
        ]
    return problems
