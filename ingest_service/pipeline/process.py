"""The ingest process: own the shard, open, take batches until told to stop."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog
from prometheus_client import start_http_server

from ingest_service.pipeline import metrics
from ingest_service.pipeline.inbox import Inbox
from ingest_service.pipeline.pipeline import Backoff, Pipeline
from ingest_service.pipeline.session import Session
from ingest_service.storage.errors import StoreUnavailable

if TYPE_CHECKING:
    import threading

    from edge.wire.broker import Broker
    from ingest_service.pipeline.settings import Settings
    from ingest_service.storage.store import Store

log = structlog.get_logger()

STANDBY_S = 1.0
IDLE_S = 0.5


def run(store: Store, broker: Broker, settings: Settings, stop: threading.Event) -> None:
    """Serve one shard until ``stop`` is set; stand by while another process owns it."""
    if settings.metrics_port:
        start_http_server(settings.metrics_port, addr="127.0.0.1")
    metrics.OWNER.set(0)
    backoff = Backoff()
    said = False
    while not stop.is_set():
        try:
            with store.shard(settings.shard) as owned:
                if owned:
                    metrics.OWNER.set(1)
                    _serve(store, broker, settings, stop)
                    return
            if not said:
                log.info("standing_by", shard=settings.shard)
                said = True
            stop.wait(STANDBY_S)
        except StoreUnavailable as error:
            wait_s = backoff.next_s()
            log.warning("store_unavailable", error=str(error).strip(), next_try_in_s=wait_s)
            stop.wait(wait_s)


def _serve(store: Store, broker: Broker, settings: Settings, stop: threading.Event) -> None:
    pipeline = Pipeline(store, settings, wait=_Grace(stop, settings.stop_grace_s).wait)
    pipeline.open()
    inbox = Inbox(settings.inbox_bytes)
    session = Session(broker, settings, inbox)
    session.start()
    log.info("ingest_started", shard=settings.shard, areas=settings.areas)
    try:
        while not stop.is_set():
            messages = inbox.take(
                max_messages=settings.batch_messages,
                max_bytes=settings.batch_bytes,
                wait_s=settings.batch_wait_s,
                first_wait_s=IDLE_S,
            )
            metrics.INBOX_MESSAGES.set(len(inbox))
            metrics.INBOX_BYTES.set(inbox.held_bytes)
            if messages and pipeline.take(messages):
                session.acknowledge(messages)
                session.send_receipts(pipeline.places(messages))
    finally:
        session.stop()
        log.info("ingest_stopped", shard=settings.shard)


class _Grace:
    """Waiting that ends for good some time after the stop was asked for."""

    def __init__(self, stop: threading.Event, grace_s: float) -> None:
        self._stop = stop
        self._grace_s = grace_s
        self._asked_s: float | None = None

    def wait(self, wait_s: float) -> bool:
        """Wait; True once the grace is over."""
        if not self._stop.is_set():
            self._stop.wait(wait_s)
            return False
        self._asked_s = self._asked_s or time.monotonic()
        time.sleep(min(wait_s, 0.2))
        return time.monotonic() - self._asked_s >= self._grace_s
