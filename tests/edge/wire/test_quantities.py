"""Tests the conversion of every quantity and unit; a new one without a case here fails."""

from __future__ import annotations

import pytest

from edge.wire.errors import UnitError
from edge.wire.quantities import QUANTITIES, to_canonical, to_wire

TEMPERATURE: dict[str, tuple[float, float]] = {
    "Cel": (20, 20),
    "°C": (20, 20),
    "degC": (20, 20),
    "K": (293.15, 20),
}
MASS = {
    "kg/m3": (0.0075, 7.5),
    "mg/L": (7.5, 7.5),
    "mg/l": (7.5, 7.5),
    "ug/L": (7500, 7.5),
    "ug/m3": (7.5e6, 7.5),
}
LENGTH = {"m": (1.5, 1.5), "cm": (150, 1.5), "mm": (1500, 1.5), "km": (0.0015, 1.5)}

# quantity -> unit -> (as sent, in the canonical unit)
CASES: dict[str, dict[str, tuple[float, float]]] = {
    "water_temperature": TEMPERATURE,
    "air_temperature": TEMPERATURE,
    "ph": {"pH": (7.2, 7.2)},
    "dissolved_oxygen": MASS,
    "ammonia_nitrogen": MASS,
    "permanganate_index": MASS,
    "total_phosphorus": MASS,
    "total_nitrogen": MASS,
    "conductivity": {"S/m": (0.05, 500), "µS/cm": (500, 500), "uS/cm": (500, 500), "mS/cm": (0.5, 500)},
    "chlorophyll_a": {"kg/m3": (1e-5, 10), "mg/m3": (10, 10), "µg/L": (10, 10), "ug/L": (10, 10)},
    "transparency": LENGTH,
    "turbidity": {"NTU": (12, 12), "FNU": (12, 12)},
    "water_level": LENGTH,
    "queue_length": LENGTH,
    "discharge": {"m3/s": (0.5, 0.5), "m³/s": (0.5, 0.5), "l/s": (500, 0.5), "m3/h": (1800, 0.5)},
    "water_velocity": {"m/s": (0.3, 0.3), "cm/s": (30, 0.3)},
    "rainfall": {"m/s": (1e-6, 3.6), "mm/h": (3.6, 3.6)},
    "traffic_flow": {"1/s": (0.5, 1800), "veh/h": (1800, 1800), "veh/min": (30, 1800)},
    "traffic_speed": {"m/s": (10, 36), "km/h": (36, 36), "mi/h": (36 / 1.609344, 36)},
    "occupancy": {"/": (0.12, 12), "%": (12, 12), "/100": (12, 12)},
}


def test_every_quantity_and_every_unit_has_a_case() -> None:
    assert {name: set(cases) for name, cases in CASES.items()} == {
        name: set(quantity.accepts) for name, quantity in QUANTITIES.items()
    }


@pytest.mark.parametrize(("name", "unit"), [(name, unit) for name, cases in CASES.items() for unit in cases])
def test_units_are_converted(name: str, unit: str) -> None:
    sent, canonical = CASES[name][unit]
    quantity = QUANTITIES[name]
    conversion = to_canonical(quantity, unit)
    assert sent * conversion.scale + conversion.offset == pytest.approx(canonical)
    on_the_wire = to_wire(quantity, sent, unit)
    wire = to_canonical(quantity, None)
    assert on_the_wire * wire.scale + wire.offset == pytest.approx(canonical)


@pytest.mark.parametrize("name", QUANTITIES)
def test_a_quantity_is_whole(name: str) -> None:
    quantity = QUANTITIES[name]
    assert quantity.name == name
    assert {quantity.unit, quantity.wire_unit} <= set(quantity.accepts)
    assert quantity.low < quantity.high
    assert quantity.resolution > 0
    assert quantity.domain in ("water", "weather", "traffic")
    assert quantity.en
    assert any("\u4e00" <= letter <= "\u9fff" for letter in quantity.zh)


def test_factor_codes_are_not_given_twice() -> None:
    codes = [one.hj212 for one in QUANTITIES.values() if one.hj212]
    assert len(codes) == len(set(codes))


def test_a_wrong_unit_is_a_sentence_that_names_the_right_ones() -> None:
    with pytest.raises(UnitError, match="ph can't be read in 'Cel': give one of pH"):
        to_canonical(QUANTITIES["ph"], "Cel")
