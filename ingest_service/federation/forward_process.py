"""Runs the forwarder of a town: block after block through a spool to the county's broker, until its receipts.

The spool holds one block and is made anew at each start: the database keeps what the county has not
confirmed. One process forwards at a time (a lease); the county follows the newest forwarder of a town only.
"""

from __future__ import annotations

import queue
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog

from edge.agent.publisher import SpoolPublisher
from edge.agent.settings import Settings as AgentSettings
from edge.agent.spool import Spool, SpoolBusyError
from edge.wire import federation
from edge.wire.topics import TopicKind
from ingest_service.federation import metrics
from ingest_service.federation.block_reader import BlockReader
from ingest_service.federation.command_applying import CommandApplying
from ingest_service.federation.errors import FederationError
from ingest_service.federation.https_publisher import CountyAddress, HttpsPublisher
from ingest_service.federation.lease_loop import own_or_stand_by
from ingest_service.federation.policy import check_policy
from ingest_service.storage.contract.errors import ShardLostError
from ingest_service.storage.health.heartbeat_thread import WorkStatus
from ingest_service.storage.postgres.federation_feed import FederationFeed

if TYPE_CHECKING:
    from edge.wire.broker_address import BrokerAddress
    from edge.wire.receipts import RefusedMessage
    from ingest_service.federation.block import Block
    from ingest_service.federation.command_applying import PutDashboard
    from ingest_service.federation.policy import Policy
    from ingest_service.federation.settings import Settings
    from ingest_service.storage.contract.store import Database, Lease
    from ingest_service.storage.health.heartbeat_thread import ProgressRecorder

log = structlog.get_logger()

FORWARDER_SHARD: Final = "federation-forward"
FENCED_POLL_S: Final = 2.0
RECEIPT_POLL_S: Final = 0.02
PUBLISHER_END_S: Final = 2.0
WAITING_POLL_S: Final = 5.0
MAX_COMMANDS: Final = 100  # received and not yet applied
PUBLISHER_SETTINGS: Final = AgentSettings()


def run(
    store: Database,
    county: BrokerAddress | CountyAddress,
    policy: Policy,
    settings: Settings,
    stop: threading.Event,
    *,
    put_dashboard: PutDashboard | None = None,
) -> None:
    """Forward until ``stop`` is set; stand by while another process of this town forwards.

    Parameters
    ----------
    county : its broker, or its gateway to forward by HTTPS
    put_dashboard : saves a dashboard of the county in Grafana; see `CommandApplying`

    Raises
    ------
    FederationError
        If the policy names what is not enrolled here, or the publisher ends.

    """
    own_or_stand_by(
        store,
        FORWARDER_SHARD,
        lambda lease, progress: _Forwarder(
            store,
            county,
            policy,
            settings,
            lease=lease,
            stop=stop,
            progress=progress,
            put_dashboard=put_dashboard,
        ).serve(),
        instance="forward",
        settings=settings,
        stop=stop,
    )


