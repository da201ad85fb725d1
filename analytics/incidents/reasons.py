"""Reasons for which an anomaly opens or joins an incident, or sounds no alarm, in English and Chinese."""

from __future__ import annotations

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
