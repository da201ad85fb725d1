"""Detects that all devices fell silent at once, and raises one platform anomaly instead of one per device.

The rule (docs/decisions/0030-silence-of-all-devices.md): the devices that sent until the newest reading, of
the platform or else of one area, form a group if there are three or more of them and each is overdue, by two
of its intervals and the grace. The same holds for the devices of areas that no ingest process takes. Nothing
is recorded before at least one device is silent by its own rule.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from ingest_service.storage.contract.models import Anomaly
from ingest_service.storage.health.readiness import ALL_AREAS_MARK

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from analytics.service.settings import Settings
    from ingest_service.storage.contract.models import DeviceActivity
    from ingest_service.storage.health.processes import ProcessInfo

DETECTOR = "silence"
VERSION = "1"
MIN_SILENT_DEVICES = 3  # with one or two, faults of the devices are as likely as a fault of the platform
OVERDUE_INTERVALS = 2.0
PLATFORM = "platform/ingest"


class SimultaneousSilence(NamedTuple):
    """Devices of all areas, or of one, that fell silent together; ``start_s`` is Unix time [s]."""

    subject: str
    devices: list[DeviceActivity]
    start_s: float
    is_known: bool  # ingest reported that it does not work, so the cause is certain


def find_simultaneous_silences(
    activity: Sequence[DeviceActivity],
    due: Collection[str],
    settings: Settings,
    *,
    now_s: float,
    areas_without_ingest: Collection[str] = (),
    judged_from_s: float = -math.inf,
) -> list[SimultaneousSilence]:
    """Return the groups of devices that are silent together.

    Parameters
    ----------
    due : devices that are silent by their own rule; a group needs at least one
    areas_without_ingest : areas whose readings no ingest process takes now
    judged_from_s : times without a reading count from then on [Unix s]: until then a backlog was sent

    """
    devices_without_ingest = [one for one in activity if one.area_id in areas_without_ingest]
    groups = [(PLATFORM, _devices_silent_together(activity, settings, now_s, judged_from_s), False)]
    if devices_without_ingest:
        groups.insert(0, (PLATFORM, _devices_received_last(devices_without_ingest, settings), True))
    for area in sorted({one.area_id for one in activity}):
        mine = [one for one in activity if one.area_id == area]
        groups.append((f"area/{area}", _devices_silent_together(mine, settings, now_s, judged_from_s), False))
    found: list[SimultaneousSilence] = []
    explained_devices: set[str] = set()
    for subject, devices, is_known in groups:
        names = {one.device_id for one in devices}
        if names & set(due) and not names & explained_devices:
            explained_devices |= names
            start_s = min(one.received_s for one in devices if one.received_s is not None)
            found.append(SimultaneousSilence(subject, devices, start_s, is_known))
    return found


def _devices_received_last(activity: Sequence[DeviceActivity], settings: Settings) -> list[DeviceActivity]:
    """Return the devices that were sending when the newest reading arrived; the others were silent before."""
    newest_s = max((one.received_s for one in activity if one.received_s is not None), default=-math.inf)
    return [
        one
        for one in activity
        if one.received_s is not None and newest_s - one.received_s <= _overdue_s(one, settings)
    ]


def _devices_silent_together(
    activity: Sequence[DeviceActivity], settings: Settings, now_s: float, judged_from_s: float
) -> list[DeviceActivity]:
    """Return the devices received last if they are three or more and all of them are overdue; else none."""
    devices = _devices_received_last(activity, settings)
    overdue = all(
        now_s - max(one.received_s or 0.0, judged_from_s) > _overdue_s(one, settings) for one in devices
    )
    return devices if overdue and len(devices) >= MIN_SILENT_DEVICES else []


def _overdue_s(one: DeviceActivity, settings: Settings) -> float:
    return OVERDUE_INTERVALS * one.interval_s + settings.silence_grace_s


def silence_changes(
    outages: Sequence[SimultaneousSilence], open_anomalies: Sequence[Anomaly], *, now_s: float
) -> list[Anomaly]:
    """Return the outages that began or ended, as anomalies to record; a lasting one is recorded once."""
    now = {one.subject: one for one in outages}
    open_now = {one.subject for one in open_anomalies}
    ended = [
        msgspec.structs.replace(one, state="closed", end_s=max(now_s, one.start_s))
        for one in open_anomalies
        if one.subject not in now
    ]
    return ended + [_anomaly(one, now_s) for subject, one in now.items() if subject not in open_now]


def _anomaly(outage: SimultaneousSilence, now_s: float) -> Anomaly:
    n, minutes = len(outage.devices), round((now_s - outage.start_s) / 60)
    cause_en = "ingest does not take their readings" if outage.is_known else "they fell silent together"
    cause_zh = "接收服务未接收其读数" if outage.is_known else "同时静默"
    return Anomaly(
        subject=outage.subject,
        site_id=min(one.site_id for one in outage.devices),
        detector=DETECTOR,
        version=VERSION,
        start_s=outage.start_s,
        peak_s=outage.start_s,
        score=float(n),
        severity=3,
        n_readings=0,
        state="open",
        reason_en=f"broker or ingest: nothing from {n} devices for {minutes} min, {cause_en};"
        " check the broker and ingest first, not each device",
        reason_zh=f"消息代理或接收服务故障：{n}台设备{minutes}分钟无读数，{cause_zh}；"
        "请先检查消息代理与接收服务，不必逐台检查设备",
        evidence={"devices": n, "areas": sorted({one.area_id for one in outage.devices})},
    )


def areas_without_ingest(processes: Iterable[ProcessInfo], areas: Collection[str]) -> set[str]:
    """Return areas that no ingest process takes, if one reported that it does not work; else none."""
    ingest = [one for one in processes if one.kind == "ingest"]
    if not any(one.state in {"stuck", "absent"} and one.why != "never" for one in ingest):
        return set()
    ingested_areas = {area for one in ingest if one.works and one.role == "owner" for area in one.areas}
    return set() if ALL_AREAS_MARK in ingested_areas else set(areas) - ingested_areas


def resumed_s(ended: Iterable[Anomaly]) -> float:
    """Return when the newest silence of all devices ended [Unix s]; -inf if there never was one."""
    return max(
        (one.end_s for one in ended if one.device_id is None and one.end_s is not None), default=-math.inf
    )
