"""Vehicles of a radar or camera counter that publishes one MQTT message for each."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from edge.drivers.broker_options import BrokerOptions
from edge.drivers.mqtt_subscription import CONNACK_S, MqttSubscriptionError
from edge.drivers.payload_mapping import decode_json, value_at
from edge.wire.errors import PayloadError

if TYPE_CHECKING:
    from typing import Any

    from edge.drivers.traffic_period import TrafficAggregator

MS_PER_S = 1000.0


class MqttVehicleOptions(BrokerOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Broker and topic of a counter, and where in its JSON the values of a vehicle are.

    Attributes
    ----------
    topic : topic filter of the messages, one for each vehicle
    speed_path : where the speed is, in the unit of the driver's ``speed_unit``; None if it is not measured
    ms_path : where the time over the detector is [ms]; None if it is not measured

    """

    topic: str
    speed_path: str | None = None
    ms_path: str | None = None


class MqttVehicles:
    """Source of passages; a message that the broker kept, or that is no JSON, is not a vehicle.

    The messages of an outage are not made up for (the session is not durable): nobody knows how many
    vehicles passed while the counter itself was away, so such a period has no records.

    Parameters
    ----------
    options : of the counter
    speed_factor : from the unit of the speed to m/s

    Raises
    ------
    MqttSubscriptionError
        If the topic can't be subscribed; `collect` raises it if the connection is lost.

    """

    def __init__(self, options: MqttVehicleOptions, speed_factor: float) -> None:
        self._options, self._speed_factor = options, speed_factor
        self._fault = f"broker {options.broker} does not answer"
        self._subscription = options.subscribe([options.topic], durable=False, on_fault=self._note)
        ends_s = time.monotonic() + CONNACK_S
        while not self._subscription.subscribed:
            self._subscription.receive(0.1)
            if time.monotonic() > ends_s:
                self.close()
                raise MqttSubscriptionError(self._fault)

    def collect(self, aggregator: TrafficAggregator, timeout_s: float) -> None:
        """Add the vehicles of some time."""
        for message in self._subscription.receive(timeout_s):
            message.stored()
            if message.retained:
                continue
            try:
                content = decode_json(message.payload)
            except PayloadError:
                continue
            speed, ms = (_number(content, path) for path in (self._options.speed_path, self._options.ms_path))
            aggregator.add_vehicle(
                None if speed is None else speed * self._speed_factor, None if ms is None else ms / MS_PER_S
            )
        if not self._subscription.subscribed:
            raise MqttSubscriptionError(self._fault)

    def close(self) -> None:
        """Disconnect."""
        self._subscription.close()

    def _note(self, sentence: str) -> None:
        self._fault = sentence


def _number(content: Any, path: str | None) -> float | None:
    value = None if path is None else value_at(content, path)
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    except OverflowError:
        return None
