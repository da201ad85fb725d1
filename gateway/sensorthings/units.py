"""Maps units of measurement to their English names and UCUM codes (ucum.org)."""

from __future__ import annotations

from urllib.parse import quote

UCUM_URI = "http://www.opengis.net/def/uom/UCUM/"

UCUM_UNITS = {
    "°C": ("degree Celsius", "Cel"),
    "pH": ("pH", "[pH]"),
    "mg/L": ("milligram per litre", "mg/L"),
    "µS/cm": ("microsiemens per centimetre", "uS/cm"),
    "NTU": ("nephelometric turbidity unit", "{NTU}"),
    "m": ("metre", "m"),
    "m³/s": ("cubic metre per second", "m3/s"),
    "m/s": ("metre per second", "m/s"),
    "mm/h": ("millimetre per hour", "mm/h"),
    "veh/h": ("vehicles per hour", "{veh}/h"),
    "km/h": ("kilometre per hour", "km/h"),
    "%": ("percent", "%"),
}


def unit_of_measurement(unit: str) -> dict[str, str]:
    """Return the unitOfMeasurement of a Datastream: the symbol is the UCUM code, the definition its URI.

    >>> unit_of_measurement("°C")["symbol"]
    'Cel'
    """
    name, code = UCUM_UNITS[unit]
    return {"name": name, "symbol": code, "definition": UCUM_URI + quote(code, safe="")}
