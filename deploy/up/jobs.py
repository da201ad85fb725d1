"""The jobs of `towntwin up`: demo towns, own sites, or recorded files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from deploy import command_audit, demo, recorded_devices, site_files
from deploy.settings import SettingsError
from deploy.up import run_summary

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deploy.up.child_processes import ChildProcess, ChildProcesses
    from edge.simulator.fault_plan import PlannedFault
    from ingest_service.storage.postgres.store import PostgresStore


MAX_CHECKED_BYTES = 1 << 20  # the replay reads them again: larger ones would take long to start


class Job(Protocol):
    """What `up` brings up the platform for."""

    @property
    def name(self) -> str:
        """Of the embedded database."""
        ...

    @property
    def keeps_database(self) -> bool:
        """Whether that database is kept from one start to the next."""
        ...

    def enrol(self, store: PostgresStore) -> None:
        """Enrol the sites, as far as they are known before the devices start."""
        ...

    def start(self, children: ChildProcesses, folder: Path) -> ChildProcess | None:
        """Start what publishes."""
        ...

    def faults(self) -> list[PlannedFault]:
        """What is planned to go wrong."""
        ...

    @property
    def has_end(self) -> bool:
        """Whether there is an end to what is published."""
        ...


@dataclass(frozen=True, slots=True)
class DemoJob:
    """Three demo towns, simulated, with a plan of faults."""

    name: str = "towntwin_demo"
    keeps_database: bool = False
    has_end: bool = False

    def enrol(self, store: PostgresStore) -> None:
        """Enrol the demo towns; they need a database that is still empty."""
        if store.health().readings:
            raise SettingsError(
                "TOWNTWIN_DSN names a database that holds readings: the demo needs an empty one"
            )
        store.enrol(demo.directory())

    def start(self, children: ChildProcesses, folder: Path) -> ChildProcess:
        """Play the towns."""
        return children.start(
            "simulate", "--spool", str(folder / "spool"), "--report", str(folder / "fleet.json")
        )

    def faults(self) -> list[PlannedFault]:
        """The written plan."""
        return demo.plan()


@dataclass(frozen=True, slots=True)
class ReplayJob:
    """Recorded files."""

    files: Sequence[Path]
    mapping: Path
    allow: str | None = None
    name: str = "towntwin_replay"
    keeps_database: bool = False
    has_end: bool = True

    def enrol(self, store: PostgresStore) -> None:
        """Left to the replay itself, which reads the files."""

    def check(self) -> None:
        """Look at the mapping and each file, at small ones to their end. Raises `SettingsError`."""
        recordings = recorded_devices.open_recordings(self.files, self.mapping)
        if sum(path.stat().st_size for path in self.files) <= MAX_CHECKED_BYTES:
            recorded_devices.read_recordings(recordings)

    def start(self, children: ChildProcesses, folder: Path) -> ChildProcess:
        """Play the files."""
        files = [str(path.resolve()) for path in self.files]
        flags = ["--mapping", str(self.mapping.resolve()), "--spool", str(folder / "spool")]
        flags += ["--summary", str(folder / run_summary.REPLAY_FILE)]
        flags += ["--allow", self.allow] if self.allow else []
        return children.start("replay", *files, *flags, "--report", str(folder / "fleet.json"), once=True)

    def faults(self) -> list[PlannedFault]:
        """Recorded faults are no plan."""
        return []


@dataclass(frozen=True, slots=True)
class OwnSitesJob:
    """The user's own sites; real devices publish."""

    files: Sequence[Path]
    name: str = "towntwin"
    keeps_database: bool = True
    has_end: bool = False

    def enrol(self, store: PostgresStore) -> None:
        """Enrol what the site files name."""
        try:
            store.enrol(site_files.load_site_files(self.files))
            command_audit.record_command(store, "up", " ".join(map(str, self.files)))
        except site_files.SiteFileError as error:
            raise SettingsError(str(error)) from error

    def start(self, children: ChildProcesses, folder: Path) -> None:
        """Nothing: the devices are outside."""

    def faults(self) -> list[PlannedFault]:
        """Nobody planned any."""
        return []
