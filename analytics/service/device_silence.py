"""Computes which silence anomalies of devices begin, change or end, from when each device was last received.

A device is silent if nothing was received from it for a short grace, and either its newest measured time is
too far behind its area's watermark (the median newest measured time of the area's devices), or nothing was
received for that long by the clock (decision 0005). If all devices fell silent together, or ingest does not
work, one anomaly of the platform replaces those of the devices (`analytics.service.simultaneous_silence`,
decision 0030).
"""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING

import msgspec

from analytics.service.device_maintenance import DeviceMaintenance
from analytics.service.item_backoff import ItemBackoff
from analytics.service.simultaneous_silence import DETECTOR, find_simultaneous_silences, silence_changes
from ingest_service.storage.contract.models import Anomaly

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from analytics.service.settings import Settings
    from ingest_service.storage.contract.models import DeviceActivity

VERSION = "1"
REPLAY_KIND = "replay"  # a replay device stops at the end of its files, and shares series with live devices
LIVE_INTERVALS = 2.0  # an area whose watermark is older, in intervals of a device, is not live for it
RECOVERY_S = 60.0  # for connecting again (an agent waits up to 30 s) and sending the backlog
WARNING_S, ALARM_S = 3_600.0, 6 * 3_600.0


def device_silence_changes(
    activity: Sequence[DeviceActivity],
    open_anomalies: Iterable[Anomaly],
    settings: Settings,
    *,
    now_s: float,
    devices: ItemBackoff | None = None,
    areas_without_ingest: Collection[str] = (),
    resumed_s: float = -math.inf,
    working_since_s: float = -math.inf,
    maintenance: DeviceMaintenance | None = None,
) -> list[Anomaly]:
    """Return the silences that began, changed severity or ended, as anomalies to record.

    Parameters
    ----------
    activity : when each device was last received
    open_anomalies : open anomalies of this detector
    now_s : the platform's clock, Unix seconds [s]
    devices : backoff in which a device that fails is deferred
    areas_without_ingest : areas whose readings no ingest process takes now
    resumed_s : when the newest silence of all devices ended, Unix seconds [s]; every device's allowed delay
        starts anew from then
    working_since_s : since when ingest works without an interruption, as far as the service observed it,
        Unix seconds [s]; devices first have to connect and send their backlog
    maintenance : devices in maintenance: theirs raise nothing, and are no part of a silence of all; an
        anomaly that is open stays as it is until they send again

    """
    maintenance = maintenance or DeviceMaintenance()
    devices = devices or ItemBackoff("look_for_silence")
    enrolled = [one for one in activity if one.kind != REPLAY_KIND]
    activity = [one for one in enrolled if one.device_id not in maintenance.devices]
    open_anomalies = list(open_anomalies)
    open_by_device = {one.device_id: one for one in open_anomalies if one.device_id is not None}
    watermarks = _watermarks(activity)
    working_from_s = working_since_s + RECOVERY_S
    from_s = {
        one.device_id: max(resumed_s, maintenance.ended_s.get(one.device_id, -math.inf)) for one in activity
    }
    silent_devices = {
        one.device_id
        for one in activity
        if _is_silent(one, watermarks, settings, now_s, from_s[one.device_id], working_from_s=working_from_s)
    }
    # Devices that no ingest takes are silent for a known reason, which the recovery time does not hide.
    without_ingest = {
        one.device_id
        for one in activity
        if one.area_id in areas_without_ingest
        and _is_silent(one, watermarks, settings, now_s, from_s[one.device_id])
    }
    outages = find_simultaneous_silences(
        activity,
        silent_devices | without_ingest,
        settings,
        now_s=now_s,
        areas_without_ingest=areas_without_ingest,
        judged_from_s=working_since_s + RECOVERY_S,
    )
    found = silence_changes(outages, [one for one in open_anomalies if one.device_id is None], now_s=now_s)
    outage_start_by_device = {one.device_id: outage.start_s for outage in outages for one in outage.devices}
    for one in enrolled:
        open_anomaly = open_by_device.get(one.device_id)
        if one.device_id in outage_start_by_device:
            if open_anomaly is not None and open_anomaly.start_s >= outage_start_by_device[one.device_id]:
                found.append(_closed_at(open_anomaly, max(now_s, open_anomaly.start_s)))
        elif one.measured_s is not None and not devices.is_deferred(one.device_id):
            with devices.isolate(one.device_id):
                found += _changes_of_device(
                    one,
                    open_anomaly,
                    watermarks.get(one.area_id, one.measured_s),
                    is_silent=one.device_id in silent_devices,
                    maintained_s=maintenance.ended_s.get(one.device_id, -math.inf),
                )
    return found


