"""Prometheus metrics of the HJ 212 server."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

KNOWN_COMMANDS = frozenset(
    (
        "1013",
        "2011",
        "2021",
        "2031",
        "2041",
        "2051",
        "2061",
        "3019",
        "3020",
        "9011",
        "9012",
        "9013",
        "9014",
        "9015",
    )
)

CONNECTIONS = Gauge("towntwin_hj212_connections", "Open connections of HJ 212 stations")
FRAMES = Counter("towntwin_hj212_frames_total", "Valid frames by command (CN)", ["command"])
FRAMES_OF = {command: FRAMES.labels(command) for command in KNOWN_COMMANDS}
OTHER_FRAMES = FRAMES.labels("other")
REJECTED = Counter(
    "towntwin_hj212_rejected_total", "Frames and bytes that can't be read, by reason", ["reason"]
)
DUPLICATES = Counter(
    "towntwin_hj212_duplicates_total", "Uploads that had been stored before, and were answered again"
)
MODBUS_CHECKSUMS = Counter(
    "towntwin_hj212_modbus_checksums_total", "Frames whose checksum is that of Modbus instead of HJ 212"
)
RESENT = Counter("towntwin_hj212_resent_total", "Uploads that their station marked as sent again (RF=1)")
WRONG_LENGTHS = Counter(
    "towntwin_hj212_wrong_lengths_total", "Frames with a right checksum whose length field is wrong"
)
COMMANDS = Counter("towntwin_hj212_commands_total", "Commands sent to stations, by command (CN)", ["command"])
FORWARDED = Counter("towntwin_hj212_forwarded_total", "Frames sent to upper platforms", ["platform"])
FORWARD_ANSWERED = Counter(
    "towntwin_hj212_forward_answered_total", "Frames that an upper platform has answered", ["platform"]
)
FORWARD_REFUSED = Counter(
    "towntwin_hj212_forward_refused_total", "Frames that an upper platform has refused", ["platform"]
)
FORWARD_WAITING = Gauge("towntwin_hj212_forward_waiting", "Frames that wait for an answer", ["platform"])
FORWARD_EVICTED = Gauge(
    "towntwin_hj212_forward_evicted", "Frames evicted from a full spool since the start", ["platform"]
)
