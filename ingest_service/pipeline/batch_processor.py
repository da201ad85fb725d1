"""Decodes, judges and commits batches; splits a batch that fails until the faulty message is isolated."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import msgspec
import numpy as np
import structlog

from edge.wire import receipts, topics
from edge.wire.backoff import Backoff
from edge.wire.errors import TopicError
from ingest_service.pipeline import batch_metrics, decode, metrics
from ingest_service.pipeline.device_clocks import DeviceClocks
from ingest_service.pipeline.errors import IngestError
from ingest_service.pipeline.message import to_dead_letter
from ingest_service.pipeline.prepared_batch import PreparedBatch
from ingest_service.pipeline.series_resolver import SeriesResolver
from ingest_service.pipeline.shard_judge import ShardJudge
from ingest_service.pipeline.share import Share
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.errors import StoreError, StoreRefusedError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from edge.wire.receipts import Receipt, SpoolPosition
    from edge.wire.topics import Topic
    from ingest_service.pipeline.decode import DecodedBatch
    from ingest_service.pipeline.message import Message
    from ingest_service.pipeline.settings import Settings
    from ingest_service.pipeline.shard_judge import JudgedBatch, ShouldUseCompiled
    from ingest_service.storage.contract.batch import Checkpoint, Committed, Epoch
    from ingest_service.storage.contract.models import DeadLetter, Directory
    from ingest_service.storage.contract.store import Store

    OnCommitted = Callable[[Sequence[Message], Sequence[DeadLetter]], None]
    """Called with messages that are committed, and the dead letters that are among them."""

log = structlog.get_logger()
T = TypeVar("T")

DIRECTORY_CHECK_S = 2.0
# A replay of more readings per series after a restart would have to wait for the compiled judge
# (`compiled_judge_loader.MAX_NUMPY_DEPTH`); under load they arrive in less than ``checkpoint_s``.
CHECKPOINT_READINGS = 32  # per series, after which a checkpoint is due earlier
MIN_CHECKPOINT_S = 1.0  # but not earlier than so: a checkpoint writes 2.5 kB per series
UNJUDGED_BATCHES = 2  # consecutive unjudged batches, from which judging counts as failing
REASONS_FIXED_BY_ENROLMENT = {"device", "channel", "unit"}
MAX_MISCONFIGURED_LOGGED = 20  # series logged by name at most; the metric has the total
_CONFLICT_KEY = ["series_id", "time_us", "value"]


class BatchProcessingError(IngestError, StoreRefusedError):
    """An unexpected error while processing a batch; the batch is split like a refused one."""


class BatchProcessor:
    """Processes batches of messages; those for which `ingest` returned True are committed.

    Parameters
    ----------
    wait : waits for the given time [s]; returns True if the process shall stop
    clock : returns Unix seconds [s]
    epoch : epoch of the shard's owner; the store refuses batches of an earlier epoch
    use_compiled : passed to `ShardJudge`

    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        wait: Callable[[float], bool],
        clock: Callable[[], float] = time.time,
        epoch: Epoch | None = None,
        use_compiled: ShouldUseCompiled | None = None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._wait = wait
        self._clock = clock
        self._epoch = epoch
        self._fast = use_compiled
        self._share = Share(settings.share)
        self._shard = self._share.name(settings.shard)
        self._clocks = DeviceClocks(tolerance_s=settings.clock_tolerance_s)
        self._checkpoint_due_s = 0.0
        self._checkpoint_possible_s = 0.0
        self._readings_since_checkpoint = 0
        self._directory_due_s = 0.0
        self._unjudged_in_a_row = 0

    @property
    def judging_is_failing(self) -> bool:
        """Whether the last `UNJUDGED_BATCHES` batches were not judged; one message may fail one batch."""
        return self._unjudged_in_a_row >= UNJUDGED_BATCHES

    def devices(self) -> list[tuple[str, str]]:
        """Return the enrolled devices of the shard's areas and share, as (area, device)."""
        areas = set(self._settings.areas)
        return [
            one
            for one in self._resolver.devices()
            if ("+" in areas or one[0] in areas) and self._share.includes(one[1])
        ]

    def open(self) -> None:
        """Read the directory and restore the judge's state. Raises `StoreUnavailableError`."""
        directory = self._store.directory()
        self._resolver = SeriesResolver(directory.judged_here(), earliest_s=self._settings.earliest_s)
        self._judge = ShardJudge(self._judged(directory), use_compiled=self._fast)
        self._report_misconfigured()
        self._clocks.restore(self._store.statuses())
        metrics.WRONG_CLOCKS.set(self._clocks.wrong_count)
        replayed = self._judge.restore(
            self._store, self._shard, replay_days=self._settings.replay_days, now_s=self._clock()
        )
        log.info("state_restored", series=len(directory.series), readings_replayed=replayed)

    def save_first_checkpoint(self) -> None:
        """Commit a checkpoint: it shows the other shares that this one's session exists."""
        self._store.commit(Batch(checkpoint=self._judge.checkpoint(self._shard), epoch=self._epoch))

    def ingest(self, messages: Sequence[Message], on_committed: OnCommitted = lambda *_: None) -> bool:
        """Decode, judge and commit messages, retrying while the store is unavailable.

        ``on_committed`` is called after each commit. Returns False if a stop was requested before all were
        committed.
        """
        try:
            prepared = self.prepare(messages)
        except BatchProcessingError as error:
            return self.split_and_retry(messages, error, on_committed)
        if prepared is None:
            return False
        try:
            committed = self.commit(prepared)
        except StoreRefusedError as error:
            self.undo(prepared)
            return self.split_and_retry(messages, error, on_committed)
        if committed:
            on_committed(messages, prepared.dead_letters)
        return committed

    # -- in judging order, on one thread -------------------------------------------------------

    def prepare(self, messages: Sequence[Message]) -> PreparedBatch | None:
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
                metrics.WRONG_CLOCKS.set(self._clocks.wrong_count)
            with metrics.JUDGE_SECONDS.time():
                judged = self._judge.judge(decoded)
            self._unjudged_in_a_row = self._unjudged_in_a_row + 1 if judged.failed else 0
        except StoreError:
            raise
        except Exception as error:
            raise _unexpected_error("judge", error, messages) from error
        batch = Batch(
            fresh=judged.fresh,
            doubtful=judged.doubtful,
            revisions=judged.revisions,
            anomalies=judged.anomalies,
            dead_letters=decoded.dead_letters,
            statuses=decoded.statuses,
            checkpoint=self._checkpoint() if self._checkpoint_is_due(len(judged.fresh)) else None,
            replayed=_replayed_successfully(messages, decoded),
            epoch=self._epoch,
        )
        try:
            batch = self._store.encode(batch)
        except Exception as error:
            self._undo(judged)
            raise _unexpected_error("encode", error, messages) from error
        return PreparedBatch(messages, decoded, judged, batch, list(decoded.dead_letters))

    def undo(self, prepared: PreparedBatch) -> None:
        """Roll the judge back by the newest prepared batch."""
        self._undo(prepared.judged)

    def split_and_retry(
        self, messages: Sequence[Message], error: StoreRefusedError, on_committed: OnCommitted
    ) -> bool:
        """Commit a refused batch in halves, recursively; a single refused message becomes a dead letter.

        Returns False if a stop was requested before everything was committed.
        """
        metrics.BATCH_SPLITS.inc()
        if len(messages) == 1:
            first_line = str(error).partition("\n")[0]
            log.error("message_refused", topic=messages[0].topic, error=first_line)
            reason, explanation = ("defect", "it can't be taken, by a defect")
            if not isinstance(error, BatchProcessingError):
                reason, explanation = "store", "the store refuses it"
            dead_letters = [to_dead_letter(messages[0], reason, f"{explanation}: {error}")]
            stored = self._store_dead_letters(dead_letters)
            if stored:
                metrics.MESSAGES.inc(not messages[0].letter_id)
                on_committed(messages, dead_letters)
            return stored
        middle = len(messages) // 2
        return self.ingest(messages[:middle], on_committed) and self.ingest(messages[middle:], on_committed)

    # -- on any thread -------------------------------------------------------------------------

    def commit(self, prepared: PreparedBatch) -> bool:
        """Commit, retrying while the store is unavailable; returns False if a stop was requested before.

        Raises
        ------
        StoreRefusedError
            If the store refuses the batch for good; nothing of it was stored.
        ShardLostError
            Likewise, if another process owns the shard.

        """
        try:
            committed = self._commit(prepared.batch)
        except StoreError:
            raise
        except Exception as error:
            raise _unexpected_error("commit", error, prepared.messages) from error
        if committed is None:
            return False
        with metrics.log_unexpected_errors("figures"):
            batch_metrics.count_batch(prepared, committed, now_s=self._clock())
        return not len(committed.conflicts) or self._store_conflicting_messages(prepared, committed)

    def receipts(
        self, messages: Sequence[Message], dead_letters: Sequence[DeadLetter] = ()
    ) -> dict[Topic, list[Receipt]]:
        """Build the receipts of messages and of the dead letters among them, by data topic."""
        positions: dict[Topic, list[SpoolPosition]] = {}
        for message in messages:
            position = receipts.position_of(message.properties) if message.properties else None
            if position is not None and not message.letter_id:
                _append_by_topic(positions, message.topic, position)
        refusals: dict[Topic, list[tuple[SpoolPosition, str, str]]] = {}
        for one in dead_letters:
            if not one.letter_id:  # the device got its receipt when the message first became a dead letter
                position = receipts.position_of(one.properties.items()) or receipts.NO_POSITION
                _append_by_topic(refusals, one.topic, (position, one.reason, one.detail))
        return {
            topic: receipts.receipts_for(positions.get(topic, ()), refusals.get(topic, ()))
            for topic in {**positions, **refusals}
        }

    def _undo(self, judged: JudgedBatch) -> None:
        self._judge.undo(judged)
        self._checkpoint_due_s = 0.0

    def _commit(self, batch: Batch) -> Committed | None:
        backoff = Backoff()
        while True:
            try:
                with metrics.COMMIT_SECONDS.time():
                    return self._store.commit(batch)
            except StoreUnavailableError as error:
                metrics.COMMIT_RETRIES.inc()
                if self._wait_before_retry(backoff, error):
                    return None

    def _store_dead_letters(self, dead_letters: Sequence[DeadLetter], replayed: Sequence[int] = ()) -> bool:
        """Store dead letters and delete those replayed successfully; False if a stop was requested before."""
        batch = Batch(dead_letters=list(dead_letters), replayed=list(replayed), epoch=self._epoch)
        stored = self._commit_dead_letters(batch)
        if stored:
            with metrics.log_unexpected_errors("figures"):
                batch_metrics.count_dead_letters(dead_letters)
                metrics.DEAD_LETTERS_REPLAYED.inc(len(replayed))
        return stored

    def _commit_dead_letters(self, batch: Batch) -> bool:
        """Commit dead letters, retrying even when the store refuses them, for no message may be lost.

        After a refusal the properties and content type are dropped, for the payload is what matters.
        """
        backoff = Backoff()
        while True:
            try:
                return self._commit(batch) is not None
            except StoreRefusedError as error:
                log.error("dead_letters_refused", letters=len(batch.dead_letters), error=str(error))  # noqa: TRY400
                metrics.UNEXPECTED_ERRORS.labels("dead_letter").inc()
                without_properties = [
                    msgspec.structs.replace(one, properties={}, content_type=None)
                    for one in batch.dead_letters
                ]
                batch = replace(batch, dead_letters=without_properties)
                if self._wait(backoff.next_s()):
                    return False

    def _store_conflicting_messages(self, prepared: PreparedBatch, committed: Committed) -> bool:
        """Store messages as dead letters where another value is stored for the same series and time."""
        conflicting_rows = committed.conflicts[_CONFLICT_KEY]
        try:
            message_indices = _conflicting_messages(prepared.judged, conflicting_rows)
        except Exception:
            metrics.UNEXPECTED_ERRORS.labels("conflicts").inc()
            log.exception("conflicts_unknown", action="every message of the batch is a dead letter")
            message_indices = np.arange(len(prepared.messages))
        sentence = "another value is stored for the same series and time: see which of the two is right"
        dead_letters = [
            to_dead_letter(prepared.messages[i], "conflict", sentence) for i in message_indices.tolist()
        ]
        log.warning("conflicts", messages=len(dead_letters), readings=len(conflicting_rows))
        prepared.dead_letters.extend(dead_letters)
        unresolved_ids = {one.letter_id for one in dead_letters}
        return self._store_dead_letters(
            dead_letters, [one for one in prepared.batch.replayed if one not in unresolved_ids]
        )

    def _wait_before_retry(self, backoff: Backoff, error: StoreUnavailableError) -> bool:
        wait_s = backoff.next_s()
        log.warning(
            "store_unavailable", error=str(error).strip(), tries=backoff.tries, next_try_in_s=round(wait_s, 2)
        )
        return self._wait(wait_s)

    # -- enrolment -----------------------------------------------------------------------------

    def _decode(self, messages: Sequence[Message]) -> DecodedBatch | None:
        """Decode with the current directory, refreshed every few seconds and when an unknown name occurs."""
        if self._clock() >= self._directory_due_s and not self._refresh_directory():
            return None
        resolver, future_s = self._resolver, self._settings.future_s
        decoded = decode.decode_isolating_defects(messages, resolver, self._clocks, future_s=future_s)
        if all(one.reason not in REASONS_FIXED_BY_ENROLMENT for one in decoded.dead_letters):
            return decoded
        if not self._refresh_directory():
            return None
        if self._resolver is resolver:
            return decoded
        return decode.decode_isolating_defects(messages, self._resolver, self._clocks, future_s=future_s)

    def _refresh_directory(self) -> bool:
        """Reload a changed directory; False if a stop was requested while the store was unavailable."""
        self._directory_due_s = self._clock() + DIRECTORY_CHECK_S
        backoff = Backoff()
        while True:
            try:
                self._read_directory()
            except StoreUnavailableError as error:
                if self._wait_before_retry(backoff, error):
                    return False
            except StoreError:
                raise
            except Exception:
                metrics.UNEXPECTED_ERRORS.labels("directory").inc()
                log.exception("directory_unreadable", action="going on with the one that was read before")
                return True
            else:
                return True

    def _read_directory(self) -> None:
        if self._store.directory_version() != self._resolver.version:
            directory = self._store.directory()
            resolver = SeriesResolver(directory.judged_here(), earliest_s=self._settings.earliest_s)
            self._judge.enrol(self._judged(directory))
            self._resolver = resolver
            self._report_misconfigured()
            log.info("directory_read", version=directory.version, series=len(directory.series))

    def _judged(self, directory: Directory) -> Directory:
        """Return the directory with the series of this share alone.

        Those of the others would be in each checkpoint, and all of their readings in each replay.
        """
        if self._share.is_whole:
            return directory
        own = {one.series_id for one in directory.channels if self._share.includes(one.device_id)}
        return msgspec.structs.replace(
            directory, series=[one for one in directory.series if one.series_id in own]
        )

    def _report_misconfigured(self) -> None:
        """Count, and log by name, the series that can't be judged as they are enrolled."""
        problems = self._judge.problems
        metrics.MISCONFIGURED_SERIES.set(len(problems))
        for name, sentences in list(problems.items())[:MAX_MISCONFIGURED_LOGGED]:
            log.error(
                "series_misconfigured",
                series=name,
                problem="; ".join(sentences),
                action="it is judged by the limits of its quantity, or not at all where that is unknown; "
                "mend the site file or the adopted limits",
            )

    def _checkpoint(self) -> Checkpoint | None:
        """Serialise the judge's state; None after an unexpected error, for a replay can rebuild the state."""
        with metrics.log_unexpected_errors("checkpoint"):
            return self._judge.checkpoint(self._shard)
        return None

    def _checkpoint_is_due(self, readings: int) -> bool:
        """Whether a checkpoint is due with a batch of so many new readings: by time, or by readings."""
        now_s = self._clock()
        self._readings_since_checkpoint += readings
        is_due = now_s >= self._checkpoint_due_s or (
            now_s >= self._checkpoint_possible_s
            and self._readings_since_checkpoint >= CHECKPOINT_READINGS * self._judge.series_count
        )
        if is_due:
            self._checkpoint_due_s = now_s + self._settings.checkpoint_s
            self._checkpoint_possible_s = now_s + MIN_CHECKPOINT_S
            self._readings_since_checkpoint = 0
        return is_due


