"""A client that publishes what a test gives it and collects what it subscribes to."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Self

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

if TYPE_CHECKING:
    from paho.mqtt.client import MQTTMessage

PUBLISHED_S = 20.0


class MqttPublisher:
    """Publishes at a broker; ``received`` has the messages of its subscriptions: topic, payload, retained.

    Parameters
    ----------
    broker : with ``host`` and ``port``
    topics : topic filters that it subscribes to

    """

    def __init__(self, broker: Any, *topics: str) -> None:
        self.received: list[tuple[str, bytes, bool]] = []
        self._broker, self._topics = broker, topics
        self._ready = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_message = self._on_message
        self._client.on_connect = lambda *_: None if self._topics else self._ready.set()
        self._client.on_subscribe = lambda *_: self._ready.set()

    def __enter__(self) -> Self:
        self._client.connect(self._broker.host, self._broker.port)
        self._client.loop_start()
        if self._topics:
            self._client.subscribe([(topic, 1) for topic in self._topics])
        assert self._ready.wait(PUBLISHED_S), "the broker answers"
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        """Publish a message, and wait until the broker has it."""
        self._client.publish(topic, payload, qos=qos, retain=retain).wait_for_publish(PUBLISHED_S)

    def _on_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        self.received.append((message.topic, bytes(message.payload), message.retain))
