"""Subscribes to topics of an MQTT broker, and acknowledges each message when its readings are on disk.

The broker keeps the session of a durable subscription while the device is away. A message that it delivers
again over a resumed session, because the acknowledgement was lost, is recognised by its packet id (MQTT 5
section 4.4) and only acknowledged.
"""

from __future__ import annotations

import time
import zlib
from collections import OrderedDict, deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY, Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge.wire import broker_tls
from edge.wire.backoff import Backoff
from edge.wire.errors import EdgeError, WireError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paho.mqtt.client import ConnectFlags
    from paho.mqtt.reasoncodes import ReasonCode

    from edge.wire.broker_address import BrokerAddress

CONNECT_S = 5.0
CONNACK_S = 10.0  # time in which a broker answers CONNECT and SUBSCRIBE
RETRY_S = (0.5, 30.0)
KEEP_ALIVE_S = 30
SESSION_EXPIRY_S = 7 * 86_400  # as long as the agent's own session
RECEIVE_MAXIMUM = 200  # messages that are delivered and not yet on disk
MAX_PACKET_BYTES = 1 << 20
FAREWELL_S = 1.0  # in which a broker answers at the end


class MqttSubscriptionError(EdgeError):
    """A broker can't be reached or used; the message states its address and what happened."""


class RetainedWill(NamedTuple):
    """Message that the broker publishes, QoS 1 and retained, when the connection is lost."""

    topic: str
    payload: bytes


class _Delivery:
    """A message with QoS 1 that was delivered; it is acknowledged once it is stored."""

    def __init__(self, mid: int, topic: str, checksum: int) -> None:
        self.mid, self.topic, self.checksum = mid, topic, checksum
        self.stored = False


class ReceivedMessage(NamedTuple):
    """A message of a subscription.

    Attributes
    ----------
    retained : whether the broker had kept it, so that the time of its arrival means nothing
    stored : to be called, on any thread, once the message needs no second delivery

    """

    topic: str
    payload: bytes
    retained: bool
    stored: Callable[[], None]


