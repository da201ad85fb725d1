"""Registry of measured quantities: units, unit conversions, plausible ranges, codes and labels.

`QUANTITIES` maps names to frozen `Quantity` objects. The canonical unit is used in the database and on the
screens; SenML packs have ``wire_unit`` (RFC 8428 requires primary units), and `to_canonical` converts any
accepted unit to the canonical one. Factor codes: HJ 212-2017 table B.1 (turbidity: practice).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping  # noqa: TC003 - msgspec reads the annotation
from types import MappingProxyType

import msgspec

from edge.wire.errors import UnitError


class Conversion(msgspec.Struct, frozen=True):
    """canonical = value * scale + offset."""

    scale: float
    offset: float = 0.0


class Quantity(msgspec.Struct, frozen=True, kw_only=True):
    """One measured quantity.

    Attributes
    ----------
    name : identifier, snake case (``dissolved_oxygen``)
    symbol : as engineers write it (``DO``)
    unit : canonical unit, as it is shown (``mg/L``)
    wire_unit : SenML primary unit (``kg/m3``)
    accepts : SenML or field unit -> conversion to the canonical unit; contains ``wire_unit`` and ``unit``
    low, high : plausible physical range, canonical unit; a reading outside fails the gross range test
    resolution : smallest step reported by a typical sensor, canonical unit
    domain : ``water``, ``weather`` or ``traffic``
    hj212 : HJ 212 factor code, or None
    smart_data_model : attribute name of the Smart Data Models, or None
    en, zh : labels

    """

    name: str
    symbol: str
    unit: str
    wire_unit: str
    accepts: Mapping[str, Conversion]
    low: float
    high: float
    resolution: float
    domain: str
    hj212: str | None = None
    smart_data_model: str | None = None
    en: str
    zh: str


_CELSIUS = {
    "Cel": Conversion(1.0),
    "°C": Conversion(1.0),
    "degC": Conversion(1.0),
    "K": Conversion(1.0, -273.15),
}
_MG_PER_L = {
    "kg/m3": Conversion(1e3),
    "mg/L": Conversion(1.0),
    "mg/l": Conversion(1.0),
    "ug/L": Conversion(1e-3),
    "ug/m3": Conversion(1e-6),
}
_UG_PER_L = {
    "kg/m3": Conversion(1e6),
    "mg/m3": Conversion(1.0),
    "µg/L": Conversion(1.0),
    "ug/L": Conversion(1.0),
}
_US_PER_CM = {
    "S/m": Conversion(1e4),
    "µS/cm": Conversion(1.0),
    "uS/cm": Conversion(1.0),
    "mS/cm": Conversion(1e3),
}
_METRES = {"m": Conversion(1.0), "cm": Conversion(1e-2), "mm": Conversion(1e-3), "km": Conversion(1e3)}
_M3_PER_S = {
    "m3/s": Conversion(1.0),
    "m³/s": Conversion(1.0),
    "l/s": Conversion(1e-3),
    "m3/h": Conversion(1 / 3600),
}
_PER_CENT = {"/": Conversion(100.0), "%": Conversion(1.0), "/100": Conversion(1.0)}

_ALL = (
    Quantity(
        name="water_temperature", symbol="T", unit="°C", wire_unit="Cel", accepts=_CELSIUS, low=-2,
        high=45, resolution=0.1, domain="water", hj212="w01010", smart_data_model="temperature",
        en="water temperature", zh="水温",
    ),
    Quantity(
        name="ph", symbol="pH", unit="pH", wire_unit="pH", accepts={"pH": Conversion(1.0)}, low=0,
        high=14, resolution=0.01, domain="water", hj212="w01001", smart_data_model="pH", en="pH",
        zh="pH值",
    ),
    Quantity(
        name="dissolved_oxygen", symbol="DO", unit="mg/L", wire_unit="kg/m3", accepts=_MG_PER_L,
        low=0, high=40, resolution=0.01, domain="water", hj212="w01009", smart_data_model="O2",
        en="dissolved oxygen", zh="溶解氧",
    ),
    Quantity(
        name="conductivity", symbol="EC", unit="µS/cm", wire_unit="S/m", accepts=_US_PER_CM, low=0,
        high=60_000, resolution=1, domain="water", hj212="w01014", smart_data_model="conductivity",
        en="conductivity", zh="电导率",
    ),
    Quantity(
        name="turbidity", symbol="Turb", unit="NTU", wire_unit="NTU",
        accepts={"NTU": Conversion(1.0), "FNU": Conversion(1.0)}, low=0, high=4000, resolution=0.1,
        domain="water", hj212="w01003", smart_data_model="turbidity", en="turbidity", zh="浊度",
    ),
    Quantity(
        name="ammonia_nitrogen", symbol="NH3-N", unit="mg/L", wire_unit="kg/m3", accepts=_MG_PER_L,
        low=0, high=100, resolution=0.01, domain="water", hj212="w21003", en="ammonia nitrogen",
        zh="氨氮",
    ),
    Quantity(
        name="permanganate_index", symbol="CODMn", unit="mg/L", wire_unit="kg/m3",
        accepts=_MG_PER_L, low=0, high=200, resolution=0.1, domain="water", hj212="w01019",
        en="permanganate index", zh="高锰酸盐指数",
    ),
    Quantity(
        name="total_phosphorus", symbol="TP", unit="mg/L", wire_unit="kg/m3", accepts=_MG_PER_L,
        low=0, high=50, resolution=0.001, domain="water", hj212="w21011", smart_data_model="P-TOT",
        en="total phosphorus", zh="总磷",
    ),
    Quantity(
        name="total_nitrogen", symbol="TN", unit="mg/L", wire_unit="kg/m3", accepts=_MG_PER_L,
        low=0, high=200, resolution=0.01, domain="water", hj212="w21001", smart_data_model="N-TOT",
        en="total nitrogen", zh="总氮",
    ),
    Quantity(
        name="chlorophyll_a", symbol="Chl-a", unit="µg/L", wire_unit="kg/m3",
        accepts=_UG_PER_L,
        low=0, high=2000, resolution=0.1, domain="water", hj212="w01016", smart_data_model="Chla",
        en="chlorophyll a", zh="叶绿素a",
    ),
    Quantity(
        name="transparency", symbol="SD", unit="m", wire_unit="m", accepts=_METRES, low=0, high=30,
        resolution=0.01, domain="water", en="transparency (Secchi depth)", zh="透明度",
    ),
    Quantity(
        name="water_level", symbol="H", unit="m", wire_unit="m", accepts=_METRES, low=-5, high=100,
        resolution=0.001, domain="water", en="water level", zh="水位",
    ),
    Quantity(
        name="discharge", symbol="Q", unit="m³/s", wire_unit="m3/s",
        accepts=_M3_PER_S,
        low=-2000, high=20_000, resolution=0.001, domain="water", smart_data_model="flow",
        en="discharge", zh="流量",
    ),
    Quantity(
        name="water_velocity", symbol="v", unit="m/s", wire_unit="m/s",
        accepts={"m/s": Conversion(1.0), "cm/s": Conversion(1e-2)}, low=-5, high=5,
        resolution=0.001, domain="water", en="water velocity", zh="流速",
    ),
    Quantity(
        name="rainfall", symbol="R", unit="mm/h", wire_unit="m/s",
        accepts={"m/s": Conversion(3.6e6), "mm/h": Conversion(1.0)}, low=0, high=400,
        resolution=0.1, domain="weather", smart_data_model="precipitation", en="rainfall",
        zh="降雨强度",
    ),
    Quantity(
        name="air_temperature", symbol="Ta", unit="°C", wire_unit="Cel", accepts=_CELSIUS, low=-50,
        high=60, resolution=0.1, domain="weather", smart_data_model="temperature",
        en="air temperature", zh="气温",
    ),
    Quantity(
        name="traffic_flow", symbol="q", unit="veh/h", wire_unit="1/s",
        accepts={"1/s": Conversion(3600.0), "veh/h": Conversion(1.0), "veh/min": Conversion(60.0)},
        low=0, high=20_000, resolution=12, domain="traffic", smart_data_model="intensity",
        en="traffic flow", zh="交通流量",
    ),
    Quantity(
        name="traffic_speed", symbol="v", unit="km/h", wire_unit="m/s",
        accepts={"m/s": Conversion(3.6), "km/h": Conversion(1.0), "mi/h": Conversion(1.609344)},
        low=0, high=250, resolution=0.1, domain="traffic", smart_data_model="averageVehicleSpeed",
        en="speed", zh="车速",
    ),
    Quantity(
        name="occupancy", symbol="o", unit="%", wire_unit="/", accepts=_PER_CENT, low=0, high=100,
        resolution=0.1, domain="traffic", smart_data_model="occupancy", en="occupancy", zh="占有率",
    ),
    Quantity(
        name="queue_length", symbol="L", unit="m", wire_unit="m", accepts=_METRES, low=0,
        high=10_000, resolution=1, domain="traffic", smart_data_model="averageGapDistance",
        en="queue length", zh="排队长度",
    ),
)  # fmt: skip

QUANTITIES: Mapping[str, Quantity] = MappingProxyType({quantity.name: quantity for quantity in _ALL})


# Characters used in place of others, which NFKC does not unify, or decomposes.
_LOOK_ALIKE_CHARACTERS = str.maketrans(
    {"º": "°", "˚": "°", "⁄": "/", "∕": "/", "，": ",", "−": "-", "⋅": "·", "∙": "·"}
)
MAX_UNIT_LENGTH = 32  # longer texts are rejected without normalising them


def normalised_unit(unit: str) -> str:
    """Normalise a unit for comparison: unify look-alike characters (NFKC), remove blanks and invisible ones.

    Case is kept: mS and MS are different.

    >>> normalised_unit("℃") == normalised_unit(" °C"), normalised_unit("µS/cm") == normalised_unit("μS/cm")
    (True, True)
    """
    folded = unicodedata.normalize("NFKC", unit.translate(_LOOK_ALIKE_CHARACTERS))
    return "".join(one for one in folded if not one.isspace() and unicodedata.category(one) != "Cf")


_BY_NORMALISED_UNIT: Mapping[str, Mapping[str, Conversion]] = {
    quantity.name: {normalised_unit(unit): conversion for unit, conversion in quantity.accepts.items()}
    for quantity in _ALL
}


def to_canonical(quantity: Quantity, unit: str | None) -> Conversion:
    """Return the conversion from a sent unit; None means the wire unit. Units are compared normalised.

    Raises
    ------
    UnitError
        With the units that the quantity accepts.

    Examples
    --------
    >>> to_canonical(QUANTITIES["dissolved_oxygen"], "kg/m3").scale
    1000.0

    """
    conversion_found = quantity.accepts.get(quantity.wire_unit if unit is None else unit)
    if conversion_found is None and unit is not None and len(unit) <= MAX_UNIT_LENGTH:
        conversion_found = _BY_NORMALISED_UNIT.get(quantity.name, {}).get(normalised_unit(unit))
    if conversion_found is None:
        accepted = ", ".join(quantity.accepts)
        raise UnitError(f"{quantity.name} can't be read in {unit!r}: give one of {accepted}")
    return conversion_found


def to_wire(quantity: Quantity, value: float, unit: str) -> float:
    """Convert a value from any accepted unit to the wire unit. Raises `UnitError`.

    >>> to_wire(QUANTITIES["traffic_speed"], 36.0, "km/h")
    10.0
    """
    given, wire = to_canonical(quantity, unit), to_canonical(quantity, None)
    if given == wire:
        return value
    return (value * given.scale + given.offset - wire.offset) / wire.scale
