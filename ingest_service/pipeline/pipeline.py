"""One batch: decode, judge, commit; find the one message that the store refuses."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import structlog

from edge.wire import receipts, topics
from edge.wire.errors import TopicError
from ingest_service.pipeline import decode, figures, metrics
from ingest_service.pipeline.backoff import Backoff
from ingest_service.pipeline.clocks import Clocks
from ingest_service.pipeline.judging import ShardJudge
from ingest_service.pipeline.message import letter
from ingest_service.pipeline.resolve import Resolver
from ingest_service.storage.batch import Batch
from ingest_service.storage.errors import StoreRefused, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge.wire.receipts import Place
    from edge.wire.topics import Topic
    from ingest_service.pipeline.decode import Decoded
    from ingest_service.pipeline.judging import Judged
    from ingest_service.pipeline.message import Message
    from ingest_service.pipeline.settings import Settings
    from ingest_service.storage.batch import Committed, Epoch
    from ingest_service.storage.model import DeadLetter
    from ingest_service.storage.store import Store

    Kept = Callable[[Sequence[Message]], None]

log = structlog.get_logger()

DIRECTORY_CHECK_S = 2.0
UNJUDGED = 2  # batches in a row
MENDED_BY_ENROLMENT = {"device", "channel", "unit"}


class Prepared(NamedTuple):
    """A batch that is decoded and judged, and ready for the store."""

    messages: Sequence[Message]
    decoded: Decoded
    judged: Judged
    batch: Batch


class Pipeline:
    """Takes batches of messages to the store; what `take` returned True for is kept.

    Parameters
    ----------
    wait : told how long to wait [s]; returns True if the process shall stop
    clock : Unix seconds [s]
    epoch : of the shard; the store refuses batches of one that is over

    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        wait: Callable[[float], bool],
        clock: Callable[[], float] = time.time,
        epoch: Epoch | None = None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._wait = wait
        self._clock = clock
        self._epoch = epoch
        self._clocks = Clocks(tolerance_s=settings.clock_tolerance_s)
        self._checkpoint_due_s = 0.0
        self._directory_due_s = 0.0
        self._unjudged = 0

    @property
    def judging_fails(self) -> bool:
        """Whether the newest batches were not judged: several, for one may be a defect of its own message."""
        return self._unjudged >= UNJUDGED

    def open(self) -> None:
        """Read the directory and rebuild the judge's state. Raises `StoreUnavailable`."""
        directory = self._store.directory()
        self._resolver = Resolver(directory)
        self._judge = ShardJudge(directory)
        self._clocks.restore(self._store.statuses())
        metrics.CLOCKS_WRONG.set(self._clocks.wrong)
        replayed = self._judge.restore(
            self._store, self._settings.shard, replay_days=self._settings.replay_days, now_s=self._clock()
        )
        log.info("state_restored", series=len(directory.series), readings_replayed=replayed)

    def take(self, messages: Sequence[Message], kept: Kept = lambda _: None) -> bool:
        """Bring messages to the store, waiting as long as it is away; ``kept`` hears what is committed.

        Returns False if asked to stop before they were committed.
        """
        prepared = self.prepare(messages)
        if prepared is None:
            return False
        try:
            committed = self.commit(prepared)
        except StoreRefused as error:
            self.undo(prepared)
            return self.split(messages, error, kept)
        if committed:
            kept(messages)
        return committed

    # -- in the order in which the judge sees them ---------------------------------------------

    def prepare(self, messages: Sequence[Message]) -> Prepared | None:
        """Decode and judge; None if asked to stop while the store was away."""
        decoded = self._decode(messages)
        if decoded is None:
            return None
        if decoded.statuses:
            metrics.CLOCKS_WRONG.set(self._clocks.wrong)
        with metrics.JUDGE_SECONDS.time():
            judged = self._judge.judge(decoded)
        self._unjudged = self._unjudged + 1 if judged.failed else 0
        batch = Batch(
            fresh=judged.fresh,
            doubtful=judged.doubtful,
            revisions=judged.revisions,
            anomalies=judged.anomalies,
            letters=decoded.letters,
            statuses=decoded.statuses,
            checkpoint=self._judge.checkpoint(self._settings.shard) if self._checkpoint_is_due() else None,
            replayed=_replayed(messages, decoded),
            epoch=self._epoch,
        )
        return Prepared(messages, decoded, judged, batch)

    def undo(self, prepared: Prepared) -> None:
        """Forget the newest batch that was prepared."""
        self._judge.undo(prepared.judged)
        self._checkpoint_due_s = 0.0

    def split(self, messages: Sequence[Message], error: StoreRefused, kept: Kept) -> bool:
        """The store will never take this batch: find the message it stumbles over, keep its neighbours."""
        metrics.SPLITS.inc()
        if len(messages) == 1:
            log.error("message_refused", topic=messages[0].topic, error=str(error).partition("\n")[0])
            buried = self._bury([letter(messages[0], "store", f"the store refuses it: {error}")])
            if buried:
                metrics.MESSAGES.inc(not messages[0].letter_id)
                kept(messages)
            return buried
        middle = len(messages) // 2
        return self.take(messages[:middle], kept) and self.take(messages[middle:], kept)

    # -- on any thread -------------------------------------------------------------------------

    def commit(self, prepared: Prepared) -> bool:
        """Commit, waiting for the store as long as it is away; False if asked to stop before.

        Raises
        ------
        StoreRefused
            The store will never take it; nothing of it was kept.
        ShardLost
            Likewise, for another process owns the shard.

        """
        committed = self._commit(prepared.batch)
        if committed is None:
            return False
        figures.count(prepared, committed, now_s=self._clock())
        return not len(committed.conflicts) or self._bury_conflicts(prepared, committed)

    def places(self, messages: Sequence[Message]) -> dict[Topic, list[Place]]:
        """The spool places of messages, by the data topic they came on."""
        found: dict[Topic, list[Place]] = {}
        for message in messages:
            place = receipts.place_of(message.properties) if message.properties else None
            if place is None or message.letter_id:
                continue
            try:
                topic = topics.parse(message.topic)
            except TopicError:
                continue
            found.setdefault(topic, []).append(place)
        return found

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

    def _bury(self, letters: Sequence[DeadLetter], replayed: Sequence[int] = ()) -> bool:
        """Keep letters, and let go of those that were replayed; False if asked to stop before."""
        batch = Batch(letters=list(letters), replayed=list(replayed), epoch=self._epoch)
        buried = self._commit(batch) is not None
        if buried:
            figures.count_letters(letters)
            metrics.LETTERS_REPLAYED.inc(len(replayed))
        return buried

    def _bury_conflicts(self, prepared: Prepared, committed: Committed) -> bool:
        """Keep the messages whose readings could not be: another value is stored for their time."""
        keys, judged = ["series_id", "time_us", "value"], prepared.judged
        clashing = committed.conflicts[keys]
        mine = np.union1d(
            judged.fresh_message[np.isin(judged.fresh[keys], clashing)],
            judged.doubtful_message[np.isin(judged.doubtful[keys], clashing)],
        )
        sentence = "another value is stored for the same series and time: see which of the two is right"
        letters = [letter(prepared.messages[i], "conflict", sentence) for i in mine.tolist()]
        log.warning("conflicts", messages=len(letters), readings=len(clashing))
        still_dead = {one.letter_id for one in letters}
        return self._bury(letters, [one for one in prepared.batch.replayed if one not in still_dead])

    def _pause(self, backoff: Backoff, error: StoreUnavailable) -> bool:
        wait_s = backoff.next_s()
        log.warning(
            "store_unavailable", error=str(error).strip(), tries=backoff.tries, next_try_in_s=round(wait_s, 2)
        )
        return self._wait(wait_s)

    # -- enrolment -----------------------------------------------------------------------------

    def _decode(self, messages: Sequence[Message]) -> Decoded | None:
        """Decode by the directory as it is now: asked for every few seconds, and for whatever is unknown."""
        if self._clock() >= self._directory_due_s and not self._refresh_directory():
            return None
        resolver, future_s = self._resolver, self._settings.future_s
        decoded = decode.decode(messages, resolver, self._clocks, future_s=future_s)
        if all(one.reason not in MENDED_BY_ENROLMENT for one in decoded.letters):
            return decoded
        if not self._refresh_directory():
            return None
        if self._resolver is resolver:
            return decoded
        return decode.decode(messages, self._resolver, self._clocks, future_s=future_s)

    def _refresh_directory(self) -> bool:
        """Read the directory again if it changed; False if asked to stop while the store was away."""
        self._directory_due_s = self._clock() + DIRECTORY_CHECK_S
        backoff = Backoff()
        while True:
            try:
                self._read_directory()
            except StoreUnavailable as error:
                if self._pause(backoff, error):
                    return False
            else:
                return True

    def _read_directory(self) -> None:
        if self._store.directory_version() != self._resolver.version:
            directory = self._store.directory()
            self._judge.enrol(directory)
            self._resolver = Resolver(directory)
            log.info("directory_read", version=directory.version, series=len(directory.series))

    def _checkpoint_is_due(self) -> bool:
        now_s = self._clock()
        due = now_s >= self._checkpoint_due_s
        if due:
            self._checkpoint_due_s = now_s + self._settings.checkpoint_s
        return due


def _replayed(messages: Sequence[Message], decoded: Decoded) -> list[int]:
    """Letters that are none any more."""
    dead = {one.letter_id for one in decoded.letters}
    return [one.letter_id for one in messages if one.letter_id and one.letter_id not in dead]
