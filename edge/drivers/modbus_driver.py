"""Driver of Modbus instruments, RTU and TCP: reads the registers of a map at each interval."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from edge.drivers import modbus_bus, register_map
from edge.drivers.driver_options import DriverOptionsError, convert_options
from edge.drivers.measured_record import measured_record
from edge.drivers.modbus_bus import ModbusDeviceError
from edge.drivers.polling import PollingDriver
from edge.wire.quantities import QUANTITIES

if TYPE_CHECKING:
    from pathlib import Path

    from edge.drivers.modbus_bus import ModbusBus
    from edge.drivers.register_map import Register, RegisterBatch, RegisterMap
    from edge.wire.senml import Record


class ModbusOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the driver in a site file.

    Attributes
    ----------
    bus : address of the line, see `ModbusBus`
    map : name of a shipped register map, or path of a TOML file
    device : address of the instrument on the line, 1 to 247
    channels : register name of the map -> channel; empty if all but the optional ones are read, under their
        own names
    interval_s, jitter_s, timeout_s : see `PollingDriver` and `ModbusBus` [s]
    max_hole : largest number of registers between two neighbours that are read in vain

    """

    bus: str
    map: str
    device: int = 1
    channels: dict[str, str] = {}
    interval_s: float = 60.0
    jitter_s: float = 0.0
    timeout_s: float = 1.0
    max_hole: int = register_map.MAX_HOLE

    def __post_init__(self) -> None:
        """Check what the types do not."""
        if not 1 <= self.device <= 247:
            raise ValueError(f"device {self.device} is not an address of Modbus, 1 to 247")
        if self.interval_s <= 0 or self.timeout_s <= 0 or self.jitter_s < 0 or self.max_hole < 0:
            raise ValueError("interval_s and timeout_s must be positive, jitter_s and max_hole not negative")


class ModbusReader:
    """Reads the registers of one instrument.

    Parameters
    ----------
    bus : the line
    device : address of the instrument
    registers : the registers to be read -> channel
    sonde : their map
    max_hole : largest number of registers between two neighbours that are read in vain

    """

    def __init__(
        self,
        bus: ModbusBus,
        device: int,
        registers: dict[Register, str],
        sonde: RegisterMap,
        *,
        max_hole: int = register_map.MAX_HOLE,
    ) -> None:
        self._bus, self._device, self._map = bus, device, sonde
        self._channels = {register.name: channel for register, channel in registers.items()}
        self._batches = register_map.group_registers(sonde, registers, max_hole=max_hole)
        self._started_s: float | None = None

    def read(self, time_s: float) -> list[Record]:
        """Return the records of one reading; values that are missing are left out.

        Parameters
        ----------
        time_s : time of the reading, Unix seconds [s]

        Raises
        ------
        ModbusError
            At the first request that fails; then the instrument is started again before the next reading.

        """
        try:
            if not self._is_ready():
                return []
            return [
                record
                for batch in list(self._batches)
                for register, value in self._values(batch)
                if value is not None
                and (record := measured_record(self._channels[register.name], value, register.unit, time_s,
                                               quantity=_quantity(register))) is not None
            ]  # fmt: skip
        except Exception:
            self._started_s = None  # it may have lost its power, and measures only once it is started
            raise

    def stop(self) -> None:
        """Stop the instrument, where it has a command for that."""
        if self._map.stop is not None and self._started_s is not None:
            self._bus.command_by_reading(self._device, self._map.stop - self._map.base)
        self._started_s = None

    def _is_ready(self) -> bool:
        """Start the instrument once; return whether its values are valid."""
        if self._map.start is None:
            return True
        if self._started_s is None:
            self._bus.command_by_reading(self._device, self._map.start - self._map.base)
            self._started_s = time.monotonic()
        return time.monotonic() - self._started_s >= self._map.settle_s

    def _values(self, batch: RegisterBatch) -> list[tuple[Register, float | None]]:
        """Read a batch; one whose holes the device refuses is read register by register from then on."""
        try:
            words = self._bus.read(self._device, batch.function, batch.address, batch.count)
        except ModbusDeviceError as error:
            if error.code != modbus_bus.ILLEGAL_ADDRESS or len(batch.registers) == 1:
                raise
            parts = register_map.group_registers(self._map, batch.registers, max_hole=0)
            if len(parts) == 1:
                raise
            values = [value for part in parts for value in self._values(part)]
            at = self._batches.index(batch)
            self._batches[at : at + 1] = parts
            return values
        return [
            (
                one,
                self._map.decode(
                    one, words[(at := self._map.address(one) - batch.address) : at + one.length]
                ),
            )
            for one in batch.registers
        ]


def create(options: dict[str, Any], folder: Path) -> PollingDriver:
    """Create the driver from the options of `ModbusOptions`.

    Raises
    ------
    DriverOptionsError
        If an option or the register map is invalid.

    """
    chosen = convert_options(options, ModbusOptions, driver="modbus", folder=folder)
    sonde = register_map.load_map(chosen.map, folder)
    by_name = {one.name: one for one in sonde.registers}
    unknown = sorted(set(chosen.channels) - set(by_name))
    if unknown:
        raise DriverOptionsError(
            f"options of driver 'modbus': map {chosen.map!r} has no register {', '.join(unknown)}: "
            f"use {', '.join(by_name)}"
        )
    channels = chosen.channels or {one.name: one.name for one in sonde.registers if not one.optional}
    reader = ModbusReader(
        modbus_bus.shared_bus(chosen.bus, timeout_s=chosen.timeout_s),
        chosen.device,
        {by_name[name]: channel for name, channel in channels.items()},
        sonde,
        max_hole=chosen.max_hole,
    )
    return PollingDriver(
        reader.read,
        name=f"{sonde.model}, device {chosen.device}",
        interval_s=chosen.interval_s,
        jitter_s=chosen.jitter_s,
        close=reader.stop,
    )


def _quantity(register: Register) -> str | None:
    """Return the quantity of a register whose name is one."""
    return register.name if register.name in QUANTITIES else None
