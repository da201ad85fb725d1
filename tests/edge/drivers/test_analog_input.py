"""Tests analogue inputs with a converter that keeps the registers of an ADS1115."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.drivers.analog_input import AnalogInputError, AnalogInputOptions, AnalogInputs, scale_current
from edge.drivers.driver_options import DriverOptionsError
from edge.drivers.polling import PollingDriver
from edge.drivers.registry import DRIVERS

if TYPE_CHECKING:
    from collections.abc import Sequence

LEVEL = {"channel": "water_level", "input": 0, "unit": "m", "low": 0.0, "high": 5.0}
TEMPERATURE = {
    "channel": "water_temperature", "input": 1, "unit": "°C", "low": -20.0, "high": 60.0, "shunt_ohm": None,
    "low_volt": 0.0, "high_volt": 2.0,
}  # fmt: skip


class Ads1115:
    """Converts by its configuration register: input, gain and start bit as the data sheet has them."""

    def __init__(self, *volt: float, finishes: bool = True) -> None:
        self._volt, self._finishes = volt, finishes
        self._registers = {0: 0, 1: 0x8583}

    def write_i2c_block_data(self, i2c_addr: int, register: int, data: Sequence[int]) -> None:
        assert i2c_addr == 0x48
        config = int.from_bytes(bytes(data), "big")
        self._registers[register] = config & 0x7FFF
        assert config >> 15 == 1
        assert config >> 8 & 1 == 1  # single conversions
        number = (config >> 12 & 7) - 4
        full_scale = {0: 6.144, 1: 4.096, 2: 2.048}[config >> 9 & 7]
        steps = round(self._volt[number] / full_scale * 32768)
        self._registers[0] = max(-32768, min(32767, steps)) & 0xFFFF

    def read_i2c_block_data(self, i2c_addr: int, register: int, length: int) -> list[int]:
        assert (i2c_addr, length) == (0x48, 2)
        value = self._registers[register]
        self._registers[1] |= 0x8000 if self._finishes else 0
        return list(value.to_bytes(2, "big"))


def read_once(bus: Ads1115) -> tuple[dict[str, float | None], list[str]]:
    options = msgspec.convert({"channels": [LEVEL, TEMPERATURE]}, AnalogInputOptions)
    faults: list[str] = []
    driver = PollingDriver(
        AnalogInputs(lambda: bus, options).read, name="converter", interval_s=60, on_fault=faults.append
    )
    pack = next(one for one in driver.packs())
    return {one.name: one.value for one in pack.records} if pack else {}, faults


def test_a_current_and_a_voltage_are_scaled() -> None:
    values, faults = read_once(Ads1115(0.150 * 12.0, 1.0))
    assert values == {
        "water_level": pytest.approx(2.5, abs=1e-3),
        "water_temperature": pytest.approx(20, abs=0.01),
    }
    assert faults == []


def test_a_broken_wire_is_a_fault_and_the_other_channel_is_still_read() -> None:
    values, faults = read_once(Ads1115(0.0, 1.0))
    assert list(values) == ["water_temperature"]
    assert "water_level: 0.0 mA" in faults[0]


def test_a_converter_that_does_not_finish_is_a_fault() -> None:
    values, faults = read_once(Ads1115(1.8, 1.0, finishes=False))
    assert values == {}
    assert "does not finish" in faults[0]


@given(st.floats(0, 30), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_currents_are_scaled_linearly_or_refused(current_ma: float, low: float, high: float) -> None:
    if 3.6 <= current_ma <= 21.0:
        share = (scale_current(current_ma, low, high) - low) / 1e6
        assert share == pytest.approx((current_ma - 4) / 16 * (high - low) / 1e6, abs=1e-6)
    else:
        with pytest.raises(AnalogInputError):
            scale_current(current_ma, low, high)


@pytest.mark.parametrize("change", [{"input": 4}, {"shunt_ohm": 0.0}, {"unit": "pH"}])
def test_wrong_options_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(DriverOptionsError):
        DRIVERS["analog_input"]({"channels": [LEVEL | change]})
