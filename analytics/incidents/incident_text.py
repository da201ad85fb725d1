"""Titles of incidents, and names of causes, states and events, in English and Chinese."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from analytics.incidents.state_machine import transition_table
from analytics.quality.detector_names import DETECTORS

if TYPE_CHECKING:
    from ingest_service.storage.contract.incidents import Incident

CAUSES: Final[dict[str, tuple[str, str]]] = {
    "device_silent": ("silent device", "设备静默"),
    "power_or_network": ("power cut or network failure", "停电或通信中断"),
    "ingest_down": ("broker or ingest failure", "消息代理或接收服务故障"),
    "dead_letters": ("messages that can't be stored", "死信超额"),
    "process_down": ("process that does not work", "进程故障"),
    "rollups_behind": ("rollups behind", "汇总滞后"),
    "certificate_ends": ("certificate that ends", "证书即将到期"),
    "backup_old": ("backup that is missing or old", "备份缺失或过旧"),
    "disk_full": ("disk that is almost full", "磁盘即将写满"),
    "wrong_clock": ("wrong clock", "时钟异常"),
    "storm": ("storm runoff", "降雨径流"),
    "chattering": ("flapping sensor", "传感器反复报警"),
    "sensor_fault": ("sensor fault", "传感器故障"),
    "water_departure": ("unusual water", "水质异常"),
    "traffic_departure": ("unusual traffic", "交通异常"),
    "reported": ("report by a person", "人工上报"),
}
"""Names of the causes that grouping gives; those of cause patterns are `detector_names.DETECTORS`."""

STATE_NAMES: Final[dict[str, tuple[str, str]]] = {
    "new": ("new", "新发现"),
    "filed": ("filed", "已立案"),
    "dispatched": ("dispatched", "已派遣"),
    "in_hand": ("in hand", "处置中"),
    "reported": ("reported back", "已反馈"),
    "verified": ("verified", "已核查"),
    "closed": ("closed", "已结案"),
    "false_alarm": ("false alarm", "误报"),
    "normal": ("normal", "正常"),
    "unacknowledged": ("unacknowledged", "未确认"),
    "acknowledged": ("acknowledged", "已确认"),
    "returned_unacknowledged": ("returned, unacknowledged", "已恢复未确认"),
    "shelved": ("shelved", "已搁置"),
    "suppressed": ("suppressed", "已抑制"),
    "out_of_service": ("out of service", "已停用"),
}
"""Names of both states, English and Chinese."""

RECORD_EVENTS: Final[dict[str, tuple[str, str]]] = {
    "open": ("opened", "发现"),
    "join": ("anomaly joined", "异常并入"),
    "update": ("anomalies changed", "异常更新"),
    "prioritise": ("priority changed", "调整优先级"),
    "assign": ("assigned", "指派"),
    "comment": ("comment", "备注"),
    "photo": ("photo", "照片"),
    "merge": ("merged", "并案"),
    "split": ("split", "拆案"),
    "request": ("request", "申请"),
    "decide": ("decision", "审批"),
    "extend": ("deadline extended", "延期"),
    "hold": ("held over", "挂账"),
    "chatter": ("chattering", "反复报警"),
}
"""Names of the history events that are no transitions."""


def cause_name(cause: str) -> tuple[str, str]:
    """Return the English and Chinese name of a cause; the cause itself where it has none.

    >>> cause_name("sewage"), cause_name("storm")[0], cause_name("dead_fish")
    (('sewage', '疑似污水'), 'storm runoff', ('dead fish', 'dead fish'))
    """
    plain = cause.replace("_", " ")
    return CAUSES.get(cause) or DETECTORS.get(f"cause/{cause}") or DETECTORS.get(cause) or (plain, plain)


def title(incident: Incident, site_name: tuple[str, str] | None) -> tuple[str, str]:
    """Return the English and Chinese title of an incident.

    Parameters
    ----------
    site_name : English and Chinese name of a touched site that the reader may see; None if there is none

    """
    cause_en, cause_zh = cause_name(incident.cause)
    cause_en = cause_en[:1].upper() + cause_en[1:]
    if incident.kind == "platform" or site_name is None:
        return cause_en, cause_zh
    others = len(incident.site_ids) - 1
    more_en = "" if others < 1 else f" and {others} more site{'s' if others > 1 else ''}"
    more_zh = "" if others < 1 else f"等{others + 1}处"
    return f"{cause_en} at {site_name[0]}{more_en}", f"{site_name[1]}{more_zh}{cause_zh}"


def event_name(event: str) -> tuple[str, str]:
    """Return the English and Chinese name of a history event."""
    if event in RECORD_EVENTS:
        return RECORD_EVENTS[event]
    table = transition_table()
    chinese = next((one.zh for one in [*table.workflow, *table.alarm] if one.event == event), event)
    return event.replace("_", " "), chinese
