"""Tests the Modbus driver against real servers, over TCP and over a serial line."""

from __future__ import annotations

import math
import struct
import threading
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU

from edge.drivers import modbus_bus, register_map
from edge.drivers.driver_options import DriverOptionsError
from edge.drivers.float32 import shortest_float32
from edge.drivers.measured_record import measured_record
from edge.drivers.registry import DRIVERS
from tests.support.modbus_instruments import (
    RequestCounter,
    device,
    float_words,
    rtu_instrument,
    tcp_instrument,
)
from tests.support.pseudo_terminals import serial_instrument, terminal_pair

if TYPE_CHECKING:
    from pathlib import Path

    from edge.drivers.polling import PollingDriver
    from edge.wire.senml import Record

EXO = {397: 8.25, 405: 12.34, 409: 7.32, 413: 512.0}
EXO_WORDS = {address: float_words(value) for address, value in EXO.items()}
EXO_RECORDS = {
    "dissolved_oxygen": (0.00825, "kg/m3"),
    "turbidity": (12.34, "NTU"),
    "water_temperature": (7.32, "Cel"),
    "conductivity": (0.0512, "S/m"),
}


def open_driver(**options: Any) -> tuple[PollingDriver, list[str]]:
    driver: Any = DRIVERS["modbus"](options)
    faults: list[str] = []
    driver.on_fault = faults.append
    return driver, faults


def first_records(driver: PollingDriver) -> list[Record]:
    pack = next(driver.packs())
    return pack.records if pack else []


def values_and_units(records: list[Record]) -> dict[str, tuple[float | None, str | None]]:
    return {one.name: (one.value, one.unit) for one in records}


def test_a_sonde_is_read_over_tcp_in_wire_units() -> None:
    with tcp_instrument(device(EXO_WORDS, fill=420)) as bus:
        driver, faults = open_driver(bus=bus, map="ysi_exo")
        assert values_and_units(first_records(driver)) == EXO_RECORDS
        assert faults == []


def test_a_sonde_is_read_over_a_serial_line() -> None:
    with terminal_pair() as (near, far), rtu_instrument(far, device(EXO_WORDS, fill=420, number=7)):
        driver, faults = open_driver(bus=f"rtu://{near}?baud=9600", map="ysi_exo", device=7)
        assert values_and_units(first_records(driver)) == EXO_RECORDS
        assert faults == []


def test_neighbouring_registers_need_at_least_70_percent_fewer_requests() -> None:
    every = {one.name: one.name for one in register_map.load_map("ysi_exo").registers}
    counts = {}
    for max_hole in (0, register_map.MAX_HOLE):
        counter = RequestCounter()
        with tcp_instrument(device(EXO_WORDS, fill=420), counter=counter) as bus:
            driver, _ = open_driver(bus=bus, map="ysi_exo", channels=every, max_hole=max_hole)
            assert len(first_records(driver)) == len(every)
        counts[max_hole] = counter.count
    single = len(every)  # without grouping each register is a request
    assert counts[register_map.MAX_HOLE] <= 0.3 * single
    assert counts[register_map.MAX_HOLE] < counts[0] < single


def test_holes_that_a_device_refuses_are_read_around_from_then_on() -> None:
    counter = RequestCounter()
    with tcp_instrument(device(EXO_WORDS), counter=counter) as bus:
        driver, faults = open_driver(bus=bus, map="ysi_exo", interval_s=0.01)
        packs = driver.packs()
        assert values_and_units(first_records(driver)) == EXO_RECORDS
        first = counter.count
        assert next(packs) is not None
        assert counter.count == 2 * first - 1  # the refused request is not repeated
        assert faults == []


def test_input_registers_and_missing_values() -> None:
    words = {2: [0xFFFF, 0xFFFF], 6: float_words(21.5), 0: [0, 0], 4: [0, 0]}
    with tcp_instrument(device({0: [0]}, inputs=words)) as bus:
        driver, faults = open_driver(bus=bus, map="ysi_odo")
        assert values_and_units(first_records(driver)) == {"water_temperature": (21.5, "Cel")}
        assert faults == []


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
@example(7.320000171661377)
@example(struct.unpack("<f", b"\xff\xff\x7f\x7f")[0])
def test_a_32_bit_float_becomes_the_shortest_decimal_of_the_same_float(value: float) -> None:
    shortest = shortest_float32(value)
    assert struct.pack("<f", shortest) == struct.pack("<f", value)
    expected = value if value.is_integer() else float(str(np.float32(value)))
    assert shortest == expected, "NumPy writes a 32-bit float so, too"


