"""Driver of probes that speak ASCII at a serial port: Atlas EZO circuits, and SDI-12 sensors at an adapter.

Sources: Atlas Scientific, EZO data sheets, UART mode (commands end in CR, answers ``*OK``, ``*ER``, …);
SDI-12 Support Group, SDI-12 version 1.4, sections 4.4.6 (aM!), 4.4.8 (aD0! … aD9!) and 4.4.12 (CRC).
"""

from __future__ import annotations

import math
import re
import select
import time
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from edge.drivers.driver_options import convert_options
from edge.drivers.line_driver import LineSplitter
from edge.drivers.measured_record import measured_record
from edge.drivers.polling import WAIT_S, PollingDriver
from edge.wire.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from pathlib import Path

    from edge.wire.senml import Record

ATLAS_ANSWER_S = 2.0  # readings take up to 0.9 s by the data sheets, and 1 s more at a low supply
SDI12_ANSWER_S = 1.0  # an adapter repeats a command up to three times within this
ATLAS_CODES = {
    "*ER": "it does not know the command", "*OV": "its supply voltage is too high",
    "*UV": "its supply voltage is too low", "*RS": "it was reset", "*SL": "it has gone to sleep",
}  # fmt: skip
ATLAS_IGNORED = {"*OK", "*RE", "*WA"}  # done, ready after a reset, awake
_SDI12_VALUES = re.compile(r"(?:[+-]\d+(?:\.\d*)?|[+-]\.\d+)*")
_SDI12_VALUE = re.compile(r"[+-][\d.]+")


class SerialProbeError(EdgeError):
    """A probe at a serial port gave no valid answer; the message states what it answered."""


class ProbeValue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One value of an answer, in its order: channel, unit, and numbers that mean that it is missing."""

    channel: str
    unit: str | None = None
    missing: tuple[float, ...] = ()


class SerialProbeOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options in a site file.

    Attributes
    ----------
    port, baud : of the serial port
    protocol : ``atlas`` or ``sdi12``
    values : of an answer, in its order; one without a channel of interest has to be named too
    address : of an SDI-12 sensor, one of 0-9, A-Z, a-z
    command : of a reading; by default ``R`` of Atlas circuits, ``M`` of SDI-12 sensors (``MC``: with CRC)
    interval_s, jitter_s : see `PollingDriver` [s]

    """

    port: str
    protocol: Literal["atlas", "sdi12"]
    values: tuple[ProbeValue, ...]
    baud: int = 9600
    address: str = "0"
    command: str | None = None
    interval_s: float = 60.0
    jitter_s: float = 0.0

    def __post_init__(self) -> None:
        """Check what the types do not."""
        if not re.fullmatch(r"[0-9A-Za-z]", self.address):
            raise ValueError(f"address {self.address!r} is not one of 0-9, A-Z, a-z")
        if self.protocol == "sdi12" and not re.fullmatch(r"MC?[1-9]?", self.command or "M"):
            raise ValueError(
                f"command {self.command!r}: SDI-12 sensors are read by M, M1 … M9, MC, MC1 … MC9"
            )
        if self.interval_s <= 0 or self.jitter_s < 0 or not self.values:
            raise ValueError("interval_s must be positive, jitter_s not negative, and values not empty")
        for one in self.values:
            measured_record(one.channel, 0.0, one.unit, 0.0)


