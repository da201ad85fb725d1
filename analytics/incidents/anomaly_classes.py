"""Classifies anomalies for their grouping: kind and cause of an incident, family, quantities."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from edge.wire.quantities import QUANTITIES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingest_service.storage.contract.incidents import IncidentKind
    from ingest_service.storage.contract.models import Anomaly

SENSOR_CAUSES: Final = frozenset(
    {
        "air_exposure",
        "sensor_stuck",
        "sensor_fouling",
        "calibration_jump",
        "detector_dead",
        "detector_stuck_on",
        "detector_chattering",
        "detector_constant",
    }
)
SENSOR_DETECTORS: Final = frozenset(
    {
        "flat_line",
        "gap",
        "noise",
        "attenuated_signal",
        "gross_range",
        "spike",
        "rate_of_change",
        "stuck_clock",
    }
)
ROAD_SITES: Final = frozenset({"road_section", "junction"})
QUANTITY_BITS: Final = {name: 1 << k for k, name in enumerate(QUANTITIES)}
ANY_QUANTITY: Final = (1 << len(QUANTITIES)) - 1
RAIN_QUANTITIES: Final = sum(
    QUANTITY_BITS[name]
    for name in ("turbidity", "water_level", "rainfall", "discharge")
    if name in QUANTITY_BITS
)
"""Quantities that rain moves by itself."""


class AnomalyFamily(IntEnum):
    """What kind of event an anomaly belongs to; families differ in how they spread."""

    SENSOR = 1
    WATER = 2
    TRAFFIC = 3
    RAIN = 4
    SILENCE = 5
    DEAD_LETTERS = 6
    OUTAGE = 7
    PLATFORM = 8


class AnomalyClass(NamedTuple):
    """Class of an anomaly.

    Attributes
    ----------
    precedence : the class of the member with the greatest one is that of its incident
    named : whether a cause is named, which no other one may contradict within an incident
    quantities : bits of `QUANTITY_BITS` that depart; `ANY_QUANTITY` where it is not known

    """

    kind: IncidentKind
    cause: str
    family: AnomalyFamily
    precedence: int
    named: bool
    quantities: int


def classify(  # noqa: PLR0911 - one class per line of a table
    anomaly: Anomaly, site_kind: str, quantity_of_series: Mapping[int, str]
) -> AnomalyClass:
    """Return the class of an anomaly from its detector, its subject and the kind of its site."""
    detector, subject = anomaly.detector, anomaly.subject
    if detector == "silence":
        return _silence_class(subject)
    if detector == "dead_letters":
        return AnomalyClass("device", "dead_letters", AnomalyFamily.DEAD_LETTERS, 4, False, 0)
    if detector == "self_watch":
        return _self_watch_class(subject, str(anomaly.evidence.get("cause", "process_down")))
    quantities = departed_quantities(anomaly, quantity_of_series)
    on_road = site_kind in ROAD_SITES
    if detector.startswith("cause/"):
        return _cause_class(detector.removeprefix("cause/"), quantities, on_road=on_road)
    if site_kind == "rain_gauge" and detector not in SENSOR_DETECTORS:
        return AnomalyClass("water", "storm", AnomalyFamily.RAIN, 2, False, quantities)
    if detector in SENSOR_DETECTORS:
        return AnomalyClass("device", "sensor_fault", AnomalyFamily.SENSOR, 1, False, quantities)
    if on_road:
        return AnomalyClass("traffic", "traffic_departure", AnomalyFamily.TRAFFIC, 2, False, quantities)
    return AnomalyClass("water", "water_departure", AnomalyFamily.WATER, 2, False, quantities)


def departed_quantities(anomaly: Anomaly, quantity_of_series: Mapping[int, str]) -> int:
    """Return the bits of the quantities that depart: that of the series, or those of the evidence."""
    if anomaly.series_id is not None:
        return QUANTITY_BITS.get(quantity_of_series.get(anomaly.series_id, ""), ANY_QUANTITY)
    listed = anomaly.evidence.get("quantities")
    bits = 0
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict):
            bits |= QUANTITY_BITS.get(str(one.get("quantity")), 0)
    return bits or ANY_QUANTITY


def _silence_class(subject: str) -> AnomalyClass:
    if subject.startswith("platform/"):
        return AnomalyClass("platform", "ingest_down", AnomalyFamily.OUTAGE, 9, True, 0)
    if subject.startswith("area/"):
        return AnomalyClass("device", "power_or_network", AnomalyFamily.SILENCE, 8, False, 0)
    return AnomalyClass("device", "device_silent", AnomalyFamily.SILENCE, 4, False, 0)


def _self_watch_class(subject: str, cause: str) -> AnomalyClass:
    if cause == "ingest_down":
        return AnomalyClass("platform", cause, AnomalyFamily.OUTAGE, 9, True, 0)
    kind: IncidentKind = "device" if subject.startswith("device/") else "platform"
    return AnomalyClass(kind, cause, AnomalyFamily.PLATFORM, 5, True, 0)


def _cause_class(cause: str, quantities: int, *, on_road: bool) -> AnomalyClass:
    if cause in SENSOR_CAUSES:
        return AnomalyClass("device", cause, AnomalyFamily.SENSOR, 6, True, quantities)
    if on_road:
        return AnomalyClass("traffic", cause, AnomalyFamily.TRAFFIC, 7, True, quantities)
    if cause == "rain_turbidity":
        return AnomalyClass("water", "storm", AnomalyFamily.RAIN, 7, True, quantities | RAIN_QUANTITIES)
    return AnomalyClass("water", cause, AnomalyFamily.WATER, 7, True, quantities)
