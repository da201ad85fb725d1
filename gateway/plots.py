"""Responses with downsampled series."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from edge.wire.quantities import QUANTITIES
from gateway import rows, tables
from gateway.thin import Method, thin
from ingest_service.storage.model import READING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gateway.known import Known
    from gateway.stretches import Stretch
    from ingest_service.storage.answers import Answers, Moment
    from ingest_service.storage.model import Series


class Plot(msgspec.Struct, frozen=True):
    """A series thinned; ``readings`` is how many there were."""

    series_id: int
    site_id: str
    quantity: str
    unit: str
    method: Method
    readings: int
    points: list[rows.Reading]


Thinned = list[tuple["NDArray[np.void]", int]]


def thinned(
    answers: Answers, series: Sequence[Series], over: Stretch, moment: Moment, *, points: int, method: Method
) -> Thinned:
    """Of each series what is kept, and how many readings there were."""

    def of(series_id: int, from_us: int, to_us: int) -> tuple[NDArray[np.void], int]:
        blocks = answers.all_readings([series_id], from_us, to_us, moment)
        return thin(blocks, from_us, to_us, points=points, method=method)

    found = []
    for one in series:
        kept, n = of(one.series_id, over.from_us, over.to_us)
        if n > len(kept):  # it was thinned, and of a stretch that holds mostly nothing, too much
            first_us, last_us = kept["time_us"][[0, -1]].tolist()
            if 2 * (last_us - first_us) < over.to_us - over.from_us:
                kept, n = of(one.series_id, first_us, last_us + 1)
        found.append((kept, n))
    return found


def table(series: Sequence[Series], known: Known, method: Method) -> tables.Table[Thinned]:
    """Plots: in JSON one object a series, otherwise the readings that are kept."""
    batch = tables.readings(series, known).batch

    def shown(found: Thinned) -> list[Plot]:
        return [
            Plot(
                one.series_id,
                one.site_id,
                one.quantity,
                QUANTITIES[one.quantity].unit,
                method,
                n,
                rows.readings(kept),
            )
            for one, (kept, n) in zip(series, found, strict=True)
        ]

    return tables.Table(
        "plot",
        tables.READINGS,
        lambda found: batch(np.concatenate([np.empty(0, READING), *(kept for kept, _ in found)])),
        shown,
        lambda found: sum(len(kept) for kept, _ in found),
    )
