"""Registry of the drivers of live instruments: kind -> function that creates a driver from its options.

A driver's module is imported when a driver of its kind is created, so that an agent needs only the libraries
of the drivers that it uses.
"""

from __future__ import annotations

import importlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge.drivers import Driver


def _imported_when_used(module: str) -> Callable[[dict[str, Any]], Driver]:
    def create(options: dict[str, Any]) -> Driver:
        driver: Driver = importlib.import_module(f"edge.drivers.{module}").create(options)
        return driver

    return create


DRIVERS: Mapping[str, Callable[[dict[str, Any]], Driver]] = MappingProxyType({
    "analog_input": _imported_when_used("analog_input"),
    "http_counter": _imported_when_used("http_counter"),
    "modbus": _imported_when_used("modbus_driver"),
    "serial_probe": _imported_when_used("serial_probe"),
    "traffic_counter": _imported_when_used("traffic_counter"),
})  # fmt: skip
"""Kind, as in a site file -> factory; it raises `DriverOptionsError`."""
