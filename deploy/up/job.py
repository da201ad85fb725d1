"""The jobs of `towntwin up`: demo towns, own sites, or recorded files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from deploy import audit, demo, recorded, sites
from deploy.settings import SettingsError
from deploy.up import summary

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deploy.up.children import Child, Children
    from edge.simulator.faults import Fault
    from ingest_service.storage.postgres import PostgresStore


READ_WHOLE_BYTES = 1 << 20  # the replay reads them again: larger ones would take long to start


class Job(Protocol):
    """What `up` brings up the platform for."""

    @property
    def name(self) -> str:
        """Of the embedded database."""
        ...

    @property
    def keeps(self) -> bool:
        """Whether that database is kept from one start to the next."""
        ...

    def enrol(self, store: PostgresStore) -> None:
        """Enrol the sites, as far as they are known before the devices start."""
        ...

    def start(self, children: Children, folder: Path) -> Child | None:
        """Start what publishes."""
        ...

    def faults(self) -> list[Fault]:
        """What is planned to go wrong."""
        ...

    @property
    def ends(self) -> bool:
        """Whether there is an end to what is published."""
        ...


@dataclass(frozen=True, slots=True)
class Demo:
    """Three demo towns, simulated, with a plan of faults."""

    name: str = "towntwin_demo"
    keeps: bool = False
    ends: bool = False

    def enrol(self, store: PostgresStore) -> None:
        """Enrol the demo towns; they need a database that is still empty."""
        if store.health().readings:
            raise SettingsError(
                "TOWNTWIN_DSN names a database that holds readings: the demo needs an empty one"
            )
        store.enrol(demo.directory())

    def start(self, children: Children, folder: Path) -> Child:
        """Play the towns."""
        return children.start(
            "simulate", "--spool", str(folder / "spool"), "--report", str(folder / "fleet.json")
        )

    def faults(self) -> list[Fault]:
        """The written plan."""
        return demo.plan()


@dataclass(frozen=True, slots=True)
class Replay:
    """Recorded files."""

    files: Sequence[Path]
    mapping: Path
    allow: str | None = None
    name: str = "towntwin_replay"
    keeps: bool = False
    ends: bool = True

    def enrol(self, store: PostgresStore) -> None:
        """Left to the replay itself, which reads the files."""

    def check(self) -> None:
        """Look at the mapping and each file, at small ones to their end. Raises `SettingsError`."""
        recordings = recorded.open_all(self.files, self.mapping)
        if sum(path.stat().st_size for path in self.files) <= READ_WHOLE_BYTES:
            recorded.read_all(recordings)

    def start(self, children: Children, folder: Path) -> Child:
        """Play the files."""
        files = [str(path.resolve()) for path in self.files]
        flags = ["--mapping", str(self.mapping.resolve()), "--spool", str(folder / "spool")]
        flags += ["--summary", str(folder / summary.REPLAY_FILE)]
        flags += ["--allow", self.allow] if self.allow else []
        return children.start("replay", *files, *flags, "--report", str(folder / "fleet.json"), once=True)

    def faults(self) -> list[Fault]:
        """Recorded faults are no plan."""
        return []


@dataclass(frozen=True, slots=True)
class Own:
    """The user's own sites; real devices publish."""

    files: Sequence[Path]
    name: str = "towntwin"
    keeps: bool = True
    ends: bool = False

    def enrol(self, store: PostgresStore) -> None:
        """Enrol what the site files name."""
        try:
            store.enrol(sites.load(self.files))
            audit.note(store, "up", " ".join(map(str, self.files)))
        except sites.SiteFileError as error:
            raise SettingsError(str(error)) from error

    def start(self, children: Children, folder: Path) -> None:
        """Nothing: the devices are outside."""

    def faults(self) -> list[Fault]:
        """Nobody planned any."""
        return []
