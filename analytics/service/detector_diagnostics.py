"""Periodic task that finds faulty traffic detectors (dead, stuck, chattering) daily, as Caltrans PeMS does.

The detector fails, not a single sample, so one day of one detector is one anomaly, of subject
``site/{site_id}/detector``. Detectors that sent too few samples are left to
`analytics.service.device_silence`.
"""

from __future__ import annotations

import math
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from analytics.core.checks import THRESHOLDS_BY_ROAD_TYPE, DetectorDiagnosis, diagnose_traffic_detectors
from analytics.core.site_score import FAILED_CHECK_SCORE
from analytics.service import item_backoff, reading_grid, site_scoring
from analytics.service.reading_grid import TICK_S, TICKS_PER_H
from analytics.service.service_state import ServiceState
from analytics.service.time_slice import UNLIMITED
from ingest_service.storage.contract.models import Anomaly

if TYPE_CHECKING:
    from analytics.service.settings import Settings
    from analytics.service.time_slice import TimeSlice
    from ingest_service.storage.contract.models import Directory
    from ingest_service.storage.contract.store import Store

FLOW, OCCUPANCY = "traffic_flow", "occupancy"
DIAGNOSED_FROM_H, DIAGNOSED_TO_H = 5, 22  # of the local day
DIAGNOSTIC_THRESHOLDS = THRESHOLDS_BY_ROAD_TYPE["rural"]
CONSTANT_N = 4 * TICKS_PER_H
SEVERITY = 2
VERSION = "1"


class DetectorFault(NamedTuple):
    """The names of a diagnosis: identifier, English and Chinese text."""

    name: str
    en: str
    zh: str


FAULTS = {
    DetectorDiagnosis.CARD_OFF: DetectorFault(
        "detector_dead", "the detector is dead: it hardly ever saw a vehicle", "检测器失效：几乎未检测到车辆"
    ),
    DetectorDiagnosis.HIGH_VALUE: DetectorFault(
        "detector_stuck_on",
        "the detector is stuck on: it is occupied too often",
        "检测器常通：占有率长时间过高",
    ),
    DetectorDiagnosis.INTERMITTENT: DetectorFault(
        "detector_chattering",
        "the detector chatters: its flow and its occupancy contradict each other",
        "检测器抖动：流量与占有率相互矛盾",
    ),
    DetectorDiagnosis.CONSTANT: DetectorFault(
        "detector_constant", "the detector repeats one occupancy for four hours", "检测器占有率四小时不变"
    ),
}
DETECTORS = {diagnosis: f"cause/{fault.name}" for diagnosis, fault in FAULTS.items()}


def diagnose_detectors(
    store: Store,
    settings: Settings,
    time_slice: TimeSlice = UNLIMITED,
    service_state: ServiceState | None = None,
) -> None:
    """Diagnose the detectors of each area whose day is over, once a day."""
    directory = store.directory().judged_here()
    if not any(one.quantity == OCCUPANCY for one in directory.series):
        return
    until = site_scoring.complete_until(directory, store.latest(), time.time(), settings.silence_grace_s)
    service_state = service_state or ServiceState()
    diagnosed, area_backoff = service_state.diagnosed_days, service_state.backoff("diagnose_detectors")
    for area_id, tick in until.items():
        if time_slice.is_over:
            return
        day = last_complete_day(datetime.fromtimestamp(tick * TICK_S, store.zone))
        if diagnosed.get(area_id) != day and not area_backoff.is_deferred(area_id):
            with area_backoff.isolate(area_id):
                item_backoff.record_or_defer(
                    store, area_backoff, find_faulty_detectors(store, directory, area_id, day)
                )
                diagnosed[area_id] = day
            if area_backoff.failed(area_id):
                _diagnose_sites_singly(
                    store, directory, area_id, day, time_slice=time_slice, service_state=service_state
                )


def _diagnose_sites_singly(
    store: Store,
    directory: Directory,
    area_id: str,
    day: datetime,
    *,
    time_slice: TimeSlice,
    service_state: ServiceState,
) -> None:
    """Diagnose the sites of an area one by one, after a failure of all. Raises `StoreUnavailableError`."""
    site_backoff = service_state.backoff("detectors of a site")
    for site in directory.sites:
        if time_slice.is_over:
            return
        if site.area_id == area_id and not site_backoff.is_deferred(site.site_id):
            series = [one for one in directory.series if one.site_id == site.site_id]
            with site_backoff.isolate(site.site_id):
                site_directory = msgspec.structs.replace(directory, sites=[site], series=series)
                item_backoff.record_or_defer(
                    store, site_backoff, find_faulty_detectors(store, site_directory, area_id, day)
                )


def last_complete_day(now: datetime) -> datetime:
    """Return the start of the last local day whose samples are complete."""
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return day if now.hour >= DIAGNOSED_TO_H else day - timedelta(days=1)


def find_faulty_detectors(store: Store, directory: Directory, area_id: str, day: datetime) -> list[Anomaly]:
    """Return anomalies of an area's detectors that were faulty on a day. Raises `StoreUnavailableError`."""
    area_sites = {one.site_id for one in directory.sites if one.area_id == area_id}
    series = [
        one for one in directory.series if one.site_id in area_sites and one.quantity in {FLOW, OCCUPANCY}
    ]
    site_ids = sorted({one.site_id for one in series if one.quantity == OCCUPANCY})
    series = [one for one in series if one.site_id in site_ids]
    from_s, to_s = (day.replace(hour=hour).timestamp() for hour in (DIAGNOSED_FROM_H, DIAGNOSED_TO_H))
    ticks = (round(from_s) // TICK_S, round(to_s) // TICK_S)
    value = reading_grid.load_grid(store, series, site_ids, [FLOW, OCCUPANCY], ticks=ticks).value
    flow, occupancy = value[:, :, 0].T, value[:, :, 1].T / 100
    diagnoses = diagnose_traffic_detectors(
        flow,
        occupancy,
        DIAGNOSTIC_THRESHOLDS,
        day_samples=len(value),
        mean_of=1,
        constant_n=CONSTANT_N,
    )
    received = (~np.isnan(flow) | ~np.isnan(occupancy)).sum(axis=1)
    return [
        _anomaly(site_id, DetectorDiagnosis(int(one)), from_s, to_s, int(n))
        for site_id, one, n in zip(site_ids, diagnoses, received, strict=True)
        if DetectorDiagnosis(int(one)) in FAULTS
    ]


def _anomaly(site_id: str, diagnosis: DetectorDiagnosis, from_s: float, to_s: float, n: int) -> Anomaly:
    fault = FAULTS[diagnosis]
    return Anomaly(
        subject=f"site/{site_id}/detector",
        site_id=site_id,
        detector=DETECTORS[diagnosis],
        version=VERSION,
        start_s=from_s,
        end_s=to_s,
        peak_s=from_s,
        score=FAILED_CHECK_SCORE,
        severity=SEVERITY,
        n_readings=n,
        state="closed",
        reason_en=f"{fault.en} ({n} samples of the day)",
        reason_zh=f"{fault.zh}（当日{n}个样本）",
        evidence={
            "cause": {"name": fault.name, "kind": "sensor", "strength": FAILED_CHECK_SCORE},
            "diagnosis": diagnosis.name,
            "parameters": {
                name: limit
                for name, limit in DIAGNOSTIC_THRESHOLDS._asdict().items()
                if not math.isnan(limit)
            },
            "window": {"from_s": from_s, "until_s": to_s},
        },
    )