def _changes_of_device(
    one: DeviceActivity,
    open_anomaly: Anomaly | None,
    watermark_s: float,
    *,
    is_silent: bool,
    maintained_s: float,
) -> list[Anomaly]:
    """Return the anomalies of one device to record; ``maintained_s`` is the end of its last maintenance."""
    found = []
    if one.measured_s is None or one.received_s is None:
        return []
    until_s = max(watermark_s, one.measured_s)
    if open_anomaly is not None and one.measured_s >= open_anomaly.start_s:
        found.append(_closed_at(open_anomaly, one.measured_s))
        open_anomaly = None
    if is_silent:
        # One that began before the maintenance keeps its start, by which it is the same anomaly.
        start_s = max(one.measured_s + one.interval_s, maintained_s)
        silence = _silence_anomaly(one, until_s, start_s if open_anomaly is None else open_anomaly.start_s)
        if open_anomaly is None or silence.severity != open_anomaly.severity:
            found.append(silence)
    return found


def _watermarks(activity: Sequence[DeviceActivity]) -> dict[str, float]:
    by_area: dict[str, list[float]] = {}
    for one in activity:
        if one.measured_s is not None:
            by_area.setdefault(one.area_id, []).append(one.measured_s)
    return {area: median(times) for area, times in by_area.items()}


def _is_silent(
    one: DeviceActivity,
    watermarks: Mapping[str, float],
    settings: Settings,
    now_s: float,
    resumed_s: float,
    *,
    working_from_s: float = -math.inf,
) -> bool:
    """Whether a device is silent, considered on its own."""
    if one.measured_s is None or one.received_s is None or now_s - one.received_s <= settings.silence_grace_s:
        return False
    longest_s = settings.silent_intervals * one.interval_s
    if now_s - resumed_s <= longest_s:
        return False
    if now_s - watermarks[one.area_id] > LIVE_INTERVALS * one.interval_s:
        # The area sends its history or a backlog: each device at its own speed, up to the present.
        return now_s - max(one.received_s, working_from_s) > longest_s
    behind_s = watermarks[one.area_id] - one.measured_s
    return behind_s > longest_s or now_s - max(one.received_s, working_from_s) > longest_s


def _silence_anomaly(one: DeviceActivity, until_s: float, start_s: float) -> Anomaly:
    assert one.measured_s is not None  # noqa: S101 - the caller passes only devices with a reading
    silent_s = max(0.0, until_s - max(one.measured_s, start_s - one.interval_s))
    severity = 3 if silent_s >= ALARM_S else 2 if silent_s >= WARNING_S else 1
    minutes = round((until_s - one.measured_s) / 60)
    return Anomaly(
        subject=f"device/{one.device_id}",
        site_id=one.site_id,
        device_id=one.device_id,
        detector=DETECTOR,
        version=VERSION,
        start_s=start_s,
        peak_s=start_s,
        score=silent_s / one.interval_s,
        severity=severity,
        n_readings=0,
        state="open",
        reason_en=f"device {one.device_id} is silent, {minutes} min behind its town: check power and link",
        reason_zh=f"设备{one.device_id}已静默，落后所在乡镇{minutes}分钟，请检查供电与通信",
        evidence={"interval_s": one.interval_s, "last_measured_s": one.measured_s},
    )


def _closed_at(open_anomaly: Anomaly, end_s: float) -> Anomaly:
    return msgspec.structs.replace(open_anomaly, state="closed", end_s=end_s)
