"""MQTT 5 session of a shard: receives messages on paho's thread, sends PUBACKs and receipts, reconnects."""

from __future__ import annotations

import math
import secrets
import socket
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import structlog
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge.wire import broker_tls, receipts, topics
from edge.wire.backoff import Backoff
from edge.wire.topics import TopicKind
from ingest_service.pipeline import metrics, reason_codes
from ingest_service.pipeline.bulk_mqtt_client import BulkMqttClient
from ingest_service.pipeline.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
    from paho.mqtt.reasoncodes import ReasonCode

    from edge.wire.broker_address import BrokerAddress
    from edge.wire.receipts import Receipt
    from edge.wire.topics import Topic
    from ingest_service.pipeline.inbox import Inbox
    from ingest_service.pipeline.settings import SessionSettings

log = structlog.get_logger()

NEVER_EXPIRES = 0xFFFFFFFF
MAX_RECONNECT_WAIT_S = 15.0
STABLE_AFTER_S = 10.0
"""A connection subscribed for this long, or with a commit, was stable: the back-off restarts."""
TAKEOVER_STABLE_AFTER_S = 60.0
"""The same for a connection that another client took over: that one may reconnect as often."""
MAX_QUEUED_RECEIPTS = 10_000
ANNOUNCEMENTS_AT_ONCE = 2_000  # leaves room in that queue for receipts
PROBE_TIMEOUT_S = 3.0  # without an answer for so long the broker counts as not answering
# Nobody publishes to it. A SUBSCRIBE is answered by every broker, also where it is refused (rumqttd does not
# answer an UNSUBSCRIBE); paho's own ping detects a frozen broker only after up to twice the keep-alive.
# With QoS 1, as all others: RabbitMQ keeps the QoS 0 of a session in a queue on one node of the cluster, and
# while that node is away the session can't be resumed on another.
PROBE_FILTER = "towntwin/probe"


