"""Runs the ingest process: acquires the shard, restores the state, ingests batches until it is stopped."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import msgspec
import structlog
from prometheus_client import start_http_server

from analytics.quality.compiled_judge_loader import CompiledJudgeLoader
from edge.wire.backoff import Backoff
from ingest_service.pipeline import metrics
from ingest_service.pipeline.batch_processor import BatchProcessor
from ingest_service.pipeline.commit_queue import CommitQueue
from ingest_service.pipeline.disk_guard import DiskGuard
from ingest_service.pipeline.inbox import Inbox
from ingest_service.pipeline.message import from_dead_letter
from ingest_service.pipeline.mqtt_session import MqttSession
from ingest_service.pipeline.share import Share
from ingest_service.storage.contract.errors import ShardLostError, StoreUnavailableError
from ingest_service.storage.health.heartbeat_thread import ProgressRecorder, WorkStatus, sending_heartbeats
from ingest_service.storage.health.processes import HealthLimits, ProcessIdentity

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from edge.wire.broker_address import BrokerAddress
    from ingest_service.pipeline.message import Message
    from ingest_service.pipeline.settings import Settings
    from ingest_service.storage.contract.models import DeadLetter
    from ingest_service.storage.contract.store import Lease, Store

log = structlog.get_logger()

STANDBY_S = 1.0  # a standby waits for the shard for so long, then reports that it is alive
IDLE_WAIT_S = 0.5  # longest wait for a first message, after which housekeeping may run
SHARES_POLL_S = 0.5  # between two looks whether all shares have a session
MAX_RECEIVE_MAXIMUM = 65_535  # MQTT 5 section 3.1.2.11.3
HOUSEKEEPING_S = 2.0  # between two rounds of housekeeping
THREAD_SWITCH_INTERVAL_S = 0.001
"""Each step of a COPY waits for the decoder's thread to yield the GIL; default 5 ms."""


def run(store: Store, broker: BrokerAddress, settings: Settings, stop: threading.Event) -> None:
    """Ingest the messages of one shard until ``stop`` is set; stand by while another process owns it."""
    if settings.metrics_port:
        start_http_server(settings.metrics_port, addr="127.0.0.1")
    sys.setswitchinterval(THREAD_SWITCH_INTERVAL_S)
    metrics.SHARD_OWNER.set(0)
    identity = ProcessIdentity(kind="ingest", instance=Share(settings.share).name(settings.shard))
    with sending_heartbeats(
        store, identity, HealthLimits(stuck_s=settings.stuck_s, behind_s=settings.behind_s)
    ) as progress:
        progress.areas = settings.areas
        compiled_judge = CompiledJudgeLoader(progress.waiting_for)
        compiled_judge.start_if_quick()
        _own_or_stand_by(store, broker, settings, stop, progress=progress, compiled_judge=compiled_judge)


def _own_or_stand_by(
    store: Store,
    broker: BrokerAddress,
    settings: Settings,
    stop: threading.Event,
    *,
    progress: ProgressRecorder,
    compiled_judge: CompiledJudgeLoader,
) -> None:
    backoff = Backoff()
    shard = Share(settings.share).name(settings.shard)
    standing_by = False
    while not stop.is_set():
        try:
            progress.role = "standby" if standing_by else "starting"
            with store.shard(shard, wait_s=STANDBY_S if standing_by else 0.0) as lease:
                progress.loop_advanced()
                if lease is not None:
                    standing_by = False
                    progress.role = "starting"
                    _ShardOwner(
                        store, broker, settings, lease, stop, progress=progress, compiled_judge=compiled_judge
                    ).serve()
                    backoff.reset()
                    continue
            if not standing_by:
                log.info("standing_by", shard=shard)
                standing_by = True
                compiled_judge.start()
        except ShardLostError as error:
            log.warning("shard_lost", shard=shard, error=str(error))
        except StoreUnavailableError as error:
            progress.waiting_for("database")
            wait_s = backoff.next_s()
            log.warning("store_unavailable", error=str(error).strip(), next_try_in_s=round(wait_s, 2))
            stop.wait(wait_s)
        finally:
            metrics.SHARD_OWNER.set(0)


