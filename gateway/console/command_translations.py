"""Texts of the page of commands between platforms, in English and Chinese."""

from __future__ import annotations

COMMAND_TRANSLATIONS: dict[str, tuple[str, str]] = {
    "commands": ("commands", "上下级指令"),
    "commands_sent": ("sent to towns", "已下发的指令"),
    "commands_received": ("received from the platform above", "收到的上级指令"),
    "no_commands": ("no commands", "无指令"),
    "command_sent": (
        "the command is sent: its result comes once the town has a line",
        "指令已下发，待下级平台连通后返回结果",
    ),
    "command_kind_limits": ("limits", "限值"),
    "command_kind_incident": ("incident", "事件"),
    "command_kind_dashboards": ("dashboard", "看板"),
    "command_kind_unknown": ("not understood", "无法识别"),
    "command_state_waiting": ("waits for the town", "等待下级执行"),
    "command_state_passed_on": ("passed on, waits for the town", "已转发，等待下级执行"),
    "command_state_applied": ("applied", "已执行"),
    "command_state_refused": ("refused", "已拒绝"),
    "command_subject": ("about", "对象"),
    "command_town": ("town", "下级平台"),
    "command_by": ("issued by", "下发人"),
    "command_finished": ("result", "结果时间"),
    "command_limits": ("adopt limits", "下发限值"),
    "command_incident": ("dispatch an incident", "下发事件"),
    "command_dashboard": ("send a dashboard", "下发看板"),
    "command_send": ("send the command", "下发指令"),
    "command_summary": ("what happened", "事件描述"),
    "command_dashboard_json": ("dashboard as exported from the dashboard tool", "看板导出内容"),
    "command_dashboard_hint": (
        "The towns of the area get it, under its own uid and title. One that a town has saved itself stays.",
        "该区域的各下级平台均会收到，标识与标题以导出内容为准。下级自行保存的看板不会被覆盖。",
    ),
    "command_no_towns": (
        "No town forwards to this platform, so there is none to command.",
        "尚无下级平台上报数据，因此无法下发指令。",
    ),
    "rule_summary": ("describe in 1 to 2,000 characters what happened.", "请用1至2000个字描述事件。"),
    "rule_dashboard": (
        "the export of a dashboard with an uid of its own and a title, up to 500,000 bytes.",
        "应为带有独立标识与标题的看板导出内容，不超过50万字节。",
    ),
}
