"""Sends commands from the database to connected HJ 212 stations, and stores their answers.

The gateway, another process, inserts commands; times-out and attempts are kept in the database, so that a
restart of the server loses no command. While the database is away nothing is sent, and uploads go on.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import structlog

from gateway.hj212 import metrics
from gateway.hj212.commands import StationDialect, command_frame, dialect_of, station_answer
from gateway.hj212.readings import UPLOADS
from ingest_service.storage.contract.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gateway.hj212.segment import Segment
    from gateway.hj212.stations import Station
    from ingest_service.storage.postgres.station_commands import (
        ClaimedCommand,
        StationAnswer,
        StationCommandLog,
    )

log = structlog.get_logger()

POLL_S = 1.0
MAX_WAITING_ANSWERS = 10_000  # while the database is away


class StationConnection(NamedTuple):
    """The connection of a station and its dialect."""

    writer: asyncio.StreamWriter
    dialect: StationDialect


class CommandRelay:
    """Connects the commands in the database with the connections of the server.

    Parameters
    ----------
    open_log : opens the commands in the database; called in a thread, and may wait for the database
    stations : settings of the known stations by MN

    """

    def __init__(self, open_log: Callable[[], StationCommandLog], stations: Mapping[str, Station]) -> None:
        self._open_log = open_log
        self._log: StationCommandLog | None = None
        self._stations_by_name = stations
        self._stations = {one.device: one for one in stations.values()}
        self._connections: dict[str, StationConnection] = {}
        self._open_requests: set[tuple[str, str]] = set()
        self._answers: list[StationAnswer] = []
        self._wake = asyncio.Event()
        self._failure_logged = False

    def receive(self, segment: Segment, writer: asyncio.StreamWriter) -> None:
        """Note the connection of a known station, and keep a frame that answers an open command."""
        station = self._stations_by_name[segment.station]
        self._connections[station.device] = StationConnection(writer, dialect_of(segment))
        if (station.device, segment.request) not in self._open_requests:
            return
        answer = station_answer(segment, station.device, is_upload=segment.command in UPLOADS)
        if answer is not None and len(self._answers) < MAX_WAITING_ANSWERS:
            self._answers.append(answer)
            self._wake.set()

    def disconnected(self, station_names: Iterable[str], writer: asyncio.StreamWriter) -> None:
        """Forget a connection of stations (MN), except those that have another one by now."""
        for name in station_names:
            device = self._stations_by_name[name].device
            current = self._connections.get(device)
            if current is not None and current.writer is writer:
                del self._connections[device]

    async def run(self) -> None:
        """Send and store until cancelled."""
        while True:
            try:
                claimed = await asyncio.to_thread(self._exchange_with_database)
                self._failure_logged = False
            except StoreError as error:
                claimed = []
                if not self._failure_logged:
                    self._failure_logged = True
                    log.warning("commands_wait", error=str(error))
            for one in claimed:
                await self._send(one)
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._wake.wait()
            self._wake.clear()

    def _exchange_with_database(self) -> list[ClaimedCommand]:
        if self._log is None:
            self._log = self._open_log()
        answers = self._answers[:]
        if answers:
            self._log.store_answers(answers)
            del self._answers[: len(answers)]
        claimed = self._log.claim(list(self._stations), list(self._connections))
        self._open_requests = self._log.open_requests(list(self._stations))
        return claimed

    async def _send(self, claimed: ClaimedCommand) -> None:
        """Send a command; an attempt on a connection that has ended is over with its time for an answer."""
        connection = self._connections.get(claimed.device_id)
        if connection is None:
            return
        frame = command_frame(claimed, self._stations[claimed.device_id], connection.dialect)
        metrics.COMMANDS.labels(claimed.command).inc()
        log.info("command_sent", device=claimed.device_id, command=claimed.command, request=claimed.request)
        with suppress(OSError):
            connection.writer.write(frame)
            await connection.writer.drain()
