"""A test device that publishes arbitrary payloads over a real broker and collects receipts."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, Self

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge.wire import receipts, status

if TYPE_CHECKING:
    from edge.wire.status import StatusMessage

PUBLISHED_S = 20.0


def pack(name: str, unit: str, values: dict[float, float]) -> bytes:
    """Return a SenML pack of one channel's readings, given as value by measured time [s]."""
    return json.dumps(
        [{"n": name, "u": unit, "v": value, "t": at_s} for at_s, value in values.items()]
    ).encode()


class MqttTestDevice:
    """Publishes messages and receives receipts; ``receipted`` has the numbers of those with a receipt.

    Parameters
    ----------
    broker : with ``host`` and ``port``
    topic : of its data

    """

    def __init__(self, broker: Any, topic: str) -> None:
        self.topic = topic
        self.receipted: set[int] = set()
        self._broker = broker
        self._number = 0
        self._listening = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self._listening.set()

    def __enter__(self) -> Self:
        self._client.connect(self._broker.host, self._broker.port)
        self._client.loop_start()
        self._client.subscribe("towntwin/v1/+/+/receipt", qos=1)
        assert self._listening.wait(PUBLISHED_S), "the broker takes the subscription"
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def send(self, payload: bytes, *, topic: str | None = None, number: int | None = None) -> int:
        """Publish a message; return its number in a pretended spool."""
        self._number = number or self._number + 1
        properties = Properties(PacketTypes.PUBLISH)
        properties.UserProperty = [("epoch", "e"), ("number", str(self._number))]
        sent = self._client.publish(topic or self.topic, payload, qos=1, properties=properties)
        sent.wait_for_publish(PUBLISHED_S)
        return self._number

    def publish_status(self, message: StatusMessage) -> None:
        """Publish a status message."""
        topic = self.topic.replace("/data", "/status")
        self._client.publish(topic, status.encode_status(message), qos=1, retain=True).wait_for_publish(
            PUBLISHED_S
        )

    def _on_message(self, _client: Client, _userdata: object, message: Any) -> None:
        for first, last in receipts.decode_receipt(message.payload).kept:
            self.receipted.update(range(first, last + 1))
