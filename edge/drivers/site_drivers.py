"""Reads the site file of `towntwin edge run`: one device, its spool, and its drivers."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import msgspec
from msgspec import Meta

from edge.drivers.driver_group import DriverGroup
from edge.drivers.exec_driver import ExecDriver
from edge.drivers.line_driver import LineDriver, read_chunks
from edge.drivers.maintenance_button import add_button
from edge.drivers.polling import log_fault
from edge.drivers.registry import DRIVERS
from edge.wire.broker_address import BrokerAddress, TlsFiles, parse_broker_address
from edge.wire.errors import EdgeError
from edge.wire.topics import LEVEL_ADVICE, LEVEL_PATTERN

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.drivers import Driver

Seconds = Annotated[float, Meta(ge=0)]


class DeviceFileError(EdgeError, ValueError):
    """The site file can't be used; the message names the key."""


class ExecEntry(msgspec.Struct, tag="exec", tag_field="kind", forbid_unknown_fields=True, frozen=True):
    """A program that is run at a cadence."""

    command: Annotated[list[str], Meta(min_length=1)]
    every_s: Annotated[float, Meta(gt=0)]
    jitter_s: Seconds = 0.0
    timeout_s: Annotated[float, Meta(gt=0)] = 30.0


class LinesEntry(msgspec.Struct, tag="lines", tag_field="kind", forbid_unknown_fields=True, frozen=True):
    """A pipe or file of SenML packs, one a line."""

    path: str


class ReplayEntry(msgspec.Struct, tag="replay", tag_field="kind", forbid_unknown_fields=True, frozen=True):
    """A recorded file, with its mapping."""

    file: str
    mapping: str
    shift_s: float = 0.0


class InstrumentEntry(msgspec.Struct, frozen=True):
    """An instrument of a kind in `edge.drivers.registry`, with the options of its driver."""

    kind: str
    options: dict[str, Any]


DriverEntry = ExecEntry | LinesEntry | ReplayEntry | InstrumentEntry
_OWN_KINDS = ("exec", "lines", "replay")


class BrokerTable(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The broker of the device, which `towntwin edge enrol` writes; paths are relative to the site file."""

    address: str
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    password_file: str | None = None


class _WrittenFile(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The file as it is written."""

    area: str
    device: str
    driver: dict[str, dict[str, Any]] = {}
    spool: str = "towntwin.spool"
    broker: BrokerTable | None = None
    maintenance_button: dict[str, Any] | None = None


class DeviceFile(msgspec.Struct, frozen=True):
    """A device with its drivers, by name; ``maintenance_button`` are `MaintenanceButtonOptions`."""

    area: str
    device: str
    driver: dict[str, DriverEntry]
    spool: str
    broker: BrokerTable | None = None
    maintenance_button: dict[str, Any] | None = None


def read_site_file(path: Path) -> DeviceFile:
    """Read a site file. Raises `DeviceFileError`."""
    try:
        written = msgspec.convert(tomllib.loads(path.read_text("utf-8")), _WrittenFile)
        entries = {name: _entry(name, table) for name, table in written.driver.items()}
    except (OSError, ValueError) as error:
        raise DeviceFileError(f"{path}: {error}") from error
    for key, text in (("area", written.area), ("device", written.device)):
        if not LEVEL_PATTERN.fullmatch(text):  # it names topics, and the files of the device's credentials
            raise DeviceFileError(f"{path}: {key} {text!r} can't stand in a topic: {LEVEL_ADVICE}")
    if not entries:
        raise DeviceFileError(f"{path}: it has no driver: add a table [driver.NAME]")
    return DeviceFile(
        written.area, written.device, entries, written.spool, written.broker, written.maintenance_button
    )


def site_broker(site: DeviceFile, folder: Path) -> BrokerAddress | None:
    """Return the broker of a site file, None where it names none. Raises `WireError`."""
    if site.broker is None:
        return None
    ca, certificate, key, password_file = (
        None if one is None else folder / one
        for one in (site.broker.ca, site.broker.certificate, site.broker.key, site.broker.password_file)
    )
    return parse_broker_address(site.broker.address, TlsFiles(ca, certificate, key), password_file)


def _entry(name: str, table: dict[str, Any]) -> DriverEntry:
    """Return the entry of a table ``[driver.NAME]``. Raises `ValueError`."""
    kind = table.get("kind")
    if kind in _OWN_KINDS:
        try:
            return msgspec.convert(table, ExecEntry | LinesEntry | ReplayEntry)
        except msgspec.ValidationError as error:
            raise ValueError(f"driver {name}: {error}") from error
    if not isinstance(kind, str) or kind not in DRIVERS:
        raise ValueError(f"driver {name}: kind {kind!r} is none of {', '.join([*_OWN_KINDS, *DRIVERS])}")
    return InstrumentEntry(kind, {key: value for key, value in table.items() if key != "kind"})


def build_drivers(
    site: DeviceFile,
    folder: Path,
    on_refused: Callable[[str], None],
    *,
    on_maintenance: Callable[[str], None] = log_fault,
) -> Driver:
    """Build the drivers of a site as one, with its button; paths in it are relative to ``folder``."""
    group = DriverGroup({name: _driver(name, one, folder, on_refused) for name, one in site.driver.items()})
    if site.maintenance_button is None:
        return group
    state = Path(f"{site.spool}.maintenance")
    try:
        return add_button(group, site.maintenance_button, state, on_maintenance)
    except EdgeError as error:
        raise DeviceFileError(str(error)) from error


def _driver(name: str, entry: DriverEntry, folder: Path, on_refused: Callable[[str], None]) -> Driver:
    def refuse(sentence: str) -> None:
        on_refused(f"driver {name}: {sentence}")

    try:
        match entry:
            case ExecEntry():
                return ExecDriver(
                    entry.command,
                    every_s=entry.every_s,
                    jitter_s=entry.jitter_s,
                    timeout_s=entry.timeout_s,
                    on_refused=refuse,
                )
            case LinesEntry():
                # Also for writing, so that a pipe does not end when one of its writers does.
                flags = os.O_RDWR if (folder / entry.path).is_fifo() else os.O_RDONLY
                descriptor = os.open(folder / entry.path, flags | os.O_NONBLOCK)
                return LineDriver(read_chunks(descriptor), on_refused=refuse)
            case ReplayEntry():
                # Reading of recordings takes 5 MB, which a device without one does not spend.
                from edge.drivers.file_mapping import load_mapping  # noqa: PLC0415
                from edge.drivers.replay_driver import Recording, ReplayDriver  # noqa: PLC0415

                recording = Recording(folder / entry.file, load_mapping(folder / entry.mapping))
                recording.read()
                return ReplayDriver(recording, shift_s=entry.shift_s)
            case InstrumentEntry():
                instrument: Any = DRIVERS[entry.kind](entry.options, folder)
                instrument.on_fault = refuse
                return cast("Driver", instrument)
    except (OSError, EdgeError) as error:
        raise DeviceFileError(f"driver {name}: {error}") from error
