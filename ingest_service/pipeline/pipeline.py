"""One batch at a time: decode, judge, commit, acknowledge, send receipts."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from edge.wire import receipts, topics
from edge.wire.errors import TopicError
from ingest_service.pipeline import decode, metrics
from ingest_service.pipeline.judging import ShardJudge
from ingest_service.pipeline.resolve import Resolver
from ingest_service.storage.errors import StoreRefused, StoreUnavailable
from ingest_service.storage.model import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge.wire.receipts import Place
    from edge.wire.topics import Topic
    from ingest_service.pipeline.decode import Decoded
    from ingest_service.pipeline.message import Message
    from ingest_service.pipeline.settings import Settings
    from ingest_service.storage.model import Committed
    from ingest_service.storage.store import Store

log = structlog.get_logger()

DIRECTORY_CHECK_S = 2.0


@dataclass(slots=True)
class Backoff:
    """How long to wait before the next try: doubling from ``first_s`` to ``longest_s``."""

    first_s: float = 0.2
    longest_s: float = 5.0
    tries: int = field(default=0)

    def next_s(self) -> float:
        """The next wait [s]."""
        self.tries += 1
        return float(min(self.longest_s, self.first_s * 2 ** (self.tries - 1)))


class Pipeline:
    """Takes batches of messages to the store; what `take` returned from is kept.

    Parameters
    ----------
    wait : told how long to wait [s]; returns True if the process shall stop
    clock : Unix seconds [s]

    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        wait: Callable[[float], bool],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._settings = settings
        self._wait = wait
        self._clock = clock
        self._checkpoint_due_s = 0.0
        self._directory_due_s = 0.0

    def open(self) -> None:
        """Read the directory and rebuild the judge's state. Raises `StoreUnavailable`."""
        directory = self._store.directory()
        self._resolver = Resolver(directory)
        self._judge = ShardJudge(directory)
        replayed = self._judge.restore(
            self._store, self._settings.shard, replay_days=self._settings.replay_days, now_s=self._clock()
        )
        log.info("state_restored", series=len(directory.series), readings_replayed=replayed)

    def take(self, messages: Sequence[Message]) -> bool:
        """Bring messages to the store, waiting for it as long as it is away.

        Returns False if asked to stop before they were committed.
        """
        backoff = Backoff()
        while True:
            try:
                self._refresh_directory(messages)
                break
            except StoreUnavailable as error:
                if self._pause(backoff, error):
                    return False
        return self._take(messages)

    def places(self, messages: Sequence[Message]) -> dict[Topic, list[Place]]:
        """The spool places of messages, by the data topic they came on."""
        found: dict[Topic, list[Place]] = {}
        for message in messages:
            place = receipts.place_of(message.properties)
            if place is None:
                continue
            try:
                topic = topics.parse(message.topic)
            except TopicError:
                continue
            found.setdefault(topic, []).append(place)
        return found

    # -- one batch -----------------------------------------------------------------------------

    def _take(self, messages: Sequence[Message]) -> bool:
        decoded = decode.decode(messages, self._resolver, future_s=self._settings.future_s)
        with metrics.JUDGE_SECONDS.time():
            judged = self._judge.judge(decoded)
        now_s = self._clock()
        due = now_s >= self._checkpoint_due_s
        batch = Batch(
            fresh=judged.fresh,
            doubtful=judged.doubtful,
            revisions=judged.revisions,
            anomalies=judged.anomalies,
            letters=decoded.letters,
            statuses=decoded.statuses,
            checkpoint=self._judge.checkpoint(self._settings.shard) if due else None,
        )
        try:
            committed = self._commit(batch)
        except StoreRefused as error:
            self._judge.undo(judged)
            return self._split(messages, error)
        if committed is None:
            return False
        if due:
            self._checkpoint_due_s = now_s + self._settings.checkpoint_s
        if judged.failed:
            metrics.JUDGE_FAILURES.inc()
        self._count(messages, decoded, batch, committed)
        return True

    def _commit(self, batch: Batch) -> Committed | None:
        backoff = Backoff()
        while True:
            try:
                with metrics.COMMIT_SECONDS.time():
                    return self._store.commit(batch)
            except StoreUnavailable as error:
                metrics.RETRIES.inc()
                if self._pause(backoff, error):
                    return None

    def _split(self, messages: Sequence[Message], error: StoreRefused) -> bool:
        """The store will never take this batch: find the message it stumbles over, keep its neighbours."""
        if len(messages) == 1:
            log.error("message_refused", topic=messages[0].topic, error=str(error))
            dead = decode.letter(messages[0], "store", f"the store refuses it: {error}")
            if self._commit(Batch(letters=[dead])) is None:
                return False
            metrics.DEAD_LETTERS.labels("store").inc()
            return True
        middle = len(messages) // 2
        return self._take(messages[:middle]) and self._take(messages[middle:])

    def _pause(self, backoff: Backoff, error: StoreUnavailable) -> bool:
        wait_s = backoff.next_s()
        log.warning("store_unavailable", error=str(error).strip(), tries=backoff.tries, next_try_in_s=wait_s)
        return self._wait(wait_s)

    # -- enrolment, figures --------------------------------------------------------------------

    def _refresh_directory(self, messages: Sequence[Message]) -> None:
        """Read the directory again if it changed; asked at most every few seconds, or for a stranger."""
        now_s = self._clock()
        if now_s < self._directory_due_s and not self._has_stranger(messages):
            return
        self._directory_due_s = now_s + DIRECTORY_CHECK_S
        if self._store.directory_version() != self._resolver.version:
            directory = self._store.directory()
            self._judge.enrol(directory)
            self._resolver = Resolver(directory)
            log.info("directory_read", version=directory.version, series=len(directory.series))

    def _has_stranger(self, messages: Sequence[Message]) -> bool:
        known = self._resolver.area_of
        seen = {message.topic for message in messages}
        return any(topic.count("/") == 4 and known(topic.split("/")[3]) is None for topic in seen)

    def _count(
        self, messages: Sequence[Message], decoded: Decoded, batch: Batch, committed: Committed
    ) -> None:
        now_s = self._clock()
        metrics.MESSAGES.inc(len(messages))
        metrics.BATCH_READINGS.observe(len(decoded.value))
        for kind in ("fresh", "late", "repeated"):
            metrics.READINGS.labels(kind).inc(getattr(committed, kind))
        metrics.ANOMALIES.inc(len(batch.anomalies))
        for dead in batch.letters:
            metrics.DEAD_LETTERS.labels(dead.reason).inc()
            log.warning("dead_letter", topic=dead.topic, reason=dead.reason, bytes=len(dead.payload))
        for message in messages:
            metrics.LAG_SECONDS.observe(now_s - message.received_s)
        if decoded.time_s:
            metrics.MEASURED_LAG_SECONDS.set(
                min(
                    received - measured
                    for received, measured in zip(decoded.received_s, decoded.time_s, strict=True)
                )
            )
