"""Two-stage queue: judges batch n while batch n - 1 commits.

The judge's state advances before the commit of the previous batch is confirmed. If the database refuses that
batch, the judge is rolled back in reverse order (first the newer batch, then the refused one), the refused
batch is split and retried, and the newer batch is judged again.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, Self

from ingest_service.pipeline import metrics
from ingest_service.pipeline.batch_processor import BatchProcessingError
from ingest_service.storage.contract.errors import StoreRefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future
    from types import TracebackType

    from ingest_service.pipeline.batch_processor import BatchProcessor, OnCommitted
    from ingest_service.pipeline.message import Message
    from ingest_service.pipeline.prepared_batch import PreparedBatch


class _PendingBatch(NamedTuple):
    prepared: PreparedBatch
    committed: Future[bool]


class CommitQueue:
    """Keeps one batch in the judge and one in the database.

    Parameters
    ----------
    on_committed : called on any thread, once per commit, with the committed messages and the dead
        letters among them

    """

    def __init__(self, pipeline: BatchProcessor, on_committed: OnCommitted) -> None:
        self._pipeline = pipeline
        self._on_committed = on_committed
        self._pending: _PendingBatch | None = None
        self._committer = ThreadPoolExecutor(1, "commit")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._committer.shutdown()

    def ingest(self, messages: Sequence[Message]) -> bool:
        """Judge messages and submit them for commit; returns False if a stop was requested before that.

        Raises
        ------
        ShardLostError
            If another process owns the shard.

        """
        prepared = self._try_prepare(messages)
        if prepared is None:
            return False
        outcome = self._outcome()
        if isinstance(outcome, StoreRefusedError):
            # The newer batch is rolled back first, since each rollback restores the state before its batch.
            if not isinstance(prepared, BatchProcessingError):
                self._pipeline.undo(prepared)
            outcome = self._split_refused(outcome)
            prepared = self._try_prepare(messages) if outcome else None
        self._pending = None
        if prepared is None or not outcome:
            return False
        if isinstance(prepared, BatchProcessingError):
            return self._pipeline.split_and_retry(messages, prepared, self._on_committed)
        metrics.IN_FLIGHT_READINGS.set(len(prepared.decoded.value))
        self._pending = _PendingBatch(prepared, self._committer.submit(self._commit, prepared))
        return True

    def _try_prepare(self, messages: Sequence[Message]) -> PreparedBatch | BatchProcessingError | None:
        try:
            return self._pipeline.prepare(messages)
        except BatchProcessingError as error:
            return error

    def flush(self) -> bool:
        """Wait until every submitted batch is committed; False if stopped before. Raises `ShardLostError`."""
        outcome = self._outcome()
        if isinstance(outcome, StoreRefusedError):
            outcome = self._split_refused(outcome)
        self._pending = None
        metrics.IN_FLIGHT_READINGS.set(0)
        return outcome

    def _commit(self, prepared: PreparedBatch) -> bool:
        committed = self._pipeline.commit(prepared)
        if committed:
            self._on_committed(prepared.messages, prepared.dead_letters)
        return committed

    def _outcome(self) -> bool | StoreRefusedError:
        """Wait for the pending commit; return as `BatchProcessor.commit` does, or the store's refusal."""
        if self._pending is None:
            return True
        try:
            return self._pending.committed.result()
        except StoreRefusedError as error:
            return error

    def _split_refused(self, error: StoreRefusedError) -> bool:
        """Roll back the refused batch, split it and commit its parts."""
        assert self._pending is not None  # noqa: S101 - only a pending batch can be refused
        refused = self._pending.prepared
        self._pipeline.undo(refused)
        return self._pipeline.split_and_retry(refused.messages, error, self._on_committed)
