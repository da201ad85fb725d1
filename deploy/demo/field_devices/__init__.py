"""Runs three devices of the demo as real instruments: a Modbus sonde, an HJ 212 station, a pulse counter.

What they measure is simulated, the way to the platform is not: registers are read over TCP by the Modbus
driver, uploads go over TCP to `towntwin hj212`, and vehicles are counted from the edges of a detector. They
measure from the start of the demo in real time, beside the towns whose history is played.
"""

from deploy.demo.field_devices.enrolment import STATIONS_FILE, directory
from deploy.demo.field_devices.instruments import (
    SERVER,
    SERVER_AREA,
    SERVER_SPOOL,
    hj212_station,
    instruments,
)

__all__ = [
    "SERVER",
    "SERVER_AREA",
    "SERVER_SPOOL",
    "STATIONS_FILE",
    "directory",
    "hj212_station",
    "instruments",
]
