"""Measures the platform: its processes, rollups, dead letters, certificates, backups and clocks."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ingest_service.storage.contract.models import DeadLetterQuery
from ingest_service.storage.health.process_messages import process_message
from ingest_service.storage.postgres.enrolments import EnrolmentStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from analytics.service.service_state import ServiceState
    from analytics.service.settings import Settings
    from ingest_service.storage.contract.models import DeviceActivity, DeviceStatus
    from ingest_service.storage.contract.store import Database, Store
    from ingest_service.storage.health.processes import ProcessInfo

NOTICE, WARNING, ALARM = 1, 2, 3
RELEASE_SHARE = 0.5  # of the limit, below which a condition is over
GROWTH_S = 600.0
CERTIFICATE_DAYS, LAST_DAYS, RENEWED_DAYS = 30.0, 7.0, 31.0
HOUR_S, DAY_S = 3600.0, 86_400.0
FAILED_STATES = frozenset({"stuck", "behind", "absent"})
DATABASE_CLOCK_S = 2.0
MIN_DEVICES = 3  # with fewer devices off, their clocks are as likely to be wrong as the platform's
REPLAY_KIND = "replay"


class WatchedCondition(msgspec.Struct, frozen=True, kw_only=True):
    """A condition as it is now.

    Attributes
    ----------
    subject, cause : of its anomaly and incident
    value : what was measured
    is_bad, is_good : beyond the limit, and within the lower one; between the two nothing changes
    after_s : how long it has to be bad [s]
    device_id, site_id : of a condition of a device; else None

    """

    subject: str
    cause: str
    value: float
    is_bad: bool
    is_good: bool
    severity: int
    reason_en: str
    reason_zh: str
    after_s: float = 0.0
    device_id: str | None = None
    site_id: str | None = None


def watched_conditions(
    store: Store, database: Database, settings: Settings, state: ServiceState, *, now_s: float
) -> list[WatchedCondition]:
    """Measure everything that is watched. Raises `StoreError`."""
    activity = store.activity()
    return [
        *_processes(store.processes(), settings),
        _rollups(state.watch.rollup_lag_s(time.monotonic()), settings),
        _dead_letters(store, settings, now_s),
        *_certificates(settings, now_s),
        *_device_certificates(activity, database, now_s),
        *_backups(settings, now_s),
        *_disks(settings),
        *_clocks(store.statuses(), activity, settings, database.clock_s() - time.time()),
    ]


def _processes(processes: Sequence[ProcessInfo], settings: Settings) -> Iterator[WatchedCondition]:
    """Yield a condition for each kind of process but the service, which is the one that watches."""
    for kind in sorted({one.kind for one in processes} - {"service"}):
        mine = [one for one in processes if one.kind == kind and one.role != "standby" and one.why != "never"]
        failed = [one for one in mine if one.state in FAILED_STATES]
        message = process_message(failed[0]) if failed else None
        yield WatchedCondition(
            subject=f"platform/process/{kind}",
            cause="ingest_down" if kind == "ingest" else "process_down",
            value=float(len(failed)),
            is_bad=bool(failed),
            is_good=bool(mine) and all(one.works for one in mine),
            severity=ALARM if kind == "ingest" else WARNING,
            reason_en="" if message is None else f"process does not work: {message.en}",
            reason_zh="" if message is None else f"进程未正常工作：{message.zh}",
            after_s=settings.watch_after_s,
        )


def _rollups(lag_s: float, settings: Settings) -> WatchedCondition:
    minutes = round(lag_s / 60)
    return WatchedCondition(
        subject="platform/rollups",
        cause="rollups_behind",
        value=lag_s,
        is_bad=lag_s > settings.watch_rollups_s,
        is_good=lag_s < RELEASE_SHARE * settings.watch_rollups_s,
        severity=WARNING,
        reason_en=f"rollups have been behind for {minutes} min: queries of long times are slow until then;"
        " check the database's disk and processor, and the log of the service",
        reason_zh=f"汇总已滞后{minutes}分钟，长时段查询将变慢；请检查数据库的磁盘与处理器及分析服务日志",
    )


def _dead_letters(store: Store, settings: Settings, now_s: float) -> WatchedCondition:
    before = store.count_dead_letters(DeadLetterQuery(received_before_s=now_s - GROWTH_S))
    grown = max(0, store.count_dead_letters(DeadLetterQuery()) - before)
    return WatchedCondition(
        subject="platform/dead_letters",
        cause="dead_letters",
        value=float(grown),
        is_bad=grown >= settings.watch_dead_letters,
        is_good=grown < RELEASE_SHARE * settings.watch_dead_letters,
        severity=WARNING,
        reason_en=f"{grown} dead letters within 10 min: see their reasons on the page of dead letters; they"
        " can be replayed once the cause is mended",
        reason_zh=f"10分钟内新增{grown}条死信：请在死信页面查看原因，处理后可重放",
    )


def _certificates(settings: Settings, now_s: float) -> Iterator[WatchedCondition]:
    """Yield a condition for each certificate of the setting; one that can't be read is bad."""
    for name in settings.watch_certificates:
        ends_s = _end_of_certificate(Path(name))
        days = -1.0 if ends_s is None else (ends_s - now_s) / DAY_S
        what_en = f"can't be read: {name}" if ends_s is None else f"ends in {days:.0f} days: {name}"
        what_zh = f"无法读取：{name}" if ends_s is None else f"将在{days:.0f}天后到期：{name}"
        yield WatchedCondition(
            subject=f"platform/certificate/{Path(name).name}",
            cause="certificate_ends",
            value=days,
            is_bad=days < CERTIFICATE_DAYS,
            is_good=days > RENEWED_DAYS,
            severity=ALARM if days < LAST_DAYS else WARNING,
            reason_en=f"certificate {what_en}; renew it by `towntwin ca renew`",
            reason_zh=f"证书{what_zh}；请续期（docs/howto/serve-tls.md）",
        )


