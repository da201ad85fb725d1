"""Runs fake Modbus instruments: pymodbus servers over TCP and over a serial line."""

from __future__ import annotations

import asyncio
import struct
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from tests.support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymodbus.pdu import ModbusPDU


def float_words(value: float, byte_order: str = "ABCD") -> list[int]:
    """Return the two registers of a 32-bit float, in big-endian (ABCD) or little-endian order (DCBA)."""
    data = struct.pack(">f" if byte_order == "ABCD" else "<f", value)
    return list(struct.unpack(">HH", data))


def device(
    holding: dict[int, list[int]],
    *,
    inputs: dict[int, list[int]] | None = None,
    number: int = 1,
    fill: int = 0,
) -> SimDevice:
    """Return an instrument; of ``holding`` and ``inputs`` addresses without registers are refused.

    Parameters
    ----------
    holding, inputs : address -> registers from there
    number : address on the line
    fill : number of holding registers, from 0, that exist and are 0 where ``holding`` has none

    """

    def block(registers: dict[int, list[int]], filled: int) -> list[SimData]:
        words = dict.fromkeys(range(filled), 0)
        words |= {at + index: word for at, ones in registers.items() for index, word in enumerate(ones)}
        return [SimData(at, values=word, datatype=DataType.REGISTERS) for at, word in sorted(words.items())]

    unused = [SimData(0, values=False, datatype=DataType.BITS)]
    blocks = (unused, unused, block(holding, fill), block(inputs or {0: [0]}, 0))
    return SimDevice(number, simdata=blocks)


class RequestCounter:
    """Counts the requests that a server receives."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, sending: bool, pdu: ModbusPDU) -> ModbusPDU:  # noqa: FBT001 - as pymodbus calls it
        """Count a request; an answer passes."""
        self.count += not sending
        return pdu


@contextmanager
def _running(create: Callable[[], Any]) -> Iterator[Any]:
    """Run a server in a loop and a thread of its own while the context lasts."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> Any:
        server = create()
        await server.serve_forever(background=True)
        return server

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.shutdown(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def tcp_instrument(*devices: SimDevice, counter: RequestCounter | None = None) -> Iterator[str]:
    """Yield the address of a Modbus TCP server with some devices."""

    def create() -> ModbusTcpServer:
        return ModbusTcpServer(list(devices), address=("127.0.0.1", 0), trace_pdu=counter)

    with _running(create) as server:
        wait_until(lambda: server.transport is not None, within_s=30, what="the Modbus server listens")
        port = server.transport.sockets[0].getsockname()[1]
        yield f"tcp://127.0.0.1:{port}"


@contextmanager
def rtu_instrument(
    terminal: str, *devices: SimDevice, counter: RequestCounter | None = None
) -> Iterator[None]:
    """Run a Modbus RTU server at a terminal."""
    with _running(lambda: ModbusSerialServer(list(devices), port=terminal, baudrate=9600, trace_pdu=counter)):
        yield
