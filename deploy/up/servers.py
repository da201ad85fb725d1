"""Provides the database and broker of a run: configured ones, or embedded ones, restarted when they end."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from deploy.embedded.broker import EmbeddedBroker
from deploy.embedded.postgres import EmbeddedPostgres
from deploy.embedded.server_environment import EmbeddedError
from deploy.up import ports

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from deploy.settings import CommonSettings
    from deploy.up.settings import Settings

INITIAL_DELAY_S = 0.5
MAX_DELAY_S = 60.0
GATEWAY_LOGIN, GATEWAY_GROUP = "towntwin_gateway_login", "towntwin_gateway"
GRAFANA_LOGIN, GRAFANA_GROUP = "towntwin_grafana_login", "towntwin_grafana"
RESTART_RESET_S = 300.0  # after running this long the restart delay is reset


@dataclass(slots=True)
class _RestartableServer:
    """An embedded server that is restarted when it ends, with a growing delay."""

    name: str
    consequence: str
    server: EmbeddedPostgres | EmbeddedBroker
    wait_s: float = INITIAL_DELAY_S
    due_s: float | None = None
    started_s: float = 0.0


class Servers:
    """The database and the broker of a run of `up`; embedded ones are stopped with it.

    Attributes
    ----------
    dsn, broker : URLs by which this machine reaches them
    broker_old : URL for MQTT 3.1.1, None where the broker is a configured one
    was_restarted : whether an embedded server ended by itself and was restarted

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
        self._embedded_servers: list[_RestartableServer] = []
        self._postgres: EmbeddedPostgres | None = None
        self.dsn = common.dsn or ""
        self.broker = common.broker or ""
        self.broker_old: str | None = None
        self.was_restarted = False

    @property
    def password_file(self) -> Path | None:
        """The file with the embedded database's password; None where the database is a configured one."""
        return None if self._common.dsn else self._folder / "postgres" / "password"

    def gateway_dsn(self) -> str:
        """Return the URL of the database for the gateway; call it after the schema migration.

        In the embedded database the URL is that of a role with only the gateway's privileges, so that
        row-level security limits every statement to the area scope of its API key (decision 0029). The URL
        of a configured database is used unchanged.
        """
        if self._postgres is None:
            return self.dsn
        return self._postgres.login(GATEWAY_LOGIN, GATEWAY_GROUP, self._database)

    def grafana_dsn(self) -> str | None:
        """Return the URL of the embedded database for Grafana; call it after the schema migration.

        Its role may read the dashboards' views only. None where the database is a configured one: whoever
        manages it creates that role.
        """
        if self._postgres is None:
            return None
        # Without a certificate; Grafana has no mode that takes the best that the server offers.
        return f"{self._postgres.login(GRAFANA_LOGIN, GRAFANA_GROUP, self._database)}?sslmode=disable"

    def restart_ended(self) -> None:
        """Restart embedded servers that ended, on the same ports and with the same data.

        Must be called on the main thread: a server ends with the thread that started it.
        """
        now_s = time.monotonic()
        for one in self._embedded_servers:
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
            embeds_database, embeds_broker = not self._common.dsn, not self._common.broker
            chosen = ports.choose_ports(
                self._settings, self._print_line, broker=embeds_broker, database=embeds_database
            )
            if embeds_database:
                self._print_line("starting the embedded PostgreSQL")
                postgres = EmbeddedPostgres(self._folder / "postgres", port=chosen.database)
                self._stack.enter_context(postgres)
                self._postgres = postgres
                self.dsn = postgres.database(self._database, fresh=self._fresh)
                consequence = "devices keep their readings until it is back"
                self._embedded_servers.append(
                    _RestartableServer("the embedded PostgreSQL", consequence, postgres)
                )
            if embeds_broker:
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
                self._embedded_servers.append(
                    _RestartableServer("the embedded MQTT broker", consequence, broker)
                )
            cleanup.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