def _device_certificates(
    activity: Sequence[DeviceActivity], database: Database, now_s: float
) -> Iterator[WatchedCondition]:
    """Yield a condition for each device whose certificate ends soon; with a renewed one it has none."""
    sites = {one.device_id: one.site_id for one in activity}
    for one in EnrolmentStore(database).certificates_ending(now_s + CERTIFICATE_DAYS * DAY_S):
        days = (one.ends_s - now_s) / DAY_S
        yield WatchedCondition(
            subject=f"device/{one.device_id}/certificate",
            cause="certificate_ends",
            value=days,
            is_bad=True,
            is_good=False,
            severity=ALARM if days < LAST_DAYS else WARNING,
            reason_en=f"the certificate of device {one.device_id} ends in {days:.0f} days, then the broker"
            " refuses it: run `towntwin edge renew` on the device, or enrol it anew",
            reason_zh=f"设备{one.device_id}的证书将在{days:.0f}天后到期，届时将无法连接；"
            "请在设备上续期，或重新入网登记（docs/howto/enrol-a-device.md）",
            device_id=one.device_id,
            site_id=sites.get(one.device_id),
        )


def _backups(settings: Settings, now_s: float) -> Iterator[WatchedCondition]:
    """Yield the age of the last backup, by the file that `towntwin backup run` writes into its folder."""
    folder = settings.watch_backups
    if folder is None:
        return
    last_s = _last_backup(folder)
    limit_s = settings.watch_backups_h * HOUR_S
    age_s = float("inf") if last_s is None else now_s - last_s
    hours = f"{age_s / HOUR_S:.0f}"
    yield WatchedCondition(
        subject="platform/backups",
        cause="backup_old",
        value=-1.0 if last_s is None else age_s,
        is_bad=age_s > limit_s,
        is_good=age_s < RELEASE_SHARE * limit_s,
        severity=WARNING,
        reason_en=(
            f"no backup can be seen in {folder}" if last_s is None else f"the last backup is {hours} h old"
        )
        + ": see whether the disk is mounted, and the log of `towntwin backup run`",
        reason_zh=(f"在{folder}中未发现备份" if last_s is None else f"最近一次备份距今{hours}小时")
        + "：请检查备份磁盘是否已挂载以及备份任务的日志",
        after_s=settings.watch_after_s,
    )


