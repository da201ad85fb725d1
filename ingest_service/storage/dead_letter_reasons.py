"""English and Chinese names of the reasons for which messages become dead letters."""

from __future__ import annotations

from ingest_service.storage.process_words import Sentence

REASONS: dict[str, Sentence] = {
    "payload": Sentence("payload", "内容无法解析"),
    "topic": Sentence("topic", "主题不符"),
    "device": Sentence("device", "设备未登记"),
    "channel": Sentence("channel", "通道未登记"),
    "unit": Sentence("unit", "单位不符"),
    "value": Sentence("value", "数值无效"),
    "time": Sentence("time", "时间无效"),
    "clock": Sentence("clock", "设备时钟偏差"),
    "conflict": Sentence("conflict", "与已存读数冲突"),
    "store": Sentence("store", "数据库拒绝"),
    "defect": Sentence("defect", "程序缺陷"),
}
