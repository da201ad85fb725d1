"""Runs Debian's TimescaleDB: a data folder that is kept, on loopback, with a password."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from deploy.debian_servers.installation import PROGRAMS
from deploy.embedded.postgres import SETTINGS, EmbeddedPostgres
from deploy.embedded.server_environment import ServerUser

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.debian_servers.installation import Installation

USER = "postgres"
TIMESCALE_SETTINGS = {
    "shared_preload_libraries": "timescaledb",
    "timescaledb.telemetry_level": "off",
}


class DebianTimescale(EmbeddedPostgres):
    """A server of Debian's PostgreSQL with TimescaleDB, handled as `EmbeddedPostgres` is.

    It runs as Debian's user ``postgres``, in the root folder of its installation.

    Parameters
    ----------
    installation : where its programs are
    folder : for data, password and log, in the root folder of the installation
    port : on loopback; a free port where None

    """

    name: ClassVar[str] = "TimescaleDB"
    command_sets_user: ClassVar[bool] = True  # setpriv does, in the root folder, which root alone may enter

    def __init__(self, installation: Installation, folder: Path, port: int | None = None) -> None:
        self._installation = installation
        super().__init__(folder, port)

    def database(self, name: str, *, fresh: bool = False) -> str:
        """Create a database with the extension where it is missing, or recreate it; return its URL."""
        dsn = super().database(name, fresh=fresh)
        self._run_sql("CREATE EXTENSION IF NOT EXISTS timescaledb;", _database=name)
        return dsn

    def _settings(self) -> dict[str, str]:
        settings = SETTINGS | TIMESCALE_SETTINGS
        if not self._installation.is_this_machine:
            settings["dynamic_shared_memory_type"] = "mmap"  # the root folder has no /dev/shm
        return settings

    def _server_user(self) -> ServerUser | None:
        return ServerUser(USER, *self._installation.owner(USER))

    def _data_creator(self) -> ServerUser:
        return ServerUser(USER, *self._installation.owner(USER))

    def _program_path(self, path: Path) -> str:
        return self._installation.inside(path)

    def _command(self, program: str, *args: str, ends_with_parent: bool = False) -> list[str]:
        command = f"{PROGRAMS}/{program}"
        if ends_with_parent:
            return self._installation.command(USER, command, *args, end_signal="INT")
        return self._installation.command(USER, command, *args)
