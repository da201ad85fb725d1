"""Builds the demo's field devices from what is enrolled of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.agent_fleet import FleetMember
from deploy.demo.field_devices.enrolment import STATIONS_FILE, directory
from deploy.demo.field_devices.simulated_values import SimulatedValues

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.demo.field_devices.upload_station import UploadStation

SONDE, STATION, COUNTER = "330483-d1-m01", "330402-d1-h01", "330421-d1-c01"
SERVER, SERVER_AREA = "330402-d1-h00", "330402-d1"
SERVER_SPOOL = "hj212.spool"  # in the folder of the devices' spools


def instruments(*, seed: int) -> list[FleetMember]:
    """Return the sonde and the counter as devices of a fleet."""
    # Their libraries are imported by the demo alone.
    from deploy.demo.field_devices.modbus_sonde import ModbusSonde  # noqa: PLC0415
    from deploy.demo.field_devices.passing_vehicles import EFFECTIVE_LENGTH_M, PassingVehicles  # noqa: PLC0415
    from edge.drivers.traffic_counter import TrafficCounter  # noqa: PLC0415
    from edge.drivers.traffic_period import TrafficAggregator  # noqa: PLC0415

    interval_s = _interval_s(SONDE)
    sonde = ModbusSonde(_values(SONDE, seed).at, _quantities(SONDE), interval_s=interval_s)
    vehicles = _values(COUNTER, seed, site="road_section")
    counter = TrafficCounter(
        lambda: PassingVehicles(vehicles.at, seed=seed),
        TrafficAggregator(effective_length_m=EFFECTIVE_LENGTH_M),
        period_s=_interval_s(COUNTER),
    )
    areas = {one.device_id: one.area_id for one in directory().devices}
    return [FleetMember(areas[SONDE], SONDE, sonde), FleetMember(areas[COUNTER], COUNTER, counter)]


def hj212_station(*, seed: int, port: int, spools: Path) -> UploadStation:
    """Return the station, which uploads to the HJ 212 server at a port of loopback."""
    from deploy.demo.field_devices.upload_station import UploadStation  # noqa: PLC0415
    from gateway.hj212.stations import read_stations  # noqa: PLC0415

    (station,) = read_stations(STATIONS_FILE).values()
    return UploadStation(
        station,
        _values(STATION, seed).at,
        _quantities(STATION),
        interval_s=_interval_s(STATION),
        port=port,
        spool=spools / f"{STATION}.uploads",
        server_spool=spools / SERVER_SPOOL,
    )


def _values(device: str, seed: int, site: str = "river_section") -> SimulatedValues:
    return SimulatedValues(_quantities(device), site, interval_s=_interval_s(device), seed=seed)


def _quantities(device: str) -> tuple[str, ...]:
    return tuple(one.quantity for one in directory().channels if one.device_id == device)


def _interval_s(device: str) -> float:
    """Return the interval of the device, whose id is also that of its site [s]."""
    return next(one.interval_s for one in directory().series if one.site_id == device)
