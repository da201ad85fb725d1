"""English and Chinese names of the reasons for which messages become dead letters."""

from __future__ import annotations

from ingest_service.storage.health.process_messages import BilingualText

REASONS: dict[str, BilingualText] = {
    "payload": BilingualText("payload", "内容无法解析"),
    "topic": BilingualText("topic", "主题不符"),
    "device": BilingualText("device", "设备未登记"),
    "channel": BilingualText("channel", "通道未登记"),
    "unit": BilingualText("unit", "单位不符"),
    "value": BilingualText("value", "数值无效"),
    "time": BilingualText("time", "时间无效"),
    "clock": BilingualText("clock", "设备时钟偏差"),
    "federation": BilingualText("not the town's", "不属于该镇"),
    "conflict": BilingualText("conflict", "与已存读数冲突"),
    "store": BilingualText("store", "数据库拒绝"),
    "defect": BilingualText("defect", "程序缺陷"),
}
