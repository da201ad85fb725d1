"""Stores dead letters in memory, with a daily quota per device."""

from __future__ import annotations

import bisect
import itertools
from typing import TYPE_CHECKING

import msgspec

from ingest_service.storage.postgres.dead_letters import (
    MAX_DEAD_LETTER_BYTES_PER_DAY,
    MAX_DEAD_LETTERS_PER_DAY,
    message_digest,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest_service.storage.contract.models import DeadLetter, DeadLetterQuery


class MemoryDeadLetters:
    """Dead letters by id."""

    def __init__(self) -> None:
        self._by_id: dict[int, DeadLetter] = {}
        self._digests: set[bytes] = set()
        self._count = 0
        self._quotas: dict[tuple[str, ...], tuple[int, int]] = {}  # area, device, day -> letters, bytes
        self.over_quota_count = 0
        """Number of dead letters beyond the quota of their device, which were not stored."""

    def __len__(self) -> int:
        return len(self._by_id)

    def store_dead_letters(self, dead_letters: Sequence[DeadLetter], replayed: Sequence[int]) -> None:
        """Insert new dead letters, reset those whose replay failed, delete those replayed successfully."""
        for one in dead_letters:
            old = self._by_id.get(one.letter_id)
            if old is not None:
                update = {"reason": one.reason, "detail": one.detail, "replays": old.replays + 1}
                self._by_id[one.letter_id] = msgspec.structs.replace(old, state="waiting", **update)
            elif not one.letter_id and self._is_new(one) and self._is_within_quota(one):
                self._count += 1
                self._digests |= {message_digest(one) or b""}
                assigned = {"letter_id": self._count, "size_bytes": len(one.payload)}
                self._by_id[self._count] = msgspec.structs.replace(one, **assigned)
        for letter_id in replayed:
            self._delete(letter_id)

    def _is_within_quota(self, one: DeadLetter) -> bool:
        device = (*one.topic.split("/")[2:4], str(one.received_s // 86_400))
        dead_letters, size_bytes = self._quotas.get(device, (0, 0))
        new_totals = (dead_letters + 1, size_bytes + len(one.payload))
        if new_totals[0] > MAX_DEAD_LETTERS_PER_DAY or (
            dead_letters and new_totals[1] > MAX_DEAD_LETTER_BYTES_PER_DAY
        ):
            self.over_quota_count += 1
            return False
        self._quotas[device] = new_totals
        return True

    def _is_new(self, one: DeadLetter) -> bool:
        """Whether it is not stored yet; a retained message, which is delivered repeatedly, is stored once."""
        if message_digest(one) is not None and message_digest(one) in self._digests:
            return False
        topic_and_payload = (one.topic, one.payload)
        return not one.retained or all(
            (old.topic, old.payload) != topic_and_payload for old in self._by_id.values()
        )

    def find(self, query: DeadLetterQuery) -> list[DeadLetter]:
        """Return the dead letters that match a filter, newest first; its limit is ignored."""
        found = [one for one in reversed(self._by_id.values()) if _matches(one, query)]
        return found if query.whole else [msgspec.structs.replace(one, payload=b"") for one in found]

    def request_replay(self, query: DeadLetterQuery) -> int:
        """Mark dead letters for replay; returns their number."""
        requested = self.find(query)
        for one in requested:
            kept = self._by_id[one.letter_id]
            self._by_id[one.letter_id] = msgspec.structs.replace(kept, state="replay")
        return len(requested)

    def to_replay(
        self, areas: Sequence[str], limit: int, limit_bytes: int, *, forwarded: bool
    ) -> list[DeadLetter]:
        """Return the dead letters marked for replay within the limits, oldest first; at least one if any."""
        requested = [
            one
            for one in self._by_id.values()
            if one.state == "replay"
            and ("+" in areas or one.topic.split("/")[2:3] in [[area] for area in areas])
            and (one.topic.split("/")[4:5] == ["federation"]) == forwarded
        ][:limit]
        cumulative_bytes = list(itertools.accumulate(one.size_bytes for one in requested))
        return requested[: max(1, bisect.bisect_right(cumulative_bytes, limit_bytes))]

    def purge(self, query: DeadLetterQuery) -> int:
        """Delete dead letters; returns their number."""
        matching = self.find(query)
        for one in matching:
            self._delete(one.letter_id)
        return len(matching)

    def _delete(self, letter_id: int) -> None:
        one = self._by_id.pop(letter_id, None)
        if one is not None:
            self._digests.discard(message_digest(one) or b"")


def _matches(one: DeadLetter, query: DeadLetterQuery) -> bool:
    return (
        (query.ids is None or one.letter_id in query.ids)
        and (query.reason is None or one.reason == query.reason)
        and (query.device is None or one.topic.split("/")[3:4] == [query.device])
        and (query.areas is None or one.topic.split("/")[2:3] in [[area] for area in query.areas])
        and (query.received_before_s is None or one.received_s < query.received_before_s)
        and (query.before_id is None or one.letter_id < query.before_id)
    )
