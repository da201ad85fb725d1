"""Driver of Sparkplug B edge nodes: subscribes as a host application, and requests rebirths after gaps.

With a ``host_id`` it publishes STATE, so that edge nodes can name it as their primary host application. Edge
nodes publish with QoS 0 and a host application has no durable session, both by the specification: what they
do not keep and send again as historical metrics is lost while the connection is.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from edge.drivers import Pack
from edge.drivers.broker_options import BrokerOptions
from edge.drivers.counter_rates import CounterRates
from edge.drivers.driver_options import convert_options
from edge.drivers.measured_record import measured_record
from edge.drivers.mqtt_subscription import RetainedWill
from edge.drivers.polling import WAIT_S, log_fault
from edge.drivers.sparkplug_host import (
    NAMESPACE,
    SparkplugHost,
    is_offline_state,
    state_message,
)
from edge.drivers.sparkplug_payload import encode_rebirth_request
from edge.wire.boot_clock import boot_clock_s
from edge.wire.errors import PayloadError
from edge.wire.quantities import QUANTITIES
from edge.wire.receipts import QUALITY_PROPERTY
from edge.wire.senml import NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edge.drivers.mqtt_subscription import ReceivedMessage
    from edge.drivers.sparkplug_host import HostOutcome, SparkplugValue
    from edge.wire.senml import Record

QARTOD_FLAGS = {0: "4", 500: "3"}  # quality codes bad -> fail, stale -> suspect; good needs no flag
_FORBIDDEN = frozenset("+#")


class MetricMapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which metric is which channel.

    Attributes
    ----------
    source : ``group/node``, or ``group/node/device``
    metric : its name in the birth
    channel, unit, quantity, scale, offset, total : as of `edge.drivers.payload_mapping.ValueMapping`

    """

    source: str
    metric: str
    channel: str
    unit: str | None = None
    quantity: str | None = None
    scale: float = 1.0
    offset: float = 0.0
    total: bool = False

    def __post_init__(self) -> None:
        """Check what the types do not."""
        parts = self.source.split("/")
        if len(parts) not in {2, 3} or not all(parts) or _FORBIDDEN & set(self.source):
            raise ValueError(f"source {self.source!r}: write group/node, or group/node/device")
        if not NAME.fullmatch(self.channel):
            raise ValueError(f"channel {self.channel!r}: use letters, digits and -:./_ only")
        if self.quantity is not None and self.quantity not in QUANTITIES:
            raise ValueError(f"{self.quantity!r} is not a quantity: use one of {', '.join(QUANTITIES)}")
        self.record(0.0, 0.0)

    @property
    def node(self) -> str:
        """``group/node`` of the source."""
        return "/".join(self.source.split("/")[:2])

    def record(self, raw: float, time_s: float) -> Record | None:
        """Return the record of a value; None if it is not finite."""
        unit, quantity = (None, None) if self.total else (self.unit, self.quantity)
        return measured_record(self.channel, raw * self.scale + self.offset, unit, time_s, quantity=quantity)


