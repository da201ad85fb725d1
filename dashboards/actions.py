"""Maps the detector of an anomaly to what a duty officer does, by keys of `words.toml` (``do_...``)."""

from __future__ import annotations

ACTIONS: dict[str, str] = {
    "gross_range": "sensor",
    "rate_of_change": "compare",
    "spike": "compare",
    "flat_line": "sensor",
    "residual": "compare",
    "shift": "compare",
    "novelty": "compare",
    "attenuated_signal": "sensor",
    "noise": "sensor",
    "gap": "power",
    "silence": "power",
    "dead_letters": "messages",
    "self_watch": "messages",
    "several": "compare",
    "cause/air_exposure": "sonde",
    "cause/sensor_stuck": "sensor",
    "cause/sewage": "sample",
    "cause/rain_turbidity": "rain",
    "cause/sensor_fouling": "clean",
    "cause/calibration_jump": "calibration",
    "cause/incident_downstream": "police",
    "cause/incident_upstream": "police",
    "cause/detector_dead": "detector",
    "cause/detector_stuck_on": "detector",
    "cause/detector_chattering": "detector",
    "cause/detector_constant": "detector",
}
"""Action by detector; a test checks that every detector has one."""
