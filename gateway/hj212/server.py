"""TCP server for HJ 212 stations: stores what they upload in a durable spool, then answers them.

All connections of the process share one spool. Frames that arrive at the same time are stored in one
transaction, since the time of a transaction is that of waiting for the disk.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from edge.agent.spool import SpoolBusyError, SpoolEntry
from gateway.hj212 import metrics
from gateway.hj212.frames import FrameReader
from gateway.hj212.session import StationSession

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge.agent.spool import Spool
    from gateway.hj212.command_relay import CommandRelay
    from gateway.hj212.session import FrameOutcome
    from gateway.hj212.stations import Station

log = structlog.get_logger()

CHUNK_BYTES = 65_536
MAX_ENTRIES_PER_COMMIT = 5_000
DISK_RETRY_S = 1.0


class SpoolWriter:
    """Stores entries of many connections in common transactions.

    An entry is durable once `put` has returned. While the disk is full, callers wait: their stations get no
    answer and send again.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._waiting: list[tuple[list[SpoolEntry], asyncio.Future[None]]] = []
        self._arrived = asyncio.Event()

    async def put(self, entries: list[SpoolEntry]) -> None:
        """Return when the entries are on disk."""
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entries, stored))
        self._arrived.set()
        await stored

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                await self._write_batch()

    async def _write_batch(self) -> None:
        batch, count = [], 0
        while self._waiting and count < MAX_ENTRIES_PER_COMMIT:
            batch.append(self._waiting.pop(0))
            count += len(batch[-1][0])
        entries = [entry for entries, _ in batch for entry in entries]
        while True:
            try:
                await asyncio.to_thread(self._spool.put, entries)
            except SpoolBusyError as error:
                log.error("spool_busy", entries=len(entries), error=str(error))  # noqa: TRY400 - the sentence suffices
                await asyncio.sleep(DISK_RETRY_S)
            else:
                break
        for _, stored in batch:
            if not stored.done():
                stored.set_result(None)


class Hj212Server:
    """Serves the connections of HJ 212 stations.

    Parameters
    ----------
    stations : settings of the known stations by MN
    writer : stores entries durably
    idle_s : time without a byte after which a connection is closed [s]
    max_connections : connections at the same time; further ones are closed at once
    relay : sends commands to stations; None sends none

    """

    def __init__(
        self,
        stations: Mapping[str, Station],
        writer: SpoolWriter,
        *,
        idle_s: float,
        max_connections: int,
        relay: CommandRelay | None = None,
    ) -> None:
        self.relay = relay
        self._stations = stations
        self._writer = writer
        self._idle_s = idle_s
        self._max_connections = max_connections
        self._open: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends."""
        if len(self._open) >= self._max_connections:
            log.warning("too_many_connections", limit=self._max_connections)
            writer.close()
            return
        session, frames = StationSession(self._stations), FrameReader()
        self._open.add(writer)
        metrics.CONNECTIONS.set(len(self._open))
        try:
            with suppress(OSError, TimeoutError):
                await self._exchange(reader, writer, session, frames)
            if (rest := frames.end()) is not None:
                await self._store(session.receive(rest))
        except Exception:
            log.exception("connection_failed", station=session.station.station if session.station else None)
        finally:
            self._open.discard(writer)
            if self.relay is not None:
                self.relay.disconnected(session.station_names, writer)
            metrics.CONNECTIONS.set(len(self._open))
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        session: StationSession,
        frames: FrameReader,
    ) -> None:
        while True:
            async with asyncio.timeout(self._idle_s):
                data = await reader.read(CHUNK_BYTES)
            if not data:
                return
            outcomes = [session.receive(one) for one in frames.feed(data)]
            await self._store(*outcomes)
            if self.relay is not None:
                for outcome in outcomes:
                    if outcome.segment is not None:
                        self.relay.receive(outcome.segment, writer)
            answers = b"".join(outcome.answer for outcome in outcomes if outcome.answer is not None)
            if answers:
                writer.write(answers)
                await writer.drain()

    async def _store(self, *outcomes: FrameOutcome) -> None:
        entries = [entry for outcome in outcomes for entry in outcome.entries]
        if entries:
            await self._writer.put(entries)


async def run_server(
    server: Hj212Server,
    writer: SpoolWriter,
    *,
    host: str,
    port: int,
    stop: threading.Event,
    on_pass: Callable[[], None] = lambda: None,
) -> None:
    """Listen until ``stop`` is set; ``on_pass`` is called about ten times a second."""
    tasks = [asyncio.create_task(writer.run())]
    if server.relay is not None:
        tasks.append(asyncio.create_task(server.relay.run()))
    listening = await asyncio.start_server(server.serve, host, port, limit=CHUNK_BYTES)
    address = listening.sockets[0].getsockname()
    log.info("hj212_listening", host=address[0], port=address[1])
    try:
        while not stop.is_set():
            for task in tasks:
                if task.done():
                    task.result()
            on_pass()
            await asyncio.sleep(0.1)
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
