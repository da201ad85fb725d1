"""The demo's field devices: what is simulated arrives through the instruments' real ways."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING

import pytest

from deploy import demo
from deploy.demo import field_devices
from deploy.demo.field_devices.instruments import COUNTER, SONDE, STATION
from deploy.demo.field_devices.modbus_sonde import ModbusSonde
from deploy.demo.field_devices.passing_vehicles import EFFECTIVE_LENGTH_M, PassingVehicles
from deploy.demo.field_devices.simulated_values import SimulatedValues
from deploy.demo.field_devices.upload_station import UploadStation
from edge.agent.settings import Settings
from edge.agent.spool import Spool, SpoolEntry
from edge.drivers.traffic_counter import TrafficCounter
from edge.drivers.traffic_period import TrafficAggregator
from edge.wire.quantities import QUANTITIES, to_canonical
from gateway.hj212.stations import read_stations
from tests.support.processes import wait_until
from tests.support.upper_platform import UpperPlatformServer

if TYPE_CHECKING:
    from pathlib import Path

SONDE_VALUES = {"water_temperature": 11.25, "dissolved_oxygen": 7.5, "conductivity": 512.0, "turbidity": 9.5}


def test_they_are_enrolled_beside_the_towns_and_marked_as_simulated() -> None:
    known, towns = field_devices.directory(), demo.directory()
    assert {one.area_id for one in known.sites} == {one.area_id for one in towns.sites}
    assert not {one.site_id for one in known.sites} & {one.site_id for one in towns.sites}
    assert all(one.demo and "(demo)" in one.en and "(演示)" in one.zh for one in known.sites)
    devices = {one.device_id: one.area_id for one in known.devices}
    (station,) = read_stations(field_devices.STATIONS_FILE).values()
    assert (station.device, station.area) == (STATION, devices[STATION])
    assert devices[field_devices.SERVER] == field_devices.SERVER_AREA
    members = [(one.device, one.area) for one in field_devices.instruments(seed=1)]
    assert members == [(name, devices[name]) for name in (SONDE, COUNTER)]


def test_the_values_of_a_sonde_are_read_from_its_registers_over_tcp() -> None:
    packs = ModbusSonde(lambda _: SONDE_VALUES, list(SONDE_VALUES), interval_s=30.0).packs()
    pack = next(packs)
    packs.close()  # type: ignore[attr-defined]
    assert pack is not None
    read = {}
    for one in pack.records:
        conversion = to_canonical(QUANTITIES[one.name], one.unit)
        read[one.name] = (one.value or 0.0) * conversion.scale + conversion.offset
    assert read == pytest.approx(SONDE_VALUES)


def test_counted_vehicles_are_the_simulated_flow_and_speed() -> None:
    now = [1_790_000_000.0]

    def wait(seconds: float) -> None:
        now[0] += seconds

    vehicles = PassingVehicles(
        lambda _: {"traffic_flow": 600.0, "traffic_speed": 36.0}, seed=1, clock=lambda: now[0], wait=wait
    )
    counter = TrafficCounter(
        lambda: vehicles,
        TrafficAggregator(effective_length_m=EFFECTIVE_LENGTH_M),
        period_s=3600.0,
        clock=lambda: now[0],
        wait=wait,
    )
    pack = next(one for one in counter.packs() if one is not None)
    read = {one.name: one.value for one in pack.records}
    assert read["traffic_flow"] == pytest.approx(600 / 3600, rel=4 / math.sqrt(600))
    assert read["traffic_speed"] == pytest.approx(10.0, rel=1e-2)
    channels = {one.name for one in field_devices.directory().channels if one.device_id == COUNTER}
    assert set(read) == channels


def test_simulated_values_do_not_change_within_their_interval() -> None:
    values = SimulatedValues(["ph"], "river_section", interval_s=30.0, seed=1)
    start_s = (time.time() // 30 + 1) * 30
    assert values.at(start_s) == values.at(start_s + 29.9)
    assert 6 < values.at(start_s + 3600.0)["ph"] < 10


def test_a_station_counts_what_was_answered_and_waits_for_the_spool_of_the_server(tmp_path: Path) -> None:
    (station,) = read_stations(field_devices.STATIONS_FILE).values()
    server_spool = tmp_path / field_devices.SERVER_SPOOL
    spool = Spool.open(server_spool, Settings())
    with UpperPlatformServer() as server:
        one = UploadStation(
            station,
            lambda _: {"ph": 7.25, "dissolved_oxygen": 8.5},
            ("ph", "dissolved_oxygen"),
            interval_s=0.1,
            port=server.port,
            spool=tmp_path / "uploads",
            server_spool=server_spool,
        )
        stop = threading.Event()
        thread = threading.Thread(target=one.run, args=(stop,))
        thread.start()
        wait_until(lambda: one.counts().taken >= 4, within_s=20, what="two uploads are answered")
        spool.put([SpoolEntry(b"x", 2)])
        stop.set()
        time.sleep(0.5)
        assert thread.is_alive(), "the server has a message that is not published"
        spool.forget(spool.epoch, [(1, 1)])
        thread.join(30)
        counts = one.counts()
        uploads = len(server.uploads)
    spool.close()
    assert (counts.taken, counts.receipted, counts.waiting) == (2 * uploads, 2 * uploads, 0)
    assert server.problems == []
    upload = next(iter(server.uploads.values()))
    assert (upload.station, upload.command) == (station.station, "2011")
    assert "w01001-Rtd=7.25,w01001-Flag=N" in upload.content
    assert "w01009-Rtd=8.5,w01009-Flag=N" in upload.content
