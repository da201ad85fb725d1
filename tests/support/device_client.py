"""A client of a broker as one device, which records the broker's answers."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge.wire import broker_tls
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from edge.wire.broker_address import BrokerAddress

NOT_AUTHORIZED = 0x87


class DeviceClient:
    """A client of the broker as a device, which records reason codes and the end of the connection.

    As an agent, it sends no user name beside a certificate.
    """

    def __init__(self, broker: BrokerAddress, device: str, password: str | None = None) -> None:
        self.reason: int | None = None
        self.has_ended = threading.Event()
        self.acknowledged: dict[int, int] = {}
        self.subscribed: dict[int, int] = {}
        self.client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=device,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )
        user = broker.login_user(device)
        if user is not None:
            self.client.username_pw_set(user, password)
        broker_tls.secure_client(self.client, broker)
        self.client.on_connect = self._on_connect
        self.client.on_disconnect = lambda *_: self.has_ended.set()
        self.client.on_publish = self._on_publish
        self.client.on_subscribe = self._on_subscribe
        self.client.connect(broker.host, broker.port)
        self.client.loop_start()
        wait_until(lambda: self.reason is not None, within_s=30, what="CONNACK")

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self.reason = reason.value

    def _on_publish(self, _client: Any, _data: Any, mid: int, reason: Any, _properties: Any) -> None:
        self.acknowledged[mid] = reason.value

    def _on_subscribe(self, _client: Any, _data: Any, mid: int, reasons: Any, _properties: Any) -> None:
        self.subscribed[mid] = reasons[0].value

    def publish(self, topic: str) -> int | None:
        """Publish; return the reason code of the PUBACK, or None if the broker ended the connection."""
        mid = self.client.publish(topic, b"[]", qos=1).mid
        wait_until(lambda: mid in self.acknowledged or self.has_ended.is_set(), within_s=30, what="PUBACK")
        return self.acknowledged.get(mid)

    def subscribe(self, topic: str) -> int | None:
        """Subscribe; return the reason code of the SUBACK, or None if the broker ended the connection."""
        mid = self.client.subscribe(topic, qos=1)[1]
        assert mid is not None, "the client is not connected"
        wait_until(lambda: mid in self.subscribed or self.has_ended.is_set(), within_s=30, what="SUBACK")
        return self.subscribed.get(mid)

    def close(self) -> None:
        """End the connection."""
        self.client.disconnect()
        self.client.loop_stop()
