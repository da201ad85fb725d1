"""From the spool to the broker: the rim where the window meets paho."""

from __future__ import annotations

import logging
import random
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge.agent.window import Backoff, Pace, Window
from edge.wire import receipts, senml, status
from edge.wire.errors import PayloadError
from edge.wire.receipts import Place
from edge.wire.topics import Kind, Topic

if TYPE_CHECKING:
    import threading

    from paho.mqtt.reasoncodes import ReasonCode

    from edge.agent.settings import Settings
    from edge.agent.spool import Spool
    from edge.wire.broker import Broker

log = logging.getLogger(__name__)

LOOP_S = 0.1
GOODBYE_S = 1.0
SESSION_EXPIRY_S = 7 * 86_400


class Publisher:
    """Sends what the spool holds, in order, and lets go of it when the platform's receipt says so."""

    def __init__(
        self,
        area: str,
        device: str,
        spool: Spool,
        broker: Broker,
        settings: Settings,
        *,
        recorded: bool = False,
    ) -> None:
        self._recorded = [receipts.RECORDED] if recorded else []
        self._area, self._device = area, device
        self._spool, self._broker, self._settings = spool, broker, settings
        self._window = Window(settings.window, settings.receipt_timeout_s)
        self._pace = Pace(settings.drain_readings_per_s)
        self._numbers: dict[int, int] = {}  # packet id -> spool number, where PUBACK lets go
        self._status_due_s = 0.0
        self._connected = False
        self.receipted = 0
        self._client = self._make_client()

    def run(self, stop: threading.Event) -> None:
        """Keep the connection, send and listen, until ``stop`` is set."""
        backoff = Backoff()
        while not stop.is_set():
            if not self._connect():
                wait_s = backoff.next_s(random.random())
                log.warning("%s: broker %s is away, next try in %.1f s", self._device, self._broker, wait_s)
                stop.wait(wait_s)
                continue
            while not stop.is_set() and self._client.loop(LOOP_S) == MQTTErrorCode.MQTT_ERR_SUCCESS:
                if self._connected:
                    backoff.reset()
                    self._pump(time.monotonic())
            self._connected = False
        self._say_goodbye()

    # -- sending -------------------------------------------------------------------------------

    def _pump(self, now_s: float) -> None:
        if self._window.look(now_s):
            log.warning("%s: no receipt in time, sending again", self._device)
        if now_s >= self._status_due_s:
            self._status_due_s = now_s + self._settings.status_s
            self._say_status(online=True)
        room = self._window.room
        if room <= 0 or not self._pace.allows(now_s):
            return
        for message in self._spool.after(self._window.last_sent, room):
            if not self._pace.allows(now_s):
                break
            self._send(message.number, message.payload, now_s)
            self._pace.spend(message.readings)

    def _send(self, number: int, payload: bytes, now_s: float) -> None:
        properties = Properties(PacketTypes.PUBLISH)
        properties.ContentType = senml.CONTENT_TYPE_JSON
        properties.UserProperty = receipts.properties_of(Place(self._spool.epoch, number)) + self._recorded
        info = self._client.publish(self._topic(Kind.DATA), payload, qos=1, properties=properties)
        if not self._settings.receipts:
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

    # -- listening -----------------------------------------------------------------------------

    def _on_connect(
        self, client: Client, _userdata: object, flags: ConnectFlags, reason: ReasonCode, _properties: object
    ) -> None:
        if reason.is_failure:
            log.error("%s: broker %s refuses: %s", self._device, self._broker, reason)
            return
        self._connected = True
        self._status_due_s = 0.0
        if not flags.session_present:
            self._window.go_back()
        client.subscribe(self._topic(Kind.RECEIPT), qos=1)

    def _on_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        try:
            receipt = receipts.decode(bytes(message.payload))
        except PayloadError as error:
            log.error("%s: %s", self._device, error)  # noqa: TRY400 - the sentence says it all
            return
        if receipt.epoch == self._spool.epoch:
            self._let_go(receipt.kept)

    def _on_publish(
        self, _client: Client, _userdata: object, mid: int, _reason: object, _properties: object
    ) -> None:
        number = self._numbers.pop(mid, None)
        if number is not None:
            self._let_go([(number, number)])

    def _let_go(self, ranges: list[tuple[int, int]]) -> None:
        self.receipted += self._spool.forget(self._spool.epoch, ranges)
        self._window.kept(ranges)

    # -- connecting ----------------------------------------------------------------------------

    def _connect(self) -> bool:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = SESSION_EXPIRY_S
        try:
            self._client.connect(
                self._broker.host,
                self._broker.port,
                keepalive=self._settings.keep_alive_s,
                clean_start=False,
                properties=properties,
            )
        except OSError:
            return False
        return True

    def _make_client(self) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2, client_id=self._device, protocol=MQTTProtocolVersion.MQTTv5
        )
        client.username_pw_set(self._broker.user or self._device, self._broker.password)
        client.max_inflight_messages_set(self._settings.window)
        will = Properties(PacketTypes.WILLMESSAGE)
        will.WillDelayInterval = self._settings.will_delay_s
        gone: Any = status.encode(status.Status(online=False))
        client.will_set(self._topic(Kind.STATUS), gone, qos=1, retain=True, properties=will)
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        return client

    def _topic(self, kind: Kind) -> str:
        return str(Topic(area=self._area, device=self._device, kind=kind))
