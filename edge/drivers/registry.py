"""Registry of the drivers of live instruments: kind -> function that creates a driver from its options.

A driver's module is imported when a driver of its kind is created, so that an agent needs only the libraries
of the drivers that it uses.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge.drivers import Driver


class DriverFactory(Protocol):
    """Function that creates a driver from its table of a site file, without ``kind``."""

    def __call__(self, options: dict[str, Any], folder: Path = ...) -> Driver:
        """Create a driver; paths are relative to the folder of the site file."""
        ...


def _imported_when_used(module: str, *, package: str = "edge.drivers") -> DriverFactory:
    def create(options: dict[str, Any], folder: Path = Path()) -> Driver:
        driver: Driver = importlib.import_module(f"{package}.{module}").create(options, folder)
        return driver

    return create


DRIVERS: Mapping[str, DriverFactory] = MappingProxyType({
    "analog_input": _imported_when_used("analog_input"),
    "http_counter": _imported_when_used("http_counter"),
    "modbus": _imported_when_used("modbus_driver"),
    "mqtt": _imported_when_used("mqtt_driver"),
    "serial_probe": _imported_when_used("serial_probe"),
    "simulator": _imported_when_used("site_driver", package="edge.simulator"),
    "sparkplug": _imported_when_used("sparkplug_driver"),
    "traffic_counter": _imported_when_used("traffic_counter"),
})  # fmt: skip
"""Kind, as in a site file -> factory; it raises `DriverOptionsError`."""