class SparkplugOptions(BrokerOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options in a site file: metrics, beside the options of the broker.

    Attributes
    ----------
    metrics : metrics that become readings
    host_id : publishes STATE under this id, which no other host application may have; None for no STATE
    reorder_s : time for which a missing message is waited for before a rebirth is requested [s]
    rebirth : whether rebirths are requested; False where only the primary host application may

    """

    metrics: tuple[MetricMapping, ...]
    host_id: str | None = None
    reorder_s: float = 5.0
    rebirth: bool = True

    def __post_init__(self) -> None:
        """Check what the types do not."""
        super().__post_init__()
        if not self.metrics:
            raise ValueError("give at least one metric")
        if self.reorder_s < 0:
            raise ValueError("reorder_s must not be negative")
        if self.host_id is not None and (not self.host_id or {"/", *_FORBIDDEN} & set(self.host_id)):
            raise ValueError(f"host_id {self.host_id!r} must not be empty or have any of + / #")

    def nodes(self) -> list[str]:
        """Return ``group/node`` of each edge node."""
        return sorted({one.node for one in self.metrics})

    def topics(self) -> list[str]:
        """Return the topic filters; that of STATE first, as the specification requires."""
        state = [] if self.host_id is None else [state_topic(self.host_id)]
        nodes = [one.split("/") for one in self.nodes()]
        return state + [f"{NAMESPACE}/{group}/+/{node}/#" for group, node in nodes]


def state_topic(host_id: str) -> str:
    """Return the topic of the STATE of a host application."""
    return f"{NAMESPACE}/STATE/{host_id}"


class SparkplugDriver:
    """Yields the values of mapped metrics.

    Parameters
    ----------
    options : broker and metrics
    clock : Unix time [s]

    """

    perishable = True

    def __init__(self, options: SparkplugOptions, *, clock: Callable[[], float] = time.time) -> None:
        self.on_fault: Callable[[str], None] = log_fault
        self._options, self._clock = options, clock
        self._mappings = {(one.source, one.metric): one for one in options.metrics}
        self._rates = CounterRates({one.channel: one.quantity for one in options.metrics if one.total})
        self._host = SparkplugHost(reorder_s=options.reorder_s)
        self._state_ms = 0  # timestamp of the will of this connection, which the STATE birth repeats
        self._subscription = options.subscribe(
            options.topics(),
            durable=False,
            on_fault=self._report,
            will=None if options.host_id is None else self._will,
            on_session=self._on_session,
        )

    def packs(self) -> Iterator[Pack | None]:
        """Yield packs, and None while there is none; does not end."""
        try:
            while True:
                messages = self._subscription.receive(WAIT_S)
                packs = [pack for one in messages for pack in self._packs_of(one)]
                packs += self._packs(self._host.due(time.monotonic()))
                yield from packs
                if not packs:
                    yield None
        finally:
            self._subscription.close(farewell=self._farewell())

    def _packs_of(self, message: ReceivedMessage) -> list[Pack]:
        """Process a message; those with QoS 1 are STATE and deaths, which have no readings to wait for."""
        message.stored()
        host_id = self._options.host_id
        try:
            if host_id is not None and message.topic == state_topic(host_id):
                # A late will of an earlier connection, or another's message. What the broker had kept was
                # delivered with the subscription, after which STATE is published anyway.
                if is_offline_state(message.payload) and not message.retained:
                    self._publish_state()
                return []
            return self._packs(self._host.take(message.topic, message.payload, time.monotonic()))
        except PayloadError as error:
            self.on_fault(f"topic {message.topic}: {error}")
            return []

    def _packs(self, outcome: HostOutcome) -> list[Pack]:
        for sentence in outcome.faults:
            self.on_fault(sentence)
        for node in outcome.rebirths if self._options.rebirth else ():
            group, name = node.split("/")
            request = encode_rebirth_request(int(self._clock() * 1000))
            self._subscription.publish(f"{NAMESPACE}/{group}/NCMD/{name}", request)
        now_s, taken_s = self._clock(), boot_clock_s()
        packs: list[Pack] = []
        for (flag, is_timed), records in self._records(outcome.values, now_s).items():
            properties = () if flag is None else ((QUALITY_PROPERTY, flag),)
            packs.append(Pack(now_s, records, None if is_timed else taken_s, properties))
        return packs

    def _records(
        self, values: list[SparkplugValue], now_s: float
    ) -> dict[tuple[str | None, bool], list[Record]]:
        """Return records by QARTOD flag, and by whether the edge node gave their time."""
        found: dict[tuple[str | None, bool], list[Record]] = {}
        for one in values:
            mapping = self._mappings.get((one.source, one.metric))
            if mapping is None or (mapping.total and one.is_historical):
                continue
            record = mapping.record(one.value, now_s if one.time_s is None else one.time_s)
            flag = QARTOD_FLAGS.get(192 if one.quality is None else one.quality)
            for rated in self._rates.records([] if record is None else [record]):
                found.setdefault((flag, one.time_s is not None), []).append(rated)
        return found

    def _report(self, sentence: str) -> None:
        self.on_fault(sentence)

    # -- STATE ---------------------------------------------------------------------------------

    def _will(self) -> RetainedWill:
        self._state_ms = max(int(self._clock() * 1000), self._state_ms + 1)
        return RetainedWill(
            state_topic(self._options.host_id or ""), state_message(online=False, time_ms=self._state_ms)
        )

    def _farewell(self) -> RetainedWill | None:
        return None if self._options.host_id is None else self._will()

    def _on_session(self) -> None:
        self._host.connection_opened(self._options.nodes(), time.monotonic())
        self._publish_state()

    def _publish_state(self) -> None:
        if self._options.host_id is not None:
            online = state_message(online=True, time_ms=self._state_ms)
            self._subscription.publish(state_topic(self._options.host_id), online, qos=1, retain=True)


def create(options: dict[str, Any], folder: Path) -> SparkplugDriver:
    """Create the driver from the options of `SparkplugOptions`.

    Raises
    ------
    DriverOptionsError
        If an option is invalid.

    """
    return SparkplugDriver(convert_options(options, SparkplugOptions, driver="sparkplug", folder=folder))