class MqttSession:
    """A persistent MQTT 5 session with manual acknowledgement.

    A PUBACK has a packet id that is valid on one connection only: after a reconnect the broker may give the
    same id to another message. So every message has the number of its connection, and `acknowledge` skips
    those of an earlier one; the broker sends them again, and the store recognises them as repeats.

    Parameters
    ----------
    client_id : of the session
    kinds : of the topics of each area to subscribe to
    takes : whether the messages of a topic are this session's; the others are dropped, and acknowledged from
        `acknowledge_others` on

    """

    def __init__(
        self,
        broker: BrokerAddress,
        settings: SessionSettings,
        inbox: Inbox,
        client_id: str,
        *,
        kinds: Sequence[TopicKind] = (TopicKind.DATA, TopicKind.STATUS),
        takes: Callable[[str], bool] | None = None,
    ) -> None:
        self._broker, self._kinds, self._takes = broker, kinds, takes
        self._acknowledges_others = False
        self._own_received = self._own_acknowledged = 0  # of QoS 1 on this connection
        self._others_mids: deque[tuple[int, int]] = deque()  # with `_own_received` at their reception
        self._settings = settings
        self._inbox = inbox
        self._inbox_wait_s = (
            settings.keep_alive_s / 3
        )  # a longer block of the network thread would delay its pings
        self._backoff = Backoff(longest_s=MAX_RECONNECT_WAIT_S)
        self._connection = 0
        self._connected = False
        self._dropping = False
        self._taken_over = False
        self._subscribed_s = math.inf
        self._committed = False
        self._is_new = False  # the session of this connection
        self._unannounced = ""  # id of a new session, once it is subscribed
        self._announcement = b""
        self._to_announce: list[tuple[str, str]] = []  # devices that have still to receive it
        self._fault_key = "broker"
        self._resubscribe_at_s = math.inf
        self._probed_s: float | None = None  # when the unanswered probe was sent
        self._probe_mid: int | None = None
        self._is_receiving = False  # paho's thread is in `_on_message`, perhaps waiting for room in the inbox
        self._lock = threading.Lock()
        self._client_id = client_id
        self._client = self._make_client()

    @property
    def connected(self) -> bool:
        """Whether the session is connected to the broker."""
        return self._connected

    @property
    def dropping(self) -> bool:
        """Whether messages are dropped because the inbox was full: see `reconnect_for_redelivery`."""
        return self._dropping

    @property
    def fault_key(self) -> str:
        """Return what keeps messages from arriving, a key of `process_messages.REASON_TEXTS`; or empty."""
        if self._fault_key or not self._connected:
            return self._fault_key or "broker"
        thread_name = f"paho-mqtt-client-{self._client_id}"  # the name paho gives its thread
        if not any(one.name == thread_name for one in threading.enumerate()):
            return "receiver"
        return "" if self._is_probe_answered() else "broker"

    def probe(self) -> None:
        """Send the broker a request that it has to answer, unless one is unanswered."""
        if self._connected and self._probed_s is None:
            self._probed_s = time.monotonic()
            with self._lock:  # the answer may come before the assignment
                self._probe_mid = self._client.subscribe(PROBE_FILTER, 1)[1]

    def _is_probe_answered(self) -> bool:
        """Whether the probe was answered or may still be; whatever the broker sends is an answer."""
        probed_s = self._probed_s
        return probed_s is None or self._is_receiving or time.monotonic() - probed_s < PROBE_TIMEOUT_S

    def was_taken_over(self) -> bool:
        """Whether another client connected with this client id since the last call."""
        was_taken_over_since, self._taken_over = self._taken_over, False
        return was_taken_over_since

    def start(self) -> None:
        """Connect, and reconnect after losses, on paho's thread."""
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = NEVER_EXPIRES
        properties.ReceiveMaximum = self._settings.receive_maximum
        self._client.connect_async(
            self._broker.host,
            self._broker.port,
            keepalive=self._settings.keep_alive_s,
            clean_start=False,
            properties=properties,
        )
        self._client.loop_start()

    def stop(self) -> None:
        """Disconnect; the session stays on the broker for the next owner of the shard."""
        self._inbox.close()
        self._client.disconnect()
        self._client.loop_stop()

    def resubscribe_if_due(self) -> None:
        """Restart paho's thread if it died, and subscribe again after a refusal once the wait is over."""
        self._restart_network_thread()
        if time.monotonic() >= self._resubscribe_at_s:
            self._resubscribe_at_s = math.inf
            self._subscribe()

    def _restart_network_thread(self) -> None:
        """Restart paho's thread if it died, for example on a packet that paho could not parse."""
        if (
            self._client.loop_start() is MQTTErrorCode.MQTT_ERR_SUCCESS
        ):  # returns an error while the thread is alive
            metrics.UNEXPECTED_ERRORS.labels("network").inc()
            log.error("network_thread_died", action="connecting anew; the traceback is on standard error")

    def reconnect_for_redelivery(self) -> None:
        """Reconnect, so that the broker sends the unacknowledged messages again."""
        connection = self._client.socket()
        if isinstance(connection, socket.socket):
            log.info("asking_again", action="connecting anew for messages that were let go")
            self._backoff.reset()
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def acknowledge(self, messages: Iterable[Message]) -> None:
        """Send the PUBACKs of committed messages that arrived on the current connection, in one write."""
        with self._lock:
            mids = [one.mid for one in messages if one.qos and one.connection == self._connection]
            self._committed = self._committed or bool(mids)
            self._client.acknowledge(mids if self._takes is None else self._with_others(mids))

    def acknowledge_others(self) -> None:
        """Acknowledge the messages that are not this session's, those received before and all later ones."""
        with self._lock:
            self._acknowledges_others = True
            self._client.acknowledge(self._others_due())

    def _with_others(self, mids: Sequence[int]) -> list[int]:
        """Return own packet ids and those of others received between them.

        PUBACKs are in the order of the messages (MQTT 5 section 4.6), which rumqttd requires.
        """
        in_order: list[int] = []
        for one in mids:
            in_order.append(one)
            self._own_acknowledged += 1
            in_order += self._others_due()
        return in_order

    def _others_due(self) -> list[int]:
        """Return the packet ids of others' messages before which each own one is acknowledged."""
        due: list[int] = []
        while (
            self._acknowledges_others
            and self._others_mids
            and self._others_mids[0][0] <= self._own_acknowledged
        ):
            due.append(self._others_mids.popleft()[1])
        return due

    def send_receipts(self, receipts_by_topic: Mapping[Topic, Sequence[Receipt]]) -> None:
        """Publish one message per device and spool epoch; if one is lost, the device sends again."""
        if not self._connected:
            return
        for topic, device_receipts in receipts_by_topic.items():
            target = str(topics.Topic(area=topic.area, device=topic.device, kind=TopicKind.RECEIPT))
            for receipt in device_receipts:
                self._client.publish(target, receipts.encode_receipt(receipt), qos=1)
                metrics.RECEIPTS.inc()

    def announce_if_new(self, devices: Callable[[], Iterable[tuple[str, str]]]) -> None:
        """Publish to each device, as (area, device), that the broker held none of its earlier messages.

        That is so where it had no session of this client: it was restarted without a disk, or the session was
        deleted. Each device then sends its messages without a receipt again (docs/decisions/0086).
        """
        if self._unannounced:
            announcement = receipts.Receipt("", [], new_session=self._unannounced)
            self._announcement, self._unannounced = receipts.encode_receipt(announcement), ""
            self._to_announce = list(devices())
            log.info(
                "new_session_announced", session=announcement.new_session, devices=len(self._to_announce)
            )
        if not self._connected:
            return
        some, self._to_announce = (
            self._to_announce[:ANNOUNCEMENTS_AT_ONCE],
            self._to_announce[ANNOUNCEMENTS_AT_ONCE:],
        )
        for area, device in some:
            target = topics.Topic(area=area, device=device, kind=TopicKind.RECEIPT)
            self._client.publish(str(target), self._announcement, qos=1)

    def publish(self, topic: Topic, payload: bytes, content_type: str) -> bool:
        """Publish a message of the platform; False without a connection."""
        if not self._connected:
            return False
        properties = Properties(PacketTypes.PUBLISH)
        properties.ContentType = content_type
        self._client.publish(str(topic), payload, qos=1, properties=properties)
        return True

    def _make_client(self) -> BulkMqttClient:
        client = BulkMqttClient(
            self._on_messages,
            client_id=self._client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
        )
        if self._broker.user is not None:
            client.username_pw_set(self._broker.user, self._broker.password)
        broker_tls.secure_client(client, self._broker)
        client.max_inflight_messages_set(1000)
        client.max_queued_messages_set(MAX_QUEUED_RECEIPTS)
        client.suppress_exceptions = True  # an exception in a callback must not end the network thread
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        return client

    def _on_connect(
        self, _client: Client, _userdata: object, flags: ConnectFlags, reason: ReasonCode, _properties: object
    ) -> None:
        if reason.is_failure:
            self._log_refusal("broker_refused", reason)
            return
        self._connected = True
        self._fault_key = "subscribing"
        self._is_new = self._is_new or not flags.session_present
        metrics.CONNECTIONS.inc()
        metrics.BROKER_CONNECTED.set(1)
        log.info("broker_connected", broker=str(self._broker), session_present=flags.session_present)
        self._subscribe()

    def _subscribe(self) -> None:
        self._client.subscribe(
            [(topics.topic_filter(area, kind), 1) for area in self._settings.areas for kind in self._kinds]
        )

    def _on_subscribe(
        self,
        _client: Client,
        _userdata: object,
        mid: int,
        reasons: list[ReasonCode],
        _properties: object,
    ) -> None:
        self._probed_s = None
        with self._lock:
            is_probe = mid == self._probe_mid
        if is_probe:
            return
        refused = [reason for reason in reasons if reason.is_failure]
        if refused:
            self._log_refusal("subscription_refused", refused[0])
            self._resubscribe_at_s = time.monotonic() + self._backoff.next_s()
        else:
            self._fault_key = ""
            log.info("subscribed", areas=self._settings.areas)
            self._subscribed_s = time.monotonic()
            if self._is_new:
                self._is_new, self._unannounced = False, secrets.token_hex(4)

    def _on_connect_fail(self, _client: Client, _userdata: object) -> None:
        self._fault_key = "broker"
        error = sys.exc_info()[1]  # paho calls this while it handles the error
        detail = broker_tls.describe_failure(error, self._broker) if isinstance(error, Exception) else ""
        log.warning("broker_away", broker=str(self._broker), detail=detail, action=reason_codes.RETRYING)
        self._set_reconnect_delay()

    def _on_disconnect(
        self,
        _client: Client,
        _userdata: object,
        flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: object,
    ) -> None:
        if self._was_stable(time.monotonic(), taken_over=reason.value == reason_codes.TAKEN_OVER):
            self._backoff.reset()
        self._subscribed_s = math.inf
        was_accepted = self._connected
        with self._lock:
            self._committed = False
            self._own_received = self._own_acknowledged = 0
            self._others_mids.clear()  # the broker sends them again
            self._connection += 1
            self._client.connection = self._connection
            self._connected = False
            self._probed_s = None
            self._fault_key = "refused" if self._fault_key == "refused" else "broker"
            self._dropping = False
            self._resubscribe_at_s = math.inf
        metrics.BROKER_CONNECTED.set(0)
        if reason.value == reason_codes.TAKEN_OVER:
            self._taken_over = True
            metrics.SESSION_TAKEOVERS.inc()
        if flags.is_disconnect_packet_from_server:
            self._log_refusal("broker_disconnected", reason)
        elif reason.is_failure:
            detail = "" if was_accepted else broker_tls.describe_early_end(self._broker)
            log.warning("broker_lost", broker=str(self._broker), detail=detail, action=reason_codes.RETRYING)
        self._set_reconnect_delay()

    def _was_stable(self, now_s: float, *, taken_over: bool) -> bool:
        """Whether the connection that ended was stable, so that the back-off restarts."""
        lasted_s = now_s - self._subscribed_s
        return (
            lasted_s >= TAKEOVER_STABLE_AFTER_S
            if taken_over
            else self._committed or lasted_s >= STABLE_AFTER_S
        )

    def _set_reconnect_delay(self) -> None:
        wait_s: Any = self._backoff.next_s()  # paho annotates int, but accepts any number
        self._client.reconnect_delay_set(wait_s, wait_s)

    def _log_refusal(self, event: str, reason: ReasonCode) -> None:
        self._fault_key = "refused"
        meaning_of_code = reason_codes.meaning(reason.value)
        log_refusal = log.warning if meaning_of_code.temporary else log.error
        log_refusal(
            event,
            broker=str(self._broker),
            reason=str(reason),
            code=reason.value,
            action=meaning_of_code.action,
        )

    def _on_messages(self, messages: list[Message]) -> None:
        with metrics.log_unexpected_errors("receive"):
            self._receive(messages)

    def _on_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        self._receive([self._message(message)])

    def _receive(self, messages: Sequence[Message]) -> None:
        self._is_receiving = True
        try:
            if self._takes is not None:
                messages = self._without_others(messages, self._takes)
            self._put_into_inbox(messages)
        finally:
            self._is_receiving = False
            if self._probed_s is not None:
                self._probed_s = time.monotonic()  # the answer comes after the messages before it

    def _without_others(self, messages: Sequence[Message], takes: Callable[[str], bool]) -> list[Message]:
        """Return this session's messages; acknowledge the others once all own ones before them are."""
        own: list[Message] = []
        with self._lock:
            for one in messages:
                if takes(one.topic):
                    own.append(one)
                    self._own_received += one.qos > 0
                elif one.qos:
                    self._others_mids.append((self._own_received, one.mid))
            self._client.acknowledge(self._others_due())
        metrics.OTHER_SHARES_MESSAGES.inc(len(messages) - len(own))
        return own

    def _put_into_inbox(self, messages: Sequence[Message]) -> None:
        while messages and not self._dropping:
            messages = messages[self._inbox.put_many(messages, wait_s=self._inbox_wait_s) :]
            if not messages:
                return
            if messages[0].qos:
                self._dropping = True
                log.warning("letting_go", action="not held for want of room; the broker will send them again")
            else:
                metrics.QOS0_MESSAGES_DROPPED.inc()
                messages = messages[1:]
        for message in messages:
            dropped = (
                metrics.MESSAGES_DROPPED_FOR_REDELIVERY if message.qos else metrics.QOS0_MESSAGES_DROPPED
            )
            dropped.inc()

    def _message(self, message: MQTTMessage) -> Message:
        """Convert paho's message; properties that can't be parsed are left out."""
        content_type: str | None = None
        properties: tuple[tuple[str, str], ...] = ()
        with metrics.log_unexpected_errors("properties"):
            content_type, properties = _properties(message)
        return Message(
            topic=_topic(message),
            payload=bytes(message.payload),
            received_s=time.time(),
            content_type=content_type,
            properties=properties,
            mid=message.mid,
            qos=message.qos,
            connection=self._connection,
            retained=bool(message.retain),
        )


def _properties(message: MQTTMessage) -> tuple[str | None, tuple[tuple[str, str], ...]]:
    """Return the content type and the user properties of a message."""
    properties: Any = message.properties
    content_type = getattr(properties, "ContentType", None)
    pairs = getattr(properties, "UserProperty", ())
    return (
        None if content_type is None else str(content_type),
        tuple((str(name), str(value)) for name, value in pairs),
    )


def _topic(message: MQTTMessage) -> str:
    """Decode the topic, replacing invalid bytes where an MQTT 3.1.1 device sent one that is not UTF-8."""
    try:
        return message.topic
    except UnicodeDecodeError:
        return message._topic.decode("utf-8", "replace")  # noqa: SLF001 - paho has no public bytes
