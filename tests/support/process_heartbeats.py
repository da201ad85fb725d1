"""Sends heartbeats of an ingest and a service process, for tests of what reads them."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from ingest_service.storage.health.heartbeat_thread import ProgressRecorder, sending_heartbeats
from ingest_service.storage.health.processes import HealthLimits, ProcessIdentity
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest_service.storage.contract.store import Store

KINDS = {"ingest": "main", "service": "analytics"}


@contextmanager
def alive(store: Store, *, every_s: float = 1.0) -> Iterator[dict[str, ProgressRecorder]]:
    """Send heartbeats of both processes while the context lasts; yield their progress recorders by kind."""
    with ExitStack() as stack:
        pulses = {}
        for kind, instance in KINDS.items():
            limits = HealthLimits(stuck_s=1e6, behind_s=1e6)
            identity = ProcessIdentity(kind=kind, instance=instance)
            progress = stack.enter_context(sending_heartbeats(store, identity, limits, every_s=every_s))
            progress.areas, progress.role = ["+"], "owner"
            pulses[kind] = progress
        wait_until(
            lambda: sum(one.works for one in store.processes() if one.kind in KINDS) == len(KINDS),
            within_s=20,
            what="both work",
        )
        yield pulses