class _Forwarder:
    """The forwarder of a town while it has the lease."""

    def __init__(
        self,
        store: Database,
        county: BrokerAddress | CountyAddress,
        policy: Policy,
        settings: Settings,
        *,
        lease: Lease,
        stop: threading.Event,
        progress: ProgressRecorder,
        put_dashboard: PutDashboard | None,
    ) -> None:
        self._store, self._county, self._policy, self._settings = store, county, policy, settings
        self._lease, self._stop, self._progress = lease, stop, progress
        self._feed = FederationFeed(store)
        self._applying = CommandApplying(store, policy, lease.epoch, put_dashboard)
        self._commands: queue.Queue[bytes] = queue.Queue(MAX_COMMANDS)
        self._fenced, self._fence_reason = threading.Event(), federation.FENCED
        self._misread = threading.Event()
        self._ended = threading.Event()
        self._waiting_due_s = 0.0
        self._waiting_age_s = 0.0

    def serve(self) -> None:
        """Forward until a stop. Raises `ShardLostError` and `StoreUnavailableError`."""
        check_policy(self._policy, self._store.directory())
        if self._feed.start(self._policy.history_days):
            log.info("forwarding_begins", area=self._policy.area, history_days=self._policy.history_days)
        for ending in ("-wal", "-shm", ""):
            self._settings.spool.with_name(self._settings.spool.name + ending).unlink(missing_ok=True)
        spool = Spool.open(self._settings.spool, PUBLISHER_SETTINGS)
        publisher = self._publisher(spool)
        fault_key = "county" if isinstance(self._county, CountyAddress) else "broker"
        publisher_stop = threading.Event()
        network = threading.Thread(
            target=self._publish, args=(publisher, publisher_stop), name="forwarder", daemon=True
        )
        self._progress.read_work_status = lambda: WorkStatus(
            "" if publisher.connected else fault_key, backlog_age_s=self._waiting_age_s
        )
        self._progress.role = "owner"
        network.start()
        try:
            self._forward_blocks(spool)
        finally:
            self._progress.role = "starting"
            publisher_stop.set()
            network.join(PUBLISHER_END_S)
            spool.close()
        if self._fenced.is_set():
            self._wait_fenced()

    def _publisher(self, spool: Spool) -> SpoolPublisher | HttpsPublisher:
        if isinstance(self._county, CountyAddress):
            return HttpsPublisher(
                self._policy.device,
                spool,
                self._county,
                on_refusal=self._on_refusal,
                on_command=self._on_command,
            )
        return SpoolPublisher(
            self._policy.area,
            self._policy.device,
            spool,
            self._county,
            PUBLISHER_SETTINGS,
            is_live=lambda: False,
            kind=TopicKind.FEDERATION,
            content_type=federation.CONTENT_TYPE,
            keeps_session=False,  # two machines of one identity would get each other's receipts
            on_refusal=self._on_refusal,
            on_command=self._on_command,
        )

    def _forward_blocks(self, spool: Spool) -> None:
        # Later than any former start, also if the clock was set back meanwhile by less than it ran.
        forwarder = time.time_ns() // 1000
        reader = BlockReader(self._store, self._feed, self._policy, self._settings, forwarder)
        log.info("forwarding", area=self._policy.area, device=self._policy.device, forwarder=forwarder)
        while not self._is_over():
            self._progress.loop_advanced()
            if not self._lease.held():
                raise ShardLostError("another process of this town forwards now")
            self._measure_waiting(reader)
            self._apply_commands()
            block = reader.next_block()
            if block is None:
                self._progress.work_succeeded()
                self._stop.wait(self._settings.poll_s)
                continue
            self._misread.clear()
            self._send(spool, block, reader)
            if self._is_over():
                break
            self._feed.confirm(
                block.done, block.shortened, block.position, self._lease.epoch, results=block.results
            )
            self._progress.work_succeeded()
            if self._misread.is_set():
                block.on_misread()
            block.on_confirmed()
            for kind, count in block.rows.items():
                metrics.CONFIRMED.labels(kind).inc(count)

    def _send(self, spool: Spool, block: Block, reader: BlockReader) -> None:
        """Put a block into the spool, and wait until it is empty."""
        while block.entries and not self._is_over():
            try:
                spool.put(block.entries)
                break
            except SpoolBusyError as error:
                log.error("spool_busy", error=str(error))  # noqa: TRY400 - the message is complete without a traceback
                self._stop.wait(1.0)
        while spool.waiting and not self._is_over():
            self._progress.loop_advanced()
            self._measure_waiting(reader)
            self._stop.wait(RECEIPT_POLL_S)

    def _is_over(self) -> bool:
        if self._ended.is_set():
            raise FederationError(
                "the publisher to the county ended, by a defect: see the log, and report it"
            )
        return self._stop.is_set() or self._fenced.is_set()

    def _measure_waiting(self, reader: BlockReader) -> None:
        if time.monotonic() >= self._waiting_due_s:
            self._waiting_due_s = time.monotonic() + WAITING_POLL_S
            count, self._waiting_age_s = reader.waiting()
            metrics.WAITING.set(count)
            metrics.WAITING_AGE.set(self._waiting_age_s)

    def _publish(self, publisher: SpoolPublisher | HttpsPublisher, stop: threading.Event) -> None:
        try:
            publisher.run(stop)
        except Exception:
            log.exception("publisher_ended")
            self._ended.set()

    def _on_refusal(self, refused: RefusedMessage) -> None:
        """Note a refused message; the county keeps it as a dead letter, unless it refuses the forwarder."""
        metrics.REFUSED.labels(refused.reason).inc()
        if refused.reason in federation.REFUSED_FORWARDERS:
            self._fence_reason = refused.reason
            self._fenced.set()
            log.error(refused.reason, detail=refused.detail)
        elif refused.reason == federation.MISREAD:
            self._misread.set()

    def _on_command(self, payload: bytes) -> None:
        """Keep a command for the loop; one that finds no room is sent again by the county."""
        with suppress(queue.Full):
            self._commands.put_nowait(payload)

    def _apply_commands(self) -> None:
        while not self._commands.empty() and not self._is_over():
            self._applying.apply(self._commands.get_nowait())

    def _wait_fenced(self) -> None:
        """Wait for a stop, after which the clock is right, or one machine alone forwards."""
        while not self._stop.is_set():
            self._progress.waiting_for(self._fence_reason)
            self._stop.wait(FENCED_POLL_S)
