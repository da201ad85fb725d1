"""Converts units that occur in recorded files but not on the wire, such as °F, ft or mph, to wire units."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from edge.wire import quantities
from edge.wire.errors import UnitError
from edge.wire.quantities import Conversion

if TYPE_CHECKING:
    from edge.wire.quantities import Quantity

_FAHRENHEIT = ("Cel", Conversion(5 / 9, -160 / 9))
_FOOT_M = 0.3048  # exactly, by the international definition
FIELD_UNITS: dict[str, tuple[str, Conversion]] = {
    "°F": _FAHRENHEIT,
    "degF": _FAHRENHEIT,
    "F": _FAHRENHEIT,
    "C": ("Cel", Conversion(1.0)),
    "ft": ("m", Conversion(_FOOT_M)),
    "in": ("m", Conversion(_FOOT_M / 12)),
    "ft/s": ("m/s", Conversion(_FOOT_M)),
    "ft3/s": ("m3/s", Conversion(_FOOT_M**3)),
    "cfs": ("m3/s", Conversion(_FOOT_M**3)),
    "L/s": ("m3/s", Conversion(1e-3)),
    "m3/d": ("m3/s", Conversion(1 / 86_400)),
    "in/h": ("mm/h", Conversion(25.4)),
    "mph": ("mi/h", Conversion(1.0)),
    "kph": ("km/h", Conversion(1.0)),
    "ppm": ("mg/L", Conversion(1.0)),  # of dissolved matter in fresh water, by mass
    "S/cm": ("mS/cm", Conversion(1e3)),
}
"""Unit in a file -> (accepted unit, conversion to it)."""


def to_wire(quantity: Quantity, unit: str) -> Conversion:
    """Return the conversion from a unit of a file to the wire unit of a quantity.

    Look-alike characters (U+00B5 and U+03BC, ℃ and °C) are equal.

    Raises
    ------
    UnitError
        With the units that the quantity accepts.

    Examples
    --------
    >>> conversion = to_wire(quantities.QUANTITIES["water_temperature"], "°F")
    >>> round(212 * conversion.scale + conversion.offset, 9)
    100.0

    """
    from_field = _to_canonical(quantity, unit.strip())
    wire = quantities.to_canonical(quantity, None)
    return Conversion(from_field.scale / wire.scale, (from_field.offset - wire.offset) / wire.scale)


def _to_canonical(quantity: Quantity, unit: str) -> Conversion:
    """Return the conversion to the canonical unit."""
    for accepted, conversion in quantity.accepts.items():
        if _normalised(accepted) == _normalised(unit):
            return conversion
    for field, (accepted, conversion) in FIELD_UNITS.items():
        if _normalised(field) == _normalised(unit) and accepted in quantity.accepts:
            from_accepted = quantity.accepts[accepted]
            return Conversion(
                conversion.scale * from_accepted.scale,
                conversion.offset * from_accepted.scale + from_accepted.offset,
            )
    try:
        return quantities.to_canonical(quantity, unit)
    except UnitError as error:
        field_units = [field for field, (accepted, _) in FIELD_UNITS.items() if accepted in quantity.accepts]
        raise UnitError(", ".join([str(error), *field_units])) from None


def _normalised(unit: str) -> str:
    """Normalise a unit (NFKC), so that look-alike characters are equal."""
    return unicodedata.normalize("NFKC", unit)
