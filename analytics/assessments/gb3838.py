"""Classifies surface water from mean concentrations, by GB 3838-2002 table 1 and the rules of 环办[2011]22号.

A class is 1 to 5 (I to V) or 6, worse than V. A value exactly on a limit complies with it. Items are named as
in the quantity registry where it has them. Values are means over the period, in the limits' unit.
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
ROUNDING_TOLERANCE = 1e-9  # relative tolerance at a limit for the rounding of a binary mean
MAX_MAIN_POLLUTANTS = 3
MIN_SECTIONS_FOR_SHARES = 5  # with fewer sections a town is assessed by their means


@dataclass(frozen=True, slots=True)
class ItemLimits:
    """An item of table 1 with its upper limits of class I to V (dissolved oxygen: lower limits)."""

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
"""Items that are assessed but do not count for the class; rivers have no limit for total nitrogen."""

_TO_MG_PER_L = {"mg/L": 1.0, "g/m3": 1.0, "ug/L": 1e-3, "µg/L": 1e-3, "kg/m3": 1e3}


@dataclass(frozen=True, slots=True)
class AssessedItem:
    """Assessment of an item at a section: mean, class, index against class III, exceedance of class III."""

    value: float
    class_: int
    index: float
    exceeds: float | None  # multiples above class III; None where it does not, and for pH and oxygen


@dataclass(frozen=True, slots=True)
class AssessedSection:
    """Assessment of a section.

    Attributes
    ----------
    class_ : class of its worst item; None where no item of table 1 was measured
    items : assessed items by name
    worst : items that determine the class
    main : main pollutants, at most three
    reference : items assessed for reference, which do not count for the class

    """

    class_: int | None
    items: Mapping[str, AssessedItem]
    worst: tuple[str, ...]
    main: tuple[str, ...]
    reference: Mapping[str, AssessedItem]

    @property
    def index(self) -> float:
        """CWQI: the sum of the indices of the measured items."""
        return sum(one.index for one in self.items.values())


def convert_to_item_unit(item: ItemLimits, value: float, unit: str) -> float:
    """Return a value in the unit of an item's limits.

    HJ 212 transmits some metals in µg/L and others in mg/L: the unit must come from its table of factors.

    Raises
    ------
    ValueError
        If the unit is not one of a concentration (or not that of the item).

    Examples
    --------
    >>> round(convert_to_item_unit(RIVER["arsenic"], 50.0, "ug/L"), 12)
    0.05

    """
    if unit == item.unit:
        return value
    if item.unit != "mg/L" or unit not in _TO_MG_PER_L:
        raise ValueError(f"{item.name} has limits in {item.unit}, not in {unit}: convert it first")
    return value * _TO_MG_PER_L[unit]


def oxygen_at_saturation(temperature: float) -> float:
    """Return the dissolved oxygen of saturated fresh water [mg/L] at T [°C]; HJ 2.3: 468 / (31.6 + T).

    >>> [round(oxygen_at_saturation(t), 2) for t in (0.0, 10.0, 20.0, 30.0)]
    [14.81, 11.25, 9.07, 7.6]
    """
    return 468.0 / (31.6 + temperature)


def class_of(item: ItemLimits, value: float, *, temperature: float | None = None) -> int:
    """Return the class of one item, 1 to 6; where classes share a limit, the better one.

    Parameters
    ----------
    item : with its limits
    value : mean over the period, in the unit of the limits
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
        (
            at
            for at, upper_limit in enumerate(item.limits, 1)
            if value <= upper_limit * (1 + ROUNDING_TOLERANCE)
        ),
        WORSE_THAN_V,
    )


def index_of(item: ItemLimits, value: float, *, temperature: float | None = None) -> float:
    """Return the standard index of one item against class III: up to 1 where it complies (HJ 2.3-2018).

    Oxygen above its limit is assessed by its distance from saturation; without a temperature, by limit over
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
    """Assess a section by the items measured there.

    Parameters
    ----------
    values : mean of the period by item, in the limits' units; non-finite and negative values count as not
        measured, and items without a limit in table 1 are ignored
    lake : whether the limits of lakes and reservoirs apply
    temperature : mean water temperature [°C], or None

    """
    usable = {name: value for name, value in values.items() if isfinite(value) and value >= 0}
    items = _assess_items(LAKE if lake else RIVER, usable, temperature)
    reference = _assess_items(LAKE_REFERENCE if lake else RIVER_REFERENCE, usable, temperature)
    class_ = max((one.class_ for one in items.values()), default=None)
    worst = tuple(name for name, one in items.items() if one.class_ == class_)
    return AssessedSection(class_, items, worst, _main_pollutants(items, class_), reference)


def status_of_class(class_: int) -> int:
    """Return a section's status: 1 excellent (I, II), 2 good (III), 3 light, 4 moderate, 5 heavy pollution.

    >>> [status_of_class(one) for one in range(1, 7)]
    [1, 1, 2, 3, 4, 5]
    """
    return max(1, class_ - 1)


def town_status(sections: Sequence[AssessedSection], *, temperature: float | None = None) -> int | None:
    """Return the status of a river or town, as `status_of_class`; None if no section has a class.

    With fewer than five sections by the means of their items, else by the shares of classes.

    Parameters
    ----------
    sections : those without a class are ignored; means are assessed by the limits of rivers
    temperature : mean water temperature [°C], or None

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
    """Return the mean of each item over the sections that measure it."""
    values: dict[str, list[float]] = {}
    for one in sections:
        for name, item in one.items.items():
            values.setdefault(name, []).append(item.value)
    return {name: sum(collected) / len(collected) for name, collected in values.items()}


def _assess_items(
    limits: Mapping[str, ItemLimits], values: Mapping[str, float], temperature: float | None
) -> dict[str, AssessedItem]:
    collected = {}
    for name, item in limits.items():
        if name not in values:
            continue
        value = values[name]
        class_ = class_of(item, value, temperature=temperature)
        index = index_of(item, value, temperature=temperature)
        has_exceedance = name not in (PH, DO) and class_ > CLASS_III
        collected[name] = AssessedItem(value, class_, index, index - 1.0 if has_exceedance else None)
    return collected


def _main_pollutants(items: Mapping[str, AssessedItem], class_: int | None) -> tuple[str, ...]:
    """Return up to three items worse than class III, by class, then by their exceedance of class III."""
    if class_ is None or class_ <= CLASS_III:
        return ()
    worse = [name for name, one in items.items() if one.class_ > CLASS_III]
    worse.sort(key=lambda name: (-items[name].class_, -(items[name].exceeds or 0.0)))
    return tuple(worse[:MAX_MAIN_POLLUTANTS])
