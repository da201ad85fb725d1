"""Decides which queries a streaming replica answers, and watches how far it lags behind the primary.

No answer is older than its request: the replica is used once it has replayed what the primary had committed
when the request came, and the primary answers where that takes too long (`docs/decisions/0092`).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Literal, NamedTuple

import structlog

from gateway import metrics
from ingest_service.storage.contract.errors import StoreError
from ingest_service.storage.health.process_messages import BilingualText
from ingest_service.storage.postgres.query_api import CaughtUpReplica
from ingest_service.storage.postgres.replica import Replica, log_end, primary_position

if TYPE_CHECKING:
    from gateway.settings import Settings
    from ingest_service.storage.contract.store import Database
    from ingest_service.storage.postgres.replica import ReplicaPosition

log = structlog.get_logger()

ReplicaCondition = Literal["in use", "behind", "away", "refused"]

WATCH_INTERVAL_S = 1.0
KEPT_POSITIONS = 3600  # of the primary, one a second: a longer lag is shown as an hour
STOP_TIMEOUT_S = 5.0
TEXTS: dict[str, BilingualText] = {
    "in use": BilingualText("the replica answers queries", "只读副本正在应答查询"),
    "behind": BilingualText(
        "the replica lags behind: the primary answers; check the network and the replica's load",
        "只读副本滞后，查询由主库应答；请检查网络和副本负载",
    ),
    "away": BilingualText(
        "the replica does not answer: the primary does; check whether it runs",
        "只读副本无应答，查询由主库应答；请检查副本是否运行",
    ),
    "promoted": BilingualText(
        "the replica is a primary now: name the new replica's address in the settings",
        "只读副本已升为主库；请在设置中填写新副本的地址",
    ),
    "other": BilingualText(
        "the replica's address names another database: correct it in the settings",
        "只读副本的地址指向另一个数据库；请在设置中更正",
    ),
    "restricted": BilingualText(
        "the replica's user may not read all rows: give it BYPASSRLS and the role pg_read_all_data",
        "只读副本的用户无权读取全部数据；请授予其读取全部数据并绕过行级安全的权限",
    ),
}


class ReplicaStatus(NamedTuple):
    """Condition of the replica, its lag [s] (None: unknown), and a key of `TEXTS`."""

    condition: ReplicaCondition
    lag_s: float | None
    reason: str


class ReadReplica:
    """A replica for the queries of principals that are restricted to no area.

    Parameters
    ----------
    primary : its log's end is what the replica has to reach
    dsn : address of the replica
    settings : of the gateway: ``replica_wait_s``

    """

    def __init__(self, primary: Database, dsn: str, settings: Settings) -> None:
        self._primary = primary
        self._replica = Replica(dsn, primary.opened_with[1])
        self._wait_s = settings.replica_wait_s
        self._positions: deque[tuple[float, int]] = deque(maxlen=KEPT_POSITIONS)
        self._database_id = ""
        self._stop = threading.Event()
        self.status = ReplicaStatus("away", None, "away")
        """As of the last look, a second ago at most."""
        self._thread = threading.Thread(target=self._watch, name="replica", daemon=True)
        self._thread.start()

    def catch_up(self) -> CaughtUpReplica | None:
        """Return the replica once it has what the primary had when called; None where that takes too long.

        Raises as the store does, where the primary does not answer.
        """
        if self.status.condition != "in use":
            metrics.REPLICA_READS.labels("primary").inc()
            return None
        position = primary_position(self._primary)
        try:
            has_replayed = self._replica.has_replayed(position.log_end, within_s=self._wait_s)
        except StoreError as error:
            self._report_failure(error)
            has_replayed = False
        metrics.REPLICA_READS.labels("replica" if has_replayed else "primary").inc()
        if not has_replayed:
            return None
        return CaughtUpReplica(self._replica.database, position.snapshot, self._report_failure)

    def close(self) -> None:
        """Stop watching, and close every connection."""
        self._stop.set()
        self._thread.join(STOP_TIMEOUT_S)
        self._replica.close()

    def _report_failure(self, error: StoreError) -> None:
        """Let the primary answer until the next look at the replica."""
        log.warning("replica_failed", error=str(error), action="the primary answers")
        self._set_status(ReplicaStatus("away", None, "away"))

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                end = log_end(self._primary)
                self._positions.append((time.monotonic(), end))
                self._database_id = self._database_id or primary_position(self._primary).snapshot.database
            except StoreError:
                pass  # the primary's absence is reported by everything else; the lag grows meanwhile
            try:
                self._set_status(self._assess(self._replica.position()))
            except StoreError as error:
                if self.status.condition != "away":
                    log.warning("replica_away", error=str(error), action="the primary answers")
                self._set_status(ReplicaStatus("away", None, "away"))
            self._stop.wait(WATCH_INTERVAL_S)

    def _assess(self, position: ReplicaPosition) -> ReplicaStatus:
        if not position.is_standby:
            return ReplicaStatus("refused", None, "promoted")
        if self._database_id and position.database != self._database_id:
            return ReplicaStatus("refused", None, "other")
        if position.is_restricted:
            return ReplicaStatus("refused", None, "restricted")
        missing_since_s = next((at_s for at_s, end in self._positions if end > position.replayed), None)
        lag_s = 0.0 if missing_since_s is None else time.monotonic() - missing_since_s
        if lag_s > self._wait_s + WATCH_INTERVAL_S:
            return ReplicaStatus("behind", lag_s, "behind")
        return ReplicaStatus("in use", lag_s, "in use")

    def _set_status(self, status: ReplicaStatus) -> None:
        self.status = status
        metrics.REPLICA_LAG.set(float("nan") if status.lag_s is None else status.lag_s)
