"""Runs the county's receiver: stores what towns forward, then acknowledges it and sends receipts.

It has its own session and lease, so that the backlog of a town does not hold up the county's own devices.
What it stores is not judged again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog

from edge.wire.topics import TopicKind
from ingest_service.federation.command_sending import CommandSending
from ingest_service.federation.https_receiving import HttpsReceiving
from ingest_service.federation.lease_loop import own_or_stand_by
from ingest_service.federation.message_storing import MessageStoring
from ingest_service.pipeline.inbox import Inbox
from ingest_service.pipeline.message import from_dead_letter
from ingest_service.pipeline.mqtt_session import MqttSession
from ingest_service.storage.contract.errors import ShardLostError
from ingest_service.storage.health.heartbeat_thread import WorkStatus

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from edge.wire.broker_address import BrokerAddress
    from ingest_service.federation.settings import Settings
    from ingest_service.pipeline.message import Message
    from ingest_service.storage.contract.store import Database, Lease
    from ingest_service.storage.health.heartbeat_thread import ProgressRecorder

log = structlog.get_logger()

RECEIVER_SHARD: Final = "federation-receive"
IDLE_WAIT_S: Final = 0.5
HOUSEKEEPING_S: Final = 2.0
MESSAGES_AT_ONCE: Final = 100


def run(store: Database, broker: BrokerAddress, settings: Settings, stop: threading.Event) -> None:
    """Receive until ``stop`` is set; stand by while another process of this county receives."""
    own_or_stand_by(
        store,
        RECEIVER_SHARD,
        lambda lease, progress: _Receiver(
            store, broker, settings, lease=lease, stop=stop, progress=progress
        ).serve(),
        instance="receive",
        settings=settings,
        stop=stop,
    )


class _Receiver:
    """The receiver of a county while it has the lease."""

    def __init__(
        self,
        store: Database,
        broker: BrokerAddress,
        settings: Settings,
        *,
        lease: Lease,
        stop: threading.Event,
        progress: ProgressRecorder,
    ) -> None:
        self._store, self._settings, self._lease = store, settings, lease
        self._stop, self._progress = stop, progress
        self._inbox = Inbox(settings.inbox_bytes)
        self._session = MqttSession(
            broker, settings, self._inbox, "towntwin-federation", kinds=(TopicKind.FEDERATION,)
        )
        self._storing = MessageStoring(store, lease.epoch, settings=settings)
        self._commands = CommandSending(store, self._session)
        self._https = HttpsReceiving(store, self._storing)
        self._next_housekeeping_s = 0.0

    def serve(self) -> None:
        """Receive until a stop. Raises `ShardLostError` and `StoreUnavailableError`.

        After the latter the session ends; the broker sends again what was not acknowledged.
        """
        self._session.start()
        self._progress.read_work_status = self._work_status
        self._progress.role = "owner"
        log.info("receiving", areas=self._settings.areas)
        wait_s = IDLE_WAIT_S
        try:
            while not self._stop.is_set():
                self._progress.loop_advanced()
                self._store_all(
                    self._inbox.take(
                        max_messages=MESSAGES_AT_ONCE, max_bytes=1 << 24, wait_s=0, first_wait_s=wait_s
                    )
                )
                wait_s = IDLE_WAIT_S
                if self._https.store_waiting(self._stop):
                    self._progress.work_succeeded()
                    wait_s = 0.0
                if time.monotonic() >= self._next_housekeeping_s:
                    self._next_housekeeping_s = time.monotonic() + HOUSEKEEPING_S
                    self._housekeeping()
        finally:
            self._progress.role = "starting"
            self._session.stop()

    def _store_all(self, messages: Sequence[Message]) -> None:
        for message in messages:
            outcome = self._storing.store(message)
            for topic in outcome.receipts:
                self._commands.forwarded(topic.device)
            self._progress.work_succeeded()
            self._session.send_receipts(outcome.receipts)
            self._session.acknowledge([message])

    def _housekeeping(self) -> None:
        self._session.resubscribe_if_due()
        self._session.announce_if_new(self._devices)
        if not self._lease.held():
            raise ShardLostError("another process of this county receives now")
        dead_letters = self._store.dead_letters_to_replay(
            self._settings.areas, limit=MESSAGES_AT_ONCE, limit_bytes=1 << 24, forwarded=True
        )
        for one in dead_letters:
            self._storing.store(from_dead_letter(one))
        self._https.clean()
        self._commands.send_due(time.monotonic())
        if self._session.dropping and not len(self._inbox):
            self._session.reconnect_for_redelivery()

    def _devices(self) -> list[tuple[str, str]]:
        """Return the enrolled devices of the areas, those that forward among them, as (area, device)."""
        areas = self._settings.areas
        devices = self._store.directory().devices
        return [(one.area_id, one.device_id) for one in devices if "+" in areas or one.area_id in areas]

    def _work_status(self) -> WorkStatus:
        self._session.probe()
        oldest_s = self._inbox.oldest_s
        age_s = 0.0 if oldest_s is None else max(0.0, time.time() - oldest_s)
        return WorkStatus(self._session.fault_key, backlog_age_s=age_s)
