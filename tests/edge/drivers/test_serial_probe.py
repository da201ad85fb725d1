"""Tests probes at a serial port, over a pseudo-terminal: Atlas EZO circuits and SDI-12 sensors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from edge.drivers.driver_options import DriverOptionsError
from edge.drivers.registry import DRIVERS
from edge.drivers.serial_probe import sdi12_crc
from tests.support.pseudo_terminals import serial_instrument

if TYPE_CHECKING:
    from collections.abc import Callable

VALUES = [{"channel": "ph", "unit": "pH"}, {"channel": "water_temperature", "unit": "°C"}]


def read_probe(
    answer: Callable[[bytes], bytes], *, readings: int = 1, **options: Any
) -> tuple[list[dict[str, float | None]], list[str]]:
    """Return the values of some readings that gave records, or the faults of those that failed."""
    with serial_instrument(answer) as terminal:
        driver: Any = DRIVERS["serial_probe"](
            {"port": terminal, "values": VALUES, "interval_s": 0.001} | options
        )
        faults: list[str] = []
        driver.on_fault = faults.append
        packs = driver.packs()
        found: list[dict[str, float | None]] = []
        while len(found) + driver.faults < readings:
            pack = next(packs)
            found += [{one.name: one.value for one in pack.records}] if pack else []
        packs.close()
    return found, faults


class EzoCircuit:
    """Answers as an EZO circuit in UART mode."""

    def __init__(self, *answers: bytes) -> None:
        self._answers = list(answers)

    def __call__(self, received: bytes) -> bytes:
        if not received.endswith(b"\r"):
            return b""
        return self._answers.pop(0) if received == b"R\r" else b"*ER\r"


def test_readings_of_an_atlas_circuit_with_and_without_response_codes() -> None:
    circuit = EzoCircuit(b"7.12,19.5\r*OK\r", b"*RE\r*WA\r7.13,19.6\r", b"7.14,19.7\r")
    found, faults = read_probe(circuit, protocol="atlas", readings=3)
    assert found == [{"ph": ph, "water_temperature": temperature} for ph, temperature in
                     ((7.12, 19.5), (7.13, 19.6), (7.14, 19.7))]  # fmt: skip
    assert faults == []


@pytest.mark.parametrize(
    ("answer", "part"),
    [
        (b"*ER\r", "does not know the command"),
        (b"*UV\r", "too low"),
        (b"7.1\r", "1 values"),
        (b"nan,nan\r", "not finite"),
        (b"\xff\xfe\r", "not numbers"),
    ],
)
def test_what_is_no_reading_is_a_fault_and_the_next_reading_is_taken(answer: bytes, part: str) -> None:
    found, faults = read_probe(EzoCircuit(answer, b"7.1,20\r"), protocol="atlas", readings=2)
    assert found == [{"ph": 7.1, "water_temperature": 20.0}]
    assert part in faults[0]
    assert "read again" in faults[1]


def test_a_value_that_means_missing_is_left_out() -> None:
    values = [VALUES[0], VALUES[1] | {"missing": [-1023.0]}]  # an RTD circuit without its probe
    found, _ = read_probe(EzoCircuit(b"7.1,-1023.000\r"), protocol="atlas", values=values)
    assert found == [{"ph": 7.1}]


def test_a_probe_that_is_silent_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.drivers.serial_probe.ATLAS_ANSWER_S", 0.05)
    _, faults = read_probe(lambda _received: b"", protocol="atlas")
    assert "does not answer" in faults[0]


class Sdi12Sensor:
    """Answers as a sensor at a transparent adapter; ``service`` follows the answer to aM! at once."""

    def __init__(self, header: str, *pages: str, service: bool = False, crc: bool = False) -> None:
        self._header, self._pages, self._service, self._crc = header, pages, service, crc
        self.commands: list[str] = []

    def __call__(self, received: bytes) -> bytes:
        found = re.fullmatch(rb"3(MC?|D(\d))!", received)
        if found is None:
            return b""
        self.commands.append(found[1].decode())
        if found[2] is None:
            return f"3{self._header}\r\n{'3' * self._service}\r\n".encode()
        page = "3" + self._pages[int(found[2])]
        return f"{page}{sdi12_crc(page) if self._crc else ''}\r\n".encode()


@pytest.mark.parametrize(
    ("sensor", "command"),
    [
        (Sdi12Sensor("0002", "+7.12+19.5"), "M"),
        (Sdi12Sensor("0302", "+7.12", "+19.5", service=True), "M"),  # 30 s announced, done at once
        (Sdi12Sensor("0002", "+7.12+19.5", crc=True), "MC"),
    ],
)
def test_a_measurement_of_an_sdi12_sensor(sensor: Sdi12Sensor, command: str) -> None:
    found, faults = read_probe(sensor, protocol="sdi12", address="3", command=command)
    assert found == [{"ph": 7.12, "water_temperature": 19.5}]
    assert faults == []
    assert sensor.commands[0] == command


@pytest.mark.parametrize(
    ("sensor", "command", "part"),
    [
        (Sdi12Sensor("0002", "+7.12+19.5"), "MC", "wrong CRC"),
        (Sdi12Sensor("0002", ""), "M", "announced 2 values and gave 0"),
        (Sdi12Sensor("02", "+1"), "M", "not time and number"),
        (Sdi12Sensor("0002", "+7.1x"), "M", "not values"),
    ],
)
def test_a_wrong_answer_of_an_sdi12_sensor_is_a_fault(sensor: Sdi12Sensor, command: str, part: str) -> None:
    found, faults = read_probe(sensor, protocol="sdi12", address="3", command=command)
    assert found == []
    assert part in faults[0]


def test_the_agent_is_not_held_up_while_a_sensor_measures() -> None:
    with serial_instrument(Sdi12Sensor("9992", "+7.12+19.5")) as terminal:
        driver: Any = DRIVERS["serial_probe"]({
            "port": terminal, "protocol": "sdi12", "address": "3", "values": VALUES,
        })  # fmt: skip
        packs = driver.packs()
        assert [next(packs) for _ in range(3)] == [None] * 3
        packs.close()


@pytest.mark.parametrize(
    "options",
    [{"address": "ä"}, {"command": "R"}, {"values": []}, {"values": [{"channel": "ph", "unit": "m"}]}],
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(DriverOptionsError):
        DRIVERS["serial_probe"]({"port": "/dev/x", "protocol": "sdi12", "values": VALUES} | options)
