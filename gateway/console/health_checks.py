"""Checks each part of the platform (database, broker, processes, devices) and lists the advice in order.

The order is that of dependence: while the database accepts no writes, no process can write its heartbeat, so
their states are unknown; while the broker is unreachable, no device can report. Fix the first fault first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from ingest_service.storage.health import process_messages
from ingest_service.storage.health.process_messages import BilingualText

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.console.disk_usage import DiskUsage
    from gateway.console.platform_state import PlatformState
    from ingest_service.storage.health.processes import ProcessInfo

CheckState = Literal["alive", "behind", "restarting", "stuck", "absent", "unknown"]

LOW_DISK_SHARE = 0.1  # of the disk, free: below it somebody has to act within days
GIGABYTE = 1e9
BROKER_FAULTS = ("broker", "refused", "subscribing")

DATABASE_LABEL = BilingualText("database", "数据库")
BROKER_LABEL = BilingualText("broker", "消息代理")
DEVICES_LABEL = BilingualText("devices", "设备")
UNKNOWN_TEXT = BilingualText("not known", "状态未知")
DATABASE_AWAY_TEXT = BilingualText("no answer for {} s", "已{}秒无应答")
DATABASE_AWAY_ADVICE = BilingualText(
    "the database does not answer: check that it runs, then its disk, then the network to it."
    " Devices keep their readings; this page shows the last that was known",
    "数据库无应答：请依次检查数据库是否运行、磁盘是否已满、网络是否通畅；读数保留在设备中，页面显示最后已知状态",
)
READ_ONLY_TEXT = BilingualText("takes no writes", "无法写入")
READ_ONLY_ADVICE = BilingualText(
    "the database answers and takes no writes: free its disk if that is full, then end the read-only mode"
    " (default_transaction_read_only, or a standby that was not promoted). Devices keep their readings",
    "数据库可读但无法写入：若磁盘已满请先清理，再解除只读模式（default_transaction_read_only，或备库尚未提升）；"
    "读数在消息代理与设备中等待",
)
WRITABLE_TEXT = BilingualText("takes writes", "可写入")
LOW_DISK_ADVICE = BilingualText(
    "the database's disk is nearly full ({free} GB of {whole} GB free): free some, or enlarge it",
    "数据库磁盘将满（剩余{free} GB，共{whole} GB）：请清理或扩容",
)
DISK_USED_TEXT = BilingualText("{used} GB used", "已用{used} GB")
DISK_FREE_TEXT = BilingualText(", {free} GB free", "，剩余{free} GB")
CONNECTED_TEXT = BilingualText("connected", "已连接")
NOT_CONNECTED_TEXT = BilingualText("not reached by ingest", "接收服务无法连接")
REPORTING_TEXT = BilingualText("{on} of {all} report", "{all}台中{on}台在线")
ALL_SILENT_ADVICE = BilingualText(
    "all devices are silent at once: look at the broker and at ingest first, not at each device",
    "全部设备同时静默：请先检查消息代理与接收服务，不必逐台检查设备",
)
SOME_SILENT_ADVICE = BilingualText(
    "silent devices: {n}. The list of what is wrong names them; check their power and link",
    "{n}台设备静默：见当前异常列表，请检查其供电与通信",
)


class PlatformCheck(NamedTuple):
    """State of one part of the platform as text, and the advice if it has a fault."""

    part: str
    state: CheckState
    text: BilingualText
    remedy: BilingualText | None = None


def platform_checks(platform_state: PlatformState | None, *, now_s: float) -> list[PlatformCheck]:
    """Return the checks in order of dependence; ``platform_state`` is None before the first read."""
    if platform_state is None or platform_state.is_database_away:
        return _checks_without_database(platform_state, now_s)
    if platform_state.database == "read-only":
        return [
            PlatformCheck("database", "stuck", _with_label(DATABASE_LABEL, READ_ONLY_TEXT), READ_ONLY_ADVICE),
            *_unknown_checks(platform_state.processes),
        ]
    return [
        _database_check(platform_state.disk),
        _broker_check(platform_state.processes),
        *(_process_check(one) for one in platform_state.processes),
        PlatformCheck("devices", "unknown", _with_label(DEVICES_LABEL, UNKNOWN_TEXT))
        if is_broker_unreachable(platform_state.processes)
        else _devices_check(platform_state),
    ]


def is_broker_unreachable(processes: Sequence[ProcessInfo]) -> bool:
    """Whether ingest, the platform's only client of the broker, can't work because of the broker."""
    return any(one.why in BROKER_FAULTS for one in processes if one.kind == "ingest" and not one.works)


def ordered_advice(
    found_checks: Sequence[PlatformCheck], problems: Sequence[BilingualText]
) -> list[BilingualText]:
    """Return the advice in order of urgency, without duplicates.

    Parameters
    ----------
    found_checks : of `platform_checks`
    problems : why readings are not stored and judged, beyond the checks

    """
    own_advice = [one.remedy for one in found_checks if one.remedy is not None]
    if found_checks and found_checks[0].part == "database" and found_checks[0].state in {"stuck", "absent"}:
        return own_advice[:1]  # until the database is repaired all other states are unknown
    devices = [one.remedy for one in found_checks if one.part == "devices" and one.remedy is not None]
    other_advice = [one for one in own_advice if one not in devices]
    return list(dict.fromkeys([*other_advice, *problems, *devices]))


def _checks_without_database(platform_state: PlatformState | None, now_s: float) -> list[PlatformCheck]:
    age_s = 0.0 if platform_state is None else now_s - platform_state.read_at_s
    text = BilingualText(
        DATABASE_AWAY_TEXT.en.format(f"{age_s:.0f}"), DATABASE_AWAY_TEXT.zh.format(f"{age_s:.0f}")
    )
    if platform_state is None:
        text = UNKNOWN_TEXT
    return [
        PlatformCheck("database", "absent", _with_label(DATABASE_LABEL, text), DATABASE_AWAY_ADVICE),
        *_unknown_checks([] if platform_state is None else platform_state.processes),
    ]


def _unknown_checks(processes: Sequence[ProcessInfo]) -> Iterator[PlatformCheck]:
    yield PlatformCheck("broker", "unknown", _with_label(BROKER_LABEL, UNKNOWN_TEXT))
    for kind in dict.fromkeys(one.kind for one in processes):
        yield PlatformCheck(
            kind,
            "unknown",
            _with_label(process_messages.KIND_LABELS.get(kind, BilingualText(kind, kind)), UNKNOWN_TEXT),
        )
    yield PlatformCheck("devices", "unknown", _with_label(DEVICES_LABEL, UNKNOWN_TEXT))


def _database_check(disk: DiskUsage | None) -> PlatformCheck:
    en, zh, state, advice = WRITABLE_TEXT.en, WRITABLE_TEXT.zh, "alive", None
    if disk is not None:
        format_values = {"used": f"{disk.used / GIGABYTE:.1f}"}
        en, zh = (
            f"{en}, {DISK_USED_TEXT.en.format(**format_values)}",
            f"{zh}，{DISK_USED_TEXT.zh.format(**format_values)}",
        )
        if disk.free is not None and disk.total:
            format_values = {"free": f"{disk.free / GIGABYTE:.1f}", "whole": f"{disk.total / GIGABYTE:.1f}"}
            en, zh = (
                en + DISK_FREE_TEXT.en.format(**format_values),
                zh + DISK_FREE_TEXT.zh.format(**format_values),
            )
            if disk.free < LOW_DISK_SHARE * disk.total:
                state = "behind"
                advice = BilingualText(
                    LOW_DISK_ADVICE.en.format(**format_values), LOW_DISK_ADVICE.zh.format(**format_values)
                )
    return PlatformCheck(
        "database",
        "behind" if state == "behind" else "alive",
        _with_label(DATABASE_LABEL, BilingualText(en, zh)),
        advice,
    )


def _broker_check(processes: Sequence[ProcessInfo]) -> PlatformCheck:
    """Return the broker's state by ingest's heartbeat: no other process is connected to the broker."""
    ingest = [one for one in processes if one.kind == "ingest"]
    if is_broker_unreachable(processes):
        # Without advice: ingest's message has it.
        return PlatformCheck("broker", "stuck", _with_label(BROKER_LABEL, NOT_CONNECTED_TEXT))
    if any(one.works and one.role == "owner" for one in ingest):
        return PlatformCheck("broker", "alive", _with_label(BROKER_LABEL, CONNECTED_TEXT))
    return PlatformCheck("broker", "unknown", _with_label(BROKER_LABEL, UNKNOWN_TEXT))


def _process_check(one: ProcessInfo) -> PlatformCheck:
    name, state = process_messages.process_label(one), process_messages.STATE_LABELS[one.state]
    standby = process_messages.STANDBY_SUFFIX if one.role == "standby" else process_messages.EMPTY_TEXT
    text = BilingualText(f"{name.en}{standby.en} {state.en}", f"{name.zh}{standby.zh} {state.zh}")
    return PlatformCheck(
        one.kind,
        one.state,
        text,
        None if one.state == "alive" else process_messages.process_message(one),
    )


def _devices_check(platform_state: PlatformState) -> PlatformCheck:
    total = len(platform_state.directory_index.directory.devices)
    silent = len(
        {one.device_id for one in platform_state.anomalies if one.detector == "silence" and one.device_id}
    )
    is_area_wide = any(
        one.detector == "silence" and one.device_id is None for one in platform_state.anomalies
    )
    format_values = {"on": 0 if is_area_wide else max(0, total - silent), "all": total}
    text = _with_label(
        DEVICES_LABEL,
        BilingualText(REPORTING_TEXT.en.format(**format_values), REPORTING_TEXT.zh.format(**format_values)),
    )
    if is_area_wide:
        return PlatformCheck("devices", "stuck", text, ALL_SILENT_ADVICE)
    if silent:
        advice = BilingualText(SOME_SILENT_ADVICE.en.format(n=silent), SOME_SILENT_ADVICE.zh.format(n=silent))
        return PlatformCheck("devices", "behind", text, advice)
    return PlatformCheck("devices", "alive", text)


def _with_label(name: BilingualText, text: BilingualText) -> BilingualText:
    return BilingualText(f"{name.en} {text.en}", f"{name.zh} {text.zh}")