class _ShardOwner:
    """Owner of a shard: connects the MQTT session, the inbox, the pipeline and the commits."""

    def __init__(
        self,
        store: Store,
        broker: BrokerAddress,
        settings: Settings,
        lease: Lease,
        stop: threading.Event,
        *,
        progress: ProgressRecorder,
        compiled_judge: CompiledJudgeLoader,
    ) -> None:
        self._store, self._settings, self._lease, self._stop = store, settings, lease, stop
        self._progress = progress
        self._compiled_judge = compiled_judge
        grace = _GracePeriod(stop, settings.stop_grace_s, progress)
        self._pipeline = BatchProcessor(
            store, settings, wait=grace.wait, epoch=lease.epoch, use_compiled=compiled_judge.use_compiled
        )
        self._inbox = Inbox(settings.inbox_bytes)
        self._share = Share(settings.share)
        self._shard = self._share.name(settings.shard)
        # The others' messages are among those that are not acknowledged yet.
        receive_maximum = min(MAX_RECEIVE_MAXIMUM, settings.receive_maximum * self._share.count)
        self._session = MqttSession(
            broker,
            msgspec.structs.replace(settings, receive_maximum=receive_maximum),
            self._inbox,
            f"towntwin-ingest-{self._shard}",
            takes=None if self._share.is_whole else self._share.takes,
        )
        self._disk = DiskGuard(store, settings.disk_reserve_bytes, settings.disk_folder)
        self._next_housekeeping_s = 0.0

    def serve(self) -> None:
        """Ingest until a stop is requested, then commit the queued messages. Raises `ShardLostError`."""
        settings, epoch = self._settings, self._lease.epoch.number
        self._session.start()  # connects, and receives into the inbox, while the judge's state is loaded
        try:
            self._pipeline.open()
            if not self._share.is_whole:
                self._wait_for_other_shares()
            metrics.SHARD_OWNER.set(1)
            metrics.SHARD_EPOCH.set(epoch)
            self._progress.read_work_status = self._work_status
            self._progress.role = "owner"
            log.info("ingest_started", shard=self._shard, areas=settings.areas, epoch=epoch)
            with CommitQueue(self._pipeline, self._on_committed) as commit_queue:
                while not self._stop.is_set():
                    self._step(commit_queue)
                    self._progress.loop_advanced()
                self._drain(commit_queue)
        finally:
            self._progress.role = "starting"
            self._session.stop()
            log.info("ingest_stopped", shard=self._shard, unacknowledged=len(self._inbox))

    def _wait_for_other_shares(self) -> None:
        """Wait until each share has a session, so that another's message may be acknowledged here.

        A share commits its first checkpoint once it is subscribed, and its session stays on the broker.
        """
        names, reported = self._share.names(self._settings.shard), list[str]()
        while missing := [one for one in names if self._store.checkpoint(one) is None]:
            self._progress.loop_advanced()
            if self._shard in missing and not self._session.fault_key:
                self._pipeline.save_first_checkpoint()
                continue
            if missing != reported:
                log.warning("shares_missing", shares=missing, action="start them; nothing is stored before")
                reported = missing
            if self._stop.wait(SHARES_POLL_S):
                return
        self._session.acknowledge_others()
        log.info("shares_complete", shares=names)

    def _step(self, commit_queue: CommitQueue) -> None:
        if self._disk.check():
            # Messages stay in the inbox, unacknowledged; once it is full, the socket is not read any more.
            commit_queue.flush()
            self._stop.wait(IDLE_WAIT_S)
            return
        messages = self._inbox.take(
            max_messages=self._settings.batch_messages,
            max_bytes=self._settings.batch_bytes,
            wait_s=self._settings.batch_wait_s,
            first_wait_s=IDLE_WAIT_S,
        )
        if not messages:
            self._compiled_judge.start()
        metrics.INBOX_MESSAGES.set(len(self._inbox))
        metrics.INBOX_BYTES.set(self._inbox.held_bytes)
        is_done = commit_queue.ingest(messages) if messages else commit_queue.flush()
        if is_done and (time.monotonic() >= self._next_housekeeping_s or self._session.was_taken_over()):
            self._next_housekeeping_s = time.monotonic() + HOUSEKEEPING_S
            self._housekeeping(commit_queue)

    def _drain(self, commit_queue: CommitQueue) -> None:
        """Commit the messages queued now, within the grace period; later ones are left to the next owner."""
        held = len(self._inbox)
        while held > 0:
            batch_size = min(held, self._settings.batch_messages)
            messages = self._inbox.take(
                max_messages=batch_size, max_bytes=self._settings.batch_bytes, wait_s=0, first_wait_s=0
            )
            held -= len(messages)
            if not messages or not commit_queue.ingest(messages):
                break
        commit_queue.flush()

    def _housekeeping(self, commit_queue: CommitQueue) -> None:
        """Periodic housekeeping.

        Retries subscriptions, announces a new session to the devices, verifies that the shard is still owned,
        replays requested dead letters, and reconnects for messages that were dropped when the inbox was full.
        """
        self._session.resubscribe_if_due()
        self._session.announce_if_new(self._pipeline.devices)
        try:
            if not self._lease.held():
                raise ShardLostError(f"shard {self._shard!r} is another process's")
            dead_letters = self._store.dead_letters_to_replay(
                self._settings.areas,
                limit=self._settings.batch_messages,
                limit_bytes=self._settings.batch_bytes,
            )
            dead_letters = [one for one in dead_letters if self._share.takes(one.topic)]
        except StoreUnavailableError:
            return  # the next commit retries and logs it
        if dead_letters:
            log.info("letters_replayed", letters=len(dead_letters))
            if not (
                commit_queue.ingest([from_dead_letter(one) for one in dead_letters]) and commit_queue.flush()
            ):
                return
            self._next_housekeeping_s = 0.0  # there may be more of them
        if self._session.dropping and not len(self._inbox):
            self._session.reconnect_for_redelivery()

    def _work_status(self) -> WorkStatus:
        """Return the fault that keeps new readings from being stored or judged, and the backlog's age."""
        self._session.probe()  # answered before the next heartbeat
        fault = self._session.fault_key or ("judge" if self._pipeline.judging_is_failing else "")
        fault = "disk" if self._disk.is_low else fault
        oldest_s = self._inbox.oldest_s
        return WorkStatus(fault, backlog_age_s=0.0 if oldest_s is None else max(0.0, time.time() - oldest_s))

    def _on_committed(self, messages: Sequence[Message], dead_letters: Sequence[DeadLetter]) -> None:
        self._progress.work_succeeded()
        self._compiled_judge.start()
        # Receipts go first: after a kill, what is not acknowledged is delivered again and gets its receipt.
        with metrics.log_unexpected_errors("receipts"):
            self._session.send_receipts(self._pipeline.receipts(messages, dead_letters))
        with metrics.log_unexpected_errors("acknowledge"):
            self._session.acknowledge(messages)


class _GracePeriod:
    """Wait function that ends retries once the grace period after a requested stop is over."""

    def __init__(self, stop: threading.Event, grace_s: float, progress: ProgressRecorder) -> None:
        self._stop = stop
        self._progress = progress
        self._grace_s = grace_s
        self._stop_requested_s: float | None = None

    def wait(self, wait_s: float) -> bool:
        """Wait up to ``wait_s`` [s] for the database; returns True once the grace period is over."""
        self._progress.waiting_for("database")
        if not self._stop.is_set():
            self._stop.wait(wait_s)
            return False
        self._stop_requested_s = self._stop_requested_s or time.monotonic()
        time.sleep(min(wait_s, 0.2))
        return time.monotonic() - self._stop_requested_s >= self._grace_s
