"""Runs an HJ 212 station that uploads real-time data (2011) over TCP until each upload is answered (9014)."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from edge.agent.agent import AgentCounts
from edge.agent.spool import count_waiting_messages
from gateway.hj212.forward.sender import PlatformSender
from gateway.hj212.forward.settings import ReportedStation, UpperPlatform
from gateway.hj212.forward.spool import ForwardSpool
from gateway.hj212.forward.uploads import real_time_item, reported_factors, upload_segments
from ingest_service.storage.contract.models import Series

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from gateway.hj212.stations import Station

POLL_S = 0.2
GRACE_S = 3.0  # in which the last upload is answered and published after a requested stop
PASS = 1  # QARTOD flag


class UploadStation:
    """A station that keeps each upload until the server has answered it.

    Parameters
    ----------
    station : its identifier and password, as the server has them
    measure : returns the values by quantity, canonical units, at a time [Unix s]
    quantities : that it uploads; each has a factor code
    interval_s : between two uploads [s]
    port : of the HJ 212 server, on loopback
    spool : file of the uploads that have no answer
    server_spool : spool of the server, whose messages count as waiting

    """

    def __init__(
        self,
        station: Station,
        measure: Callable[[float], Mapping[str, float]],
        quantities: tuple[str, ...],
        *,
        interval_s: float,
        port: int,
        spool: Path,
        server_spool: Path,
    ) -> None:
        self.name = station.device
        self._measure, self._interval_s = measure, interval_s
        self._quantities, self._server_spool = quantities, server_spool
        self._platform = UpperPlatform(name="demo", host="127.0.0.1", port=port)
        self._station = ReportedStation(
            station=station.station, site=station.device, password=station.password or ""
        )
        series = [
            Series(series_id=number, site_id=station.device, quantity=name)
            for number, name in enumerate(quantities)
        ]
        self._factors = reported_factors(self._station, series)
        spool.parent.mkdir(parents=True, exist_ok=True)
        self._spool = ForwardSpool(spool, self._platform.max_frames)
        self._uploads = 0

    def counts(self) -> AgentCounts:
        """Return the readings that were answered, and the messages that wait here and at the server."""
        unanswered = self._spool.waiting
        answered = (self._uploads - unanswered) * len(self._factors)
        at_server = count_waiting_messages(self._server_spool)
        published = max(0, answered - at_server * len(self._factors))
        return AgentCounts(answered, published, self._spool.evicted, unanswered + at_server)

    def run(self, stop: threading.Event) -> None:
        """Upload until ``stop`` is set."""
        asyncio.run(self._upload(stop))

    async def _upload(self, stop: threading.Event) -> None:
        sending = asyncio.create_task(PlatformSender(self._platform, self._spool).run())
        due_s = time.monotonic()
        try:
            while not stop.is_set() and not sending.done():
                if time.monotonic() >= due_s:
                    due_s += self._interval_s
                    self._put(time.time())
                await asyncio.sleep(POLL_S)
            ends_s = time.monotonic() + GRACE_S
            # What is waited for is in the spool of another process: no event announces it.
            while self.counts().waiting and not sending.done() and time.monotonic() < ends_s:  # noqa: ASYNC110
                await asyncio.sleep(POLL_S)
            if sending.done():
                sending.result()
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    def _put(self, now_s: float) -> None:
        values = self._measure(now_s)
        items = [
            real_time_item(factor, values[name], PASS, in_maintenance=False)
            for factor, name in zip(self._factors, self._quantities, strict=True)
        ]
        segments = upload_segments(self._platform, self._station, "2011", now_s, items)
        self._spool.put(segments, {}, now_s=now_s)
        self._uploads += len(segments)
