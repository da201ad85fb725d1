"""Classes of surface water: limits of GB 3838-2002 table 1, rules of 环办[2011]22号.

A class is 1 to 5 (I to V) or 6, worse than V. A value that is exactly on a limit keeps it. Items are named as
in the registry of quantities where it has them. Values are means over the period, in the limits' unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CLASS_III, WORSE_THAN_V = 3, 6
N_ITEMS = 21  # table 1 less water temperature, total nitrogen and faecal coliforms
SATURATION_SHARE = 0.9
ROUNDING_TOLERANCE = 1e-9  # share by which rounding of a binary mean may miss a limit
MAX_MAIN_POLLUTANTS = 3
MIN_SECTIONS_FOR_SHARES = 5  # below that, a town's sections are averaged


@dataclass(frozen=True, slots=True)
class ItemLimits:
    """One item of table 1: the limits of class I to V, not above them (dissolved oxygen: not below)."""

    name: str
    limits: tuple[float, float, float, float, float]
    unit: str = "mg/L"


DO, PH, TP, TN, COLIFORMS = "dissolved_oxygen", "ph", "total_phosphorus", "total_nitrogen", "faecal_coliforms"
PH_RANGE = (6.0, 9.0)

_ITEMS = (
    ItemLimits(PH, (9.0,) * 5, "pH"),
    ItemLimits(DO, (7.5, 6, 5, 3, 2)),
    ItemLimits("permanganate_index", (2, 4, 6, 10, 15)),
    ItemLimits("chemical_oxygen_demand", (15, 15, 20, 30, 40)),
    ItemLimits("biochemical_oxygen_demand", (3, 3, 4, 6, 10)),
    ItemLimits("ammonia_nitrogen", (0.15, 0.5, 1.0, 1.5, 2.0)),
    ItemLimits(TP, (0.02, 0.1, 0.2, 0.3, 0.4)),
    ItemLimits("copper", (0.01, 1.0, 1.0, 1.0, 1.0)),
    ItemLimits("zinc", (0.05, 1.0, 1.0, 2.0, 2.0)),
    ItemLimits("fluoride", (1.0, 1.0, 1.0, 1.5, 1.5)),
    ItemLimits("selenium", (0.01, 0.01, 0.01, 0.02, 0.02)),
    ItemLimits("arsenic", (0.05, 0.05, 0.05, 0.1, 0.1)),
    ItemLimits("mercury", (0.00005, 0.00005, 0.0001, 0.001, 0.001)),
    ItemLimits("cadmium", (0.001, 0.005, 0.005, 0.005, 0.01)),
    ItemLimits("hexavalent_chromium", (0.01, 0.05, 0.05, 0.05, 0.1)),
    ItemLimits("lead", (0.01, 0.01, 0.05, 0.05, 0.1)),
    ItemLimits("cyanide", (0.005, 0.05, 0.2, 0.2, 0.2)),
    ItemLimits("volatile_phenol", (0.002, 0.002, 0.005, 0.01, 0.1)),
    ItemLimits("petroleum", (0.05, 0.05, 0.05, 0.5, 1.0)),
    ItemLimits("anionic_surfactant", (0.2, 0.2, 0.2, 0.3, 0.3)),
    ItemLimits("sulphide", (0.05, 0.1, 0.2, 0.5, 1.0)),
)
RIVER: Mapping[str, ItemLimits] = MappingProxyType({one.name: one for one in _ITEMS})
LAKE: Mapping[str, ItemLimits] = MappingProxyType(
    {**RIVER, TP: ItemLimits(TP, (0.01, 0.025, 0.05, 0.1, 0.2))}
)
_COLIFORMS = ItemLimits(COLIFORMS, (200, 2000, 10_000, 20_000, 40_000), "1/L")
RIVER_REFERENCE: Mapping[str, ItemLimits] = MappingProxyType({COLIFORMS: _COLIFORMS})
LAKE_REFERENCE: Mapping[str, ItemLimits] = MappingProxyType(
    {COLIFORMS: _COLIFORMS, TN: ItemLimits(TN, (0.2, 0.5, 1.0, 1.5, 2.0))}
)
"""Judged beside the class, never for it; rivers have no limit for total nitrogen."""

_TO_MG_PER_L = {"mg/L": 1.0, "g/m3": 1.0, "ug/L": 1e-3, "µg/L": 1e-3, "kg/m3": 1e3}


@dataclass(frozen=True, slots=True)
class AssessedItem:
    """An item of a section: its mean, class, index against class III, and by how much it exceeds III."""

    value: float
    class_: int
    index: float
    exceeds: float | None  # multiples above class III; None where it does not, and for pH and oxygen


@dataclass(frozen=True, slots=True)
class AssessedSection:
    """A section's class: that of its worst item; None where nothing of table 1 was measured."""

    class_: int | None
    items: Mapping[str, AssessedItem]
    worst: tuple[str, ...]
    main: tuple[str, ...]
    reference: Mapping[str, AssessedItem]

    @property
    def index(self) -> float:
        """CWQI: the sum of the indices over what was measured."""
        return sum(one.index for one in self.items.values())


