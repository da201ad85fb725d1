"""Provides a run's database and broker: configured, embedded, or Debian's; restarts its own when they end."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from deploy.debian_servers import installation as debian
from deploy.debian_servers.mosquitto import ADMINISTRATOR, PLATFORM, DebianMosquitto
from deploy.debian_servers.timescaledb import DebianTimescale
from deploy.embedded.broker import EmbeddedBroker
from deploy.embedded.errors import EmbeddedError
from deploy.embedded.postgres import EmbeddedPostgres
from deploy.up import ports

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from deploy.debian_servers.installation import Installation
    from deploy.settings import CommonSettings
    from deploy.up.settings import Settings

INITIAL_DELAY_S = 0.5
MAX_DELAY_S = 60.0
GATEWAY_LOGIN, GATEWAY_GROUP = "towntwin_gateway_login", "towntwin_gateway"
GRAFANA_LOGIN, GRAFANA_GROUP = "towntwin_grafana_login", "towntwin_grafana"
RESTART_RESET_S = 300.0  # after running this long the restart delay is reset


@dataclass(slots=True)
class _RestartableServer:
    """A server of this run that is restarted when it ends, with a growing delay."""

    name: str
    consequence: str
    server: EmbeddedPostgres | EmbeddedBroker | DebianMosquitto
    wait_s: float = INITIAL_DELAY_S
    due_s: float | None = None
    started_s: float = 0.0


class Servers:
    """The database and the broker of a run of `up`; embedded ones and Debian's are stopped with it.

    Attributes
    ----------
    dsn, broker : URLs by which this machine reaches them
    broker_old : URL for MQTT 3.1.1 of the embedded broker; None for others, which have one port
    broker_files : settings of the broker's password file, where it is Debian's of this run
    access_environ : settings of `towntwin access` for Debian's broker of this run; else empty
    was_restarted : whether a server of this run ended by itself and was restarted

    """

    def __init__(
        self,
        common: CommonSettings,
        settings: Settings,
        folder: Path,
        *,
        database: str,
        fresh: bool,
        print_line: Callable[[str], None],
    ) -> None:
        self._common = common
        self._settings = settings
        self._folder = folder
        self._database = database
        self._fresh = fresh
        self._print_line = print_line
        self._stack = ExitStack()
        self._own_servers: list[_RestartableServer] = []
        self._postgres: EmbeddedPostgres | None = None
        self.dsn = common.dsn or ""
        self.broker = common.broker or ""
        self.broker_old: str | None = None
        self.broker_files: dict[str, str] = {}
        self.access_environ: dict[str, str] = {}
        self.was_restarted = False

    @property
    def database_name(self) -> str:
        """Name of the run's own database server, for the display; empty for a configured one."""
        return "" if self._postgres is None else self._postgres.name

    @property
    def password_file(self) -> Path | None:
        """The file with the password of the run's own database; None for a configured one."""
        return None if self._postgres is None else self._postgres.folder / "password"

    def gateway_dsn(self) -> str:
        """Return the URL of the database for the gateway; call it after the schema migration.

        In the run's own database the URL is that of a role with only the gateway's privileges, so that
        row-level security limits every statement to the area scope of its API key (decision 0029). The URL
        of a configured database is used unchanged.
        """
        if self._postgres is None:
            return self.dsn
        return self._postgres.login(GATEWAY_LOGIN, GATEWAY_GROUP, self._database)

    def grafana_dsn(self) -> str | None:
        """Return the URL of the run's own database for Grafana; call it after the schema migration.

        Its role may read the dashboards' views only. None where the database is a configured one: whoever
        manages it creates that role.
        """
        if self._postgres is None:
            return None
        # Without a certificate; Grafana has no mode that takes the best that the server offers.
        return f"{self._postgres.login(GRAFANA_LOGIN, GRAFANA_GROUP, self._database)}?sslmode=disable"

    def restart_ended(self) -> None:
        """Restart servers of this run that ended, on the same ports and with the same data.

        Must be called on the main thread: a server ends with the thread that started it.
        """
        now_s = time.monotonic()
        for one in self._own_servers:
            if one.server.is_running:
                if now_s - one.started_s > RESTART_RESET_S:
                    one.wait_s = INITIAL_DELAY_S
                continue
            if one.due_s is None:
                one.due_s = now_s + one.wait_s
                self._print_line(f"{one.name} ended by itself: starting it again; {one.consequence}")
            if now_s >= one.due_s:
                self._start_again(one)

    def _start_again(self, one: _RestartableServer) -> None:
        self.was_restarted = True
        one.wait_s = min(MAX_DELAY_S, 2 * one.wait_s)
        try:
            one.server.start()
        except EmbeddedError as error:
            one.due_s = time.monotonic() + one.wait_s
            self._print_line(f"{one.name} does not start again, next try in {one.wait_s:.0f} s: {error}")
            return
        one.due_s, one.started_s = None, time.monotonic()
        self._print_line(f"{one.name} runs again")

    def __enter__(self) -> Self:
        with ExitStack() as cleanup:
            cleanup.push(self._stack.__exit__)
            starts_database, starts_broker = not self._common.dsn, not self._common.broker
            installed = None
            if self._settings.timescaledb and (starts_database or starts_broker):
                installed = debian.provide(self._folder, self._print_line)
            chosen = ports.choose_ports(
                self._settings, self._print_line, broker=starts_broker, database=starts_database
            )
            if starts_database:
                self._start_database(installed, chosen)
            if starts_broker:
                if installed is None:
                    self._start_embedded_broker(chosen)
                else:
                    self._start_mosquitto(installed, chosen)
            cleanup.pop_all()
        return self

    def _start_database(self, installed: Installation | None, chosen: ports.Ports) -> None:
        if installed is None:
            postgres = EmbeddedPostgres(self._folder / "postgres", port=chosen.database)
        else:
            folder = installed.data_folder(self._folder) / "timescaledb"
            postgres = DebianTimescale(installed, folder, port=chosen.database)
        self._print_line(f"starting {postgres.name}")
        self._stack.enter_context(postgres)
        self._postgres = postgres
        self.dsn = postgres.database(self._database, fresh=self._fresh)
        consequence = "devices keep their readings until it is back"
        self._own_servers.append(_RestartableServer(postgres.name, consequence, postgres))

    def _start_embedded_broker(self, chosen: ports.Ports) -> None:
        self._print_line("starting the embedded MQTT broker")
        listen = self._settings.listen
        broker = EmbeddedBroker(
            self._folder / "broker",
            chosen.broker,
            chosen.broker_old,
            listen=listen,
            host=ports.local_host(listen),
        )
        self._stack.enter_context(broker)
        self.broker, self.broker_old = broker.url, broker.mqtt311_url
        consequence = "agents send again what it had in memory, plain clients have to connect again"
        self._own_servers.append(_RestartableServer("the embedded MQTT broker", consequence, broker))

    def _start_mosquitto(self, installed: Installation, chosen: ports.Ports) -> None:
        self._print_line("starting Mosquitto")
        folder, listen = installed.data_folder(self._folder) / "mosquitto", self._settings.listen
        broker = DebianMosquitto(
            installed, folder, chosen.broker, listen=listen, host=ports.local_host(listen)
        )
        self._stack.enter_context(broker)
        self.broker = broker.url
        self.broker_files = {"broker_password_file": str(broker.password_file(PLATFORM))}
        self.access_environ = {
            "TOWNTWIN_ACCESS_ADMIN": broker.administrator_url,
            "TOWNTWIN_ACCESS_ADMIN_PASSWORD_FILE": str(broker.password_file(ADMINISTRATOR)),
        }
        consequence = "it keeps its messages; clients connect again"
        self._own_servers.append(_RestartableServer("Mosquitto", consequence, broker))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
