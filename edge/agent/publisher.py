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

from edge.agent.connection import Connection, End
from edge.agent.spool import SpoolBusyError, SpoolError
from edge.agent.window import Pace, Window
from edge.wire import receipts, senml, status
from edge.wire.errors import PayloadError
from edge.wire.receipts import Place
from edge.wire.topics import Kind, Topic

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from paho.mqtt.reasoncodes import ReasonCode

    from edge.agent.settings import Settings
    from edge.agent.spool import Spool
    from edge.wire.broker import Broker
    from edge.wire.receipts import Receipt

log = logging.getLogger(__name__)

LOOP_S = 0.1
GOODBYE_S = 0.3  # longest wait for the last status to be written before DISCONNECT
CONNECT_S = 5.0
SESSION_EXPIRY_S = 7 * 86_400
SPOOL_AGAIN_S = 1.0
RECEIVE_MAXIMUM = 65_535  # MQTT 5 section 3.2.2.3.3: default if the broker sends none


class Publisher:
    """Sends the messages of the spool in order, and deletes them when the platform's receipts arrive.

    Each connection has a new paho client: the window, not paho, decides what is sent again after a reconnect,
    and a status queued in paho would have an old time stamp (docs/decisions/0027).

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
        broker: Broker,
        settings: Settings,
        *,
        recorded: bool = False,
        refuse: Callable[[str], None] | None = None,
    ) -> None:
        self._refuse = refuse or partial(log.warning, "%s: %s", device)
        self._recorded = [receipts.RECORDED] if recorded else []
        self._area, self._device = area, device
        self._spool, self._broker, self._settings = spool, broker, settings
        self._window = Window(settings.window, settings.receipt_timeout_s, settings.receipt_timeout_longest_s)
        self._pace = Pace(settings.drain_readings_per_s)
        self._connection = Connection()
        self._numbers: dict[int, int] = {}  # packet id -> spool number, on this connection
        self._end: tuple[End, int | None, str] | None = None
        self._status_due_s = 0.0
        self._spool_due_s = 0.0
        self._subscribed = False  # to the topic of receipts
        self._refused = False  # whether the broker refused a message on this connection
        self._receive_maximum = RECEIVE_MAXIMUM
        self.receipted = 0
        self.refused = 0
        self.faults = 0
        self._client = self._make_client()

    @property
    def connected(self) -> bool:
        """Whether there is a connection that the broker accepted."""
        return self._connection.up

    def run(self, stop: threading.Event) -> None:
        """Connect and reconnect, send messages and receive receipts, until ``stop`` is set."""
        while not stop.is_set():
            wait_s = self._connection.wait_s(time.monotonic())
            if wait_s > 0:
                stop.wait(wait_s)
                continue
            end, code, detail = self._one_connection(stop)
            if stop.is_set():
                break
            lost = self._connection.ended(end, time.monotonic(), random.random(), code=code, detail=detail)
            log.warning(
                "%s: broker %s %s; next try in %.1f s", self._device, self._broker, lost.sentence, lost.wait_s
            )
        self._say_goodbye()

    # -- connecting ----------------------------------------------------------------------------

    def _one_connection(self, stop: threading.Event) -> tuple[End, int | None, str]:
        """Connect and serve the connection; returns how it ended: kind, reason code, detail."""
        self._client, self._end = self._make_client(), None
        self._numbers.clear()
        self._refused = False
        self._connection.opened(time.monotonic())
        try:
            self._connect()
        except (OSError, ValueError) as error:  # ValueError: a host name that can't be looked up
            return End.UNREACHABLE, None, str(error)
        while not stop.is_set():
            try:
                rc = self._client.loop(LOOP_S)
            except SpoolError:
                raise
            except Exception as error:
                self.faults += 1
                log.exception("%s: what broker %s sent can't be read", self._device, self._broker)
                self._close_socket()
                return End.BROKEN, None, f"{type(error).__name__}: {error}"
            now_s = time.monotonic()
            if rc != MQTTErrorCode.MQTT_ERR_SUCCESS or self._end is not None:
                broken = rc == MQTTErrorCode.MQTT_ERR_PROTOCOL
                return self._end or (End.BROKEN if broken else End.LOST, None, "")
            if self._connection.up:
                self._pump(now_s)
            elif self._connection.overdue(now_s):
                self._close_socket()
                return End.SILENT, None, ""
        return End.LOST, None, ""

    def _connect(self) -> None:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = SESSION_EXPIRY_S
        self._client.connect(
            self._broker.host,
            self._broker.port,
            keepalive=self._settings.keep_alive_s,
            clean_start=False,
            properties=properties,
        )

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
        client.username_pw_set(self._broker.user or self._device, self._broker.password)
        client.max_inflight_messages_set(self._settings.window)
        will = Properties(PacketTypes.WILLMESSAGE)
        will.WillDelayInterval = self._settings.will_delay_s
        gone: Any = status.encode(status.Status(online=False))
        client.will_set(self._topic(Kind.STATUS), gone, qos=1, retain=True, properties=will)
        client.on_connect = self._on_connect  # not guarded: the connection is useless if it fails
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._guarded(self._on_message, "a receipt")
        client.on_publish = self._guarded(self._on_publish, "a PUBACK")
        return client

    def _guarded(self, callback: Callable[..., None], what: str) -> Callable[..., None]:
        """Wrap a callback to log and count unexpected exceptions; errors of the spool's file are raised."""

        def guard(*args: Any) -> None:
            try:
                callback(*args)
            except SpoolBusyError as error:
                log.error("%s: %s", self._device, error)  # noqa: TRY400 - the message is complete without a traceback
            except SpoolError:
                raise
            except Exception:
                self.faults += 1
                log.exception("%s: %s was left out", self._device, what)

        return guard

    # -- sending -------------------------------------------------------------------------------

    def _pump(self, now_s: float) -> None:
        if self._window.look(now_s):
            log.warning(
                "%s: no receipt in time, sending the oldest message again; next time-out after %.0f s",
                self._device,
                self._window.timeout_s,
            )
        if now_s >= self._status_due_s:
            self._status_due_s = now_s + self._settings.status_s
            self._guarded(partial(self._say_status, online=True), "a status")()
            if not self._subscribed:
                self._subscribe()
        most = max(1, self._receive_maximum - 1)  # one is reserved for the status
        room = min(self._window.room, most - len(self._numbers))
        if room <= 0 or now_s < self._spool_due_s or not self._pace.allows(now_s):
            return
        try:
            messages = self._spool.after(self._window.last_sent, room)
        except SpoolBusyError as error:
            self._spool_due_s = now_s + SPOOL_AGAIN_S
            log.error("%s: %s", self._device, error)  # noqa: TRY400 - the message is complete without a traceback
            return
        for message in messages:
            if not self._pace.allows(now_s):
                break
            self._send(message.number, message.payload, now_s)
            self._pace.spend(message.readings)

    def _send(self, number: int, payload: bytes, now_s: float) -> None:
        properties = Properties(PacketTypes.PUBLISH)
        properties.ContentType = senml.CONTENT_TYPE_JSON
        properties.UserProperty = receipts.properties_of(Place(self._spool.epoch, number)) + self._recorded
        info = self._client.publish(self._topic(Kind.DATA), payload, qos=1, properties=properties)
        self._numbers[info.mid] = number
        self._window.sent(number, now_s)

    def _say_status(self, *, online: bool) -> None:
        said = status.Status(
            online=online,
            agent=version("towntwin"),
            time_s=time.time(),
            spool_depth=self._spool.waiting,
            evicted=self._spool.evicted_messages,
        )
        self._client.publish(self._topic(Kind.STATUS), status.encode(said), qos=1, retain=True)

    def _say_goodbye(self) -> None:
        if not self._client.is_connected():
            return
        self._say_status(online=False)
        ends_s = time.monotonic() + GOODBYE_S
        while self._client.want_write() and time.monotonic() < ends_s:
            self._client.loop(LOOP_S)
        self._client.disconnect()
        self._client.loop(LOOP_S)

    # -- receiving -----------------------------------------------------------------------------

    def _on_connect(
        self, _client: Client, _userdata: object, flags: ConnectFlags, reason: ReasonCode, properties: Any
    ) -> None:
        if reason.is_failure:
            self._end = (End.REFUSED, reason.value, str(reason))
            return
        now_s = time.monotonic()
        self._connection.accepted(now_s)
        self._status_due_s = 0.0
        self._window.reconnected(now_s, session_present=flags.session_present)
        self._receive_maximum = getattr(properties, "ReceiveMaximum", RECEIVE_MAXIMUM)
        self._subscribe()

    def _subscribe(self) -> None:
        self._subscribed = True
        self._client.subscribe(self._topic(Kind.RECEIPT), qos=1)

    def _on_disconnect(
        self,
        _client: Client,
        _userdata: object,
        flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: object,
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._end = (End.DISCONNECTED, reason.value, str(reason))

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
                    self._topic(Kind.RECEIPT),
                )

    def _on_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        try:
            receipt = receipts.decode(bytes(message.payload))
        except PayloadError as error:
            log.error("%s: %s", self._device, error)  # noqa: TRY400 - the message is complete without a traceback
            return
        if receipt.epoch == self._spool.epoch and receipt.kept:
            self._report_refusals(receipt)
            self._let_go(receipt.kept)

    def _report_refusals(self, receipt: Receipt) -> None:
        """Report refused messages once: those no longer in the spool have been reported before."""
        refused = [one for one in receipt.refused if self._spool.holds(one.number)]
        for one in refused:
            why = f"({one.reason}): {one.detail}"
            why = "".join(letter if letter.isprintable() else " " for letter in why)  # printed to terminals
            self._refuse(f"message {one.number} was refused by the platform {why}")
        if refused and receipt.more:
            self._refuse(f"{receipt.more:,} more messages were refused by the platform")
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
            self._window.at_broker(number)
        else:
            self._let_go([(number, number)])

    def _report_refused(self, number: int, reason: ReasonCode) -> None:
        """Log the first message that the broker refuses on a connection."""
        if self._refused:
            return
        self._refused = True
        log.error(
            "%s: broker %s does not take message %d (%s): it stays in the spool and is sent again;"
            " mend the access list or the quota for %s",
            self._device,
            self._broker,
            number,
            reason,
            self._topic(Kind.DATA),
        )

    def _let_go(self, ranges: list[tuple[int, int]]) -> None:
        readings = self._spool.forget(self._spool.epoch, ranges)
        self.receipted += readings
        self._window.kept(ranges, time.monotonic())
        if readings:
            self._connection.progressed()

    def _topic(self, kind: Kind) -> str:
        return str(Topic(area=self._area, device=self._device, kind=kind))
