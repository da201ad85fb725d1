"""A decoded and judged batch, between the judge and the commit."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest_service.pipeline.decode import DecodedBatch
    from ingest_service.pipeline.message import Message
    from ingest_service.pipeline.shard_judge import JudgedBatch
    from ingest_service.storage.contract.batch import Batch
    from ingest_service.storage.contract.models import DeadLetter


class PreparedBatch(NamedTuple):
    """A decoded and judged batch, ready to be committed.

    ``dead_letters`` are those of these messages; conflicts that the store detects are added at the commit.
    """

    messages: Sequence[Message]
    decoded: DecodedBatch
    judged: JudgedBatch
    batch: Batch
    dead_letters: list[DeadLetter]