def test_a_value_that_means_missing_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "logger.toml"
    path.write_text(
        'model = "logger"\nsource = "its manual"\nbase = 30001\nfunction = 4\n'
        '[[registers]]\nname = "water_level"\nnumber = 30001\ntype = "INT16"\nunit = "mm"\n'
        "missing = [-32768]\n"
        '[[registers]]\nname = "ph"\nnumber = 30002\ntype = "UINT16"\nunit = "pH"\nscale = 0.01\n'
    )
    with tcp_instrument(device({0: [0]}, inputs={0: [0x8000, 712]})) as bus:
        driver, _ = open_driver(bus=bus, map=str(path))
        assert {one.name: one.value for one in first_records(driver)} == pytest.approx({"ph": 7.12})


def test_faults_are_reported_once_and_end_no_driver() -> None:
    with tcp_instrument(device({0: [0]})) as bus:
        driver, faults = open_driver(bus=bus, map="ysi_exo", interval_s=0.001)
        packs = driver.packs()
        assert {next(packs) for _ in range(20)} == {None}
    assert len(faults) == 1
    assert "illegal data address" in faults[0]
    assert driver.faults > 1


def test_a_line_that_is_down_is_reported() -> None:
    driver, faults = open_driver(bus="tcp://127.0.0.1:9", map="ysi_exo", timeout_s=0.2)
    assert next(driver.packs()) is None
    assert "no valid answer" in faults[0]


def test_a_silent_instrument_does_not_hold_up_the_agent() -> None:
    with serial_instrument(lambda _received: b"") as terminal:
        driver, faults = open_driver(bus=f"rtu://{terminal}", map="ysi_exo", timeout_s=0.05)
        assert next(driver.packs()) is None
    assert "no valid answer" in faults[0]


@pytest.mark.parametrize("answer", [b"\x00" * 9, b"\x01\x03\x02\x00\x00\x00\x00", b"\x01\x83", b"x" * 300])
def test_bytes_that_are_no_answer_are_a_fault(answer: bytes) -> None:
    with serial_instrument(lambda _received: answer) as terminal:
        driver, faults = open_driver(bus=f"rtu://{terminal}", map="ysi_exo", timeout_s=0.05)
        assert next(driver.packs()) is None
    assert len(faults) == 1


class Yosemitech:
    """A sensor that answers only requests for values once it was started by a request with count 0."""

    def __init__(self) -> None:
        self.commands: list[int] = []

    def __call__(self, received: bytes) -> bytes:
        if len(received) < 8:
            return b""
        number, function, address, count = struct.unpack(">BBHH", received[:6])
        if count == 0:
            self.commands.append(address)
            content = b"\x00"
        elif 0x2500 in self.commands:
            words = float_words(19.5, "DCBA") + float_words(0.875, "DCBA")
            content = struct.pack(f">B{count}H", 2 * count, *words[:count])
        else:
            return b""
        body = bytes((number, function)) + content
        return body + struct.pack(">H", FramerRTU.compute_CRC(body))


def test_a_sensor_that_has_to_be_started_is_started_once() -> None:
    sensor = Yosemitech()
    sonde = register_map.load_map("yosemitech_y504")
    with serial_instrument(sensor) as terminal:
        driver, faults = open_driver(
            bus=f"rtu://{terminal}", map="yosemitech_y504", interval_s=0.1, timeout_s=0.3
        )
        reader: Any = driver._read.__self__  # type: ignore[attr-defined]
        reader._map = msgspec.structs.replace(sonde, settle_s=0.05)
        packs = driver.packs()
        records = [pack.records for pack in (next(packs) for _ in range(8)) if pack]
        packs.close()  # type: ignore[attr-defined]
    assert values_and_units(records[0]) == {
        "water_temperature": (19.5, "Cel"),
        "dissolved_oxygen_saturation": (87.5, "%"),
    }
    assert len(records) >= 2
    assert sensor.commands == [0x2500, 0x2E00]
    assert faults == []


