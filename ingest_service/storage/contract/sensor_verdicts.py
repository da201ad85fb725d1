"""Data model of the verdicts on sensors: an event, or a fault of the sensor."""

from __future__ import annotations

import msgspec


class AnomalyToVerify(msgspec.Struct, frozen=True, kw_only=True):
    """An anomaly without a final verdict, and what its last verdict was computed from."""

    anomaly_id: int
    inputs: str | None


class StoredVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether what a sensor measured in an anomaly is an event, or a fault of the sensor.

    Attributes
    ----------
    inputs : what it was computed from
    computed_s : given by the store
    is_final : it is not computed anew
    series_id : of the sensor; None where the anomaly is of no sensor on a network
    event_probability : the rest is that of a fault; None where it can't be computed
    others : ids of the sites that the sensor was compared with, the nearest first

    """

    anomaly_id: int
    inputs: str
    computed_s: float = 0.0
    is_final: bool
    series_id: int | None = None
    event_probability: float | None = None
    others: list[str] = []
