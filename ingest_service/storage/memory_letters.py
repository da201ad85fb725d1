"""Stores dead letters in memory, with a daily quota per device."""

from __future__ import annotations

import bisect
import itertools
from typing import TYPE_CHECKING

import msgspec

from ingest_service.storage.letters import MOST_A_DAY, MOST_BYTES_A_DAY, digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest_service.storage.model import DeadLetter, LetterQuery


class MemoryLetters:
    """Dead letters by id."""

    def __init__(self) -> None:
        self._letters: dict[int, DeadLetter] = {}
        self._digests: set[bytes] = set()
        self._count = 0
        self._quotas: dict[tuple[str, ...], tuple[int, int]] = {}  # area, device, day -> letters, bytes
        self.beyond = 0
        """Number of dead letters beyond the quota of their device, which were not stored."""

    def __len__(self) -> int:
        return len(self._letters)

    def keep(self, letters: Sequence[DeadLetter], replayed: Sequence[int]) -> None:
        """Insert new dead letters, reset those whose replay failed, delete those replayed successfully."""
        for one in letters:
            old = self._letters.get(one.letter_id)
            if old is not None:
                said = {"reason": one.reason, "detail": one.detail, "replays": old.replays + 1}
                self._letters[one.letter_id] = msgspec.structs.replace(old, state="waiting", **said)
            elif not one.letter_id and self._is_new(one) and self._is_within_quota(one):
                self._count += 1
                self._digests |= {digest(one) or b""}
                given = {"letter_id": self._count, "size_bytes": len(one.payload)}
                self._letters[self._count] = msgspec.structs.replace(one, **given)
        for letter_id in replayed:
            self._forget(letter_id)

    def _is_within_quota(self, one: DeadLetter) -> bool:
        device = (*one.topic.split("/")[2:4], str(one.received_s // 86_400))
        letters, size_bytes = self._quotas.get(device, (0, 0))
        grown = (letters + 1, size_bytes + len(one.payload))
        if grown[0] > MOST_A_DAY or (letters and grown[1] > MOST_BYTES_A_DAY):
            self.beyond += 1
            return False
        self._quotas[device] = grown
        return True

    def _is_new(self, one: DeadLetter) -> bool:
        """Whether it is not stored yet; a retained message, which is delivered repeatedly, is stored once."""
        if digest(one) is not None and digest(one) in self._digests:
            return False
        place = (one.topic, one.payload)
        return not one.retained or all((old.topic, old.payload) != place for old in self._letters.values())

    def find(self, query: LetterQuery) -> list[DeadLetter]:
        """Return the dead letters that match a filter, newest first; its limit is ignored."""
        found = [one for one in reversed(self._letters.values()) if _matches(one, query)]
        return found if query.whole else [msgspec.structs.replace(one, payload=b"") for one in found]

    def ask_replay(self, query: LetterQuery) -> int:
        """Mark dead letters for replay; returns their number."""
        asked = self.find(query)
        for one in asked:
            kept = self._letters[one.letter_id]
            self._letters[one.letter_id] = msgspec.structs.replace(kept, state="replay")
        return len(asked)

    def to_replay(self, areas: Sequence[str], limit: int, limit_bytes: int) -> list[DeadLetter]:
        """Return the dead letters marked for replay within the limits, oldest first; at least one if any."""
        asked = [
            one
            for one in self._letters.values()
            if one.state == "replay"
            and ("+" in areas or one.topic.split("/")[2:3] in [[area] for area in areas])
        ][:limit]
        so_far = list(itertools.accumulate(one.size_bytes for one in asked))
        return asked[: max(1, bisect.bisect_right(so_far, limit_bytes))]

    def purge(self, query: LetterQuery) -> int:
        """Delete dead letters; returns their number."""
        gone = self.find(query)
        for one in gone:
            self._forget(one.letter_id)
        return len(gone)

    def _forget(self, letter_id: int) -> None:
        one = self._letters.pop(letter_id, None)
        if one is not None:
            self._digests.discard(digest(one) or b"")


def _matches(one: DeadLetter, query: LetterQuery) -> bool:
    return (
        (query.ids is None or one.letter_id in query.ids)
        and (query.reason is None or one.reason == query.reason)
        and (query.device is None or one.topic.split("/")[3:4] == [query.device])
        and (query.areas is None or one.topic.split("/")[2:3] in [[area] for area in query.areas])
        and (query.received_before_s is None or one.received_s < query.received_before_s)
        and (query.before_id is None or one.letter_id < query.before_id)
    )
