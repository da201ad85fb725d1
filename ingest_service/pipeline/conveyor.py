"""Two-stage queue: judges batch n while batch n - 1 commits.

The judge's state advances before the commit of the previous batch is confirmed. If the database refuses that
batch, the judge is rolled back in reverse order (first the newer batch, then the refused one), the refused
batch is split and retried, and the newer batch is judged again.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, Self

from ingest_service.pipeline import metrics
from ingest_service.pipeline.pipeline import Defect
from ingest_service.storage.errors import StoreRefused

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future
    from types import TracebackType

    from ingest_service.pipeline.message import Message
    from ingest_service.pipeline.pipeline import Kept, Pipeline, Prepared


class _UnderWay(NamedTuple):
    prepared: Prepared
    committed: Future[bool]


class Conveyor:
    """Keeps one batch in the judge and one in the database.

    Parameters
    ----------
    kept : called on any thread, once per commit, with the committed messages and the dead letters among them

    """

    def __init__(self, pipeline: Pipeline, kept: Kept) -> None:
        self._pipeline = pipeline
        self._kept = kept
        self._under_way: _UnderWay | None = None
        self._committer = ThreadPoolExecutor(1, "commit")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._committer.shutdown()

    def take(self, messages: Sequence[Message]) -> bool:
        """Judge messages and submit them for commit; returns False if a stop was requested before that.

        Raises
        ------
        ShardLost
            If another process owns the shard.

        """
        prepared = self._prepared(messages)
        if prepared is None:
            return False
        outcome = self._outcome()
        if isinstance(outcome, StoreRefused):
            # The newer batch is rolled back first, since each rollback restores the state before its batch.
            if not isinstance(prepared, Defect):
                self._pipeline.undo(prepared)
            outcome = self._mend(outcome)
            prepared = self._prepared(messages) if outcome else None
        self._under_way = None
        if prepared is None or not outcome:
            return False
        if isinstance(prepared, Defect):
            return self._pipeline.split(messages, prepared, self._kept)
        metrics.IN_FLIGHT_READINGS.set(len(prepared.decoded.value))
        self._under_way = _UnderWay(prepared, self._committer.submit(self._commit, prepared))
        return True

    def _prepared(self, messages: Sequence[Message]) -> Prepared | Defect | None:
        try:
            return self._pipeline.prepare(messages)
        except Defect as error:
            return error

    def settle(self) -> bool:
        """Wait until every submitted batch is committed; False if stopped before. Raises `ShardLost`."""
        outcome = self._outcome()
        if isinstance(outcome, StoreRefused):
            outcome = self._mend(outcome)
        self._under_way = None
        metrics.IN_FLIGHT_READINGS.set(0)
        return outcome

    def _commit(self, prepared: Prepared) -> bool:
        committed = self._pipeline.commit(prepared)
        if committed:
            self._kept(prepared.messages, prepared.dead)
        return committed

    def _outcome(self) -> bool | StoreRefused:
        """Wait for the pending commit: True or False as `Pipeline.commit` returns, or the store's refusal."""
        if self._under_way is None:
            return True
        try:
            return self._under_way.committed.result()
        except StoreRefused as error:
            return error

    def _mend(self, error: StoreRefused) -> bool:
        """Roll back the refused batch, split it and commit its parts."""
        assert self._under_way is not None  # noqa: S101 - only a pending batch can be refused
        refused = self._under_way.prepared
        self._pipeline.undo(refused)
        return self._pipeline.split(refused.messages, error, self._kept)
