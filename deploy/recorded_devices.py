"""Maps recorded files to replay devices: groups files by device, lists what to enrol, and sets the clock.

Nothing that is enrolled is changed: recorded readings are published by separate devices, named
``replay-…`` (docs/decisions/0024-recorded-files-have-devices-of-their-own.md).
"""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.settings import SettingsError
from edge.drivers import column_layout, file_mapping
from edge.drivers.file_mapping import MappingError
from edge.drivers.recorded_file import RecordedFile
from edge.drivers.replay_driver import Recording, ReplayDriver
from edge.wire import topics
from ingest_service.storage.contract.models import Area, Channel, Device, Directory, Series, Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from edge.drivers.file_mapping import FileMapping
    from edge.drivers.file_report import FileReport
    from edge.drivers.mapping_lines import MappingLines

REPLAY_KIND = "replay"
DEVICE_ID_PREFIX = "replay-"
MAX_ID_CHARS = 64  # of a device id, as of every level of a topic


@dataclass(frozen=True, slots=True)
class RecordedDevice:
    """A device that publishes the readings of a recording for the sites of one area."""

    area: str
    device: str
    recording: Recording
    sites: frozenset[str]


@dataclass(frozen=True, slots=True)
class PlayPlan:
    """Plan of a replay: the driver of each device, their common clock, and the number of readings."""

    drivers: list[tuple[RecordedDevice, ReplayDriver]]
    clock: Callable[[], float]
    total: int
    shift_s: float  # added to every time [s]
    early: int  # readings left out because their time is before the earliest that the platform accepts


def open_recordings(files: Sequence[Path], mapping: Path) -> list[Recording]:
    """Return one recording per device; files that share a site belong to one device.

    Only the beginning of each file is read. Raises `SettingsError` for an invalid file or mapping.
    """
    try:
        found = file_mapping.load_mapping(mapping)
        unique_paths = {path.resolve(): path for path in reversed(files)}
        opened = [RecordedFile(path, found) for path in reversed(unique_paths.values())]
        _check_all_columns_matched(opened, found, file_mapping.read_lines(mapping))
        return [Recording(group, found, _device_id(group)) for group in _group_by_shared_site(opened)]
    except MappingError as error:
        raise SettingsError(str(error)) from error


def read_recordings(recordings: Iterable[Recording]) -> None:
    """Read every row. Raises `SettingsError` where a recording can't be replayed."""
    try:
        for one in recordings:
            one.read()
    except MappingError as error:
        raise SettingsError(str(error)) from error


def file_reports(recordings: Iterable[Recording]) -> list[tuple[str, FileReport]]:
    """Return the row accounting of each file with the id of its device."""
    return [(one.device, account) for one in recordings for account in one.accounts]


def devices_of_recordings(
    recordings: Sequence[Recording], enrolled_directory: Directory, area: str
) -> list[RecordedDevice]:
    """Return the devices that publish recordings: one per recording and area, as a device has one area.

    A site that is enrolled stays in its area; the others are put into ``area``. Raises `SettingsError`.
    """
    if not topics.LEVEL_PATTERN.fullmatch(area):
        raise SettingsError(f"--area {area!r}: letters, digits and _ . : - only, {MAX_ID_CHARS} at most")
    area_of = {one.site_id: one.area_id for one in enrolled_directory.sites}
    enrolled = {one.device_id: one for one in enrolled_directory.devices}
    found: list[RecordedDevice] = []
    for recording in recordings:
        by_area: dict[str, set[str]] = {}
        for one in recording.series():
            by_area.setdefault(area_of.get(one.site, area), set()).add(one.site)
        for site_area, sites in sorted(by_area.items()):
            device = _unused_device_id(recording.device, site_area, enrolled)
            enrolled[device] = Device(device_id=device, area_id=site_area, kind=REPLAY_KIND)
            found.append(RecordedDevice(site_area, device, recording, frozenset(sites)))
    return found


