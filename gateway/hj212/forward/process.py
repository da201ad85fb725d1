"""Runs the reporting to all upper platforms: for each a spool, a reader of the store, and a sender."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from gateway.hj212 import metrics
from gateway.hj212.forward.sender import PlatformSender
from gateway.hj212.forward.source import ForwardSource
from gateway.hj212.forward.spool import ForwardSpool
from ingest_service.storage.contract.errors import StoreError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from gateway.hj212.forward.settings import ForwardFile, UpperPlatform
    from ingest_service.storage.contract.store import Reader

log = structlog.get_logger()

COLLECT_S = 5.0


async def forward(
    found: ForwardFile, open_store: Callable[[], Reader], folder: Path, stop: threading.Event
) -> None:
    """Report until ``stop`` is set; raises what ends any part of it.

    Parameters
    ----------
    found : platforms and stations
    open_store : opens the store; called in a thread, and may wait for the database
    folder : of the spools

    """
    spools = {one.name: ForwardSpool(folder / f"{one.name}.spool", one.max_frames) for one in found.platforms}
    # What was spooled before is sent also while the database is away.
    tasks = [asyncio.create_task(PlatformSender(one, spools[one.name]).run()) for one in found.platforms]
    tasks.append(asyncio.create_task(_collect(found, open_store, spools)))
    try:
        while not stop.is_set():
            for task in tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.1)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for spool in spools.values():
            spool.close()


async def _collect(
    found: ForwardFile, open_store: Callable[[], Reader], spools: dict[str, ForwardSpool]
) -> None:
    store = await asyncio.to_thread(open_store)
    sources: list[tuple[UpperPlatform, ForwardSource]] = [
        (one, ForwardSource(store, spools[one.name], one, found.stations_of(one))) for one in found.platforms
    ]
    while True:
        for platform, source in sources:
            try:
                count = await asyncio.to_thread(source.collect, time.time())
            except StoreError as error:
                log.warning("store_away", platform=platform.name, error=str(error))
                continue
            if count:
                log.debug("frames_put", platform=platform.name, frames=count)
            metrics.FORWARD_WAITING.labels(platform.name).set(spools[platform.name].waiting)
            metrics.FORWARD_EVICTED.labels(platform.name).set(spools[platform.name].evicted)
        await asyncio.sleep(COLLECT_S)
