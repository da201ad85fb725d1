"""Publishes the spool to the broker by paho-mqtt, and deletes messages that have receipts."""

from __future__ import annotations

import logging
import random
import socket
import time
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge.agent.connection_state import ConnectionEnd, ConnectionState
from edge.agent.send_window import ReadingRateLimit, SendWindow
from edge.agent.spool import SpoolBusyError, SpoolError
from edge.wire import broker_tls, receipts, senml, status
from edge.wire.broker_tls import TlsError
from edge.wire.errors import PayloadError
from edge.wire.receipts import SpoolPosition
from edge.wire.topics import Topic, TopicKind

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from paho.mqtt.reasoncodes import ReasonCode

    from edge.agent.settings import Settings
    from edge.agent.spool import Spool, SpooledMessage
    from edge.wire.broker_address import BrokerAddress
    from edge.wire.receipts import Receipt, RefusedMessage

log = logging.getLogger(__name__)

NETWORK_LOOP_S = 0.1
DISCONNECT_TIMEOUT_S = 0.3  # longest wait for the last status to be written before DISCONNECT
CONNECT_S = 5.0
SESSION_EXPIRY_S = 7 * 86_400
SPOOL_RETRY_S = 1.0
MAX_TOPICS_PER_SUBSCRIBE = 100  # keeps the packet below the limits that brokers place on its size
NO_MATCHING_SUBSCRIBERS = 0x10  # MQTT 5 section 3.4.2.1
RECEIVE_MAXIMUM = 65_535  # MQTT 5 section 3.2.2.3.3: default if the broker sends none


