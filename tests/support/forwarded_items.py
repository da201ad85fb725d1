"""One good item of each kind that a town forwards, and changes for which it is refused."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from tests.support.federated_towns import TOWN, definitions, forwarded_anomaly, forwarded_incident

NOW_US = int(time.time()) // 900 * 900_000_000
READINGS: dict[str, Any] = {
    "site_id": "s1", "quantity": "ph", "time_us": [NOW_US], "received_us": [NOW_US], "value": [7.5],
    "expected": [None], "spread": [None], "quality": [1], "rules": [0],
}  # fmt: skip
ROLLUPS: dict[str, Any] = {
    "site_id": "s1", "quantity": "turbidity", "bucket_us": [NOW_US], "count": [3], "good": [3], "min": [1.0],
    "max": [3.0], "total": [6.0], "judged": [0], "expected": [None], "spread": [None], "flagged": [None],
    "weight": [None], "weighted": [None],
}  # fmt: skip
ESTIMATES: dict[str, Any] = {
    "quantity": "ph", "after": "", "until": None, "node_id": ["n1"], "at_us": [NOW_US],
    "source": ["estimated"], "estimated": [7.0], "deviation": [0.5], "measured": [None], "expected": [None],
    "quality": [None], "measured_us": [None],
}  # fmt: skip
FORECAST: dict[str, Any] = {
    "site_id": "s1", "quantity": "ph", "issued_us": NOW_US, "times_us": [NOW_US, NOW_US + 3_600_000_000],
    "values": [7.0, 7.0], "low": [6.0, 6.0], "high": [8.0, 8.0],
}  # fmt: skip
ASSESSMENT: dict[str, Any] = {
    "kind": "capture", "subject": "site/s1", "area_id": TOWN, "site_id": "s1",
    "assessment": {
        "value": 0.9, "data_from_s": NOW_US / 1e6, "data_to_s": NOW_US / 1e6, "readings": 5, "version": "1",
        "detail": {},
    },
}  # fmt: skip
RESULT: dict[str, Any] = {
    "command_id": "1b4e28ba-2fa1-11d2-883f-0016d3cca427",
    "state": "applied",
    "at_s": 1.79e9,
}
INCIDENT: dict[str, Any] = msgspec.to_builtins(forwarded_incident(5))
HISTORY: dict[str, Any] = {"machine": "record", "event": "open", "who": "service", "at_s": 1.79e9}
SITE: dict[str, Any] = msgspec.to_builtins(definitions().sites[0])


def nested(levels: int) -> dict[str, Any]:
    return {"a": msgspec.Raw(b'{"a":' * levels + b"1" + b"}" * levels)}


def message(kind: str, content: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """Return a message of one item, or of one changed in some fields."""
    item = {**content, **changed}
    match kind:
        case "readings" | "rollups":
            return {"series": [item]}
        case "estimates":
            return item
        case "assessments":
            return {"month": item.pop("month", "2026-09"), "assessments": [item]}
        case "command_results":
            return {"results": [item]}
        case "definitions":
            return {"sites": [item]}
    return {kind: [item]}


ITEMS: dict[str, dict[str, Any]] = {
    "definitions": SITE,
    "readings": READINGS,
    "rollups": ROLLUPS,
    "devices": {"device_id": "d1", "received_us": NOW_US, "status": {}},
    "assessments": ASSESSMENT,
    "estimates": ESTIMATES,
    "forecasts": FORECAST,
    "anomalies": msgspec.to_builtins(forwarded_anomaly()),
    "incidents": INCIDENT,
    "command_results": RESULT,
}
FUTURE_US, FUTURE_S = 9 * 10**18, 9e12
REFUSED: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "definitions": [
        *(("payload", {"site_id": one}) for one in ("", "s" * 10_000, "s1\n")),
        ("payload", {"lon": 1e308}),
        ("payload", {"target_class": 2**40}),
    ],
    "readings": [
        *(("payload", {"quality": [one]}) for one in (256, -1, 300, 1e30, 0, 5, 255)),
        *(("payload", {"rules": [one]}) for one in (-1, 65_536)),
        *(("payload", {name: [one]}) for name in ("time_us", "received_us") for one in (2**63, -1)),
        *(("time", {name: [one]}) for name in ("time_us", "received_us") for one in (0, FUTURE_US)),
        *(("value", {"value": [one]}) for one in (1e308, -1e31)),
        ("value", {"expected": [1e308]}),
        ("federation", {"value": [7.5, 7.5]}),
    ],
    "rollups": [
        *(("payload", {"count": [one]}) for one in (-1, 2**31)),
        ("value", {"good": [99]}),
        ("time", {"bucket_us": [NOW_US + 1]}),
        ("time", {"bucket_us": [FUTURE_US // 900_000_000 * 900_000_000]}),
        ("value", {"total": [1e308]}),
        ("value", {"weighted": [1e308]}),
    ],
    "devices": [
        ("time", {"received_us": FUTURE_US}),
        ("value", {"clock_offset_s": 1e308}),
        ("value", {"status": nested(500)}),
    ],
    "assessments": [
        *(("time", {"month": one}) for one in ("0001-01", "9999-12")),
        ("payload", {"month": "2026-13"}),
        ("payload", {"month": "0000-01"}),  # an error that no bound foresees
        ("time", {"assessment": {**ASSESSMENT["assessment"], "data_to_s": FUTURE_S}}),
        ("value", {"assessment": {**ASSESSMENT["assessment"], "value": 1e308}}),
    ],
    "estimates": [("time", {"at_us": [FUTURE_US]}), ("value", {"estimated": [1e308]})],
    "forecasts": [
        ("time", {"issued_us": FUTURE_US}),
        ("time", {"times_us": [NOW_US, FUTURE_US]}),
        ("value", {"high": [8.0, 1e308]}),
    ],
    "anomalies": [
        *(("payload", {"severity": one}) for one in (-5, 4)),
        *(("time", {name: one}) for name in ("start_us", "peak_us", "end_us") for one in (0, FUTURE_US)),
        ("payload", {"n_readings": 2**40}),
        ("value", {"evidence": nested(500)}),
        ("store", {"reason_en": "a\0"}),
    ],
    "incidents": [
        *(("time", {"opened_s": one}) for one in (FUTURE_S, -FUTURE_S, 1e308)),
        *(
            ("time", {"incident": {**INCIDENT["incident"], name: FUTURE_S}})
            for name in ("started_s", "last_s", "closed_s", "held_until_s")
        ),
        ("time", {"entries": [{**HISTORY, "at_s": FUTURE_S}]}),
        ("value", {"entries": [{**HISTORY, "detail": nested(500)}]}),
        ("value", {"parent_id": 5}),
        ("value", {"merged_into": 5}),
        ("federation", {"incident": {**INCIDENT["incident"], "kind": "x"}}),
        ("store", {"incident": {**INCIDENT["incident"], "priority": 2**40}}),
    ],
    "command_results": [("time", {"at_s": FUTURE_S}), ("store", {"command_id": "x"})],
}
