"""The inbox gives batches in order and holds the network thread when it is full."""

import threading

from ingest_service.pipeline.inbox import Inbox
from ingest_service.pipeline.message import Message


def message(number: int, size: int = 10) -> Message:
    return Message(f"t/{number}", b"x" * size, 0.0, mid=number)


def take(inbox: Inbox, *, max_messages: int = 100, max_bytes: int = 1000) -> list[int]:
    batch = inbox.take(max_messages=max_messages, max_bytes=max_bytes, wait_s=0, first_wait_s=0)
    return [one.mid for one in batch]


def test_batches_keep_order_and_limits() -> None:
    inbox = Inbox(10_000)
    for number in range(5):
        inbox.put(message(number), wait_s=0)
    assert take(inbox, max_messages=2) == [0, 1]
    assert take(inbox, max_bytes=25) == [2, 3]
    assert take(inbox) == [4]
    assert take(inbox) == []
    assert inbox.held_bytes == 0


def test_a_message_larger_than_every_limit_still_passes() -> None:
    inbox = Inbox(100)
    inbox.put(message(1, size=10_000), wait_s=0)
    assert take(inbox, max_bytes=1) == [1]


def test_put_waits_for_room_and_goes_on_when_there_is() -> None:
    inbox = Inbox(100)
    inbox.put(message(1, size=90), wait_s=0)
    other = threading.Thread(target=inbox.put, args=(message(2, size=90),), kwargs={"wait_s": 30})
    other.start()
    other.join(0.05)
    assert other.is_alive()
    assert take(inbox) == [1]
    other.join(5)
    assert take(inbox) == [2]


def test_close_lets_a_waiting_put_go() -> None:
    inbox = Inbox(100)
    inbox.put(message(1, size=90), wait_s=0)
    other = threading.Thread(target=inbox.put, args=(message(2, size=90),), kwargs={"wait_s": 30})
    other.start()
    inbox.close()
    other.join(5)
    assert not other.is_alive()
    assert take(inbox) == [1]


def test_a_message_that_finds_no_room_in_time_is_not_held() -> None:
    inbox = Inbox(100)
    assert inbox.put(message(1, size=90), wait_s=0)
    assert not inbox.put(message(2, size=90), wait_s=0.01)
    assert take(inbox) == [1]
    assert inbox.put(message(3, size=90), wait_s=0)
