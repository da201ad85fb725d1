"""Stores what the gateway has put into the inbox for towns that forward by HTTPS."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from edge.wire import federation
from edge.wire.receipts import SpoolPosition, properties_of
from edge.wire.topics import Topic, TopicKind
from ingest_service.pipeline.message import Message
from ingest_service.storage.postgres.federation_inbox import FederationInbox, InboxOutcome

if TYPE_CHECKING:
    import threading

    from ingest_service.federation.message_storing import MessageStoring, StoringOutcome
    from ingest_service.storage.contract.store import Database
    from ingest_service.storage.postgres.federation_inbox import InboxMessage

MESSAGES_AT_ONCE: Final = 50
CLEAN_S: Final = 300.0


class HttpsReceiving:
    """Stores messages of the inbox as those of MQTT; methods raise the errors of the store.

    A message is finished after the COMMIT of its content. A kill between the two repeats it, which is
    recognised.
    """

    def __init__(self, store: Database, storing: MessageStoring) -> None:
        self._inbox, self._storing = FederationInbox(store), storing
        self._clean_due_s = 0.0

    def store_waiting(self, stop: threading.Event) -> int:
        """Store messages that wait, some at most; return their number."""
        messages = self._inbox.next_messages(MESSAGES_AT_ONCE)
        for one in messages:
            if stop.is_set():
                break
            outcome = self._storing.store(_message(one))
            self._inbox.finish(_inbox_outcome(one, outcome))
        return len(messages)

    def clean(self) -> None:
        """Delete old outcomes now and then."""
        if time.monotonic() >= self._clean_due_s:
            self._clean_due_s = time.monotonic() + CLEAN_S
            self._inbox.clean()


def _message(one: InboxMessage) -> Message:
    return Message(
        topic=str(Topic(one.area_id, one.device_id, TopicKind.FEDERATION)),
        payload=one.payload,
        received_s=one.received_s,
        content_type=federation.CONTENT_TYPE,
        properties=tuple(properties_of(SpoolPosition(one.epoch, one.number))),
    )


def _inbox_outcome(one: InboxMessage, outcome: StoringOutcome) -> InboxOutcome:
    if outcome.refusal is None:
        return InboxOutcome(one.inbox_id, None, None)
    return InboxOutcome(one.inbox_id, *outcome.refusal)
