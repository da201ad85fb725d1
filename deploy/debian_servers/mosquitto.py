"""Runs Debian's Mosquitto with its dynamic security plugin: users with passwords, messages kept on disk."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from deploy.box.broker_users import initial_configuration
from deploy.debian_servers.installation import MOSQUITTO
from deploy.device_access.certificate_authority import write_private
from deploy.embedded.broker_process import BrokerProcess
from deploy.embedded.errors import EmbeddedError
from deploy.embedded.server_environment import ServerUser, check_reachable, free_port, make_traversable

if TYPE_CHECKING:
    from deploy.debian_servers.installation import Installation

USER = "mosquitto"
PLUGIN = "mosquitto_dynamic_security.so"
ADMINISTRATOR, PLATFORM = "admin", "towntwin-up"
# The processes of `up` share a user: they receive as ingest does, and publish as the HJ 212 server does.
ROLES_BY_USER = {ADMINISTRATOR: ["admin"], PLATFORM: ["towntwin-platform", "towntwin-stations"]}
PASSWORD_BYTES = 24

# As in deploy/compose/mosquitto.conf.
LIMITS = ("autosave_interval 60", "max_queued_messages 100000", "max_packet_size 1048576")


class DebianMosquitto(BrokerProcess):
    """A Mosquitto in a child process that ends with this process; it keeps its messages and users.

    It serves MQTT 5 and 3.1.1 on one port and requires a password. Users, roles and topics are in the
    plugin's file, which is made once; `towntwin access` adds those of enrolled devices. The passwords of the
    administrator and of the platform's user are in files that their owner alone may read. If this process
    is root, the server runs as Debian's user ``mosquitto``.

    Parameters
    ----------
    installation : where its program is
    folder : for configuration, passwords, data and log, in the root folder of the installation
    port : a free port where None
    listen : IP address to listen on
    host : address by which this machine reaches the broker

    """

    name: ClassVar[str] = "Mosquitto"
    work_folder: ClassVar[Path] = Path("/")
    stop_s: ClassVar[float] = 10.0  # it writes its messages to disk first

    def __init__(
        self,
        installation: Installation,
        folder: Path,
        port: int | None = None,
        *,
        listen: str = "127.0.0.1",
        host: str = "127.0.0.1",
    ) -> None:
        self.port = port or free_port()
        super().__init__(folder.absolute(), host, self.port)
        self._listen = listen
        self._installation = installation

    @property
    def url(self) -> str:
        """URL for MQTT 5 and 3.1.1 as the platform's user, without its password."""
        return f"mqtt://{PLATFORM}@{self.host}:{self.port}"

    @property
    def administrator_url(self) -> str:
        """URL as the administrator of users and roles, without the password."""
        return f"mqtt://{ADMINISTRATOR}@{self.host}:{self.port}"

    def password_file(self, user: str) -> Path:
        """Return the file with the password of a user of `ROLES_BY_USER`."""
        return self.folder / f"{user}.password"

    def _prepare(self) -> list[str]:
        """Create users and passwords where there are none, and the configuration; return the command line."""
        self._create_files()
        config = self._installation.inside(self.folder / "mosquitto.conf")
        return self._installation.command(USER, MOSQUITTO, "-c", config, end_signal="TERM")

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _create_files(self) -> None:
        """Write the configuration; make the users, their passwords and the data folder where missing."""
        make_traversable(self.folder)
        owner = self._installation.owner(USER)
        if os.geteuid() == 0:
            check_reachable(self.folder, ServerUser(USER, *owner))
        if not self._data.exists():
            self._make_data(owner)
        (self.folder / "mosquitto.conf").write_text("\n".join(self._config_lines()) + "\n")

    def _make_data(self, owner: tuple[int, int]) -> None:
        """Make the passwords and the plugin's file in a staging folder, then rename it."""
        staging = self.folder / "data-being-made"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(mode=0o700)
        passwords = {user: secrets.token_urlsafe(PASSWORD_BYTES) for user in ROLES_BY_USER}
        for user, password in passwords.items():
            self.password_file(user).unlink(missing_ok=True)
            write_private(self.password_file(user), f"{password}\n".encode())
        plugin_file = staging / "dynamic-security.json"
        write_private(plugin_file, json.dumps(initial_configuration(passwords, ROLES_BY_USER)).encode())
        for path in (plugin_file, staging):
            os.chown(path, *owner)
        staging.rename(self._data)

    def _config_lines(self) -> list[str]:
        """Return the lines of ``mosquitto.conf``.

        Raises
        ------
        EmbeddedError
            If the installation has no dynamic security plugin.

        """
        plugin = next((self._installation.root / "usr/lib").rglob(PLUGIN), None)
        if plugin is None:
            raise EmbeddedError(f"Mosquitto has no {PLUGIN}: install Debian's package mosquitto")
        data = self._installation.inside(self._data)
        return [
            f"listener {self.port} {self._listen}",
            "allow_anonymous false",
            f"plugin {self._installation.inside(plugin)}",
            f"plugin_opt_config_file {data}/dynamic-security.json",
            "persistence true",
            f"persistence_location {data}/",
            *LIMITS,
            "log_dest stderr",
        ]
