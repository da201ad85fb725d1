"""Computes the trophic level index of lakes and reservoirs, TLI(Σ), by 总站生字[2001]090号.

It does not apply to flowing rivers.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, log
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class TrophicTerm:
    """Coefficients of an item, TLI = 10 (a + b ln value), and its correlation r with chlorophyll a."""

    a: float
    b: float
    r: float


TERMS: Mapping[str, TrophicTerm] = MappingProxyType(
    {
        "chlorophyll_a": TrophicTerm(2.5, 1.086, 1.0),  # µg/L, that is mg/m³
        "total_phosphorus": TrophicTerm(9.436, 1.624, 0.84),  # mg/L
        "total_nitrogen": TrophicTerm(5.453, 1.694, 0.82),  # mg/L
        "transparency": TrophicTerm(5.118, -1.94, -0.83),  # m
        "permanganate_index": TrophicTerm(0.109, 2.661, 0.83),  # mg/L
    }
)
EUTROPHIC_BOUNDS = (50.0, 60.0, 70.0)


def item_weights(items: Mapping[str, object]) -> dict[str, float]:
    """Return the weight of each item present: r² over the sum of r².

    >>> {name: round(one, 4) for name, one in item_weights(TERMS).items()}["chlorophyll_a"]
    0.2663
    """
    squares = {name: term.r**2 for name, term in TERMS.items() if name in items}
    return {name: one / sum(squares.values()) for name, one in squares.items()}


def trophic_level_index(values: Mapping[str, float]) -> tuple[float, dict[str, float]] | None:
    """Return TLI(Σ) over the items present, and the TLI of each; None if there is none.

    Parameters
    ----------
    values : mean of the period by item, in the units of `TERMS` (µg/L, mg/L, m); values that are not above 0
        are ignored, as they have no logarithm

    """
    usable = {
        name: values[name] for name in TERMS if name in values and isfinite(values[name]) and values[name] > 0
    }
    if not usable:
        return None
    index_by_item = {
        name: 10.0 * (TERMS[name].a + TERMS[name].b * log(value)) for name, value in usable.items()
    }
    shares = item_weights(usable)
    return sum(shares[name] * one for name, one in index_by_item.items()), index_by_item


def trophic_state(tli: float) -> int:
    """Return 1 oligotrophic (below 30), 2 mesotrophic (30 to 50), 3 lightly, 4 medium or 5 heavily eutrophic.

    >>> [trophic_state(one) for one in (29.9, 30.0, 50.0, 50.1, 60.0, 70.0, 70.1)]
    [1, 2, 2, 3, 3, 4, 5]
    """
    return 1 if tli < 30.0 else 2 + sum(tli > bound for bound in EUTROPHIC_BOUNDS)
