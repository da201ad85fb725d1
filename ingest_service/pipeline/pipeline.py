"""Decodes, judges and commits batches; splits a batch that fails until the faulty message is isolated."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec
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
from ingest_service.storage.errors import StoreError, StoreRefused, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from edge.wire.receipts import Place, Receipt
    from edge.wire.topics import Topic
    from ingest_service.pipeline.decode import Decoded
    from ingest_service.pipeline.judging import Fast, Judged
    from ingest_service.pipeline.message import Message
    from ingest_service.pipeline.settings import Settings
    from ingest_service.storage.batch import Checkpoint, Committed, Epoch
    from ingest_service.storage.model import DeadLetter
    from ingest_service.storage.store import Store

    Kept = Callable[[Sequence[Message], Sequence[DeadLetter]], None]
    """Called with messages that are committed, and the dead letters that are among them."""

log = structlog.get_logger()
T = TypeVar("T")

DIRECTORY_CHECK_S = 2.0
UNJUDGED = 2  # consecutive unjudged batches, from which judging counts as failing
MENDED_BY_ENROLMENT = {"device", "channel", "unit"}
MISCONFIGURED_IN_LOG = 20  # series logged by name at most; the metric has the total
_CLASH = ["series_id", "time_us", "value"]


class Defect(StoreRefused):
    """An unexpected error while processing a batch; the batch is split like a refused one."""


class Prepared(NamedTuple):
    """A decoded and judged batch, ready to be committed."""

    messages: Sequence[Message]
    decoded: Decoded
    judged: Judged
    batch: Batch
    dead: list[DeadLetter]
    """Dead letters of these messages; conflicts that the store detects are added at the commit."""


class Pipeline:
    """Processes batches of messages; those for which `take` returned True are committed.

    Parameters
    ----------
    wait : waits for the given time [s]; returns True if the process shall stop
    clock : returns Unix seconds [s]
    epoch : epoch of the shard's owner; the store refuses batches of an earlier epoch
    fast : passed to `ShardJudge`

    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        wait: Callable[[float], bool],
        clock: Callable[[], float] = time.time,
        epoch: Epoch | None = None,
        fast: Fast | None = None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._wait = wait
        self._clock = clock
        self._epoch = epoch
        self._fast = fast
        self._clocks = Clocks(tolerance_s=settings.clock_tolerance_s)
        self._checkpoint_due_s = 0.0
        self._directory_due_s = 0.0
        self._unjudged = 0

    @property
    def judging_fails(self) -> bool:
        """Whether the last `UNJUDGED` batches were not judged; a single one may be due to a message in it."""
        return self._unjudged >= UNJUDGED

    def open(self) -> None:
        """Read the directory and restore the judge's state. Raises `StoreUnavailable`."""
        directory = self._store.directory()
        self._resolver = Resolver(directory, earliest_s=self._settings.earliest_s)
        self._judge = ShardJudge(directory, fast=self._fast)
        self._report_misconfigured()
        self._clocks.restore(self._store.statuses())
        metrics.CLOCKS_WRONG.set(self._clocks.wrong)
        replayed = self._judge.restore(
            self._store, self._settings.shard, replay_days=self._settings.replay_days, now_s=self._clock()
        )
        log.info("state_restored", series=len(directory.series), readings_replayed=replayed)

    def take(self, messages: Sequence[Message], kept: Kept = lambda *_: None) -> bool:
        """Decode, judge and commit messages, retrying while the store is unavailable.

        ``kept`` is called after each commit. Returns False if a stop was requested before all were committed.
        """
        try:
            prepared = self.prepare(messages)
        except Defect as error:
            return self.split(messages, error, kept)
        if prepared is None:
            return False
        try:
            committed = self.commit(prepared)
        except StoreRefused as error:
            self.undo(prepared)
            return self.split(messages, error, kept)
        if committed:
            kept(messages, prepared.dead)
        return committed

    # -- in judging order, on one thread -------------------------------------------------------

    def prepare(self, messages: Sequence[Message]) -> Prepared | None:
        """Decode and judge; returns None if a stop was requested while the store was unavailable.

        Raises
        ------
        Defect
            After an unexpected error; the judge's state is unchanged.

        """
        try:
            decoded = self._decode(messages)
            if decoded is None:
                return None
            if decoded.statuses:
                metrics.CLOCKS_WRONG.set(self._clocks.wrong)
            with metrics.JUDGE_SECONDS.time():
                judged = self._judge.judge(decoded)
            self._unjudged = self._unjudged + 1 if judged.failed else 0
        except StoreError:
            raise
        except Exception as error:
            raise _defect("judge", error, messages) from error
        batch = Batch(
            fresh=judged.fresh,
            doubtful=judged.doubtful,
            revisions=judged.revisions,
            anomalies=judged.anomalies,
            letters=decoded.letters,
            statuses=decoded.statuses,
            checkpoint=self._checkpoint() if self._checkpoint_is_due() else None,
            replayed=_replayed(messages, decoded),
            epoch=self._epoch,
        )
        return Prepared(messages, decoded, judged, batch, list(decoded.letters))

    def undo(self, prepared: Prepared) -> None:
        """Roll the judge back by the newest prepared batch."""
        self._judge.undo(prepared.judged)
        self._checkpoint_due_s = 0.0

    def split(self, messages: Sequence[Message], error: StoreRefused, kept: Kept) -> bool:
        """Commit a refused batch in halves, recursively; a single refused message becomes a dead letter.

        Returns False if a stop was requested before everything was committed.
        """
        metrics.SPLITS.inc()
        if len(messages) == 1:
            said = str(error).partition("\n")[0]
            log.error("message_refused", topic=messages[0].topic, error=said)
            reason, by = ("defect", "it can't be taken, by a defect")
            if not isinstance(error, Defect):
                reason, by = "store", "the store refuses it"
            dead = [letter(messages[0], reason, f"{by}: {error}")]
            buried = self._bury(dead)
            if buried:
                metrics.MESSAGES.inc(not messages[0].letter_id)
                kept(messages, dead)
            return buried
        middle = len(messages) // 2
        return self.take(messages[:middle], kept) and self.take(messages[middle:], kept)

    # -- on any thread -------------------------------------------------------------------------

    def commit(self, prepared: Prepared) -> bool:
        """Commit, retrying while the store is unavailable; returns False if a stop was requested before.

        Raises
        ------
        StoreRefused
            If the store refuses the batch for good; nothing of it was stored.
        ShardLost
            Likewise, if another process owns the shard.

        """
        try:
            committed = self._commit(prepared.batch)
        except StoreError:
            raise
        except Exception as error:
            raise _defect("commit", error, prepared.messages) from error
        if committed is None:
            return False
        with metrics.isolated("figures"):
            figures.count(prepared, committed, now_s=self._clock())
        return not len(committed.conflicts) or self._bury_conflicts(prepared, committed)

    def receipts(
        self, messages: Sequence[Message], dead: Sequence[DeadLetter] = ()
    ) -> dict[Topic, list[Receipt]]:
        """Build the receipts of messages and of the dead letters among them, by data topic."""
        places: dict[Topic, list[Place]] = {}
        for message in messages:
            place = receipts.place_of(message.properties) if message.properties else None
            if place is not None and not message.letter_id:
                _append(places, message.topic, place)
        refusals: dict[Topic, list[tuple[Place, str, str]]] = {}
        for one in dead:
            if not one.letter_id:  # the device got its receipt when the message first became a dead letter
                place = receipts.place_of(one.properties.items()) or receipts.NO_PLACE
                _append(refusals, one.topic, (place, one.reason, one.detail))
        return {
            topic: receipts.of_places(places.get(topic, ()), refusals.get(topic, ()))
            for topic in {**places, **refusals}
        }

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
        """Store dead letters and delete those replayed successfully; False if a stop was requested before."""
        batch = Batch(letters=list(letters), replayed=list(replayed), epoch=self._epoch)
        buried = self._commit_letters(batch)
        if buried:
            with metrics.isolated("figures"):
                figures.count_letters(letters)
                metrics.LETTERS_REPLAYED.inc(len(replayed))
        return buried

    def _commit_letters(self, batch: Batch) -> bool:
        """Commit dead letters, retrying even when the store refuses them, for no message may be lost.

        After a refusal the properties and content type are dropped, for the payload is what matters.
        """
        backoff = Backoff()
        while True:
            try:
                return self._commit(batch) is not None
            except StoreRefused as error:
                log.error("dead_letters_refused", letters=len(batch.letters), error=str(error))  # noqa: TRY400
                metrics.DEFECTS.labels("dead_letter").inc()
                bare = [
                    msgspec.structs.replace(one, properties={}, content_type=None) for one in batch.letters
                ]
                batch = replace(batch, letters=bare)
                if self._wait(backoff.next_s()):
                    return False

    def _bury_conflicts(self, prepared: Prepared, committed: Committed) -> bool:
        """Store messages as dead letters where another value is stored for the same series and time."""
        clashing = committed.conflicts[_CLASH]
        try:
            mine = _clashing_messages(prepared.judged, clashing)
        except Exception:
            metrics.DEFECTS.labels("conflicts").inc()
            log.exception("conflicts_unknown", action="every message of the batch is a dead letter")
            mine = np.arange(len(prepared.messages))
        sentence = "another value is stored for the same series and time: see which of the two is right"
        letters = [letter(prepared.messages[i], "conflict", sentence) for i in mine.tolist()]
        log.warning("conflicts", messages=len(letters), readings=len(clashing))
        prepared.dead.extend(letters)
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
        """Decode with the current directory, refreshed every few seconds and when an unknown name occurs."""
        if self._clock() >= self._directory_due_s and not self._refresh_directory():
            return None
        resolver, future_s = self._resolver, self._settings.future_s
        decoded = decode.decode_safely(messages, resolver, self._clocks, future_s=future_s)
        if all(one.reason not in MENDED_BY_ENROLMENT for one in decoded.letters):
            return decoded
        if not self._refresh_directory():
            return None
        if self._resolver is resolver:
            return decoded
        return decode.decode_safely(messages, self._resolver, self._clocks, future_s=future_s)

    def _refresh_directory(self) -> bool:
        """Reload a changed directory; False if a stop was requested while the store was unavailable."""
        self._directory_due_s = self._clock() + DIRECTORY_CHECK_S
        backoff = Backoff()
        while True:
            try:
                self._read_directory()
            except StoreUnavailable as error:
                if self._pause(backoff, error):
                    return False
            except StoreError:
                raise
            except Exception:
                metrics.DEFECTS.labels("directory").inc()
                log.exception("directory_unreadable", action="going on with the one that was read before")
                return True
            else:
                return True

    def _read_directory(self) -> None:
        if self._store.directory_version() != self._resolver.version:
            directory = self._store.directory()
            resolver = Resolver(directory, earliest_s=self._settings.earliest_s)
            self._judge.enrol(directory)
            self._resolver = resolver
            self._report_misconfigured()
            log.info("directory_read", version=directory.version, series=len(directory.series))

    def _report_misconfigured(self) -> None:
        """Count, and log by name, the series that can't be judged as they are enrolled."""
        problems = self._judge.problems
        metrics.MISCONFIGURED.set(len(problems))
        for name, sentences in list(problems.items())[:MISCONFIGURED_IN_LOG]:
            log.error(
                "series_misconfigured",
                series=name,
                problem="; ".join(sentences),
                action="it is judged by the limits of its quantity, or not at all where that is unknown; "
                "mend the site file or the adopted limits",
            )

    def _checkpoint(self) -> Checkpoint | None:
        """Serialise the judge's state; None after an unexpected error, for a replay can rebuild the state."""
        with metrics.isolated("checkpoint"):
            return self._judge.checkpoint(self._settings.shard)
        return None

    def _checkpoint_is_due(self) -> bool:
        now_s = self._clock()
        due = now_s >= self._checkpoint_due_s
        if due:
            self._checkpoint_due_s = now_s + self._settings.checkpoint_s
        return due


def _defect(where: str, error: Exception, messages: Sequence[Message]) -> Defect:
    """Count and log an unexpected error, and wrap it in a `Defect`."""
    metrics.DEFECTS.labels(where).inc()
    log.error("defect", where=where, messages=len(messages), exc_info=error)
    return Defect(f"{type(error).__name__}: {error}")


def _clashing_messages(judged: Judged, clashing: NDArray[np.void]) -> NDArray[np.intp]:
    """Return the indices of the messages with readings that conflict with stored ones."""
    return np.union1d(
        judged.fresh_message[np.isin(judged.fresh[_CLASH], clashing)],
        judged.doubtful_message[np.isin(judged.doubtful[_CLASH], clashing)],
    )


def _replayed(messages: Sequence[Message], decoded: Decoded) -> list[int]:
    """Return the ids of replayed dead letters that were decoded without a fault."""
    dead = {one.letter_id for one in decoded.letters}
    return [one.letter_id for one in messages if one.letter_id and one.letter_id not in dead]


def _append(to: dict[Topic, list[T]], topic: str, what: T) -> None:
    """Append to the list of a topic; invalid topics are skipped, for no receipt can be sent to them."""
    with suppress(TopicError):
        to.setdefault(topics.parse(topic), []).append(what)
