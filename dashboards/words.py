"""Every word on the dashboards, English and Chinese, from one source."""

from __future__ import annotations

from typing import Literal, get_args

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

WORDS: dict[str, tuple[str, str]] = {
    "title": ("Town overview", "乡镇总览"),
    "about": ("What is wrong now, where, and since when.", "当前有何异常、在何处、始于何时。"),
    "city": ("City", "市"),
    "county": ("County", "县（区）"),
    "town": ("Town", "乡镇"),
    "site": ("Site", "站点"),
    "quantity": ("Quantity", "监测项"),
    "now": ("Now", "当前"),
    "water": ("Rivers", "河道"),
    "traffic": ("Roads", "道路"),
    "platform": ("Platform", "平台"),
    "open": ("Open anomalies", "未结异常"),
    "open_about": (
        "Anomalies that are going on at the chosen sites, by severity.",
        "所选站点正在发生的异常，按等级统计。",
    ),
    "silent": ("Silent devices", "静默设备"),
    "silent_about": (
        "Devices that send nothing while their town goes on: check power and link.",
        "所在乡镇正常而自身无数据的设备，请检查供电与通信。",
    ),
    "age": ("Newest reading", "最新读数"),
    "age_about": (
        "Time since a reading last came from the chosen sites. Minutes are normal, an hour is not.",
        "所选站点最近一次收到读数距今的时间；几分钟属正常，一小时则不正常。",
    ),
    "letters": ("Dead letters", "死信"),
    "letters_about": (
        "Messages that could not be read in the chosen time; each says what to do.",
        "所选时段内无法读取的报文，每条均说明处理办法。",
    ),
    "wrong": ("What is wrong now", "当前异常"),
    "wrong_about": (
        "Worst first. The reason says what was measured and what was expected.",
        "最严重者在前；原因列出实测值与预期值。",
    ),
    "map": ("Where", "位置"),
    "map_about": (
        "A site's colour and size follow its worst open anomaly.",
        "站点的颜色与大小随其最严重的未结异常而变。",
    ),
    "latest": ("Newest readings", "最新读数"),
    "latest_about": (
        "Flag 1 pass, 2 not evaluated, 3 suspect, 4 fail.",
        "标志：1 合格，2 未评定，3 可疑，4 不合格。",
    ),
    "speed": ("Speed over what this hour expects", "车速与此时段预期之比"),
    "speed_about": (
        "1 is as usual at this hour; below 0.5 traffic is jammed.",
        "1为此时段常态，低于0.5表示拥堵。",
    ),
    "series": ("Chosen series", "所选序列"),
    "series_about": (
        "At most twelve series; choose site and quantity above.",
        "至多十二条序列，请在上方选择站点与监测项。",
    ),
    "band": ("Worst series with its expected band", "最严重序列及其预期区间"),
    "band_about": (
        "Of the chosen series, the one with the worst open anomaly: values, band, flags.",
        "所选序列中异常最严重者：实测值、预期值±3倍离散度及被标记的读数。",
    ),
    "begun": ("Anomalies begun", "新发异常"),
    "begun_about": ("How many anomalies began when, by severity.", "各时段新发异常的数量，按等级统计。"),
    "stored": ("Readings an hour, share of good ones", "每小时读数与合格率"),
    "stored_about": ("A gap means that devices or the link were away.", "缺口表示设备或通信中断。"),
    "devices": ("Devices", "设备"),
    "devices_about": (
        "Silent ones first. A spool that grows means that the link is slow.",
        "静默者在前；缓存增长表示链路缓慢。",
    ),
    "alarm": ("alarm", "报警"),
    "warning": ("warning", "预警"),
    "notice": ("notice", "提示"),
    "fine": ("as expected", "正常"),
    "pass": ("pass", "合格"),
    "not_evaluated": ("not evaluated", "未评定"),
    "suspect": ("suspect", "可疑"),
    "fail": ("fail", "不合格"),
    "since": ("since", "起始"),
    "severity": ("severity", "等级"),
    "reason": ("reason", "原因"),
    "score": ("score", "得分"),
    "value": ("value", "数值"),
    "flag": ("flag", "标志"),
    "expected": ("expected", "预期"),
    "measured": ("measured", "实测"),
    "received": ("received", "接收"),
    "device": ("device", "设备"),
    "online": ("online", "在线"),
    "spool": ("spool", "缓存"),
    "lower": ("lower", "下限"),
    "upper": ("upper", "上限"),
    "flagged": ("flagged", "已标记"),
    "readings": ("readings", "读数"),
    "good": ("good", "合格率"),
    "share": ("share", "比值"),
    "anomalies": ("Anomalies", "异常"),
}


def word(key: str, language: Language) -> str:
    """A word in a language.

    >>> word("town", "zh")
    '乡镇'
    """
    return WORDS[key][LANGUAGES.index(language)]
