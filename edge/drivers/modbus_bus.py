"""Modbus lines, RTU and TCP: one client and one lock per line, however many drivers use it."""

from __future__ import annotations

import struct
import threading
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit
from weakref import WeakValueDictionary, finalize

from pymodbus import FramerType, ModbusException
from pymodbus.client import ModbusSerialClient, ModbusTcpClient
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest

from edge.drivers.driver_options import DriverOptionsError
from edge.wire.errors import EdgeError

if TYPE_CHECKING:
    from pymodbus.pdu import ModbusPDU

RETRIES = 1  # a frame that a disturbed line has lost; more would hold up the other instruments of the line
EXCEPTIONS = {
    1: "illegal function", 2: "illegal data address", 3: "illegal data value", 4: "device failure",
    5: "acknowledge", 6: "device busy", 8: "memory parity error", 10: "gateway path unavailable",
    11: "gateway target does not respond",
}  # fmt: skip
ILLEGAL_ADDRESS = 2


class ModbusError(EdgeError):
    """A request over a Modbus line failed; the message states the line, the device and what happened."""


class ModbusDeviceError(ModbusError):
    """A device answered with an exception code.

    Attributes
    ----------
    code : exception code, Modbus application protocol 1.1b3, section 7

    """

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code


class _CommandByReading(ReadHoldingRegistersRequest):
    """Request with count 0, by which Yosemitech's sensors start and stop; the standard has no such count."""

    def encode(self) -> bytes:
        return struct.pack(">HH", self.address, 0)


class ModbusBus:
    """One line: requests of several drivers follow one another.

    Parameters
    ----------
    address : ``tcp://host:502``, ``rtu+tcp://host:port`` (a serial server) or
        ``rtu:///dev/ttyUSB0?baud=9600&parity=N&stopbits=1``
    timeout_s : longest wait for an answer [s]

    Raises
    ------
    DriverOptionsError
        If the address can't be read.

    """

    def __init__(self, address: str, *, timeout_s: float = 1.0) -> None:
        self.address = address
        self.requests = 0
        self._lock = threading.Lock()
        self._client = _client(address, timeout_s)
        finalize(self, self._client.close)  # with the last driver of the line

    def read(self, device: int, function: int, address: int, count: int) -> list[int]:
        """Read registers of a device.

        Parameters
        ----------
        device : 1 to 247
        function : 3 or 4
        address : of the first register, from 0
        count : 1 to 125

        Returns
        -------
        list of int, (count,)

        Raises
        ------
        ModbusError
            If there is no answer, or one that does not fit the request.

        """
        read = self._client.read_holding_registers if function == 3 else self._client.read_input_registers
        where = f"{self.address}, device {device}, registers {address} to {address + count - 1}"
        try:
            with self._lock:
                self.requests += 1
                answer: ModbusPDU = read(address, count=count, device_id=device)
        except (ModbusException, OSError, ValueError, struct.error, IndexError) as error:
            self.close()  # what is left of a broken answer must not begin the next one
            raise ModbusError(
                f"{where}: no valid answer ({error}): check wiring, address and speed"
            ) from error
        if answer.isError():
            code = answer.exception_code
            name = EXCEPTIONS.get(code, "not in the standard")
            raise ModbusDeviceError(f"{where}: the device refused with code {code}, {name}", code)
        if len(answer.registers) != count:
            self.close()
            raise ModbusError(f"{where}: the answer has {len(answer.registers)} registers")
        return list(answer.registers)

    def command_by_reading(self, device: int, address: int) -> None:
        """Send a read request with count 0, by which some sensors start or stop to measure.

        Raises
        ------
        ModbusError
            If the device does not answer.

        """
        request = _CommandByReading(address=address, count=0, dev_id=device)
        try:
            with self._lock:
                self.requests += 1
                answer = self._client.execute(False, request)
        except (ModbusException, OSError, ValueError, struct.error, IndexError) as error:
            self.close()
            raise ModbusError(
                f"{self.address}, device {device}: no answer to command {address:#06x} ({error})"
            ) from error
        if answer.isError():
            code = answer.exception_code
            raise ModbusDeviceError(
                f"{self.address}, device {device}: command {address:#06x} was refused with code {code}", code
            )

    def close(self) -> None:
        """Close the line; the next request opens it again."""
        with self._lock:
            self._client.close()  # type: ignore[no-untyped-call]


_BUSES: WeakValueDictionary[str, ModbusBus] = WeakValueDictionary()
_BUSES_LOCK = threading.Lock()


def shared_bus(address: str, *, timeout_s: float = 1.0) -> ModbusBus:
    """Return the bus of an address: the same one for all drivers that are in use."""
    with _BUSES_LOCK:
        bus = _BUSES.get(address)
        if bus is None:
            _BUSES[address] = bus = ModbusBus(address, timeout_s=timeout_s)
        return bus


def _client(address: str, timeout_s: float) -> ModbusTcpClient | ModbusSerialClient:
    try:
        url = urlsplit(address)
        query = {
            key: values[-1] for key, values in parse_qs(url.query, strict_parsing=bool(url.query)).items()
        }
        if url.scheme in {"tcp", "rtu+tcp"} and url.hostname and not query:
            framer = FramerType.SOCKET if url.scheme == "tcp" else FramerType.RTU
            return ModbusTcpClient(
                url.hostname, port=url.port or 502, framer=framer, timeout=timeout_s, retries=RETRIES
            )
        if url.scheme == "rtu" and url.path and set(query) <= {"baud", "parity", "stopbits", "bytesize"}:
            return ModbusSerialClient(
                url.path,
                baudrate=int(query.get("baud", "9600")),
                parity=query.get("parity", "N"),
                stopbits=int(query.get("stopbits", "1")),
                bytesize=int(query.get("bytesize", "8")),
                timeout=timeout_s,
                retries=RETRIES,
            )
    except ValueError as error:
        raise DriverOptionsError(f"Modbus address {address!r}: {error}") from error
    raise DriverOptionsError(
        f"Modbus address {address!r}: use tcp://host:502, rtu+tcp://host:port or "
        "rtu:///dev/ttyUSB0?baud=9600&parity=N&stopbits=1"
    )
