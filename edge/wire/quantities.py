"""The registry of quantities: what can be measured, in which unit, and what is plausible.

One frozen `Quantity` each, in `QUANTITIES` by name. The canonical unit is what the database and the
screens speak; SenML packs carry ``wire_unit`` (RFC 8428 wants primary units), and `to_canonical`
turns any accepted unit into the canonical one.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


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
    accepts : SenML or field unit -> conversion to the canonical unit; holds ``wire_unit`` and ``unit``
    low, high : plausible physical range, canonical unit; outside of it a reading fails gross range
    resolution : the finest step that a usual sensor reports, canonical unit
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


QUANTITIES: Mapping[str, Quantity] = {}


def to_canonical(quantity: Quantity, unit: str | None) -> Conversion:
    """The conversion from a sent unit; None means the wire unit. Raises `UnitError`."""
    raise NotImplementedError


def to_wire(quantity: Quantity, value: float, unit: str) -> float:
    """A value given in any accepted unit, in the wire unit. Raises `UnitError`."""
    raise NotImplementedError
