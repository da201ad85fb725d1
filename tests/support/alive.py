"""Heartbeats of an ingest and a service process, for tests of what reads them."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from ingest_service.storage.beating import Pulse, beating
from ingest_service.storage.processes import Identity, Limits
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest_service.storage.store import Store

KINDS = {"ingest": "main", "service": "analytics"}


@contextmanager
def alive(store: Store, *, every_s: float = 1.0) -> Iterator[dict[str, Pulse]]:
    """Both of them work while the context lasts; by kind, what each notes."""
    with ExitStack() as stack:
        pulses = {}
        for kind, instance in KINDS.items():
            limits = Limits(stuck_s=1e6, behind_s=1e6)
            identity = Identity(kind=kind, instance=instance)
            pulse = stack.enter_context(beating(store, identity, limits, every_s=every_s))
            pulse.areas, pulse.role = ["+"], "owner"
            pulses[kind] = pulse
        wait_until(
            lambda: sum(one.works for one in store.processes() if one.kind in KINDS) == len(KINDS),
            within_s=20,
            what="both work",
        )
        yield pulses
