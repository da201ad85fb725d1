"""Judge a batch while the one before it is on its way to the database.

The judge moves on before the database has agreed. If the database then refuses a batch, what was judged after
it is forgotten first, then the refused one, which is taken apart alone, and the rest is judged again.
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
    """One batch in the judge, one in the database.

    Parameters
    ----------
    kept : called with messages and the dead letters among them, on any thread, as soon as they are committed

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
        """Judge messages and send them on their way; False if asked to stop before that.

        Raises
        ------
        ShardLost
            Where another process owns the shard.

        """
        prepared = self._prepared(messages)
        if prepared is None:
            return False
        outcome = self._outcome()
        if isinstance(outcome, StoreRefused):
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
        """Wait until everything taken is committed; False if asked to stop before. Raises `ShardLost`."""
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
        """What became of the batch under way, once it is known."""
        if self._under_way is None:
            return True
        try:
            return self._under_way.committed.result()
        except StoreRefused as error:
            return error

    def _mend(self, error: StoreRefused) -> bool:
        """Take the refused batch apart."""
        assert self._under_way is not None  # noqa: S101 - only a batch under way is refused
        refused = self._under_way.prepared
        self._pipeline.undo(refused)
        return self._pipeline.split(refused.messages, error, self._kept)
