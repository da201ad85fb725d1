"""Data model of the stored state of the networks: one quantity at each node, as estimated last."""

from __future__ import annotations

from typing import Literal

import msgspec


class StoredEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """A quantity at a node, with its standard deviation.

    Attributes
    ----------
    source : measured where the newest reading is good and fresh
    measured, expected, quality, age_s : of the newest reading; None without one [unit of the quantity, s]

    """

    node_id: str
    source: Literal["measured", "estimated"]
    estimated: float
    deviation: float
    measured: float | None = None
    expected: float | None = None
    quality: int | None = None
    age_s: float | None = None


class ForwardedEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """A quantity at a node as a town estimated it, at ``at_s`` [Unix s].

    The reading, of ``measured_s`` [Unix s], is None where the town does not forward readings.
    """

    node_id: str
    at_s: float
    source: Literal["measured", "estimated"]
    estimated: float
    deviation: float
    measured: float | None
    expected: float | None
    quality: int | None
    measured_s: float | None
