"""Task that diagnoses traffic detectors daily, as the Caltrans PeMS does.

What fails is the detector, not a sample, so that one day of one detector is one anomaly, of subject
``site/{site_id}/detector``. Detectors that sent too little are the business of `analytics.service.silence`.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import msgspec
import numpy as np

from analytics.core.checks import SETTINGS, Diagnosis, diagnose
from analytics.core.several import FAILED
from analytics.service import grid as grids
from analytics.service import items, sites
from analytics.service.grid import TICK_S, TICKS_PER_H
from analytics.service.turn import ENDLESS
from ingest_service.storage.model import Anomaly

if TYPE_CHECKING:
    from analytics.service.settings import Settings
    from analytics.service.turn import Turn
    from ingest_service.storage.model import Directory
    from ingest_service.storage.store import Store

FLOW, OCCUPANCY = "traffic_flow", "occupancy"
FROM_H, TO_H = 5, 22  # of the local day
THRESHOLDS = SETTINGS["rural"]
CONSTANT_N = 4 * TICKS_PER_H
SEVERITY = 2
VERSION = "1"


class Fault(NamedTuple):
    """What a diagnosis is called."""

    name: str
    en: str
    zh: str


FAULTS = {
    Diagnosis.CARD_OFF: Fault(
        "detector_dead", "the detector is dead: it hardly ever saw a vehicle", "检测器失效：几乎未检测到车辆"
    ),
    Diagnosis.HIGH_VALUE: Fault(
        "detector_stuck_on",
        "the detector is stuck on: it is occupied too often",
        "检测器常通：占有率长时间过高",
    ),
    Diagnosis.INTERMITTENT: Fault(
        "detector_chattering",
        "the detector chatters: its flow and its occupancy contradict each other",
        "检测器抖动：流量与占有率相互矛盾",
    ),
    Diagnosis.CONSTANT: Fault(
        "detector_constant", "the detector repeats one occupancy for four hours", "检测器占有率四小时不变"
    ),
}
DETECTORS = {diagnosis: f"cause/{fault.name}" for diagnosis, fault in FAULTS.items()}

_done: WeakKeyDictionary[Store, dict[str, datetime]] = WeakKeyDictionary()


def diagnose_detectors(store: Store, settings: Settings, turn: Turn = ENDLESS) -> None:
    """Diagnose the detectors of each area whose day is over, once a day."""
    directory = store.directory()
    if not any(one.quantity == OCCUPANCY for one in directory.series):
        return
    until = sites.complete_until(directory, store.latest(), time.time(), settings.silence_grace_s)
    done, areas = _done.setdefault(store, {}), items.of(store, "diagnose_detectors")
    for area_id, tick in until.items():
        if turn.over:
            return
        day = last_day(datetime.fromtimestamp(tick * TICK_S, store.zone))
        if done.get(area_id) != day and not areas.is_put_off(area_id):
            with areas.isolated(area_id):
                items.record(store, areas, found(store, directory, area_id, day))
                done[area_id] = day
            if areas.failed(area_id):
                _one_by_one(store, directory, area_id, day, turn)


def _one_by_one(store: Store, directory: Directory, area_id: str, day: datetime, turn: Turn) -> None:
    """Diagnose the sites of an area that can't be diagnosed together. Raises `StoreUnavailable`."""
    sites_of = items.of(store, "detectors of a site")
    for site in directory.sites:
        if turn.over:
            return
        if site.area_id == area_id and not sites_of.is_put_off(site.site_id):
            series = [one for one in directory.series if one.site_id == site.site_id]
            with sites_of.isolated(site.site_id):
                alone = msgspec.structs.replace(directory, sites=[site], series=series)
                items.record(store, sites_of, found(store, alone, area_id, day))


def last_day(now: datetime) -> datetime:
    """The begin of the last local day whose samples are all there."""
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return day if now.hour >= TO_H else day - timedelta(days=1)


def found(store: Store, directory: Directory, area_id: str, day: datetime) -> list[Anomaly]:
    """The detectors of an area that were faulty on a day. Raises `StoreUnavailable`."""
    here = {one.site_id for one in directory.sites if one.area_id == area_id}
    series = [one for one in directory.series if one.site_id in here and one.quantity in {FLOW, OCCUPANCY}]
    names = sorted({one.site_id for one in series if one.quantity == OCCUPANCY})
    series = [one for one in series if one.site_id in names]
    from_s, to_s = (day.replace(hour=hour).timestamp() for hour in (FROM_H, TO_H))
    ticks = (round(from_s) // TICK_S, round(to_s) // TICK_S)
    value = grids.load(store, series, names, [FLOW, OCCUPANCY], ticks=ticks).value
    flow, occupancy = value[:, :, 0].T, value[:, :, 1].T / 100
    said = diagnose(
        flow,
        occupancy,
        THRESHOLDS,
        day_samples=len(value),
        mean_of=1,
        constant_n=CONSTANT_N,
    )
    received = (~np.isnan(flow) | ~np.isnan(occupancy)).sum(axis=1)
    return [
        _anomaly(site_id, Diagnosis(int(one)), from_s, to_s, int(n))
        for site_id, one, n in zip(names, said, received, strict=True)
        if Diagnosis(int(one)) in FAULTS
    ]


def _anomaly(site_id: str, diagnosis: Diagnosis, from_s: float, to_s: float, n: int) -> Anomaly:
    fault = FAULTS[diagnosis]
    return Anomaly(
        subject=f"site/{site_id}/detector",
        site_id=site_id,
        detector=DETECTORS[diagnosis],
        version=VERSION,
        start_s=from_s,
        end_s=to_s,
        peak_s=from_s,
        score=FAILED,
        severity=SEVERITY,
        n_readings=n,
        state="closed",
        reason_en=f"{fault.en} ({n} samples of the day)",
        reason_zh=f"{fault.zh}（当日{n}个样本）",
        evidence={
            "cause": {"name": fault.name, "kind": "sensor", "strength": FAILED},
            "diagnosis": diagnosis.name,
            "parameters": {name: limit for name, limit in THRESHOLDS._asdict().items() if limit == limit},  # noqa: PLR0124
            "window": {"from_s": from_s, "until_s": to_s},
        },
    )
