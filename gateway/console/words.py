"""Every word of the console, English and Chinese, from one source."""

from __future__ import annotations

from typing import Literal, get_args

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

WORDS: dict[str, tuple[str, str]] = {
    "title": ("towntwin — operations", "乡镇孪生 — 运行监测"),
    "towns": ("rivers and roads", "河网与路网"),
    "wrong": ("what is wrong now", "当前异常"),
    "nothing": ("nothing is wrong", "一切正常"),
    "series": ("series", "序列"),
    "choose": ("choose a site on the map or an anomaly in the list", "请在图上选择站点，或在列表中选择异常"),
    "severity": ("severity", "等级"),
    "since": ("since", "起始"),
    "site": ("site", "站点"),
    "what": ("what", "情况"),
    "severity_1": ("notice", "提示"),
    "severity_2": ("warning", "预警"),
    "severity_3": ("alarm", "报警"),
    "status_ok": ("as expected", "正常"),
    "status_suspect": ("suspect", "可疑"),
    "status_anomaly": ("anomaly", "异常"),
    "status_silent": ("silent", "静默"),
    "status_unknown": ("not measured", "未监测"),
    "readings": ("readings", "读数"),
    "open_anomalies": ("open anomalies", "未结异常"),
    "newest": ("newest reading", "最新读数"),
    "dead_letters": ("dead letters", "死信"),
    "clock": ("worst device clock", "最大时钟偏差"),
    "database": ("database", "数据库"),
    "away": (
        "the database is away; this page shows the last it knew",
        "数据库连接中断，页面显示最后已知状态",
    ),
    "kept": ("readings are stored and judged", "读数正常入库并判别"),
    "not_kept": ("readings are NOT stored and judged now", "当前读数无法入库或判别"),
    "ago": ("{} s ago", "{}秒前"),
    "never": ("never", "无"),
    "value": ("measured", "实测"),
    "expected": ("expected", "预期"),
    "band": ("expected band", "预期区间"),
    "flagged": ("flagged", "已标记"),
    "river": ("river", "河道"),
    "road": ("road", "道路"),
    "language": ("中文", "English"),
}


def word(key: str, language: Language) -> str:
    """A word in a language.

    >>> word("since", "zh")
    '起始'
    """
    return WORDS[key][LANGUAGES.index(language)]


def choose(cookie: str | None, accepted: str | None) -> Language:
    """The language of a visitor: what they chose before, else what their browser prefers.

    >>> choose(None, "zh-CN,zh;q=0.9,en;q=0.8")
    'zh'
    """
    if cookie == "zh" or (cookie is None and (accepted or "").lower().startswith("zh")):
        return "zh"
    return "en"
