"""Runs the forwarder or the receiver while it has the lease; other processes of the platform stand by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import structlog
from prometheus_client import start_http_server

from edge.wire.backoff import Backoff
from ingest_service.storage.contract.errors import ShardLostError, StoreUnavailableError
from ingest_service.storage.health.heartbeat_thread import sending_heartbeats
from ingest_service.storage.health.processes import HealthLimits, ProcessIdentity

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from ingest_service.federation.settings import Settings
    from ingest_service.storage.contract.store import Database, Lease
    from ingest_service.storage.health.heartbeat_thread import ProgressRecorder

log = structlog.get_logger()

STANDBY_S: Final = 1.0  # a standby waits for the lease for so long, then reports that it is alive


def own_or_stand_by(
    store: Database,
    shard: str,
    serve: Callable[[Lease, ProgressRecorder], None],
    *,
    instance: Literal["forward", "receive"],
    settings: Settings,
    stop: threading.Event,
) -> None:
    """Call ``serve`` with the lease of a shard whenever it can be had, until ``stop`` is set.

    Heartbeats and metrics go on meanwhile. A lost lease and an unavailable store are waited for.

    Parameters
    ----------
    serve : works until a stop; what it raises beside `ShardLostError` and `StoreUnavailableError` is raised
    instance : of the process in health

    """
    if settings.metrics_port:
        start_http_server(settings.metrics_port, addr="127.0.0.1")
    identity = ProcessIdentity(kind="federation", instance=instance)
    limits = HealthLimits(stuck_s=settings.stuck_s, behind_s=settings.behind_s)
    backoff = Backoff()
    with sending_heartbeats(store, identity, limits) as progress:
        while not stop.is_set():
            try:
                with store.shard(shard) as lease:
                    progress.role = "standby" if lease is None else "starting"
                    progress.loop_advanced()
                    if lease is not None:
                        serve(lease, progress)
                        backoff.reset()
                        continue
                stop.wait(STANDBY_S)
            except ShardLostError as error:
                log.warning("lease_lost", shard=shard, error=str(error))
            except StoreUnavailableError as error:
                progress.waiting_for("database")
                wait_s = backoff.next_s()
                log.warning("store_unavailable", error=str(error).strip(), next_try_in_s=round(wait_s, 2))
                stop.wait(wait_s)
