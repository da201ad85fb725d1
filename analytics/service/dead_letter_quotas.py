"""Periodic task that records an anomaly for each device and day (UTC) whose dead-letter quota was exceeded.

Beyond the quota dead letters are counted and no longer stored (decision 0028), so readings are lost that a
replay could have recovered. All device names that are not enrolled share one anomaly of their area, because
a client with publish access can invent any number of names.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from analytics.service import item_backoff
from analytics.service.service_state import ServiceState
from analytics.service.time_slice import UNLIMITED
from ingest_service.storage.contract.models import Anomaly, AnomalyQuery
from ingest_service.storage.contract.paging import all_anomalies

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from analytics.service.settings import Settings
    from analytics.service.time_slice import TimeSlice
    from ingest_service.storage.contract.models import ExceededQuota
    from ingest_service.storage.contract.store import Store

DETECTOR = "dead_letters"
VERSION = "1"
DAY_S = 86_400.0
SEVERITY = 2  # a fault of the platform, not of the town: below the severity that raises an alert
GROWTH_FACTOR = 10
"""The open anomaly is recorded again when the count has grown by this factor, not each round."""


def report_letter_quotas(
    store: Store,
    _settings: Settings,
    _time_slice: TimeSlice = UNLIMITED,
    service_state: ServiceState | None = None,
    *,
    now_s: float | None = None,
) -> None:
    """Record anomalies of the quotas exceeded since yesterday; the in-memory store has no quotas."""
    if store.database is None:
        return
    now_s = time.time() if now_s is None else now_s
    today_s = now_s // DAY_S * DAY_S
    exceeded = store.database.exceeded_quotas(since_s=today_s - DAY_S)
    recorded_before = all_anomalies(store, AnomalyQuery(detectors=[DETECTOR], from_s=today_s - DAY_S))
    item_backoff.record_or_defer(
        store,
        (service_state or ServiceState()).backoff("report_letter_quotas"),
        quota_changes(exceeded, recorded_before, today_s=today_s),
    )


def quota_changes(
    exceeded: Sequence[ExceededQuota], recorded_before: Iterable[Anomaly], *, today_s: float
) -> list[Anomaly]:
    """Return the anomalies that begin, grow or end.

    Parameters
    ----------
    exceeded : quotas of yesterday and today that were exceeded
    recorded_before : the anomalies of this detector that are open or ended since yesterday
    today_s : start of the day (UTC), Unix time [s]; an anomaly of an earlier day is closed

    """
    recorded = {(one.subject, one.start_s): one for one in recorded_before}
    changes = []
    for quota in exceeded:
        current = _anomaly(quota, is_open=quota.day_s >= today_s)
        old = recorded.pop((current.subject, current.start_s), None)
        if old is None or old.state != current.state or current.score >= GROWTH_FACTOR * old.score:
            changes.append(current)
    return changes + [  # those without a quota entry any more
        msgspec.structs.replace(one, state="closed", end_s=one.start_s + DAY_S)
        for one in recorded.values()
        if one.state == "open" and one.start_s < today_s
    ]


def _anomaly(quota: ExceededQuota, *, is_open: bool) -> Anomaly:
    mb = quota.bytes_beyond / 1e6
    if quota.device_id is None:
        subject = f"area/{quota.area_id}/dead_letters"
        owner_en = f"{quota.devices} names that are not enrolled in {quota.area_id}"
        owner_zh = f"{quota.area_id}内{quota.devices}个未登记的设备名"
        advice_en = "check which client publishes under these names, and enrol it or take its access away"
        advice_zh = "请查明以这些名称发布的客户端，予以登记或撤销其接入权限"
    else:
        subject = f"device/{quota.device_id}/dead_letters"
        owner_en, owner_zh = f"device {quota.device_id}", f"设备{quota.device_id}"
        advice_en = "look at its dead letters, mend its format or channels, and replay those that are kept"
        advice_zh = "请查看其死信，修正数据格式或通道配置，并重放已保存的死信"
    return Anomaly(
        subject=subject,
        site_id=quota.site_id,
        device_id=quota.device_id,
        detector=DETECTOR,
        version=VERSION,
        start_s=quota.day_s,
        end_s=None if is_open else quota.day_s + DAY_S,
        peak_s=quota.day_s,
        score=float(quota.beyond),
        severity=SEVERITY,
        n_readings=0,
        state="open" if is_open else "closed",
        reason_en=f"dead letters beyond the daily quota: {quota.beyond} of {owner_en} ({mb:.1f} MB) were"
        f" counted and not stored; {advice_en}",
        reason_zh=f"死信超出当日配额：{owner_zh}的{quota.beyond}条死信（{mb:.1f} MB）"
        f"仅计数未保存；{advice_zh}",
        evidence={"kept": quota.letters, "beyond": quota.beyond, "bytes_beyond": quota.bytes_beyond},
    )
