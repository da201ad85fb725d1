"""The three jobs of `towntwin up`: simulate demo towns, serve own sites, or replay recorded files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec

from deploy import command_audit, demo, recorded_devices, site_files
from deploy.demo import field_devices
from deploy.settings import SettingsError
from deploy.up import run_summary
from deploy.up.station_server import start_station_server
from ingest_service.storage.postgres.duty import DutyStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deploy.up.child_processes import ChildProcess, ChildProcesses
    from edge.simulator.fault_plan import PlannedFault
    from ingest_service.storage.postgres.store import PostgresStore


DUTY_ROOM = "330400-duty-room"
MAX_CHECKED_BYTES = 1 << 20  # the replay reads the files again: larger ones would delay the start


class Job(Protocol):
    """A job of `up`: the sites to enrol and the process that publishes their readings."""

    @property
    def name(self) -> str:
        """Name of the embedded database."""
        ...

    @property
    def keeps_database(self) -> bool:
        """Whether the embedded database is kept from one start to the next."""
        ...

    def enrol(self, store: PostgresStore) -> None:
        """Enrol the sites that are known before the devices start."""
        ...

    def assign_key(self, store: PostgresStore, principal_id: str) -> None:
        """Assign the key of this run to a person, if the job has one."""
        ...

    def start(self, children: ChildProcesses, folder: Path) -> ChildProcess | None:
        """Start the process that publishes, if there is one."""
        ...

    def faults(self) -> list[PlannedFault]:
        """Return the planned faults."""
        ...

    @property
    def has_end(self) -> bool:
        """Whether publishing ends by itself."""
        ...


@dataclass(frozen=True, slots=True)
class DemoJob:
    """Simulates the three demo towns with a plan of faults."""

    name: str = "towntwin_demo"
    keeps_database: bool = False
    has_end: bool = False

    def enrol(self, store: PostgresStore) -> None:
        """Enrol the demo towns, with their grid cells, teams and rosters.

        Raises
        ------
        SettingsError
            If the database has readings.

        """
        if store.health().readings:
            raise SettingsError(
                "TOWNTWIN_DSN names a database that holds readings: the demo needs an empty one"
            )
        store.enrol(demo.directory())
        store.enrol(field_devices.directory())
        duty_store, plan = DutyStore(store), demo.duty_plan()
        duty_store.replace_cells(plan.cells)
        for team in plan.teams:
            duty_store.replace_team(team)
        for roster in plan.rosters:
            duty_store.replace_roster(roster)

    def assign_key(self, store: PostgresStore, principal_id: str) -> None:
        """Assign the key of this run to the first member of the city's duty room."""
        team = next(one for one in demo.duty_plan().teams if one.team_id == DUTY_ROOM)
        officer, *others = team.members
        members = [msgspec.structs.replace(officer, principal=principal_id), *others]
        DutyStore(store).replace_team(msgspec.structs.replace(team, members=members))

    def start(self, children: ChildProcesses, folder: Path) -> ChildProcess:
        """Start the HJ 212 server of the field devices, and the simulator."""
        port = start_station_server(children, folder / "spool")
        return children.start(
            "simulate",
            *("--spool", str(folder / "spool"), "--report", str(folder / "fleet.json")),
            *("--hj212-port", str(port)),
        )

    def faults(self) -> list[PlannedFault]:
        """Return the demo's planned faults."""
        return demo.plan()


@dataclass(frozen=True, slots=True)
class ReplayJob:
    """Replays recorded files."""

    files: Sequence[Path]
    mapping: Path
    allow: str | None = None
    name: str = "towntwin_replay"
    keeps_database: bool = False
    has_end: bool = True

    def enrol(self, store: PostgresStore) -> None:
        """Enrol nothing: the replay process does it when it reads the files."""

    def check(self) -> None:
        """Check the mapping and the start of each file, small files completely. Raises `SettingsError`."""
        recordings = recorded_devices.open_recordings(self.files, self.mapping)
        if sum(path.stat().st_size for path in self.files) <= MAX_CHECKED_BYTES:
            recorded_devices.read_recordings(recordings)

    def assign_key(self, store: PostgresStore, principal_id: str) -> None:
        """Assign the key to nobody: recorded sites have no teams."""

    def start(self, children: ChildProcesses, folder: Path) -> ChildProcess:
        """Start the replay of the files."""
        files = [str(path.resolve()) for path in self.files]
        flags = ["--mapping", str(self.mapping.resolve()), "--spool", str(folder / "spool")]
        flags += ["--summary", str(folder / run_summary.REPLAY_FILE)]
        flags += ["--allow", self.allow] if self.allow else []
        return children.start("replay", *files, *flags, "--report", str(folder / "fleet.json"), once=True)

    def faults(self) -> list[PlannedFault]:
        """Return no faults: none are planned."""
        return []


@dataclass(frozen=True, slots=True)
class OwnSitesJob:
    """Serves the user's own sites, whose readings come from real devices."""

    files: Sequence[Path]
    name: str = "towntwin"
    keeps_database: bool = True
    has_end: bool = False

    def enrol(self, store: PostgresStore) -> None:
        """Enrol the entries of the site files."""
        try:
            store.enrol(site_files.load_site_files(self.files, store.directory()))
            command_audit.record_command(store, "up", " ".join(map(str, self.files)))
        except site_files.SiteFileError as error:
            raise SettingsError(str(error)) from error

    def assign_key(self, store: PostgresStore, principal_id: str) -> None:
        """Assign the key to nobody: the teams are the town's own."""

    def start(self, children: ChildProcesses, folder: Path) -> None:
        """Start nothing: the devices publish from outside."""

    def faults(self) -> list[PlannedFault]:
        """Return no faults: none are planned."""
        return []
