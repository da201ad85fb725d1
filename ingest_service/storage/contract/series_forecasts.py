"""Data model of the stored forecast of a series."""

from __future__ import annotations

import msgspec


class StoredForecast(msgspec.Struct, frozen=True, kw_only=True):
    """The newest forecast of a series: times that have a value, ascending [Unix s], values and band.

    The first time is ``issued_s``, that of the readings which it is made from; there value and both ends of
    the band are their mean [unit of the quantity].
    """

    issued_s: float
    times_s: list[float]
    values: list[float]
    low: list[float]
    high: list[float]
