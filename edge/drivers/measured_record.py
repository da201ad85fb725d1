"""Makes records of measured values, in the wire unit of their quantity."""

from __future__ import annotations

import math

from edge.drivers import field_units
from edge.wire.errors import UnitError
from edge.wire.quantities import QUANTITIES
from edge.wire.senml import Record


def measured_record(
    channel: str, value: float, unit: str | None, time_s: float, *, quantity: str | None = None
) -> Record | None:
    """Return the record of one value; None if the value is not finite, that is missing.

    Parameters
    ----------
    channel : name of the record
    value : as measured, in ``unit``
    unit : unit of the instrument; None if it has none
    time_s : time measured, Unix seconds [s]
    quantity : name of the quantity; by default that of the channel. The value of a known quantity is
        converted to its wire unit, that of an unknown one is kept with its unit

    Raises
    ------
    UnitError
        If the quantity does not accept the unit.

    Examples
    --------
    >>> measured_record("water_temperature", 68.0, "°F", 1.7e9).value
    20.0
    >>> measured_record("ph", float("nan"), "pH", 1.7e9) is None
    True

    """
    known = QUANTITIES.get(channel if quantity is None else quantity)
    if quantity is not None and known is None:
        raise UnitError(f"{quantity!r} is not a quantity: use one of {', '.join(QUANTITIES)}")
    if known is not None and unit is not None:
        conversion = field_units.to_wire(known, unit)
        value = round(value * conversion.scale + conversion.offset, 12) if math.isfinite(value) else value
        unit = known.wire_unit
    if not math.isfinite(value):
        return None
    return Record(name=channel, time_s=time_s, value=value, unit=unit)
