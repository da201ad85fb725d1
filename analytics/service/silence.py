"""Decides which devices have fallen silent.

A device is silent if nothing was received from it for a short grace, and either its newest measured time is
too far behind its area's watermark (the median newest measured time of the area's devices), or nothing was
received for that long by the clock (decision 0005). Where all devices fell
silent together, or ingest does not work, that is one anomaly of the platform, and none of each device
(`analytics.service.outages`, decision 0030).
"""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING

import msgspec

from analytics.service.items import Items
from analytics.service.outages import DETECTOR, outage_changes, outages_of
from ingest_service.storage.model import Anomaly

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from analytics.service.settings import Settings
    from ingest_service.storage.model import DeviceActivity

VERSION = "1"
RECORDED = "replay"  # a device that plays files ends with them, and shares series with live devices
WARNING_S, ALARM_S = 3_600.0, 6 * 3_600.0


def changes(
    activity: Sequence[DeviceActivity],
    is_open: Iterable[Anomaly],
    settings: Settings,
    *,
    now_s: float,
    devices: Items | None = None,
    not_taken: Collection[str] = (),
    resumed_s: float = -math.inf,
) -> list[Anomaly]:
    """The silences that began, went on or ended, as anomalies to record.

    Parameters
    ----------
    activity : when each device was last heard
    is_open : open anomalies of this detector
    now_s : the platform's clock, Unix seconds [s]
    devices : a fault of one is put off in it
    not_taken : areas whose readings no ingest process takes now
    resumed_s : when the newest silence of all devices ended: each device has its patience anew from then on

    """
    devices = devices or Items("look_for_silence")
    activity = [one for one in activity if one.kind != RECORDED]
    is_open = list(is_open)
    known = {one.device_id: one for one in is_open if one.device_id is not None}
    watermarks = _watermarks(activity)
    due = {one.device_id for one in activity if _is_due(one, watermarks, settings, now_s, resumed_s)}
    outages = outages_of(activity, due, settings, now_s=now_s, not_taken=not_taken)
    found = outage_changes(outages, [one for one in is_open if one.device_id is None], now_s=now_s)
    explained = {one.device_id: outage.start_s for outage in outages for one in outage.devices}
    for one in activity:
        old = known.get(one.device_id)
        if one.device_id in explained:
            if old is not None and old.start_s >= explained[one.device_id]:
                found.append(_ended(old, max(now_s, old.start_s)))
        elif one.measured_s is not None and not devices.is_put_off(one.device_id):
            with devices.isolated(one.device_id):
                found += _of(one, old, watermarks[one.area_id], is_silent=one.device_id in due)
    return found


def _of(one: DeviceActivity, old: Anomaly | None, watermark_s: float, *, is_silent: bool) -> list[Anomaly]:
    """What is to be recorded of a device."""
    found = []
    if one.measured_s is None or one.received_s is None:
        return []
    until_s = max(watermark_s, one.measured_s)
    if old is not None and one.measured_s >= old.start_s:
        found.append(_ended(old, one.measured_s))
        old = None
    if is_silent:
        made = _silence(one, until_s)
        if old is None or made.severity != old.severity:
            found.append(made)
    return found


def _watermarks(activity: Sequence[DeviceActivity]) -> dict[str, float]:
    by_area: dict[str, list[float]] = {}
    for one in activity:
        if one.measured_s is not None:
            by_area.setdefault(one.area_id, []).append(one.measured_s)
    return {area: median(times) for area, times in by_area.items()}


def _is_due(
    one: DeviceActivity, watermarks: Mapping[str, float], settings: Settings, now_s: float, resumed_s: float
) -> bool:
    """Whether a device is silent, whatever the others are."""
    if one.measured_s is None or one.received_s is None or now_s - one.received_s <= settings.silence_grace_s:
        return False
    longest_s = settings.silent_intervals * one.interval_s
    if now_s - resumed_s <= longest_s:
        return False
    behind_s = watermarks[one.area_id] - one.measured_s
    return behind_s > longest_s or now_s - one.received_s > longest_s


def _silence(one: DeviceActivity, until_s: float) -> Anomaly:
    assert one.measured_s is not None  # noqa: S101 - only heard devices come here
    silent_s = until_s - one.measured_s
    severity = 3 if silent_s >= ALARM_S else 2 if silent_s >= WARNING_S else 1
    minutes = round(silent_s / 60)
    return Anomaly(
        subject=f"device/{one.device_id}",
        site_id=one.site_id,
        device_id=one.device_id,
        detector=DETECTOR,
        version=VERSION,
        start_s=one.measured_s + one.interval_s,
        peak_s=one.measured_s + one.interval_s,
        score=silent_s / one.interval_s,
        severity=severity,
        n_readings=0,
        state="open",
        reason_en=f"device {one.device_id} is silent, {minutes} min behind its town: check power and link",
        reason_zh=f"设备{one.device_id}已静默，落后所在乡镇{minutes}分钟，请检查供电与通信",
        evidence={"interval_s": one.interval_s, "last_measured_s": one.measured_s},
    )


def _ended(old: Anomaly, end_s: float) -> Anomaly:
    return msgspec.structs.replace(old, state="closed", end_s=end_s)