def in_unit_of(item: ItemLimits, value: float, unit: str) -> float:
    """A value in the unit of an item's limits.

    HJ 212 carries some metals in µg/L and others in mg/L: the unit must come from the factor's table.

    Raises
    ------
    ValueError
        Where the unit is not one of a concentration (or not that of the item).

    Examples
    --------
    >>> round(in_unit_of(RIVER["arsenic"], 50.0, "ug/L"), 12)
    0.05

    """
    if unit == item.unit:
        return value
    if item.unit != "mg/L" or unit not in _TO_MG_PER_L:
        raise ValueError(f"{item.name} has limits in {item.unit}, not in {unit}: convert it first")
    return value * _TO_MG_PER_L[unit]


def oxygen_at_saturation(temperature: float) -> float:
    """Dissolved oxygen of saturated fresh water [mg/L] at a temperature [°C]; HJ 2.3: 468 / (31.6 + T).

    >>> [round(oxygen_at_saturation(t), 2) for t in (0.0, 10.0, 20.0, 30.0)]
    [14.81, 11.25, 9.07, 7.6]
    """
    return 468.0 / (31.6 + temperature)


def class_of(item: ItemLimits, value: float, *, temperature: float | None = None) -> int:
    """The class of one item; where classes share a limit, the better one.

    Parameters
    ----------
    temperature : of the water [°C]; class I of oxygen is 90 % of saturation *or* 7.5 mg/L, whichever is met

    """
    if item.name == PH:
        return (
            1
            if PH_RANGE[0] * (1 - ROUNDING_TOLERANCE) <= value <= PH_RANGE[1] * (1 + ROUNDING_TOLERANCE)
            else WORSE_THAN_V
        )
    if item.name == DO:
        first = item.limits[0]
        if temperature is not None:
            first = min(first, SATURATION_SHARE * oxygen_at_saturation(temperature))
        limits = (min(first, 7.5), *item.limits[1:])
        return next(
            (
                at
                for at, lower_limit in enumerate(limits, 1)
                if value >= lower_limit * (1 - ROUNDING_TOLERANCE)
            ),
            WORSE_THAN_V,
        )
    return next(
        (at for at, most in enumerate(item.limits, 1) if value <= most * (1 + ROUNDING_TOLERANCE)),
        WORSE_THAN_V,
    )


def index_of(item: ItemLimits, value: float, *, temperature: float | None = None) -> float:
    """The standard index of one item against class III: up to 1 where class III is kept (HJ 2.3-2018).

    Oxygen above its limit is judged by its distance from saturation; without a temperature, by limit over
    value.
    """
    limit = item.limits[CLASS_III - 1]
    if item.name == PH:
        low, high = PH_RANGE
        return (7.0 - value) / (7.0 - low) if value <= 7.0 else (value - 7.0) / (high - 7.0)
    if item.name != DO:
        return value / limit
    if value < limit or temperature is None or oxygen_at_saturation(temperature) <= limit:
        return limit / value if value > 0 else float("inf")
    saturated = oxygen_at_saturation(temperature)
    return abs(saturated - value) / (saturated - limit)