class SerialProbe:
    """Reads one probe; the port is opened at the first reading, and again after a failure."""

    def __init__(self, options: SerialProbeOptions) -> None:
        self._options = options
        self._port: Any = None

    def read(self, time_s: float) -> Iterator[list[Record] | None]:
        """Yield None while the probe measures, then the records.

        Parameters
        ----------
        time_s : time of the reading, Unix seconds [s]

        Raises
        ------
        SerialProbeError
            If the answer is not valid.

        """
        try:
            self._open()
            reading = self._read_atlas() if self._options.protocol == "atlas" else self._read_sdi12()
            numbers = yield from reading
        except Exception:
            self.close()
            raise
        if len(numbers) < len(self._options.values):
            raise SerialProbeError(
                f"the answer has {len(numbers)} values, the options have {len(self._options.values)}"
            )
        pairs = zip(self._options.values, numbers, strict=False)
        records = [
            measured_record(one.channel, number, one.unit, time_s)
            for one, number in pairs
            if number not in one.missing
        ]
        yield [one for one in records if one is not None]

    def close(self) -> None:
        """Close the port."""
        port, self._port = self._port, None
        if port is not None:
            port.close()

    def _open(self) -> None:
        if self._port is None:
            import serial  # noqa: PLC0415 - only a device with a serial port has it

            self._port = serial.Serial(self._options.port, self._options.baud, timeout=0, write_timeout=1.0)
        self._port.reset_input_buffer()
        self._splitter = LineSplitter(longest_bytes=256)

    def _read_atlas(self) -> Generator[None, None, list[float]]:
        """Send the command of a reading; returns the numbers of the answer."""
        self._port.write(f"{self._options.command or 'R'}\r".encode())
        deadline_s = time.monotonic() + ATLAS_ANSWER_S
        while True:
            line = yield from self._line(deadline_s)
            if line in ATLAS_CODES:
                raise SerialProbeError(f"the probe answered {line}: {ATLAS_CODES[line]}")
            if line and line not in ATLAS_IGNORED:
                return _numbers(line.split(","), line)

    def _read_sdi12(self) -> Generator[None, None, list[float]]:
        """Start a measurement, wait until it is done, and fetch its values."""
        address, command = self._options.address, self._options.command or "M"
        header = yield from self._sdi12_answer(f"{command}!", SDI12_ANSWER_S)
        if not re.fullmatch(r"\d{4}", header, re.ASCII):
            raise SerialProbeError(
                f"the sensor answered {header[:20]!r} to command {command}, not time and number"
            )
        seconds, count = int(header[:3]), int(header[3:])
        if seconds:
            deadline_s = time.monotonic() + seconds
            while time.monotonic() < deadline_s:
                request = yield from self._line(deadline_s, required=False)
                if request == address:
                    break  # the service request: it is done earlier
        numbers: list[float] = []
        for page in range(10):
            if len(numbers) >= count:
                break
            text = yield from self._sdi12_answer(f"D{page}!", SDI12_ANSWER_S, crc="C" in command)
            if not _SDI12_VALUES.fullmatch(text):
                raise SerialProbeError(f"the sensor answered {text[:40]!r} to command D{page}, not values")
            if not text:
                break  # the measurement was aborted
            numbers += _numbers(_SDI12_VALUE.findall(text), text)
        if len(numbers) < count:
            raise SerialProbeError(f"the sensor announced {count} values and gave {len(numbers)}")
        return numbers

    def _sdi12_answer(
        self, command: str, answer_s: float, *, crc: bool = False
    ) -> Generator[None, None, str]:
        """Send a command; returns the answer without its address and CRC."""
        address = self._options.address
        self._port.write(f"{address}{command}".encode())
        deadline_s = time.monotonic() + answer_s
        while True:
            line = yield from self._line(deadline_s)
            if line and line != f"{address}{command}":  # adapters echo
                break
        if crc:
            body, check = line[:-3], line[-3:]
            if sdi12_crc(body) != check:
                raise SerialProbeError(f"the answer {line[:40]!r} has a wrong CRC")
            line = body
        if not line.startswith(address):
            raise SerialProbeError(f"{line[:40]!r} is not an answer of sensor {address}")
        return line[len(address) :]

    def _line(self, deadline_s: float, *, required: bool = True) -> Generator[None, None, str]:
        """Return the next line, without its end; yields None while it waits.

        At the deadline: raises `SerialProbeError`, or returns an empty line if none is required.
        """
        while True:
            lines = list(self._splitter.feed(self._port.read(1).replace(b"\r", b"\n")))
            if lines:  # one byte ends one line at most
                return (lines[0] or b"").decode("ascii", "replace").strip()
            if self._port.in_waiting:
                continue
            remaining_s = deadline_s - time.monotonic()
            if remaining_s <= 0:
                if required:
                    raise SerialProbeError("the probe does not answer: check wiring, speed and address")
                return ""
            ready, _, _ = select.select([self._port.fileno()], [], [], min(remaining_s, WAIT_S))
            if not ready:
                yield None


def sdi12_crc(text: str) -> str:
    """Return the CRC of an SDI-12 answer, three characters (SDI-12 1.4, section 4.4.12).

    >>> sdi12_crc("0+3.14")
    'OqZ'
    """
    crc = 0
    for byte in text.encode("ascii", "replace"):
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return "".join(chr(0x40 | (crc >> shift) & 0x3F) for shift in (12, 6, 0))


def create(options: dict[str, Any], folder: Path) -> PollingDriver:
    """Create the driver from the options of `SerialProbeOptions`.

    Raises
    ------
    DriverOptionsError
        If an option is invalid.

    """
    chosen = convert_options(options, SerialProbeOptions, driver="serial_probe", folder=folder)
    probe = SerialProbe(chosen)
    return PollingDriver(
        probe.read,
        name=f"probe at {chosen.port}",
        interval_s=chosen.interval_s,
        jitter_s=chosen.jitter_s,
        close=probe.close,
    )


def _numbers(texts: Sequence[str], line: str) -> list[float]:
    try:
        numbers = [float(one) for one in texts]
    except ValueError as error:
        raise SerialProbeError(f"the probe answered {line[:40]!r}, not numbers") from error
    if not all(map(math.isfinite, numbers)):
        raise SerialProbeError(f"the probe answered {line[:40]!r}, not finite numbers")
    return numbers