def _disks(settings: Settings) -> Iterator[WatchedCondition]:
    """Yield the free space of each watched disk; of one that can't be seen nothing is known."""
    backups = [] if settings.watch_backups is None else [str(settings.watch_backups)]
    for folder in dict.fromkeys([*settings.watch_disks, *backups]):
        try:
            found = os.statvfs(folder)
        except OSError:
            continue
        free_bytes = found.f_bavail * found.f_frsize
        free_gib = free_bytes / (1 << 30)
        yield WatchedCondition(
            subject=f"platform/disk/{folder}",
            cause="disk_full",
            value=float(free_bytes),
            is_bad=free_bytes < settings.watch_disk_bytes,
            is_good=free_bytes >= settings.watch_disk_bytes / RELEASE_SHARE,
            severity=WARNING,
            reason_en=f"the disk of {folder} has {free_gib:.1f} GiB left: free space, or enlarge it"
            " (docs/howto/operate/when-the-disk-fills-up.md)",
            reason_zh=f"{folder}所在磁盘仅剩{free_gib:.1f}吉字节：请清理或扩容"
            "（docs/howto/operate/when-the-disk-fills-up.md）",
            after_s=settings.watch_after_s,
        )


def _last_backup(folder: Path) -> float | None:
    try:
        return datetime.fromisoformat((folder / "last-run").read_text("ascii").strip()).timestamp()
    except (OSError, ValueError):
        return None


def _end_of_certificate(path: Path) -> float | None:
    """Return when a certificate ends, Unix time [s]; None if it can't be read."""
    from cryptography import x509  # noqa: PLC0415 - a service without certificates does without it

    try:
        ends: datetime = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return None
    return ends.astimezone(UTC).timestamp()


def _clocks(
    statuses: Sequence[DeviceStatus],
    activity: Sequence[DeviceActivity],
    settings: Settings,
    database_offset_s: float,
) -> Iterator[WatchedCondition]:
    """Yield a condition for each device's clock, and one for the platform's.

    The platform's clock is taken to be wrong where the database's differs, or where most devices, and at
    least `MIN_DEVICES`, are off to the same side; theirs are not reported then.
    """
    live = {one.device_id: one for one in activity if one.kind != REPLAY_KIND}
    offsets = {
        one.device_id: one.clock_offset_s
        for one in statuses
        if one.device_id in live and one.clock_offset_s is not None
    }
    limit_s = settings.watch_clock_s
    off = [one for one in offsets.values() if abs(one) > limit_s]
    ahead = sum(one > 0 for one in off)
    together = max(ahead, len(off) - ahead)
    is_platform = together >= MIN_DEVICES and 2 * together > len(offsets)
    differs = abs(database_offset_s) > DATABASE_CLOCK_S
    yield WatchedCondition(
        subject="platform/clock",
        cause="wrong_clock",
        value=float(together if is_platform else abs(database_offset_s)),
        is_bad=is_platform or differs,
        is_good=not is_platform and abs(database_offset_s) < RELEASE_SHARE * DATABASE_CLOCK_S,
        severity=ALARM,
        reason_en=f"the clock of this machine is off: {together} of {len(offsets)} devices differ from it,"
        f" and the database by {database_offset_s:.1f} s; check its time synchronisation",
        reason_zh=f"本机时钟异常：{len(offsets)}台设备中{together}台与其不符，"
        f"数据库相差{database_offset_s:.1f}秒；请检查时间同步",
        after_s=settings.watch_after_s,
    )
    for device, offset_s in sorted(offsets.items()):
        minutes = abs(offset_s) / 60
        yield WatchedCondition(
            subject=f"device/{device}/clock",
            cause="wrong_clock",
            value=offset_s,
            is_bad=abs(offset_s) > limit_s and not is_platform,
            is_good=abs(offset_s) < RELEASE_SHARE * limit_s,
            severity=NOTICE,
            reason_en=f"clock of device {device} is {minutes:.0f} min {'fast' if offset_s > 0 else 'slow'}:"
            " its readings are flagged and not judged; set its clock, or check its time synchronisation",
            reason_zh=f"设备{device}的时钟{'快' if offset_s > 0 else '慢'}{minutes:.0f}分钟，"
            "其读数被标记且不参与判别；请校准时钟或检查时间同步",
            after_s=settings.watch_after_s,
            device_id=device,
            site_id=live[device].site_id,
        )
