"""Driver of traffic counters: pulses of a GPIO line, lines of a radar, or MQTT messages (one a vehicle)."""

from __future__ import annotations

import math
import re
import select
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from edge.drivers import Pack
from edge.drivers.driver_options import DriverOptionsError, convert_options
from edge.drivers.line_driver import LineSplitter
from edge.drivers.mqtt_vehicles import MqttVehicleOptions, MqttVehicles
from edge.drivers.polling import WAIT_S, log_fault
from edge.drivers.traffic_period import TrafficAggregator
from edge.wire.boot_clock import boot_clock_s

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SPEED_UNITS = {"m/s": 1.0, "km/h": 1 / 3.6, "mi/h": 0.44704}
RETRY_S = 5.0  # until a source that failed is opened again


class PassageSource(Protocol):
    """Instrument that detects vehicles."""

    def collect(self, aggregator: TrafficAggregator, timeout_s: float) -> None:
        """Add what is detected within a time [s] to the aggregator; raises if the instrument fails."""
        ...

    def close(self) -> None:
        """Release the instrument."""
        ...


class TrafficCounter:
    """Yields one pack of flow, occupancy and speeds per period; periods begin at multiples of their length.

    A period in which the source failed has no records: its counts would be too low.

    Parameters
    ----------
    open_source : opens the instrument; it may raise anything
    aggregator : of its passages
    period_s : length of a period [s]
    prefix : of the channels
    clock, wait : Unix time [s], and the function that waits

    """

    perishable = True

    def __init__(
        self,
        open_source: Callable[[], PassageSource],
        aggregator: TrafficAggregator,
        *,
        period_s: float,
        prefix: str = "",
        clock: Callable[[], float] = time.time,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self.on_fault: Callable[[str], None] = log_fault
        self._open_source, self._aggregator = open_source, aggregator
        self._period_s, self._prefix, self._clock, self._wait = period_s, prefix, clock, wait
        self._source: PassageSource | None = None
        self._retry_at_s = -math.inf

    def packs(self) -> Iterator[Pack | None]:
        """Yield a pack per complete period, and None while there is none; does not end."""
        start_s = self._clock()
        whole = False  # the first period has begun before the driver
        try:
            while True:
                whole = self._collect() and whole
                now_s = self._clock()
                end_s = (start_s // self._period_s + 1) * self._period_s
                if start_s <= now_s < end_s:
                    yield None
                    continue
                period = self._aggregator.finish(start_s, max(end_s, start_s + 1e-3))
                in_time = 0 <= now_s - end_s < self._period_s  # else the clock was set
                records = period.records(self._prefix)
                taken_s = boot_clock_s()
                yield Pack(due_s=now_s, records=records, taken_s=taken_s) if whole and in_time else None
                whole, start_s = in_time, end_s if in_time else now_s
        finally:
            self._close()

    def _collect(self) -> bool:
        """Collect passages for a short time; returns False if the instrument failed."""
        try:
            if self._source is None:
                if time.monotonic() < self._retry_at_s:
                    self._wait(WAIT_S)
                    return False
                self._source = self._open_source()
            self._source.collect(self._aggregator, WAIT_S)
        except Exception as error:  # noqa: BLE001 - no failure of an instrument may end the agent
            self.on_fault(
                f"traffic counter: {error or type(error).__name__}: it is opened again in {RETRY_S:g} s"
            )
            self._close()
            self._retry_at_s = time.monotonic() + RETRY_S
            return False
        return True

    def _close(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.close()


class GpioPulses:
    """Pulses of a detector's relay at a GPIO line, with the kernel's time stamps (gpiod 2).

    Parameters
    ----------
    chip, line : ``/dev/gpiochip0`` and the number of the line
    debounce_s : shorter pulses are ignored by the kernel [s]

    """

    def __init__(self, chip: str, line: int, debounce_s: float) -> None:
        import gpiod  # noqa: PLC0415 - only a device with GPIO lines has it

        settings = gpiod.LineSettings(
            edge_detection=gpiod.line.Edge.BOTH,
            event_clock=gpiod.line.Clock.REALTIME,
            debounce_period=timedelta(seconds=debounce_s),
        )
        self._rising = gpiod.EdgeEvent.Type.RISING_EDGE
        self._request = gpiod.request_lines(chip, consumer="towntwin", config={line: settings})

    def collect(self, aggregator: TrafficAggregator, timeout_s: float) -> None:
        """Add the edges of some time."""
        if self._request.wait_edge_events(timedelta(seconds=timeout_s)):
            for event in self._request.read_edge_events():
                note = aggregator.cover if event.event_type == self._rising else aggregator.uncover
                note(event.timestamp_ns / 1e9)

    def close(self) -> None:
        """Release the line."""
        self._request.release()


class SerialVehicleLines:
    """Lines of a counter at a serial port, one per vehicle.

    Parameters
    ----------
    port, baud : of the serial port
    pattern : regular expression of a vehicle's line, with the groups ``speed`` and ``ms`` (time over the
        detector) where the instrument measures them; other lines are ignored
    speed_factor : from the unit of the speed to m/s

    """

    def __init__(self, port: str, baud: int, pattern: re.Pattern[str], speed_factor: float) -> None:
        import serial  # noqa: PLC0415 - only a device with a serial port has it

        self._port = serial.Serial(port, baud, timeout=0)
        self._pattern, self._speed_factor = pattern, speed_factor
        self._splitter = LineSplitter(longest_bytes=4096)

    def collect(self, aggregator: TrafficAggregator, timeout_s: float) -> None:
        """Add the vehicles of some time."""
        ready, _, _ = select.select([self._port.fileno()], [], [], timeout_s)
        if not ready:
            return
        for line in self._splitter.feed(self._port.read(4096)):
            found = self._pattern.search((line or b"").decode("ascii", "replace"))
            if found:
                groups = found.groupdict()
                speed, ms = _number(groups.get("speed")), _number(groups.get("ms"))
                aggregator.add_vehicle(
                    None if speed is None else speed * self._speed_factor, None if ms is None else ms / 1000
                )

    def close(self) -> None:
        """Close the port."""
        self._port.close()


class TrafficCounterOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options in a site file: ``line`` of a ``chip``, ``port`` with ``pattern``, or ``vehicles``.

    ``vehicles`` are the options of `edge.drivers.mqtt_vehicles`: one message for each vehicle. The others:
    ``period_s`` [s]; ``prefix`` of channels; ``effective_length_m`` and ``shortest_gap_s``, see
    `TrafficAggregator`; ``speed_unit``: m/s, km/h or mi/h.
    """

    vehicles: MqttVehicleOptions | None = None
    line: int | None = None
    chip: str = "/dev/gpiochip0"
    debounce_s: float = 0.005
    port: str | None = None
    baud: int = 9600
    pattern: str = r"(?P<speed>\d+(\.\d+)?)"
    speed_unit: str = "km/h"
    period_s: float = 60.0
    prefix: str = ""
    effective_length_m: float | None = None
    shortest_gap_s: float = 0.0

    def __post_init__(self) -> None:
        """Check what the types do not."""
        if [self.line is None, self.port is None, self.vehicles is None].count(False) != 1:
            raise ValueError("give one of line, of a GPIO chip, port, a serial port, and vehicles, by MQTT")
        if self.period_s < 1 or self.speed_unit not in SPEED_UNITS:
            raise ValueError(f"period_s must be at least 1, speed_unit one of {', '.join(SPEED_UNITS)}")


def create(options: dict[str, Any], folder: Path) -> TrafficCounter:
    """Create the driver from the options of `TrafficCounterOptions`.

    Raises
    ------
    DriverOptionsError
        If an option is invalid.

    """
    chosen = convert_options(options, TrafficCounterOptions, driver="traffic_counter", folder=folder)
    try:
        pattern = re.compile(chosen.pattern)
    except re.error as error:
        raise DriverOptionsError(f"options of driver 'traffic_counter': pattern: {error}") from error

    def open_source() -> PassageSource:
        if chosen.vehicles is not None:
            return MqttVehicles(chosen.vehicles, SPEED_UNITS[chosen.speed_unit])
        if chosen.port is not None:
            return SerialVehicleLines(chosen.port, chosen.baud, pattern, SPEED_UNITS[chosen.speed_unit])
        return GpioPulses(chosen.chip, chosen.line or 0, chosen.debounce_s)

    return TrafficCounter(
        open_source,
        TrafficAggregator(effective_length_m=chosen.effective_length_m, shortest_gap_s=chosen.shortest_gap_s),
        period_s=chosen.period_s,
        prefix=chosen.prefix,
    )


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