def test_two_drivers_of_a_line_share_its_client_and_their_answers_do_not_mix() -> None:
    devices = [device({0: float_words(number)}, number=number) for number in (1, 2)]
    with terminal_pair() as (near, far), rtu_instrument(far, *devices):
        buses = [modbus_bus.shared_bus(f"rtu://{near}") for _ in (1, 2)]
        assert buses[0] is buses[1]
        found: dict[int, list[list[int]]] = {1: [], 2: []}

        def read(number: int) -> None:
            for _ in range(10):
                found[number].append(buses[0].read(number, 3, 0, 2))

        threads = [threading.Thread(target=read, args=(number,)) for number in found]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        buses[0].close()
    assert found == {number: [float_words(number)] * 10 for number in (1, 2)}


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"map": "ysi_exo"}, "bus"),
        ({"bus": "tcp://127.0.0.1", "map": "exo"}, "in_situ_aqua_troll"),
        ({"bus": "127.0.0.1:502", "map": "ysi_exo"}, "tcp://host:502"),
        ({"bus": "rtu:///dev/null?baud=fast", "map": "ysi_exo"}, "fast"),
        ({"bus": "tcp://127.0.0.1", "map": "ysi_exo", "device": 248}, "248"),
        ({"bus": "tcp://127.0.0.1", "map": "ysi_exo", "channels": {"oxygen": "do"}}, "oxygen"),
        ({"bus": "tcp://127.0.0.1", "map": "ysi_exo", "intervals": 3}, "intervals"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], part: str) -> None:
    with pytest.raises(DriverOptionsError, match=part):
        DRIVERS["modbus"](options)


@pytest.mark.parametrize("name", register_map.shipped_maps())
def test_each_shipped_map_names_its_source_and_fits_units(name: str) -> None:
    sonde = register_map.load_map(name)
    assert len(sonde.source) > 20
    for one in sonde.registers:
        assert measured_record(one.name, 1.0, one.unit, 0.0) is not None


@given(
    st.sampled_from(sorted(register_map.FORMATS)),
    st.sampled_from(["ABCD", "DCBA", "BADC", "CDAB"]),
    st.data(),
)
def test_any_words_are_decoded_as_by_reordering_their_bytes(
    kind: Any, order: Any, data: st.DataObject
) -> None:
    length = max(1, struct.calcsize(">" + register_map.FORMATS[kind]) // 2)
    words = data.draw(st.lists(st.integers(0, 0xFFFF), min_size=length, max_size=length))
    letters = {
        "ABCD": lambda one: one,
        "DCBA": lambda one: one[::-1],
        "BADC": lambda one: b"".join(one[at : at + 2][::-1] for at in range(0, len(one), 2)),
        "CDAB": lambda one: b"".join(one[at : at + 2] for at in range(len(one) - 2, -2, -2)),
    }
    big_endian = letters[order](struct.pack(f">{length}H", *words))  # type: ignore[no-untyped-call]
    part = {"L": big_endian[-1:], "H": big_endian[:1]}.get(kind[-1] if "8" in kind else "", big_endian)
    (expected,) = struct.unpack(">" + register_map.FORMATS[kind], part)
    found = register_map.decode_words(words, kind, order)
    assert found == expected or (math.isnan(found) and math.isnan(expected))


@given(st.sets(st.integers(0, 2000), min_size=1, max_size=30), st.integers(0, 60))
def test_each_register_is_in_exactly_one_request_within_the_limits(numbers: set[int], max_hole: int) -> None:
    registers = tuple(register_map.Register(name=f"r{one}", number=one) for one in numbers)
    sonde = register_map.RegisterMap(model="m", source="s", registers=registers)
    batches = register_map.group_registers(sonde, registers, max_hole=max_hole)
    assert sorted(one.name for batch in batches for one in batch.registers) == sorted(
        one.name for one in registers
    )
    for batch in batches:
        assert batch.count <= register_map.MAX_REGISTERS
        assert all(
            batch.address <= one.number and one.number + 2 <= batch.address + batch.count
            for one in batch.registers
        )
