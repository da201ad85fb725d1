"""Stores one forwarded message, makes dead letters of what is refused of it, and builds its receipt.

A message is stored at once where all of it is good. Otherwise it is taken apart: the good items are stored in
one transaction, and the refused ones become dead letters, one for each reason (decision 0129).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import structlog

from edge.wire import federation, receipts, topics
from edge.wire.errors import PayloadError, TopicError
from ingest_service.federation import metrics
from ingest_service.federation.message_bounds import MessageBounds, MessageRefusal
from ingest_service.federation.message_items import MessageItems
from ingest_service.pipeline.message import storable_text, to_dead_letter
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.errors import StoreError, StoreRefusedError
from ingest_service.storage.contract.federation import (
    ForwarderFencedError,
    ForwarderIdentity,
    ForwardingCircleError,
    ForwardingRefusedError,
    RefusedItems,
)
from ingest_service.storage.postgres.federated_incidents import FederatedIncidents
from ingest_service.storage.postgres.federated_rows import FederatedRows
from ingest_service.storage.postgres.federated_state import FederatedState
from ingest_service.storage.postgres.federation_commands import FederationCommands

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.wire.federation import AnyMessage
    from edge.wire.receipts import Receipt
    from edge.wire.topics import Topic
    from ingest_service.federation.message_items import MessageItem
    from ingest_service.pipeline.message import Message
    from ingest_service.storage.contract.batch import Epoch
    from ingest_service.storage.contract.federation import ItemRefusal
    from ingest_service.storage.contract.store import Database

log = structlog.get_logger()


class StoringOutcome(NamedTuple):
    """Receipts of a message by topic; none for one without a spool position or a valid topic.

    ``refusal`` is why it was not stored, or not all of it.
    """

    receipts: dict[Topic, list[Receipt]]
    refusal: MessageRefusal | None = None


class RefusedPart(NamedTuple):
    """The whole of a message, or a message of the items of it that were refused for one reason."""

    payload: bytes
    refusal: MessageRefusal


class RefusedItem(NamedTuple):
    """An item of a message, and why it was not stored."""

    item: MessageItem
    refusal: MessageRefusal


class MessageStoring:
    """Stores messages one by one, each in a transaction of its own."""

    def __init__(self, store: Database, epoch: Epoch | None = None) -> None:
        self._store, self._epoch = store, epoch
        self._rows = FederatedRows(store, epoch)
        self._incidents = FederatedIncidents(self._rows)
        self._commands = FederationCommands(store)
        self._state = FederatedState(self._rows)

    def store(self, message: Message) -> StoringOutcome:
        """Store a message. Raises `ShardLostError` and `StoreUnavailableError`.

        Then its dead letters are not stored, and perhaps its content is: it has no receipt, and its repeat is
        recognised.
        """
        parts = [
            one._replace(refusal=one.refusal._replace(detail=storable_text(one.refusal.detail)))
            for one in self._refused_parts(message)
        ]
        refusal = _refusal_of(message, parts)
        if refusal is None:
            if message.letter_id:
                self._store.commit(Batch(replayed=[message.letter_id], epoch=self._epoch))
        elif message.letter_id:
            # It stays whole: a repeat of what was stored of it changes nothing, and a new one has a quota.
            reason = parts[0].refusal.reason
            reason = "federation" if reason in federation.REFUSED_FORWARDERS else reason
            dead_letter = to_dead_letter(message, reason, refusal.detail)
            self._store.commit(Batch(dead_letters=[dead_letter], epoch=self._epoch))
        elif refusal.reason not in federation.REFUSED_FORWARDERS:
            dead_letters = [
                to_dead_letter(msgspec.structs.replace(message, payload=one.payload), *one.refusal)
                for one in parts
            ]
            self._store.commit(Batch(dead_letters=dead_letters, epoch=self._epoch))
            for one in parts:
                metrics.DEAD_LETTERS.labels(one.refusal.reason).inc()
                log.warning("forwarded_message_refused", topic=message.topic, **one.refusal._asdict())
        return StoringOutcome(_receipts(message, refusal), refusal)

    def _refused_parts(self, message: Message) -> list[RefusedPart]:
        """Store what can be of a message; return the rest."""
        try:
            topic = topics.parse_topic(message.topic)
        except TopicError as error:
            return [RefusedPart(message.payload, MessageRefusal("topic", str(error)))]
        found = _checked(message.payload, is_replay=bool(message.letter_id))
        if not isinstance(found, MessageRefusal):
            stored = self._stored(_sender(topic, found, message), found)
            if not isinstance(stored, MessageRefusal):
                if not stored:
                    return []
                items = MessageItems(message.payload)
                return _parts(message, items, _refused_items(items, items.items, stored))
            found = stored
        if found.reason in federation.REFUSED_FORWARDERS:
            return [RefusedPart(message.payload, found)]
        return self._store_good_items(topic, message, found)

    def _store_good_items(self, topic: Topic, message: Message, whole: MessageRefusal) -> list[RefusedPart]:
        """Store the good items of a message that was refused as a ``whole``; return the others.

        All of it is returned where what is beside its items is wrong.
        """
        is_replay = bool(message.letter_id)
        try:
            items = MessageItems(message.payload)
        except PayloadError:
            return [RefusedPart(message.payload, whole)]
        if not items.items or isinstance(_checked(items.message_of([]), is_replay=is_replay), MessageRefusal):
            return [RefusedPart(message.payload, whole)]
        good, refused = _sorted_out(items, items.items, is_replay=is_replay)
        found = _checked(items.message_of(good), is_replay=is_replay)
        if good and not isinstance(found, MessageRefusal):
            collected = RefusedItems(one.item.incident_id() for one in refused)
            stored = self._stored(_sender(topic, found, message), found, collected)
            if isinstance(stored, MessageRefusal):
                return [RefusedPart(message.payload, stored)]
            refused += _refused_items(items, good, stored)
        return _parts(message, items, refused)

    def _stored(
        self, sender: ForwarderIdentity, found: AnyMessage, refused: RefusedItems | None = None
    ) -> list[ItemRefusal] | MessageRefusal:
        """Store a message; return the items that were refused, or why all of it was.

        Without ``refused`` nothing is stored where an item is refused, except of readings and rollups.
        """
        try:
            undefined = self._store_content(sender, found, refused)
        except ForwarderFencedError as error:
            return MessageRefusal(federation.FENCED, str(error))
        except ForwardingCircleError as error:
            return MessageRefusal(federation.CIRCLE, str(error))
        except ForwardingRefusedError as error:
            return MessageRefusal("federation", str(error))
        except StoreRefusedError as error:
            return MessageRefusal("store", f"the store refuses it: {error}")
        except StoreError:
            raise
        except Exception as error:  # one message must not end the receiver of all towns
            log.exception("forwarded_message_defect", device=sender.device)
            return _defect(error)
        metrics.RECEIVED.labels(str(found.__struct_config__.tag)).inc()
        return [*undefined, *(refused.found if refused is not None else ())]

    def _store_content(
        self, sender: ForwarderIdentity, found: AnyMessage, refused: RefusedItems | None
    ) -> list[ItemRefusal]:
        """Store a message; return items of it that were refused beside those in ``refused``."""
        match found:
            case federation.Definitions():
                undefined = self._rows.store_definitions(sender, found, refused)
                if undefined:
                    log.warning("unknown_quantities", device=sender.device, series=undefined)
            case federation.ForwardedAnomalies():
                self._rows.store_anomalies(sender, found.anomalies, refused)
            case federation.ForwardedIncidents():
                self._incidents.store(sender, found.incidents, refused)
            case federation.CommandResults():
                self._commands.store_results(self._rows, sender, found.results, refused)
            case (
                federation.ForwardedDevices()
                | federation.ForwardedAssessments()
                | federation.ForwardedEstimates()
                | federation.ForwardedForecasts()
            ):
                self._state.store(sender, found, refused)
            case federation.ForwardedRollups():
                return self._state.store_rollups(sender, found.series, refused)
            case federation.ForwardedReadings():
                return self._store_readings(sender, found)
        return []

    def _store_readings(
        self, sender: ForwarderIdentity, found: federation.ForwardedReadings
    ) -> list[ItemRefusal]:
        stored = self._rows.store_readings(sender, found.series)
        total = sum(len(one.time_us) for one in found.series)
        metrics.READINGS.labels("new").inc(stored.new)
        metrics.READINGS.labels("revised").inc(stored.revised)
        metrics.READINGS.labels("conflict").inc(stored.conflicts)
        metrics.READINGS.labels("repeated").inc(max(0, total - stored.new - stored.conflicts))
        return stored.refused


def _sender(topic: Topic, found: AnyMessage, message: Message) -> ForwarderIdentity:
    block = None if message.letter_id else found.block
    return ForwarderIdentity(topic.device, topic.area, found.forwarder, block, found.release)


def _checked(payload: bytes, *, is_replay: bool) -> AnyMessage | MessageRefusal:
    """Decode a message and check its bounds; return it, or why it is refused.

    A replayed one of a forwarder from the future, which a former release stored, counts as older than others.
    """
    bounds = MessageBounds(time.time())
    try:
        found = federation.decode_message(payload)
        if is_replay and bounds.is_future(found.forwarder):
            found = msgspec.structs.replace(found, forwarder=0)
        return bounds.refusal_of(found) or found
    except PayloadError as error:
        return MessageRefusal(federation.MISREAD, str(error))
    except Exception as error:  # as in `MessageStoring`
        log.exception("forwarded_message_defect")
        return _defect(error)


def _defect(error: Exception) -> MessageRefusal:
    detail = f"it can't be stored, by {type(error).__name__}: {error}; report it, with the log"
    return MessageRefusal(federation.MISREAD, detail)


def _sorted_out(
    message: MessageItems, items: list[MessageItem], *, is_replay: bool
) -> tuple[list[MessageItem], list[RefusedItem]]:
    """Return the items that can be read and are within bounds, and the others; halves are checked at once."""
    found = _checked(message.message_of(items), is_replay=is_replay)
    if not isinstance(found, MessageRefusal):
        return items, []
    if len(items) == 1:
        return [], [RefusedItem(items[0], found)]
    middle = len(items) // 2
    good, refused = _sorted_out(message, items[:middle], is_replay=is_replay)
    more_good, more_refused = _sorted_out(message, items[middle:], is_replay=is_replay)
    return good + more_good, refused + more_refused


def _refused_items(
    message: MessageItems, items: list[MessageItem], refusals: Sequence[ItemRefusal]
) -> list[RefusedItem]:
    """Return which of the items that were given to the store it has refused."""
    elements = message.elements(items)
    found = []
    for one in refusals:
        element = elements[one.field, one.number]
        refusal = MessageRefusal(one.reason, one.detail)
        chosen = element if one.rows is None else [element[row] for row in one.rows]
        found += [RefusedItem(item, refusal) for item in chosen]
    return found


def _parts(message: Message, items: MessageItems, refused: Sequence[RefusedItem]) -> list[RefusedPart]:
    """Return a part of the message for each reason, with a sentence for each item."""
    by_reason: dict[str, list[RefusedItem]] = {}
    for one in refused:
        by_reason.setdefault(one.refusal.reason, []).append(one)
    parts = []
    for reason, found in by_reason.items():
        # Bounds and checks name what they are about; reading and the database do not.
        is_named = reason not in {federation.MISREAD, "store"}
        sentences = [
            one.refusal.detail if is_named else f"{one.item.label()}: {one.refusal.detail}" for one in found
        ]
        detail = "; ".join(dict.fromkeys(sentences))
        if len(found) == len(items.items):
            return [RefusedPart(message.payload, MessageRefusal(reason, detail))]
        chosen = {id(one.item) for one in found}
        payload = items.message_of([one for one in items.items if id(one) in chosen])
        detail = f"{len(found)} of {len(items.items)} items of a message: {detail}"
        parts.append(RefusedPart(payload, MessageRefusal(reason, detail)))
    return parts


def _refusal_of(message: Message, parts: Sequence[RefusedPart]) -> MessageRefusal | None:
    """Return the refusal in the receipt of a message; None if all of it was stored."""
    if not parts or parts[0].payload == message.payload:
        return parts[0].refusal if parts else None
    return MessageRefusal(
        federation.PARTLY, "; ".join(f"{one.refusal.reason}: {one.refusal.detail}" for one in parts)
    )


def _receipts(message: Message, refusal: MessageRefusal | None) -> dict[Topic, list[Receipt]]:
    position = receipts.position_of(message.properties)
    if position is None or message.letter_id:
        return {}
    try:
        topic = topics.parse_topic(message.topic)
    except TopicError:
        return {}
    refusals = [] if refusal is None else [(position, *refusal)]
    return {topic: receipts.receipts_for([position], refusals)}