def _unexpected_error(where: str, error: Exception, messages: Sequence[Message]) -> BatchProcessingError:
    """Count and log an unexpected error, and wrap it in a `BatchProcessingError`."""
    metrics.UNEXPECTED_ERRORS.labels(where).inc()
    log.error("defect", where=where, messages=len(messages), exc_info=error)
    return BatchProcessingError(f"{type(error).__name__}: {error}")


def _conflicting_messages(judged: JudgedBatch, conflicting_rows: NDArray[np.void]) -> NDArray[np.intp]:
    """Return the indices of the messages with readings that conflict with stored ones."""
    return np.union1d(
        judged.fresh_message[np.isin(judged.fresh[_CONFLICT_KEY], conflicting_rows)],
        judged.doubtful_message[np.isin(judged.doubtful[_CONFLICT_KEY], conflicting_rows)],
    )


def _replayed_successfully(messages: Sequence[Message], decoded: DecodedBatch) -> list[int]:
    """Return the ids of replayed dead letters that were decoded without a fault."""
    dead_letters = {one.letter_id for one in decoded.dead_letters}
    return [one.letter_id for one in messages if one.letter_id and one.letter_id not in dead_letters]


def _append_by_topic(by_topic: dict[Topic, list[T]], topic: str, item: T) -> None:
    """Append to the list of a topic; invalid topics are skipped, for no receipt can be sent to them."""
    with suppress(TopicError):
        by_topic.setdefault(topics.parse_topic(topic), []).append(item)
