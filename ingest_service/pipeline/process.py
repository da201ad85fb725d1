"""Runs the ingest process: acquires the shard, restores the state, ingests batches until it is stopped."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import structlog
from prometheus_client import start_http_server

from ingest_service.pipeline import metrics
from ingest_service.pipeline.backoff import Backoff
from ingest_service.pipeline.conveyor import Conveyor
from ingest_service.pipeline.inbox import Inbox
from ingest_service.pipeline.message import of_letter
from ingest_service.pipeline.pipeline import Pipeline
from ingest_service.pipeline.session import Session
from ingest_service.pipeline.warming import WarmUp
from ingest_service.storage.beating import Look, Pulse, beating
from ingest_service.storage.errors import ShardLost, StoreUnavailable
from ingest_service.storage.processes import Identity, Limits

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from edge.wire.broker import Broker
    from ingest_service.pipeline.message import Message
    from ingest_service.pipeline.settings import Settings
    from ingest_service.storage.model import DeadLetter
    from ingest_service.storage.store import Lease, Store

log = structlog.get_logger()

STANDBY_S = 1.0  # between two attempts to acquire the shard
IDLE_S = 0.5  # longest wait for a first message, after which housekeeping may run
LOOK_ROUND_S = 2.0  # between two rounds of housekeeping
SWITCH_S = 0.001  # each step of a COPY waits for the decoder's thread to yield the GIL; default 5 ms


def run(store: Store, broker: Broker, settings: Settings, stop: threading.Event) -> None:
    """Ingest the messages of one shard until ``stop`` is set; stand by while another process owns it."""
    if settings.metrics_port:
        start_http_server(settings.metrics_port, addr="127.0.0.1")
    sys.setswitchinterval(SWITCH_S)
    metrics.OWNER.set(0)
    warm_up = WarmUp()
    warm_up.start()
    identity = Identity(kind="ingest", instance=settings.shard)
    with beating(store, identity, Limits(stuck_s=settings.stuck_s, behind_s=settings.behind_s)) as pulse:
        pulse.areas = settings.areas
        _own_or_stand_by(store, broker, settings, stop, pulse=pulse, warm_up=warm_up)


def _own_or_stand_by(
    store: Store,
    broker: Broker,
    settings: Settings,
    stop: threading.Event,
    *,
    pulse: Pulse,
    warm_up: WarmUp,
) -> None:
    backoff = Backoff()
    standing_by = False
    while not stop.is_set():
        try:
            pulse.role = "standby" if standing_by else "starting"
            with store.shard(settings.shard) as lease:
                pulse.moved()
                if lease is not None:
                    standing_by = False
                    pulse.role = "starting"
                    _Shard(store, broker, settings, lease, stop, pulse=pulse, warm_up=warm_up).serve()
                    backoff = Backoff()
                    continue
            if not standing_by:
                log.info("standing_by", shard=settings.shard)
                standing_by = True
            stop.wait(STANDBY_S)
        except ShardLost as error:
            log.warning("shard_lost", shard=settings.shard, error=str(error))
        except StoreUnavailable as error:
            pulse.waits_for("database")
            wait_s = backoff.next_s()
            log.warning("store_unavailable", error=str(error).strip(), next_try_in_s=round(wait_s, 2))
            stop.wait(wait_s)
        finally:
            metrics.OWNER.set(0)


class _Shard:
    """Owner of a shard: connects the MQTT session, the inbox, the pipeline and the commits."""

    def __init__(
        self,
        store: Store,
        broker: Broker,
        settings: Settings,
        lease: Lease,
        stop: threading.Event,
        *,
        pulse: Pulse,
        warm_up: WarmUp,
    ) -> None:
        self._store, self._settings, self._lease, self._stop = store, settings, lease, stop
        self._pulse = pulse
        grace = _Grace(stop, settings.stop_grace_s, pulse)
        self._pipeline = Pipeline(store, settings, wait=grace.wait, epoch=lease.epoch, fast=warm_up.fast)
        self._inbox = Inbox(settings.inbox_bytes)
        self._session = Session(broker, settings, self._inbox)
        self._look_round_s = 0.0

    def serve(self) -> None:
        """Ingest batches until a stop is requested, then commit the queued messages. Raises `ShardLost`."""
        settings, epoch = self._settings, self._lease.epoch.number
        self._pipeline.open()
        metrics.OWNER.set(1)
        metrics.EPOCH.set(epoch)
        self._session.start()
        self._pulse.look = self._look
        self._pulse.role = "owner"
        log.info("ingest_started", shard=settings.shard, areas=settings.areas, epoch=epoch)
        try:
            with Conveyor(self._pipeline, self._kept) as conveyor:
                while not self._stop.is_set():
                    self._step(conveyor)
                    self._pulse.moved()
                self._drain(conveyor)
        finally:
            self._pulse.role = "starting"
            self._session.stop()
            log.info("ingest_stopped", shard=settings.shard, unacknowledged=len(self._inbox))

    def _step(self, conveyor: Conveyor) -> None:
        messages = self._inbox.take(
            max_messages=self._settings.batch_messages,
            max_bytes=self._settings.batch_bytes,
            wait_s=self._settings.batch_wait_s,
            first_wait_s=IDLE_S,
        )
        metrics.INBOX_MESSAGES.set(len(self._inbox))
        metrics.INBOX_BYTES.set(self._inbox.held_bytes)
        done = conveyor.take(messages) if messages else conveyor.settle()
        if done and (time.monotonic() >= self._look_round_s or self._session.was_taken_over()):
            self._look_round_s = time.monotonic() + LOOK_ROUND_S
            self._look_round(conveyor)

    def _drain(self, conveyor: Conveyor) -> None:
        """Commit the messages queued now, within the grace period; later ones are left to the next owner."""
        held = len(self._inbox)
        while held > 0:
            wanted = min(held, self._settings.batch_messages)
            messages = self._inbox.take(
                max_messages=wanted, max_bytes=self._settings.batch_bytes, wait_s=0, first_wait_s=0
            )
            held -= len(messages)
            if not messages or not conveyor.take(messages):
                break
        conveyor.settle()

    def _look_round(self, conveyor: Conveyor) -> None:
        """Periodic housekeeping.

        Retries subscriptions, verifies that the shard is still owned, replays requested dead letters, and
        reconnects for messages that were dropped when the inbox was full.
        """
        self._session.subscribe_again()
        try:
            if not self._lease.held():
                raise ShardLost(f"shard {self._settings.shard!r} is another process's")
            letters = self._store.letters_to_replay(
                self._settings.areas,
                limit=self._settings.batch_messages,
                limit_bytes=self._settings.batch_bytes,
            )
        except StoreUnavailable:
            return  # the next commit retries and logs it
        if letters:
            log.info("letters_replayed", letters=len(letters))
            if not (conveyor.take([of_letter(one) for one in letters]) and conveyor.settle()):
                return
            self._look_round_s = 0.0  # there may be more of them
        if self._session.letting_go and not len(self._inbox):
            self._session.ask_again()

    def _look(self) -> Look:
        """Return the fault that keeps new readings from being stored or judged, and the backlog's age."""
        fault = self._session.trouble or ("judge" if self._pipeline.judging_fails else "")
        oldest_s = self._inbox.oldest_s
        return Look(fault, backlog_age_s=0.0 if oldest_s is None else max(0.0, time.time() - oldest_s))

    def _kept(self, messages: Sequence[Message], dead: Sequence[DeadLetter]) -> None:
        self._pulse.succeeded()
        with metrics.isolated("acknowledge"):
            self._session.acknowledge(messages)
        with metrics.isolated("receipts"):
            self._session.send_receipts(self._pipeline.receipts(messages, dead))


class _Grace:
    """Wait function that ends retries once the grace period after a requested stop is over."""

    def __init__(self, stop: threading.Event, grace_s: float, pulse: Pulse) -> None:
        self._stop = stop
        self._pulse = pulse
        self._grace_s = grace_s
        self._asked_s: float | None = None

    def wait(self, wait_s: float) -> bool:
        """Wait up to ``wait_s`` [s] for the database; returns True once the grace period is over."""
        self._pulse.waits_for("database")
        if not self._stop.is_set():
            self._stop.wait(wait_s)
            return False
        self._asked_s = self._asked_s or time.monotonic()
        time.sleep(min(wait_s, 0.2))
        return time.monotonic() - self._asked_s >= self._grace_s
