"""Driver of analogue transmitters, 4-20 mA or a voltage, at an ADS1115 converter on the I²C bus.

Sources: Texas Instruments, ADS1115 data sheet SBAS444 (registers, table 8-3); NAMUR NE 43 (limits of 4-20 mA:
measured values from 3.8 to 20.5 mA, failure below 3.6 and above 21 mA).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from edge.drivers.driver_options import convert_options
from edge.drivers.measured_record import measured_record
from edge.drivers.polling import PollingDriver
from edge.wire.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from edge.wire.senml import Record

BROKEN_BELOW_MA, BROKEN_ABOVE_MA = 3.6, 21.0  # NAMUR NE 43
CONVERSION, CONFIG = 0, 1  # registers
# Start, single conversion, ±4.096 V, 128 conversions/s, no comparator; the input is added at bit 12.
START = 0x8000 | 0b001 << 9 | 1 << 8 | 0b100 << 5 | 0b11
READY = 0x8000
VOLT_PER_STEP = 4.096 / 32768
CONVERSION_S = 0.05  # 8 ms by the data sheet


class AnalogInputError(EdgeError):
    """An analogue input can't be read, or its transmitter reports a failure; the message states which."""


class I2cBus(Protocol):
    """The part of smbus2's `SMBus` that is used."""

    def read_i2c_block_data(self, i2c_addr: int, register: int, length: int) -> list[int]:
        """Read bytes from a register."""
        ...

    def write_i2c_block_data(self, i2c_addr: int, register: int, data: Sequence[int]) -> None:
        """Write bytes to a register."""
        ...


class AnalogChannel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One transmitter.

    Attributes
    ----------
    channel : name of the record
    input : 0 to 3
    low, high : value at 4 mA and at 20 mA, or at ``low_volt`` and ``high_volt``, in ``unit``
    shunt_ohm : resistor over which the current is measured [Ω]; None for a voltage

    """

    channel: str
    input: Literal[0, 1, 2, 3]
    low: float
    high: float
    unit: str | None = None
    shunt_ohm: float | None = 150.0
    low_volt: float = 0.0
    high_volt: float = 3.3

    def __post_init__(self) -> None:
        """Check what the types do not."""
        if (self.shunt_ohm is not None and self.shunt_ohm <= 0) or self.low_volt == self.high_volt:
            raise ValueError("shunt_ohm must be positive, and low_volt differ from high_volt")
        measured_record(self.channel, 0.0, self.unit, 0.0)

    def value(self, volt: float) -> float:
        """Return the measured value.

        Raises
        ------
        AnalogInputError
            If the current means a failure by NAMUR NE 43.

        """
        if self.shunt_ohm is None:
            share = (volt - self.low_volt) / (self.high_volt - self.low_volt)
            return self.low + share * (self.high - self.low)
        return scale_current(1000 * volt / self.shunt_ohm, self.low, self.high)


class AnalogInputOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options in a site file: bus and address of the converter, channels, times of `PollingDriver` [s]."""

    channels: tuple[AnalogChannel, ...]
    bus: int = 1
    address: int = 0x48
    interval_s: float = 60.0
    jitter_s: float = 0.0

    def __post_init__(self) -> None:
        """Check what the types do not."""
        if not 0x48 <= self.address <= 0x4B:
            raise ValueError(f"address {self.address} is not one of the ADS1115, 72 to 75")
        if self.interval_s <= 0 or self.jitter_s < 0 or not self.channels:
            raise ValueError("interval_s must be positive, jitter_s not negative, and channels not empty")


def scale_current(current_ma: float, low: float, high: float) -> float:
    """Scale a current of 4 to 20 mA to a value.

    Raises
    ------
    AnalogInputError
        Below 3.6 mA (a broken wire) and above 21 mA (NAMUR NE 43).

    Examples
    --------
    >>> scale_current(12.0, 0.0, 5.0)
    2.5

    """
    if not BROKEN_BELOW_MA <= current_ma <= BROKEN_ABOVE_MA:
        raise AnalogInputError(
            f"{current_ma:.1f} mA is outside {BROKEN_BELOW_MA} to {BROKEN_ABOVE_MA} mA: the transmitter "
            "reports a failure, or a wire is broken"
        )
    return low + (current_ma - 4.0) / 16.0 * (high - low)


class AnalogInputs:
    """Reads the channels of one converter.

    Parameters
    ----------
    open_bus : opens the I²C bus
    options : of the driver

    """

    def __init__(self, open_bus: Callable[[], I2cBus], options: AnalogInputOptions) -> None:
        self._open_bus, self._options = open_bus, options
        self._bus: I2cBus | None = None

    def read(self, time_s: float) -> Iterator[list[Record]]:
        """Yield the records of the channels that could be read.

        Raises
        ------
        AnalogInputError
            After them, if other channels could not be read.

        """
        if self._bus is None:
            self._bus = self._open_bus()
        failures: list[str] = []
        for one in self._options.channels:
            try:
                value = one.value(read_volt(self._bus, self._options.address, one.input))
            except (AnalogInputError, OSError) as error:
                failures.append(f"{one.channel}: {error}")
                continue
            record = measured_record(one.channel, value, one.unit, time_s)
            yield [] if record is None else [record]
        if failures:
            raise AnalogInputError("; ".join(failures))


def read_volt(bus: I2cBus, address: int, number: int) -> float:
    """Convert an input of an ADS1115 once; returns its voltage against ground [V].

    Raises
    ------
    AnalogInputError
        If the converter does not finish.

    """
    config = START | (0b100 + number) << 12
    bus.write_i2c_block_data(address, CONFIG, list(config.to_bytes(2, "big")))
    deadline_s = time.monotonic() + CONVERSION_S
    while not int.from_bytes(bytes(bus.read_i2c_block_data(address, CONFIG, 2)), "big") & READY:
        if time.monotonic() > deadline_s:
            raise AnalogInputError(f"the converter at {address:#x} does not finish: check its supply")
        time.sleep(0.001)
    raw = int.from_bytes(bytes(bus.read_i2c_block_data(address, CONVERSION, 2)), "big", signed=True)
    return raw * VOLT_PER_STEP


def create(options: dict[str, Any], folder: Path) -> PollingDriver:
    """Create the driver from the options of `AnalogInputOptions`.

    Raises
    ------
    DriverOptionsError
        If an option is invalid.

    """
    chosen = convert_options(options, AnalogInputOptions, driver="analog_input", folder=folder)

    def open_bus() -> I2cBus:
        import smbus2  # noqa: PLC0415 - only a device with an I²C bus has it

        bus: I2cBus = smbus2.SMBus(chosen.bus)
        return bus

    return PollingDriver(
        AnalogInputs(open_bus, chosen).read,
        name=f"converter at I²C address {chosen.address:#x}",
        interval_s=chosen.interval_s,
        jitter_s=chosen.jitter_s,
    )
