"""Runs a Modbus TCP server with the registers of a sonde, and the edge agent's driver that reads them."""

from __future__ import annotations

import asyncio
import struct
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edge.drivers import register_map
from edge.drivers.registry import DRIVERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from edge.drivers import Pack
    from edge.drivers.register_map import RegisterMap

MAP = "ysi_exo"
DEVICE = 1
SET_REGISTERS = 16  # function code
START_S = 10.0


class ModbusSonde:
    """Driver of a simulated sonde: its own Modbus server, read by the Modbus driver over TCP.

    Parameters
    ----------
    measure : returns the values by quantity at a time [Unix s], in the units of the sonde's registers
    quantities : registers that are read, which also are the channels
    interval_s : between two readings [s]

    """

    perishable = True

    def __init__(
        self, measure: Callable[[float], Mapping[str, float]], quantities: Sequence[str], *, interval_s: float
    ) -> None:
        self._measure, self._quantities, self._interval_s = measure, tuple(quantities), interval_s

    def packs(self) -> Iterator[Pack | None]:
        """Yield what the driver read from the sonde, None if there is nothing yet; does not end."""
        sonde = register_map.load_map(MAP)
        with _running_server(sonde) as server:
            options = {
                "bus": f"tcp://127.0.0.1:{server.port}",
                "map": MAP,
                "device": DEVICE,
                "channels": {name: name for name in self._quantities},
                "interval_s": self._interval_s,
            }
            packs = iter(DRIVERS["modbus"](options, Path()).packs())
            while True:
                server.set_values(self._measure(time.time()))
                yield next(packs)


class _SondeServer:
    """The running server; ``port`` is the one that it listens on."""

    def __init__(self, sonde: RegisterMap, server: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._server, self._loop = server, loop
        self._address = {one.name: sonde.address(one) for one in sonde.registers}
        self.port: int = server.transport.sockets[0].getsockname()[1]

    def set_values(self, values: Mapping[str, float]) -> None:
        """Set registers by their names."""

        async def set_all() -> None:
            for name, value in values.items():
                words = list(struct.unpack(">HH", struct.pack(">f", value)))
                await self._server.async_setValues(DEVICE, SET_REGISTERS, self._address[name], words)

        asyncio.run_coroutine_threadsafe(set_all(), self._loop).result(START_S)


@contextmanager
def _running_server(sonde: RegisterMap) -> Iterator[_SondeServer]:
    """Run a server with the registers of a map, on loopback and a free port, in a thread of its own."""
    last = max(sonde.address(one) + one.length for one in sonde.registers)
    unused = [SimData(0, values=False, datatype=DataType.BITS)]
    registers = [SimData(0, count=last, values=0, datatype=DataType.REGISTERS)]
    device = SimDevice(DEVICE, simdata=(unused, unused, registers, registers))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="modbus sonde", daemon=True)
    thread.start()

    async def start() -> Any:  # the library types neither its transport nor its end
        server = ModbusTcpServer(device, address=("127.0.0.1", 0))
        await server.serve_forever(background=True)
        return server

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(START_S)
    try:
        yield _SondeServer(sonde, server, loop)
    finally:
        asyncio.run_coroutine_threadsafe(server.shutdown(), loop).result(START_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(START_S)
        loop.close()
