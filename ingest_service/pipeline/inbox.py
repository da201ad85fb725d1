"""Bounded in-memory queue of messages between the MQTT network thread and the pipeline thread."""

from __future__ import annotations

import threading
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from ingest_service.pipeline.message import size_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
        return self.put_many([message], wait_s=wait_s) == 1

    def put_many(self, messages: Sequence[Message], *, wait_s: float) -> int:
        """Append messages in order until one has no room; returns the number appended.

        ``wait_s`` [s] is the longest wait for room, in all. A message of QoS 0 is not waited for, as the
        broker does not send it again and waiting would only delay those that are acknowledged.
        """
        items = [(size_bytes(one), one) for one in messages]
        with self._changed:
            if self._closed:
                return 0
            total_bytes = sum(size for size, _ in items)
            count = len(items)
            if self._bytes + total_bytes > self._max_bytes:
                count = self._append_while_there_is_room(items, time.monotonic() + wait_s)
            else:
                self._append(items, total_bytes)
            self._notify_consumer()
        return count

    def _append_while_there_is_room(self, items: Sequence[tuple[int, Message]], deadline_s: float) -> int:
        for count, item in enumerate(items):
            size, message = item
            if not self._has_room(size) and message.qos:
                self._notify_consumer()
                wait_s = max(0.0, deadline_s - time.monotonic())
                self._changed.wait_for(partial(self._is_closed_or_has_room, size), wait_s)
            if self._closed or not self._has_room(size):
                return count
            self._append([item], size)
        return len(items)

    def _append(self, items: Sequence[tuple[int, Message]], total_bytes: int) -> None:
        self._messages.extend(items)
        self._bytes += total_bytes
        self._payload_bytes += sum(len(message.payload) for _, message in items)

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

    def _notify_consumer(self) -> None:
        if self._consumer_is_waiting:
            self._changed.notify_all()

    def _wait(self, condition: Callable[[], bool], wait_s: float) -> bool:
        self._consumer_is_waiting = True
        try:
            return self._changed.wait_for(condition, wait_s)
        finally:
            self._consumer_is_waiting = False

    def _is_closed_or_has_room(self, size: int) -> bool:
        return self._closed or self._has_room(size)

    def _has_room(self, size: int) -> bool:
        return not self._messages or self._bytes + size <= self._max_bytes
