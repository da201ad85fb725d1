"""Maps the detector names that are stored with anomalies to English and Chinese display names."""

from __future__ import annotations

DETECTORS: dict[str, tuple[str, str]] = {
    "gross_range": ("gross range", "超量程"),
    "rate_of_change": ("rate of change", "变化率"),
    "spike": ("spike", "尖峰"),
    "flat_line": ("flat line", "恒值"),
    "residual": ("residual", "残差"),
    "shift": ("shift", "漂移突变"),
    "novelty": ("novelty", "新极值"),
    "attenuated_signal": ("attenuated signal", "信号衰减"),
    "noise": ("noise", "噪声"),
    "gap": ("missing values", "缺测"),
    "silence": ("silence", "静默"),
    "dead_letters": ("dead letters", "死信超额"),
    "self_watch": ("platform", "平台自检"),
    "several": ("several quantities", "多项偏离"),
    "cause/air_exposure": ("sonde in the air", "探头露出水面"),
    "cause/sensor_stuck": ("sensor stuck", "传感器卡死"),
    "cause/sewage": ("sewage", "疑似污水"),
    "cause/rain_turbidity": ("rain turbidity", "降雨致浊"),
    "cause/sensor_fouling": ("sensor fouling", "传感器污染"),
    "cause/calibration_jump": ("calibration jump", "校准阶跃"),
    "cause/incident_downstream": ("incident downstream", "下游事故或瓶颈"),
    "cause/incident_upstream": ("incident upstream", "上游车流受阻"),
    "cause/detector_dead": ("detector dead", "检测器失效"),
    "cause/detector_stuck_on": ("detector stuck on", "检测器常通"),
    "cause/detector_chattering": ("detector chattering", "检测器抖动"),
    "cause/detector_constant": ("detector constant", "占有率不变"),
}
"""English and Chinese name by detector; a test checks that every detector has one."""