def missing_enrolment(devices: Sequence[RecordedDevice], enrolled_directory: Directory) -> Directory:
    """Return the entries that must be enrolled so that the devices can publish and that are not enrolled yet.

    Positions are unknown, so new sites get longitude 0 and latitude 0.
    """
    areas, sites = (
        {one.area_id for one in enrolled_directory.areas},
        {one.site_id for one in enrolled_directory.sites},
    )
    enrolled_devices = {one.device_id for one in enrolled_directory.devices}
    series = {(one.site_id, one.quantity) for one in enrolled_directory.series}
    channels = {(one.device_id, one.name) for one in enrolled_directory.channels}
    named = [
        (one, measured)
        for one in devices
        for measured in one.recording.series()
        if measured.site in one.sites
    ]
    traffic = {one.site for _, one in named if one.quantity.startswith("traffic")}
    area_of = {one.site: device.area for device, one in named}
    return Directory(
        areas=[
            Area(area_id=one, level="town", en="Recorded data", zh="历史数据回放")
            for one in sorted({device.area for device in devices} - areas)
        ],
        sites=[
            Site(
                site_id=site,
                area_id=area_of[site],
                kind="road_section" if site in traffic else "river_section",
                en=site,
                zh=site,
                lon=0.0,
                lat=0.0,
            )
            for site in sorted(area_of.keys() - sites)
        ],
        devices=[
            Device(device_id=one.device, area_id=one.area, kind=REPLAY_KIND)
            for one in devices
            if one.device not in enrolled_devices
        ],
        series=[
            Series(site_id=one.site, quantity=one.quantity)
            for one in dict.fromkeys(measured for _, measured in named)
            if (one.site, one.quantity) not in series
        ],
        channels=[
            Channel(device_id=device.device, name=one.channel, site_id=one.site, quantity=one.quantity)
            for device, one in named
            if (device.device, one.channel) not in channels
        ],
    )


def make_play_plan(devices: Sequence[RecordedDevice], *, speed: float, shift: str) -> PlayPlan:
    """Return the plan of a replay; with speed 0 every pack is due at once. Raises `SettingsError`."""
    recordings = list({id(one.recording): one.recording for one in devices}.values())
    read_recordings(recordings)
    shift_s = time.time() - max(one.last_s() for one in recordings) if shift == "now" else 0.0
    first_s = min(one.first_s() for one in recordings) + shift_s
    begun_s = time.time()

    def clock() -> float:
        return first_s + (time.time() - begun_s) * speed if speed else float("inf")

    drivers = [(one, ReplayDriver(one.recording, shift_s=shift_s, sites=one.sites)) for one in devices]
    early = sum(one.leave_out_early(shift_s) for one in recordings)
    return PlayPlan(drivers, clock, sum(one.total() for one in recordings) - early, shift_s, early)


def _check_all_columns_matched(
    opened: Sequence[RecordedFile], mapping: FileMapping, lines: MappingLines
) -> None:
    """Raise `MappingError` for a mapped column that no file has: it is misspelt or for other files."""
    unmatched_columns = [column_layout.missing_columns(mapping, one.table.names) for one in opened]
    for index, column in enumerate(mapping.column):
        if all(any(column is one for one in unmatched) for unmatched in unmatched_columns):
            names = [name for one in opened for name in one.table.names]
            message = column_layout.missing_column_message(column, list(dict.fromkeys(names)))
            raise MappingError(f"{lines.location('column', index, 'match')}: {message}")


def _group_by_shared_site(opened: Sequence[RecordedFile]) -> list[list[RecordedFile]]:
    """Group files by device: files that share a site, directly or through other files."""
    groups: list[tuple[set[str], list[RecordedFile]]] = []
    for file in opened:
        mine = ({*file.sites}, [file])
        for other in [one for one in groups if one[0] & mine[0]]:
            groups.remove(other)
            mine = (other[0] | mine[0], other[1] + mine[1])
        groups.append(mine)
    return [files for _, files in groups]


def _device_id(files: Sequence[RecordedFile]) -> str:
    """Return a device's name: its only site, else the first file's id, in characters allowed in a topic."""
    sites = {site for one in files for site in one.sites}
    stems = {column_layout.file_id(one.path) for one in files}
    only = next(iter(sites)) if len(sites) == 1 else ""
    name = only if topics.LEVEL_PATTERN.fullmatch(only) else min(stems)
    if topics.LEVEL_PATTERN.fullmatch(name):
        return name
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")
    return f"{plain[:40]}-{_digest(name)}".strip("-")


def _unused_device_id(name: str, area: str, enrolled: dict[str, Device]) -> str:
    """Return a device id that no other device uses. Raises `SettingsError` where there is none."""
    digest = _digest(f"{area}/{name}")
    for candidate in (
        f"{DEVICE_ID_PREFIX}{name}",
        f"{DEVICE_ID_PREFIX}{name[: MAX_ID_CHARS - len(DEVICE_ID_PREFIX) - len(digest) - 1]}-{digest}",
    ):
        other = enrolled.get(candidate)
        mine = other is None or (other.area_id == area and other.kind == REPLAY_KIND)
        if mine and topics.LEVEL_PATTERN.fullmatch(candidate):
            return candidate
    raise SettingsError(
        f"device {DEVICE_ID_PREFIX}{name} is enrolled already, and not for recorded files: rename one of them"
    )


def _digest(text: str) -> str:
    return hashlib.blake2s(text.encode(), digest_size=4).hexdigest()