class MqttSubscription:
    """Connection to a broker that subscribes, reconnects with a growing wait, and reports each failure once.

    Parameters
    ----------
    broker : with the credentials of the subscriber
    client_id : the same at each start, since the broker keeps the session under it
    topics : topic filters
    durable : whether the broker keeps messages while the connection is lost
    version_5 : whether the broker has MQTT 5; else 3.1.1 is used
    will : published by the broker when the connection is lost; None for none
    on_fault : called with a sentence
    on_session : called when the subscription of a new connection is confirmed
    monotonic : monotonic time [s]

    """

    def __init__(
        self,
        broker: BrokerAddress,
        *,
        client_id: str,
        topics: Sequence[str],
        durable: bool = True,
        version_5: bool = True,
        will: Callable[[], RetainedWill] | None = None,
        on_fault: Callable[[str], None],
        on_session: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._broker, self._client_id, self._topics = broker, client_id, list(topics)
        self._durable, self._version_5, self._will = durable, version_5, will
        self._on_fault, self._on_session, self._monotonic = on_fault, on_session, monotonic
        self._client: Client | None = None
        self._backoff = Backoff(*RETRY_S)
        self._retry_at_s = 0.0
        self._awaited_s = 0.0  # for CONNACK and SUBACK of this connection
        self._end: str | None = None  # why the connection is to be ended
        self._connected = False  # whether there was a CONNACK
        self._last_fault: str | None = None
        self._arrived: list[ReceivedMessage] = []
        self._stored: deque[_Delivery] = deque()  # appended to on the agent's thread
        self._known: OrderedDict[int, _Delivery] = OrderedDict()  # by packet id, the newest last
        self._unacknowledged: deque[_Delivery] = deque()  # of this connection, in order of arrival
        self.subscribed = False

    def receive(self, timeout_s: float) -> list[ReceivedMessage]:
        """Return the messages that arrive within a time [s], at most; connects first if necessary.

        No failure of the broker is an exception: it is reported, and the connection tried again.
        """
        if self._client is None:
            wait_s = self._retry_at_s - self._monotonic()
            if wait_s > 0:
                time.sleep(min(wait_s, timeout_s))
                return []
            self._open()
        if self._client is not None:
            self._serve(self._client, timeout_s)
        arrived, self._arrived = self._arrived, []
        return arrived

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> None:
        """Publish a message if there is a connection."""
        if self._client is not None:
            self._client.publish(topic, payload, qos=qos, retain=retain)

    def close(self, *, farewell: RetainedWill | None = None) -> None:
        """Acknowledge what is stored, publish a last message, and disconnect."""
        client = self._client
        if client is None:
            return
        with suppress(Exception):  # a broker that is gone needs no farewell
            self._acknowledge_stored(client)
            if farewell is not None:
                self._publish_last(client, farewell)
            client.disconnect()
            client.loop(0.1)
        self._drop(client)

    def _publish_last(self, client: Client, farewell: RetainedWill) -> None:
        """Publish a last message while no other can arrive.

        Data that is unread when the socket is closed would reset the connection: the broker would not read
        DISCONNECT, and publish the will.
        """
        unsubscribed: list[object] = []
        client.on_unsubscribe = lambda *event: unsubscribed.append(event)
        client.unsubscribe(self._topics)
        ends_s = self._monotonic() + FAREWELL_S
        while not unsubscribed and self._monotonic() < ends_s:
            client.loop(0.1)
        info = client.publish(farewell.topic, farewell.payload, qos=1, retain=True)
        while not info.is_published() and self._monotonic() < ends_s:
            client.loop(0.1)

    # -- connection ----------------------------------------------------------------------------

    def _open(self) -> None:
        self._awaited_s = 0.0
        self._end, self.subscribed = None, False
        self._unacknowledged.clear()
        client = self._client = self._make_client()
        properties = None
        if self._version_5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = SESSION_EXPIRY_S if self._durable else 0
            properties.ReceiveMaximum = RECEIVE_MAXIMUM
            properties.MaximumPacketSize = MAX_PACKET_BYTES
        try:
            broker_tls.secure_client(client, self._broker)
            client.connect(
                self._broker.host,
                self._broker.port,
                keepalive=KEEP_ALIVE_S,
                clean_start=not self._durable if self._version_5 else MQTT_CLEAN_START_FIRST_ONLY,
                properties=properties,
            )
        except (OSError, ValueError, WireError) as error:  # ValueError: a host name that can't be looked up
            self._fail(client, f"can't be reached ({error})")

    def _make_client(self) -> Client:
        version = MQTTProtocolVersion.MQTTv5 if self._version_5 else MQTTProtocolVersion.MQTTv311
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            protocol=version,
            manual_ack=True,
            clean_session=None if self._version_5 else not self._durable,
        )
        client.connect_timeout = CONNECT_S
        if self._broker.user is not None:
            client.username_pw_set(self._broker.user, self._broker.password)
        if self._will is not None:
            will = self._will()
            client.will_set(will.topic, will.payload, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        return client

    def _serve(self, client: Client, timeout_s: float) -> None:
        self._acknowledge_stored(client)
        begun_s = self._monotonic()
        try:
            rc = client.loop(timeout_s)
        except Exception as error:  # noqa: BLE001 - no bytes of a broker may end the agent
            self._fail(client, f"sent what can't be read ({type(error).__name__}: {error})")
            return
        if self._end is None and rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._end = "closed the connection"
            if self._broker.tls is not None and not self._connected:
                self._end += f" ({broker_tls.describe_early_end(self._broker)})"
        # Only time in which answers were read counts: a full disk may have kept the caller from it.
        self._awaited_s += self._monotonic() - begun_s
        if self._end is None and not self.subscribed and self._awaited_s > CONNACK_S:
            self._end = "does not answer CONNECT or SUBSCRIBE"
        if self._end is not None:
            self._fail(client, self._end)

    def _fail(self, client: Client, reason: str) -> None:
        self._drop(client)
        wait_s = self._backoff.next_s()
        self._retry_at_s = self._monotonic() + wait_s
        if reason != self._last_fault:
            self._last_fault = reason
            self._on_fault(f"broker {self._broker} {reason}: it is tried again")

    def _drop(self, client: Client) -> None:
        self._client, self.subscribed, self._connected = None, False, False
        connection: Any = client.socket()
        if connection is not None:
            with suppress(OSError):
                connection.close()

    def _on_connect(
        self, client: Client, _userdata: object, _flags: ConnectFlags, reason: ReasonCode, _properties: object
    ) -> None:
        self._connected = True
        if reason.is_failure:
            self._end = f"refuses the connection ({reason}): mend user, password or access list"
            return
        client.subscribe([(topic, 1) for topic in self._topics])

    def _on_subscribe(
        self, _client: Client, _userdata: object, _mid: int, reasons: list[ReasonCode], _properties: object
    ) -> None:
        refused = [topic for topic, reason in zip(self._topics, reasons, strict=False) if reason.is_failure]
        if refused:
            self._end = f"refuses the topics {', '.join(refused)}: mend the access list"
            return
        self.subscribed = True
        self._backoff.reset()
        if self._last_fault is not None:
            self._last_fault = None
            self._on_fault(f"broker {self._broker}: the topics are subscribed again")
        self._on_session()

    def _on_disconnect(
        self, _client: Client, _userdata: object, flags: Any, reason: ReasonCode, _properties: object
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._end = f"ended the connection ({reason})"

    # -- messages ------------------------------------------------------------------------------

    def _on_message(self, client: Client, _userdata: object, message: MQTTMessage) -> None:
        payload = bytes(message.payload)
        if not message.qos:
            self._arrived.append(ReceivedMessage(message.topic, payload, message.retain, lambda: None))
            return
        delivery = _Delivery(message.mid, message.topic, zlib.crc32(payload))
        before = self._known.get(message.mid)
        if (
            message.dup
            and before is not None
            and (before.topic, before.checksum) == (delivery.topic, delivery.checksum)
        ):
            self._unacknowledged.append(before)
            self._acknowledge_stored(client)
            return
        self._known.pop(message.mid, None)
        self._known[message.mid] = delivery
        while len(self._known) > 2 * RECEIVE_MAXIMUM:  # those before were acknowledged long ago
            self._known.popitem(last=False)
        self._unacknowledged.append(delivery)
        self._arrived.append(
            ReceivedMessage(message.topic, payload, message.retain, lambda: self._stored.append(delivery))
        )

    def _acknowledge_stored(self, client: Client) -> None:
        """Send PUBACK for what is stored, in the order of arrival (MQTT 5 section 4.6)."""
        while self._stored:
            self._stored.popleft().stored = True
        while self._unacknowledged and self._unacknowledged[0].stored:
            client.ack(self._unacknowledged.popleft().mid, 1)
