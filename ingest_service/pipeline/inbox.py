"""Bounded in-memory queue of messages between the MQTT network thread and the pipeline thread."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from ingest_service.pipeline.message import size_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest_service.pipeline.message import Message


class Inbox:
    """FIFO queue bounded by the memory its messages occupy [bytes].

    A message without a payload occupies memory, too (`ingest_service.pipeline.message.size_bytes`).
    `put` blocks for a while when the queue is full, so that TCP flow control slows a broker which ignores
    Receive Maximum; a single message larger than the bound is accepted when the queue is empty.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._messages: deque[tuple[int, Message]] = deque()
        self._bytes = 0
        self._payload_bytes = 0
        self._closed = False
        self._consumer_is_waiting = False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def held_bytes(self) -> int:
        """Memory occupied by the queued messages [bytes]."""
        return self._bytes

    @property
    def oldest_s(self) -> float | None:
        """Arrival time of the oldest queued message, Unix seconds [s]; None if the queue is empty."""
        with self._changed:
            return self._messages[0][1].received_s if self._messages else None

    def put(self, message: Message, *, wait_s: float) -> bool:
        """Append a message, waiting up to ``wait_s`` [s] for room; returns False if there was none."""
        size = size_bytes(message)
        with self._changed:
            if not self._closed and not self._has_room(size):
                self._changed.wait_for(lambda: self._closed or self._has_room(size), wait_s)
            if self._closed or not self._has_room(size):
                return False
            self._messages.append((size, message))
            self._bytes += size
            self._payload_bytes += len(message.payload)
            if self._consumer_is_waiting:
                self._changed.notify_all()
            return True

    def take(self, *, max_messages: int, max_bytes: int, wait_s: float, first_wait_s: float) -> list[Message]:
        """Remove and return a batch: the messages queued ``wait_s`` [s] after the first, within the limits.

        ``max_bytes`` bounds the sum of the payloads, which determines the size of the transaction.
        Returns an empty list if no message arrived within ``first_wait_s`` [s].
        """
        with self._changed:
            if not self._wait(lambda: bool(self._messages) or self._closed, first_wait_s):
                return []
            self._wait(
                lambda: (
                    self._closed or len(self._messages) >= max_messages or self._payload_bytes >= max_bytes
                ),
                wait_s,
            )
            batch: list[Message] = []
            size = 0
            while self._messages and len(batch) < max_messages:
                item_bytes, message = self._messages[0]
                size += len(message.payload)
                if batch and size > max_bytes:
                    break
                self._messages.popleft()
                self._bytes -= item_bytes
                self._payload_bytes -= len(message.payload)
                batch.append(message)
            self._changed.notify_all()
            return batch

    def close(self) -> None:
        """Refuse further messages and wake all waiting threads; queued messages can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _wait(self, condition: Callable[[], bool], wait_s: float) -> bool:
        self._consumer_is_waiting = True
        try:
            return self._changed.wait_for(condition, wait_s)
        finally:
            self._consumer_is_waiting = False

    def _has_room(self, size: int) -> bool:
        return not self._messages or self._bytes + size <= self._max_bytes
