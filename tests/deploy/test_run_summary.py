"""Tests what `towntwin up` prints of a run at its end."""

from __future__ import annotations

from deploy.up.run_summary import SHOWN_DEAD_LETTERS, newest_dead_letters
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import DeadLetter
from ingest_service.storage.memory.store import MemoryStore


def test_the_newest_dead_letters_are_named_with_their_reasons() -> None:
    store = MemoryStore()
    assert newest_dead_letters(store) == []
    letters = [
        DeadLetter(
            received_s=1.7e9 + number,
            topic=f"towntwin/v1/a/wz-{number}/data",
            payload=b"?",
            reason="json",
            detail=f"at byte {number}",
        )
        for number in range(SHOWN_DEAD_LETTERS + 2)
    ]
    store.commit(Batch(dead_letters=letters))
    lines = newest_dead_letters(store)
    assert len(lines) == SHOWN_DEAD_LETTERS
    assert lines[0] == "dead letter (towntwin/v1/a/wz-11/data, json): at byte 11"