class SpoolPublisher:
    """Sends the messages of the spool in order, and deletes them when the platform's receipts arrive.

    Each connection has a new paho client: the window, not paho, decides what is sent again after a reconnect,
    and a status queued in paho would have an old time stamp (docs/decisions/0027).

    Parameters
    ----------
    area, device : the device of the spool, which also is the MQTT client and publishes the status
    is_live : returns whether the newest message is live, so that it is sent before a backlog
    has_status : whether the device publishes a status; ingest refuses that of a device that is not enrolled
    kind, content_type : of the messages
    keeps_session : whether the broker keeps the session, with receipts, while the connection is lost; without
        it all messages that have no receipt are sent again
    on_refused, on_refusal : called with each refused message, described in a sentence, and as received
    on_command : called with the payload of each command for the device, on the thread of `run`; without it
        its commands are not subscribed to
    addresses : ``area/device`` of the other devices that messages of the spool are published for

    Attributes
    ----------
    receipted : readings deleted from the spool after a receipt
    refused : messages that the platform stored as dead letters, completely or in part
    faults : unexpected exceptions caused by one message or one connection, after which the publisher went on

    """

    def __init__(
        self,
        area: str,
        device: str,
        spool: Spool,
        broker: BrokerAddress,
        settings: Settings,
        *,
        recorded: bool = False,
        on_refused: Callable[[str], None] | None = None,
        addresses: Sequence[str] = (),
        is_live: Callable[[], bool] = lambda: True,
        has_status: bool = True,
        kind: TopicKind = TopicKind.DATA,
        content_type: str = senml.CONTENT_TYPE_JSON,
        keeps_session: bool = True,
        on_refusal: Callable[[RefusedMessage], None] = lambda _refused: None,
        on_command: Callable[[bytes], None] | None = None,
    ) -> None:
        self._has_status = has_status
        self._addresses = ["", *addresses]
        self._on_refused = on_refused or partial(log.warning, "%s: %s", device)
        self._is_live, self._kind, self._content_type = is_live, kind, content_type
        self._on_refusal, self._keeps_session = on_refusal, keeps_session
        self._on_command = on_command
        self._recorded = [receipts.RECORDED_PROPERTY] if recorded else []
        self._area, self._device = area, device
        self._spool, self._broker, self._settings = spool, broker, settings
        self._window = self._new_window()
        self._epoch = spool.epoch
        self._pace = ReadingRateLimit(settings.drain_readings_per_s)
        self._backlog_pace = ReadingRateLimit(settings.backlog_readings_per_s)
        self._connection = ConnectionState()
        self._numbers: dict[int, int] = {}  # packet id -> spool number, on this connection
        self._end: tuple[ConnectionEnd, int | None, str] | None = None
        self._status_due_s = 0.0
        self._spool_due_s = 0.0
        self._subscribed = False  # to the topic of receipts
        self._refusal_logged = False  # whether the broker refused a message on this connection
        self._receive_maximum = RECEIVE_MAXIMUM
        self._platform_session = ""  # id of the newest one that the platform announced
        self.receipted = 0
        self.refused = 0
        self.faults = 0
        self._client = self._make_client()

    @property
    def connected(self) -> bool:
        """Whether there is a connection that the broker accepted."""
        return self._connection.is_accepted

    def run(self, stop: threading.Event) -> None:
        """Connect and reconnect, send messages and receive receipts, until ``stop`` is set."""
        while not stop.is_set():
            wait_s = self._connection.wait_s(time.monotonic())
            if wait_s > 0:
                stop.wait(wait_s)
                continue
            end, code, detail = self._serve_connection(stop)
            if stop.is_set():
                break
            decision = self._connection.ended(
                end, time.monotonic(), random.random(), code=code, detail=detail
            )
            log.warning(
                "%s: broker %s %s; next try in %.1f s",
                self._device,
                self._broker,
                decision.sentence,
                decision.wait_s,
            )
        self._publish_offline_and_disconnect()

    # -- connecting ----------------------------------------------------------------------------

    def _serve_connection(self, stop: threading.Event) -> tuple[ConnectionEnd, int | None, str]:
        """Connect and serve the connection; returns how it ended: kind, reason code, detail."""
        self._client, self._end = self._make_client(), None
        self._numbers.clear()
        self._refusal_logged = False
        self._connection.opened(time.monotonic())
        try:
            broker_tls.secure_client(self._client, self._broker)  # anew: its files may have been renewed
            self._connect()
        except TlsError as error:
            return ConnectionEnd.UNUSABLE_FILES, None, str(error)
        except (OSError, ValueError) as error:  # ValueError: a host name that can't be looked up
            return ConnectionEnd.UNREACHABLE, None, broker_tls.describe_failure(error, self._broker)
        while not stop.is_set():
            try:
                rc = self._client.loop(NETWORK_LOOP_S)
            except SpoolError:
                raise
            except Exception as error:
                self.faults += 1
                log.exception("%s: what broker %s sent can't be read", self._device, self._broker)
                self._close_socket()
                return ConnectionEnd.BROKEN, None, f"{type(error).__name__}: {error}"
            now_s = time.monotonic()
            if rc != MQTTErrorCode.MQTT_ERR_SUCCESS or self._end is not None:
                broken = rc == MQTTErrorCode.MQTT_ERR_PROTOCOL
                return self._end or (
                    ConnectionEnd.BROKEN if broken else ConnectionEnd.LOST,
                    None,
                    self._tls_hint(),
                )
            if self._connection.is_accepted:
                self._send_due(now_s)
            elif self._connection.overdue(now_s):
                self._close_socket()
                return ConnectionEnd.SILENT, None, ""
        return ConnectionEnd.LOST, None, ""

    def _connect(self) -> None:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = SESSION_EXPIRY_S if self._keeps_session else 0
        self._client.connect(
            self._broker.host,
            self._broker.port,
            keepalive=self._settings.keep_alive_s,
            clean_start=not self._keeps_session,
            properties=properties,
        )

    def _tls_hint(self) -> str:
        """Return what the end of a TLS connection before CONNACK may mean: paho drops the alert."""
        return "" if self._connection.is_accepted else broker_tls.describe_early_end(self._broker)

    def _close_socket(self) -> None:
        """Close the socket without DISCONNECT, after which the broker would not publish the last will."""
        connection = self._client.socket()
        if isinstance(connection, socket.socket):
            with suppress(OSError):
                connection.close()

    def _make_client(self) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2, client_id=self._device, protocol=MQTTProtocolVersion.MQTTv5
        )
        client.connect_timeout = CONNECT_S
        user = self._broker.login_user(self._device)
        if user is not None:
            client.username_pw_set(user, self._broker.password)
        client.max_inflight_messages_set(self._settings.window)
        if self._has_status:
            will = Properties(PacketTypes.WILLMESSAGE)
            will.WillDelayInterval = self._settings.will_delay_s
            offline_status: Any = status.encode_status(status.StatusMessage(online=False))
            client.will_set(
                self._topic(TopicKind.STATUS), offline_status, qos=1, retain=True, properties=will
            )
        client.on_connect = self._on_connect  # not guarded: the connection is useless if it fails
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._log_exceptions(self._on_message, "a receipt")
        client.on_publish = self._log_exceptions(self._on_publish, "a PUBACK")
        return client

    def _log_exceptions(self, callback: Callable[..., None], callback_name: str) -> Callable[..., None]:
        """Wrap a callback to log and count unexpected exceptions; errors of the spool's file are raised."""

        def guarded_callback(*args: Any) -> None:
            try:
                callback(*args)
            except SpoolBusyError as error:
                log.error("%s: %s", self._device, error)  # noqa: TRY400 - the message is complete without a traceback
            except SpoolError:
                raise
            except Exception:
                self.faults += 1
                log.exception("%s: %s was left out", self._device, callback_name)

        return guarded_callback

    # -- sending -------------------------------------------------------------------------------

    def _new_window(self) -> SendWindow:
        return SendWindow(
            self._settings.window, self._settings.receipt_timeout_s, self._settings.receipt_timeout_longest_s
        )

    def _send_due(self, now_s: float) -> None:
        if self._epoch != self._spool.epoch:  # a damaged file was set aside: its messages are not in this one
            self._epoch, self._window = self._spool.epoch, self._new_window()
            self._numbers.clear()
        if self._window.check_timeout(now_s):
            log.warning(
                "%s: no receipt in time, sending the oldest message again; next time-out after %.0f s",
                self._device,
                self._window.timeout_s,
            )
        if now_s >= self._status_due_s:
            self._status_due_s = now_s + self._settings.status_s
            self._log_exceptions(partial(self._publish_status, online=True), "a status")()
            if not self._subscribed:
                self._subscribe()
        max_in_flight = max(1, self._receive_maximum - 1)  # one is reserved for the status
        free_slots = min(self._window.free_slots, max_in_flight - len(self._numbers))
        if free_slots <= 0 or now_s < self._spool_due_s or not self._pace.allows(now_s):
            return
        try:
            messages = self._next_messages(free_slots, now_s)
        except SpoolBusyError as error:
            self._spool_due_s = now_s + SPOOL_RETRY_S
            log.error("%s: %s", self._device, error)  # noqa: TRY400 - the message is complete without a traceback
            return
        for message in messages:
            if not self._pace.allows(now_s) or self._epoch != self._spool.epoch:
                break
            self._send(message, now_s)
            self._pace.spend(message.readings)

    def _next_messages(self, limit: int, now_s: float) -> list[SpooledMessage]:
        """Return the messages to be sent next: live ones, then those of the backlog at its bounded rate."""
        window = self._window
        unsent = self._spool.waiting - window.in_flight
        if not window.has_backlog and unsent > self._settings.window and self._is_live():
            window.defer(self._spool.newest())
        messages = self._spool.after(window.last_sent, limit)
        slots = min(limit - len(messages), window.backlog_slots)
        if not window.has_backlog or slots <= 0 or not self._backlog_pace.allows(now_s):
            return messages
        rows = self._spool.after(window.backlog_last, slots + window.in_flight, up_to=window.backlog_end)
        if not rows:
            window.end_backlog()
        for message in [one for one in rows if not window.is_in_flight(one.number)][:slots]:
            if not self._backlog_pace.allows(now_s):
                break
            messages.append(message)
            self._backlog_pace.spend(message.readings)
        return messages

    def _send(self, message: SpooledMessage, now_s: float) -> None:
        properties = Properties(PacketTypes.PUBLISH)
        user_properties = receipts.properties_of(SpoolPosition(self._spool.epoch, message.number))
        user_properties += [*message.properties, *self._recorded]
        if receipts.REJECTION_PROPERTY not in dict(message.properties):
            properties.ContentType = self._content_type
        properties.UserProperty = user_properties
        topic = self._topic(self._kind, message.address)
        info = self._client.publish(topic, message.payload, qos=1, properties=properties)
        self._numbers[info.mid] = message.number
        self._window.sent(message.number, now_s)

    def _publish_status(self, *, online: bool) -> None:
        if not self._has_status:
            return
        current_status = status.StatusMessage(
            online=online,
            agent=version("towntwin"),
            time_s=time.time(),
            spool_depth=self._spool.waiting,
            evicted=self._spool.evicted_messages,
            spools_set_aside=self._spool.set_aside or None,
        )
        self._client.publish(
            self._topic(TopicKind.STATUS), status.encode_status(current_status), qos=1, retain=True
        )

    def _publish_offline_and_disconnect(self) -> None:
        if not self._client.is_connected():
            return
        self._publish_status(online=False)
        ends_s = time.monotonic() + DISCONNECT_TIMEOUT_S
        while self._client.want_write() and time.monotonic() < ends_s:
            self._client.loop(NETWORK_LOOP_S)
        self._client.disconnect()
        self._client.loop(NETWORK_LOOP_S)

    # -- receiving -----------------------------------------------------------------------------

    def _on_connect(
        self, _client: Client, _userdata: object, flags: ConnectFlags, reason: ReasonCode, properties: Any
    ) -> None:
        if reason.is_failure:
            self._end = (ConnectionEnd.REFUSED, reason.value, str(reason))
            return
        now_s = time.monotonic()
        self._connection.accepted(now_s)
        self._status_due_s = 0.0
        self._window.reconnected(now_s, session_present=flags.session_present)
        self._receive_maximum = getattr(properties, "ReceiveMaximum", RECEIVE_MAXIMUM)
        self._subscribe()

    def _subscribe(self) -> None:
        self._subscribed = True
        topics = [(self._topic(TopicKind.RECEIPT, address), 1) for address in self._addresses]
        if self._on_command is not None:
            topics.append((self._topic(TopicKind.COMMAND), 1))
        for first in range(0, len(topics), MAX_TOPICS_PER_SUBSCRIBE):
            self._client.subscribe(topics[first : first + MAX_TOPICS_PER_SUBSCRIBE])

    def _on_disconnect(
        self,
        _client: Client,
        _userdata: object,
        flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: object,
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._end = (ConnectionEnd.DISCONNECTED, reason.value, str(reason))

    def _on_subscribe(
        self, _client: Client, _userdata: object, _mid: int, reasons: list[ReasonCode], _properties: object
    ) -> None:
        for reason in reasons:
            if reason.is_failure:
                self._subscribed = False
                log.error(
                    "%s: broker %s refuses the topic of receipts (%s): without them nothing leaves the spool;"
                    " mend the access list for %s",
                    self._device,
                    self._broker,
                    reason,
                    self._topic(TopicKind.RECEIPT),
                )

    def _on_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        if self._on_command is not None and message.topic == self._topic(TopicKind.COMMAND):
            self._on_command(bytes(message.payload))
            return
        try:
            receipt = receipts.decode_receipt(bytes(message.payload))
        except PayloadError as error:
            log.error("%s: %s", self._device, error)  # noqa: TRY400 - the message is complete without a traceback
            return
        if receipt.new_session:
            self._resend(receipt.new_session)
        if receipt.epoch == self._spool.epoch and receipt.kept:
            self._report_refusals(receipt)
            self._forget_acknowledged(receipt.kept)

    def _resend(self, platform_session: str) -> None:
        """Send all messages without a receipt again, once for each session that the platform announces."""
        if platform_session == self._platform_session:
            return  # announced on the topics of several devices
        self._platform_session = platform_session
        in_flight = self._window.in_flight
        self._window.resend()
        if in_flight:
            log.warning(
                "%s: the platform has a new session: %d messages without a receipt are sent again",
                self._device,
                in_flight,
            )

    def _report_refusals(self, receipt: Receipt) -> None:
        """Report refused messages once: those no longer in the spool have been reported before."""
        refused = [one for one in receipt.refused if self._spool.contains(one.number)]
        for one in refused:
            self._on_refusal(one)
            reason_text = f"({one.reason}): {one.detail}"
            reason_text = "".join(
                character if character.isprintable() else " " for character in reason_text
            )  # printed to terminals
            self._on_refused(f"message {one.number} was refused by the platform {reason_text}")
        if refused and receipt.more:
            self._on_refused(f"{receipt.more:,} more messages were refused by the platform")
        self.refused += len(refused) + (receipt.more if refused else 0)

    def _on_publish(
        self, _client: Client, _userdata: object, mid: int, reason: ReasonCode, _properties: object
    ) -> None:
        number = self._numbers.pop(mid, None)
        if number is None:
            return
        if reason.is_failure:
            self._report_refused(number, reason)
        elif self._settings.receipts:
            if reason.value != NO_MATCHING_SUBSCRIBERS:  # then the broker holds it for nobody
                self._window.mark_at_broker(number)
        else:
            self._forget_acknowledged([(number, number)])

    def _report_refused(self, number: int, reason: ReasonCode) -> None:
        """Log the first message that the broker refuses on a connection."""
        if self._refusal_logged:
            return
        self._refusal_logged = True
        log.error(
            "%s: broker %s does not take message %d (%s): it stays in the spool and is sent again;"
            " mend the access list or the quota for %s",
            self._device,
            self._broker,
            number,
            reason,
            self._topic(self._kind),
        )

    def _forget_acknowledged(self, ranges: list[tuple[int, int]]) -> None:
        readings = self._spool.forget(self._spool.epoch, ranges)
        self.receipted += readings
        self._window.acknowledged(ranges, time.monotonic())
        if readings:
            self._connection.receipt_arrived()

    def _topic(self, kind: TopicKind, address: str = "") -> str:
        area, _, device = address.partition("/")
        return str(Topic(area=area or self._area, device=device or self._device, kind=kind))
