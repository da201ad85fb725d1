"""Converts values of the store to models of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from analytics.core.flags import Rule
from edge.wire.quantities import QUANTITIES
from gateway import models
from gateway.models import at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.service import twin
    from gateway.known import Known
    from ingest_service.storage.model import Anomaly, Device, DeviceActivity, DeviceStatus, Latest, Series

ONE_US = 1e6


def rules(bits: int) -> list[str]:
    """The names of rule bits.

    >>> rules(17)
    ['GROSS_RANGE', 'RESIDUAL']
    """
    return [one.name or "" for one in Rule(bits)]


def device(one: Device, active: DeviceActivity | None, said: DeviceStatus | None) -> models.Device:
    """A device, with what is known of it."""
    measured_s, received_s = (active.measured_s, active.received_s) if active else (None, None)
    return models.Device(
        **msgspec.structs.asdict(one),
        measured=None if measured_s is None else at(measured_s),
        received=None if received_s is None else at(received_s),
        clock_offset_s=said.clock_offset_s if said else None,
        status=None if said is None else _status(said),
    )


def series(one: Series) -> models.Series:
    """A series with the unit and labels of its quantity."""
    quantity = QUANTITIES[one.quantity]
    return models.Series(
        series_id=one.series_id,
        site_id=one.site_id,
        quantity=one.quantity,
        unit=quantity.unit,
        interval_s=one.interval_s,
        en=quantity.en,
        zh=quantity.zh,
    )


def readings(rows: NDArray[np.void]) -> list[models.Reading]:
    """READING rows."""
    return [
        models.Reading(
            measured=at(time_us / ONE_US),
            received=at(received_us / ONE_US),
            value=value,
            quality=quality,
            rules=rules(bits),
            expected=None if np.isnan(expected) else expected,
            spread=None if np.isnan(spread) else spread,
        )
        for _, time_us, received_us, value, expected, spread, quality, bits in rows.tolist()
    ]


def latest(one: Latest, known: Known, now_s: float) -> models.Latest:
    """The newest reading of a series."""
    of = known.series[one.series_id]
    return models.Latest(
        series_id=one.series_id,
        site_id=of.site_id,
        quantity=of.quantity,
        unit=QUANTITIES[of.quantity].unit,
        measured=at(one.time_s),
        received=at(one.received_s),
        value=one.value,
        quality=one.quality,
        rules=rules(one.rules),
        expected=one.expected,
        spread=one.spread,
        age_s=now_s - one.time_s,
    )


def anomaly(one: Anomaly, known: Known) -> models.Anomaly:
    """An anomaly with the quantity of its series."""
    of = known.series.get(one.series_id or 0)
    row: dict[str, Any] = msgspec.structs.asdict(one)
    for name in ("revision", "subject", "start_s", "end_s", "peak_s"):
        del row[name]
    return models.Anomaly(
        **row,
        quantity=of.quantity if of else None,
        unit=QUANTITIES[of.quantity].unit if of else None,
        start=at(one.start_s),
        end=None if one.end_s is None else at(one.end_s),
        peak=at(one.peak_s),
    )


def trace(one: twin.Trace) -> models.Trace:
    """A trace."""
    candidates = []
    for candidate in one.candidates:
        row = msgspec.structs.asdict(candidate)
        row |= {"left_from": at(row.pop("left_from_s")), "left_to": at(row.pop("left_to_s"))}
        candidates.append(models.Candidate(**row))
    return models.Trace(
        anomaly_id=one.anomaly_id,
        node_id=one.node_id,
        seen=at(one.seen_s),
        candidates=candidates,
        explanation_en=one.explanation_en,
        explanation_zh=one.explanation_zh,
    )


def state(one: twin.TwinState) -> models.TwinState:
    """The twin's state."""
    return models.TwinState(
        now=at(one.now_s),
        nodes=[
            models.NodeState(
                **(msgspec.structs.asdict(node) | {"measured": [_measured(this) for this in node.measured]})
            )
            for node in one.nodes
        ],
        links=[models.LinkState(**msgspec.structs.asdict(link)) for link in one.links],
    )


def _status(said: DeviceStatus) -> models.Status:
    shown = models.Status.model_fields.keys() & said.status.keys()
    return models.Status(received=at(said.received_s), **{name: said.status[name] for name in shown})


def _measured(one: twin.Measured) -> models.Measured:
    return models.Measured(
        series_id=one.series_id,
        quantity=one.quantity,
        unit=one.unit,
        value=one.value,
        expected=one.expected,
        spread=one.spread,
        quality=one.quality,
        rules=rules(one.rules),
        measured=at(one.time_s),
        age_s=one.age_s,
    )
