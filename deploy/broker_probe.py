"""Connects to a broker by MQTT 5, to find out whether it accepts a client."""

from __future__ import annotations

import secrets
import sys
import threading
from typing import TYPE_CHECKING

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge.wire import broker_tls

if TYPE_CHECKING:
    from edge.wire.broker_address import BrokerAddress

SILENT = "accepts connections and does not answer by MQTT 5"


def mqtt_refusal(broker: BrokerAddress, *, within_s: float) -> str:
    """Connect by MQTT 5 within a time [s]; return why the broker did not accept it, empty if it did.

    A frozen broker accepts TCP connections, as its operating system does that.
    """
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=f"towntwin-doctor-{secrets.token_hex(4)}",
        protocol=MQTTProtocolVersion.MQTTv5,
    )
    if broker.user is not None:
        client.username_pw_set(broker.user, broker.password)
    answered = threading.Event()
    reasons: list[str] = []

    def on_connect(
        _client: object, _data: object, _flags: object, reason: object, _properties: object
    ) -> None:
        if getattr(reason, "is_failure", False):
            reasons.append(str(reason))
        answered.set()

    def on_connect_fail(_client: object, _data: object) -> None:
        error = sys.exc_info()[1]  # paho calls this while it handles the error
        if isinstance(error, Exception):
            reasons.append(broker_tls.describe_failure(error, broker))
            answered.set()

    def on_disconnect(*_arguments: object) -> None:
        if broker.tls is not None and not answered.is_set():
            reasons.append(broker_tls.describe_early_end(broker))
            answered.set()

    broker_tls.secure_client(client, broker)
    client.on_connect = on_connect
    client.on_connect_fail = on_connect_fail
    client.on_disconnect = on_disconnect
    client.connect_async(broker.host, broker.port)
    client.loop_start()
    in_time = answered.wait(within_s)
    client.disconnect()
    client.loop_stop()
    if not in_time:
        return (
            f"{broker} {SILENT} within {within_s:g} s: it is frozen"
            " or overloaded, or the port is not one of MQTT 5; restart it, or check TOWNTWIN_BROKER"
        )
    return f"{broker} refuses the connection: {reasons[0]}" if reasons else ""
