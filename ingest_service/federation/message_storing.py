"""Stores one forwarded message, or makes a dead letter of it, and builds its receipt."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import structlog

from edge.wire import federation, receipts, topics
from edge.wire.errors import PayloadError, TopicError
from ingest_service.federation import metrics
from ingest_service.federation.message_bounds import MessageBounds, MessageRefusal
from ingest_service.pipeline.message import storable_text, to_dead_letter
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.errors import StoreError, StoreRefusedError
from ingest_service.storage.contract.federation import (
    ForwarderFencedError,
    ForwarderIdentity,
    ForwardingRefusedError,
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
    from ingest_service.pipeline.message import Message
    from ingest_service.storage.contract.batch import Epoch
    from ingest_service.storage.contract.store import Database

log = structlog.get_logger()


class StoringOutcome(NamedTuple):
    """Receipts of a message by topic; none for one without a spool position or a valid topic.

    ``refusal`` is why it was not stored, or not all of it.
    """

    receipts: dict[Topic, list[Receipt]]
    refusal: MessageRefusal | None = None


class MessageStoring:
    """Stores messages one by one, each in a transaction of its own."""

    def __init__(self, store: Database, epoch: Epoch | None = None) -> None:
        self._store, self._epoch = store, epoch
        self._rows = FederatedRows(store, epoch)
        self._incidents = FederatedIncidents(self._rows)
        self._commands = FederationCommands(store)
        self._state = FederatedState(self._rows)

    def store(self, message: Message) -> StoringOutcome:
        """Store a message. Raises `ShardLostError` and `StoreUnavailableError`: then nothing is stored."""
        refusal = self._try_to_store(message)
        if refusal is not None:
            refusal = refusal._replace(detail=storable_text(refusal.detail))
        if refusal is not None and refusal.reason not in federation.REFUSED_FORWARDERS:
            dead_letter = to_dead_letter(message, *refusal)
            self._store.commit(Batch(dead_letters=[dead_letter], epoch=self._epoch))
            metrics.DEAD_LETTERS.labels(refusal.reason).inc()
            log.warning("forwarded_message_refused", topic=message.topic, **refusal._asdict())
        elif message.letter_id:
            self._store.commit(Batch(replayed=[message.letter_id], epoch=self._epoch))
        return StoringOutcome(_receipts(message, refusal), refusal)

    def _try_to_store(self, message: Message) -> MessageRefusal | None:  # noqa: PLR0911 - for each reason
        try:
            topic = topics.parse_topic(message.topic)
            found = federation.decode_message(message.payload)
            block = None if message.letter_id else found.block
            sender = ForwarderIdentity(topic.device, topic.area, found.forwarder, block, found.release)
            bounds = MessageBounds(time.time())
            return bounds.refusal_of(found) or self._store_content(sender, found)
        except TopicError as error:
            return MessageRefusal("topic", str(error))
        except PayloadError as error:
            return MessageRefusal(federation.MISREAD, str(error))
        except ForwarderFencedError as error:
            return MessageRefusal(federation.FENCED, str(error))
        except ForwardingRefusedError as error:
            return MessageRefusal("federation", str(error))
        except StoreRefusedError as error:
            return MessageRefusal("store", f"the store refuses it: {error}")
        except StoreError:
            raise
        except Exception as error:  # one message must not end the receiver of all towns
            log.exception("forwarded_message_defect", topic=message.topic)
            return MessageRefusal(
                federation.MISREAD,
                f"it can't be stored, by {type(error).__name__}: {error}; report it, with the log",
            )

    def _store_content(self, sender: ForwarderIdentity, found: AnyMessage) -> MessageRefusal | None:
        refusal = None
        match found:
            case federation.Definitions():
                undefined = self._rows.store_definitions(sender, found)
                if undefined:
                    log.warning("unknown_quantities", device=sender.device, series=undefined)
            case federation.ForwardedAnomalies():
                self._rows.store_anomalies(sender, found.anomalies)
            case federation.ForwardedIncidents():
                self._incidents.store(sender, found.incidents)
            case federation.CommandResults():
                self._commands.store_results(self._rows, sender, found.results)
            case (
                federation.ForwardedDevices()
                | federation.ForwardedAssessments()
                | federation.ForwardedEstimates()
                | federation.ForwardedForecasts()
            ):
                self._state.store(sender, found)
            case federation.ForwardedRollups():
                undefined = self._state.store_rollups(sender, found.series)
                refusal = _refusal_of_undefined(undefined) if undefined else None
            case federation.ForwardedReadings():
                refusal = self._store_readings(sender, found)
        metrics.RECEIVED.labels(str(found.__struct_config__.tag)).inc()
        return refusal

    def _store_readings(
        self, sender: ForwarderIdentity, found: federation.ForwardedReadings
    ) -> MessageRefusal | None:
        stored = self._rows.store_readings(sender, found.series)
        total = sum(len(one.time_us) for one in found.series)
        metrics.READINGS.labels("new").inc(stored.new)
        metrics.READINGS.labels("revised").inc(stored.revised)
        metrics.READINGS.labels("conflict").inc(stored.conflicts)
        metrics.READINGS.labels("repeated").inc(max(0, total - stored.new - stored.conflicts))
        if stored.undefined:
            return _refusal_of_undefined(stored.undefined)
        if stored.conflicts:
            return MessageRefusal(
                "conflict",
                f"another value is stored for {stored.conflicts} of its readings, the others were stored:"
                " see which of the two is right",
            )
        return None


def _refusal_of_undefined(undefined: Sequence[str]) -> MessageRefusal:
    names = ", ".join(undefined[:5])
    return MessageRefusal(
        "federation",
        f"series {names} are not defined here, the others were stored: see the dead letter of the"
        " definitions, or update this platform if their quantity is new, then replay this one",
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