def assess_section(
    values: Mapping[str, float], *, lake: bool = False, temperature: float | None = None
) -> AssessedSection:
    """Judge a section by what was measured there.

    Parameters
    ----------
    values : mean of the period by item, in the limits' units; what is not finite or is negative was not
        measured, and what table 1 does not limit is left out
    lake : whether limits of lakes and reservoirs hold
    temperature : mean water temperature [°C], or None

    """
    usable = {name: value for name, value in values.items() if isfinite(value) and value >= 0}
    items = _assess_items(LAKE if lake else RIVER, usable, temperature)
    reference = _assess_items(LAKE_REFERENCE if lake else RIVER_REFERENCE, usable, temperature)
    class_ = max((one.class_ for one in items.values()), default=None)
    worst = tuple(name for name, one in items.items() if one.class_ == class_)
    return AssessedSection(class_, items, worst, _main_pollutants(items, class_), reference)


def status_of_class(class_: int) -> int:
    """Of a section: 1 excellent (I, II), 2 good (III), 3 light, 4 moderate, 5 heavy pollution.

    >>> [status_of_class(one) for one in range(1, 7)]
    [1, 1, 2, 3, 4, 5]
    """
    return max(1, class_ - 1)


def town_status(sections: Sequence[AssessedSection], *, temperature: float | None = None) -> int | None:
    """Of a river or town, as `status`: below five sections by their means, else by the shares of classes.

    Parameters
    ----------
    sections : those that have a class count; with means they are judged as a river

    """
    classed = [one for one in sections if one.class_ is not None]
    if not classed:
        return None
    if len(classed) < MIN_SECTIONS_FOR_SHARES:
        joint_section = assess_section(mean_by_item(classed), temperature=temperature)
        return None if joint_section.class_ is None else status_of_class(joint_section.class_)
    classes = [one.class_ or WORSE_THAN_V for one in classed]
    good = sum(one <= CLASS_III for one in classes) / len(classes)
    worse = sum(one == WORSE_THAN_V for one in classes) / len(classes)
    if good >= 0.9:
        return 1
    if good >= 0.75:
        return 2
    return 3 if worse < 0.2 else 4 if worse < 0.4 else 5


def mean_by_item(sections: Sequence[AssessedSection]) -> dict[str, float]:
    """The mean of each item over the sections that measure it."""
    values: dict[str, list[float]] = {}
    for one in sections:
        for name, item in one.items.items():
            values.setdefault(name, []).append(item.value)
    return {name: sum(found) / len(found) for name, found in values.items()}


def _assess_items(
    limits: Mapping[str, ItemLimits], values: Mapping[str, float], temperature: float | None
) -> dict[str, AssessedItem]:
    found = {}
    for name, item in limits.items():
        if name not in values:
            continue
        value = values[name]
        class_ = class_of(item, value, temperature=temperature)
        index = index_of(item, value, temperature=temperature)
        counts_excess = name not in (PH, DO) and class_ > CLASS_III
        found[name] = AssessedItem(value, class_, index, index - 1.0 if counts_excess else None)
    return found


def _main_pollutants(items: Mapping[str, AssessedItem], class_: int | None) -> tuple[str, ...]:
    """Up to three items worse than III: by class, then by how much they exceed III."""
    if class_ is None or class_ <= CLASS_III:
        return ()
    worse = [name for name, one in items.items() if one.class_ > CLASS_III]
    worse.sort(key=lambda name: (-items[name].class_, -(items[name].exceeds or 0.0)))
    return tuple(worse[:MAX_MAIN_POLLUTANTS])
