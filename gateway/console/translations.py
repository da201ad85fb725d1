"""Texts of the console in English and Chinese, and the choice of a visitor's language."""

from __future__ import annotations

from typing import Literal, get_args

from ingest_service.storage.dead_letter_reasons import REASONS

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

TRANSLATIONS: dict[str, tuple[str, str]] = {
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
    "status_warming": ("warming up", "学习中"),
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
    "unlisted": (
        "{} older ones are not listed: see Grafana or the API",
        "另有{}条较早的未列出：请在仪表板或接口中查看",
    ),
    "never": ("never", "无"),
    "value": ("measured", "实测"),
    "expected": ("expected", "预期"),
    "band": ("expected band", "预期区间"),
    "flag_suspect": ("suspect reading", "可疑读数"),
    "flag_fail": ("failed reading", "不合格读数"),
    "no_readings": ("no readings in this range", "该时段无读数"),
    "range_24": ("24 h", "24小时"),
    "range_48": ("48 h", "48小时"),
    "range_168": ("7 d", "7天"),
    "range_720": ("30 d", "30天"),
    "range_anomaly": ("around the anomaly", "异常时段"),
    "open": ("open", "查看"),
    "link": ("series", "序列"),
    "loading": ("loading …", "加载中…"),
    "unknown_now": ("not known: see the platform's state above", "状态未知：请先查看上方平台状态"),
    "time": ("time", "时间"),
    "device": ("device", "设备"),
    "reason": ("reason", "原因"),
    "sentence": ("what was wrong", "说明"),
    "no_letters": ("no dead letters", "无死信"),
    "newest_letters": ("the newest dead letters", "最新死信"),
    "no_right": (
        "your key has no right to the dead letters (scope letters)",
        "当前密钥无权查看死信（需要权限范围“letters”）",
    ),
    "close": ("close", "关闭"),
    **{f"reason_{key}": (one.en, one.zh) for key, one in REASONS.items()},
    "mend_payload": (
        "not valid SenML: check the device's encoding and format",
        "消息内容不是有效的 SenML：请检查设备的编码与格式",
    ),
    "mend_topic": (
        "the topic must be towntwin/v1/AREA/DEVICE/data: check the device's topic setting",
        "主题应为 towntwin/v1/乡镇/设备/data：请检查设备的主题设置",
    ),
    "mend_device": (
        "the site file has no such device: enrol it, then replay the dead letters",
        "该设备未在站点文件中登记：请登记后重放死信",
    ),
    "mend_channel": (
        "the site file has no such channel: add it, then replay the dead letters",
        "该通道未在站点文件中登记：请补充通道后重放死信",
    ),
    "mend_unit": (
        "the quantity does not take this unit: correct the device's unit",
        "单位不在该监测量允许的范围内：请更正设备的单位",
    ),
    "mend_value": (
        "no finite number: check what the instrument puts out",
        "数值不是有限的数字：请检查设备的输出",
    ),
    "mend_time": (
        "the time of measurement can not be used: check what the device sends (seconds)",
        "测量时间无法采用：请检查设备发送的时间（单位为秒）",
    ),
    "mend_clock": ("the device's clock is far off: set it", "设备时钟偏差过大：请为设备校时"),
    "mend_conflict": (
        "another value is stored for the same time: check for two devices on one channel",
        "同一时刻已有不同的数值：请检查是否有两台设备使用同一通道",
    ),
    "mend_store": (
        "the database refused the message: see the log of ingest",
        "数据库拒绝了该消息：请查看接收服务日志",
    ),
    "mend_defect": (
        "the program that handles the message has a defect: report it with the message",
        "处理该消息的程序有缺陷：请附消息报告",
    ),
    "nav": ("pages", "页面"),
    "skip": ("skip to the content", "跳到正文"),
    "wall": ("wall", "大屏"),
    "incidents": ("incidents", "事件"),
    "tasks": ("my tasks", "我的任务"),
    "anomalies": ("anomalies", "异常"),
    "sites": ("sites", "站点"),
    "devices": ("devices", "设备"),
    "settings": ("settings", "设置"),
    "sign_out": ("sign out", "退出"),
    "map": ("map of rivers, roads and sites", "河网、路网与站点地图"),
    "no_map": (
        "this browser draws no map (WebGL is missing): the sites are in the list",
        "当前浏览器无法绘制地图（缺少图形加速），请使用站点列表",
    ),
    "legend": ("legend", "图例"),
    "connection_lost": (
        "No connection to the gateway: this page is not up to date. It connects again by itself.",
        "与网关的连接已中断：页面内容可能已过期，正在自动重连。",
    ),
    "request_failed": (
        "The gateway did not accept this. Try again, or reload the page.",
        "操作未被接受，请重试或刷新页面。",
    ),
    "clock_now": ("now", "当前时间"),
    "unit_seconds": ("{} s", "{}秒"),
    "unit_minutes": ("{} min", "{}分钟"),
    "unit_hours": ("{} h", "{}小时"),
    "unit_days": ("{} d", "{}天"),
    "for_duration": ("for", "已持续"),
    "more_rows": ("{} more", "另有{}条"),
    "all_anomalies": ("all open anomalies", "全部未结异常"),
    "no_right_for_this": (
        "Your key does not have the right to do this.",
        "当前密钥无权进行此操作。",
    ),
    "quantity": ("quantity", "监测量"),
    "quantities": ("quantities", "监测量"),
    "range": ("time range", "时段"),
    "measured": ("measured at", "测量时间"),
    "received": ("received at", "接收时间"),
    "age": ("age", "距今"),
    "flag": ("flag", "质量"),
    "flag_1": ("pass", "合格"),
    "flag_2": ("not evaluated", "未评价"),
    "flag_3": ("suspect", "可疑"),
    "flag_4": ("fail", "不合格"),
    "flag_9": ("missing", "缺失"),
    "stale": ("stale", "已过期"),
    "status": ("status", "状态"),
    "area": ("area", "区域"),
    "kind": ("kind", "类型"),
    "target_class": ("target class", "目标水质类别"),
    "neighbours": ("neighbours", "相邻站点"),
    "upstream": ("upstream", "上游"),
    "downstream": ("downstream", "下游"),
    "no_neighbours": ("none in the network", "网络中无相邻站点"),
    "no_anomalies": ("no open anomalies", "无未结异常"),
    "newest_readings": ("newest readings", "最新读数"),
    "chart_summary": (
        "{}: {} readings from {} to {}, newest value {}",
        "{}：{}条读数，{}至{}，最新值{}",
    ),
    "why": ("why", "原因"),
    "evidence": ("evidence", "依据"),
    "score": ("score", "评分"),
    "detector": ("detector", "判别方法"),
    "observed": ("observed", "实测"),
    "state": ("state", "状态"),
    "state_open": ("open", "未结"),
    "state_closed": ("closed", "已结束"),
    "state_withdrawn": ("withdrawn", "已撤销"),
    "trace": ("where it came from", "溯源"),
    "no_such_site": ("there is no such site", "该站点不存在"),
    "enrolled": ("enrolled", "登记时间"),
    "never_sent": ("never sent anything", "从未上报"),
    "clock_offset": ("clock", "时钟偏差"),
    "battery": ("battery", "电量"),
    "signal": ("signal", "信号"),
    "waiting_packs": ("waiting to be sent", "待发数据"),
    "unknown_value": ("not reported", "未上报"),
    "device_ok": ("reports", "在线"),
    "device_silent": ("silent", "静默"),
    "device_new": ("not heard from", "未上线"),
    "all_reasons": ("all reasons", "全部原因"),
    "filter": ("filter", "筛选"),
    "topic": ("topic", "主题"),
    "payload": ("payload", "消息内容"),
    "bytes": ("bytes", "字节"),
    "replays": ("replays", "重放次数"),
    "waits_for_replay": ("will be replayed", "等待重放"),
    "mend": ("what to do", "处理办法"),
    "replay_one": ("replay this dead letter", "重放该死信"),
    "replay_selected": ("replay the selected", "重放所选"),
    "purge_selected": ("delete the selected", "删除所选"),
    "replay_done": ("{} dead letters will be replayed", "{}条死信将被重放"),
    "purge_done": ("{} dead letters are deleted", "已删除{}条死信"),
    "select_some": ("select at least one dead letter", "请至少选择一条死信"),
    "select": ("select", "选择"),
    "no_such_letter": (
        "this dead letter no longer exists: it was purged, or stored after a replay",
        "该死信已不存在：已被清除，或重放后已入库",
    ),
    "keys": ("keys", "密钥"),
    "key_id": ("key", "密钥编号"),
    "key_name": ("name", "名称"),
    "role": ("role", "角色"),
    "role_viewer": ("viewer", "查看者"),
    "role_team_member": ("team member", "处置人员"),
    "role_operator": ("operator", "值班员"),
    "role_supervisor": ("supervisor", "主管"),
    "role_engineer": ("engineer", "工程师"),
    "role_administrator": ("administrator", "管理员"),
    "expires": ("valid until", "有效期至"),
    "last_used": ("last used", "最近使用"),
    "revoked": ("revoked", "已吊销"),
    "revoke": ("revoke", "吊销"),
    "create_key": ("create a key", "新建密钥"),
    "days_valid": ("valid for [d]", "有效天数"),
    "all_areas": ("all areas", "全部区域"),
    "new_key_is": (
        "The new key is shown once; copy it now:",
        "新密钥仅显示一次，请立即复制：",
    ),
    "key_revoked": ("the key is revoked", "密钥已吊销"),
    "not_your_keys": (
        "only administrators see keys here",
        "仅管理员可在此查看密钥",
    ),
    "you_are": ("you are signed in as {} ({})", "当前登录：{}（{}）"),
    "river": ("river", "河道"),
    "road": ("road", "道路"),
    "language": ("中文", "English"),
}


def translate(key: str, language: Language) -> str:
    """Return the text of a key in a language.

    >>> translate("since", "zh")
    '起始'
    """
    return TRANSLATIONS[key][LANGUAGES.index(language)]


def choose_language(cookie: str | None, accepted: str | None) -> Language:
    """Return a visitor's language: by the cookie of an earlier choice, else by Accept-Language.

    >>> choose_language(None, "zh-CN,zh;q=0.9,en;q=0.8")
    'zh'
    """
    if cookie == "zh" or (cookie is None and (accepted or "").lower().startswith("zh")):
        return "zh"
    return "en"
