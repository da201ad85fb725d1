"""Reasons for which an anomaly opens or joins an incident, or sounds no alarm, in English and Chinese."""

from __future__ import annotations

import re
from typing import Final

REASONS: Final[dict[str, tuple[str, str]]] = {
    # opened
    "first": ("no incident explains it", "无已有事件可解释"),
    "recurring": ("repeated short anomalies", "反复短时异常"),
    # joined
    "same_series": ("same series as an anomaly of the incident", "与事件中的异常同一序列"),
    "same_site": ("same site at the same time", "同一站点同时发生"),
    "same_outage": ("same outage", "同一次中断"),
    "silent_together": ("fell silent together with others of the town", "与本镇其他设备同时静默"),
    "along_river": ("the travel time of the water fits", "与水流传播时间相符"),
    "along_road": ("next to it on the road at the same time", "相邻路段同时发生"),
    "same_storm": ("same rain", "同一场降雨"),
    "merged": ("merged by hand", "人工并案"),
    "split": ("split off by hand", "人工拆案"),
    # suppressed
    "chattering": (
        "the series chatters: it started three times within an hour",
        "序列反复报警：一小时内三次",
    ),
    "too_short": ("over before it lasted long enough to count", "持续时间不足"),
    "explained_by_outage": (
        "the site was silent: its parent incident explains it",
        "站点静默期间，由上级事件解释",
    ),
    "judged_false_alarm": ("the incident was judged a false alarm", "事件已判为误报"),
    "maintenance": ("planned work at the site", "站点计划维护"),
    "withdrawn": ("withdrawn when it was judged again", "复判后撤回"),
}
"""English and Chinese text by code; a test checks that grouping uses no other."""

SUPPRESSING: Final = frozenset(
    {"chattering", "too_short", "explained_by_outage", "judged_false_alarm", "maintenance", "withdrawn"}
)
"""Reasons of anomalies that sound no alarm."""

STEP_REASONS: Final[dict[str, str]] = {
    "the time of shelving is over": "搁置时间已到",
    "all of its anomalies were withdrawn": "所含异常均已撤回",
    "too many alarms sound: it waits for its turn": "报警过多，排队等待",
    "its parent incident explains it": "由上级事件解释",
    "the reason of its suppression is over": "抑制原因已消除",
    "no anomaly for long enough": "持续无异常",
    "an event across a border of towns": "跨界事件",
    "it reached another town": "已波及另一乡镇",
}
"""Chinese text of the reasons of the platform's own steps; a test checks that grouping uses no other."""

_MATRIX_NAMES: Final = {
    "severe": "严重", "major": "较大", "moderate": "一般", "minor": "轻微",
    "immediate": "立即", "prompt": "尽快", "soon": "及早", "routine": "常规",
}  # fmt: skip
_PRIORITY = re.compile(r"(.+) consequence, (.+) response")
_EXPIRED = re.compile(r"it returned to normal (\S+) h ago, and nobody filed it")


def step_reason_zh(english: str) -> str:
    """Return in Chinese why the platform took a step; names of a town's own matrix stay as they are.

    >>> step_reason_zh("severe consequence, prompt response")
    '后果严重，处置要求：尽快'
    """
    if found := _PRIORITY.fullmatch(english):
        consequence, urgency = (_MATRIX_NAMES.get(one, one) for one in found.groups())
        return f"后果{consequence}，处置要求：{urgency}"
    if found := _EXPIRED.fullmatch(english):
        return f"恢复正常已{found[1]}小时，且无人立案"
    chinese_of = dict(REASONS.values()) | STEP_REASONS
    return chinese_of.get(english, english)
