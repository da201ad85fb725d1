"""Simulates what a field device measures at any time, for the instrument that it is read through."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge.simulator import site_driver
from edge.wire.quantities import QUANTITIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.drivers import Pack


class SimulatedValues:
    """Values at one simulated site.

    Parameters
    ----------
    quantities : of the site
    site : ``river_section`` or ``road_section``
    interval_s : time between two changes of the values [s]
    seed : the same seed gives the same values at the same time

    """

    def __init__(self, quantities: Sequence[str], site: str, *, interval_s: float, seed: int) -> None:
        options = {"quantities": list(quantities), "site": site, "interval_s": interval_s, "seed": seed}
        self._packs = site_driver.create(options, Path()).packs()
        self._pack = next(self._packs)

    def at(self, now_s: float) -> dict[str, float]:
        """Return the values by quantity, canonical units, at a time that does not decrease [Unix s]."""
        while self._pack.due_s <= now_s:
            self._pack = next(self._packs)
        return _canonical(self._pack)


def _canonical(pack: Pack) -> dict[str, float]:
    values = {}
    for record in pack.records:
        conversion = QUANTITIES[record.name].accepts[record.unit or QUANTITIES[record.name].wire_unit]
        values[record.name] = (record.value or 0.0) * conversion.scale + conversion.offset
    return values
